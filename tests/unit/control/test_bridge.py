"""Layer 4 follows the verdicts; a mass failure, an unknown verdict and a start change nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
from rota.control.bridge import FULL, NO_NEW_WORK, REMOVED, Bridge, window_of
from rota.control.state import IntentState, Verdict
from rota.model import Service
from rota.model.schema import Fallback
from unit.control.clocks import Hands

UP, DOWN, UNKNOWN = Verdict.UP, Verdict.DOWN, Verdict.UNKNOWN
READY, DRAIN, HALT = IntentState.READY, IntentState.DRAIN, IntentState.HALT


class L4:
    """A layer 4 service of `count` members, with the bridge of a node."""

    def __init__(self, folder: Path, count: int, hands: Hands | None = None) -> None:
        self.folder, self.hands = folder, hands or Hands()
        self.names = [f"m{n}" for n in range(count)]
        self.service = Service.model_validate(
            {
                "profile": "tcp", "addresses": ["203.0.113.200"], "ports": [104], "mode": "l4-dr", "balance": "wlc",
                "members": {name: {"address": f"203.0.113.{n}"} for n, name in enumerate(self.names, start=1)},
            }
        )  # fmt: skip
        self.told: list[tuple[bool, str]] = []
        self.intents = dict.fromkeys(self.names, READY)
        self.verdicts = dict.fromkeys(self.names, UP)
        self.restart()

    def restart(self) -> None:
        self.bridge = Bridge(self.folder, self.hands.clock, lambda name, on, why: self.told.append((on, why)))

    def see(self, *members: str, verdict: Verdict = UP, after: float = 0.2) -> dict[str, int | None]:
        self.hands.pass_(after)
        self.verdicts.update(dict.fromkeys(members or self.names, verdict))
        self.bridge.update("pacs", self.service, self.verdicts, self.intents)
        return self.files()

    def want(self, member: str, intent: IntentState) -> dict[str, int | None]:
        self.intents[member] = intent
        return self.see(member, verdict=self.verdicts[member])

    def files(self) -> dict[str, int | None]:
        found = {}
        for name in self.names:
            path = self.folder / f"pacs.{name}"
            found[name] = int(path.read_text()) if path.exists() else None
        return found


@pytest.fixture
def hands() -> Hands:
    return Hands()


def test_a_member_that_fails_is_removed_and_comes_back(tmp_path: Path) -> None:
    l4 = L4(tmp_path, 3)
    assert l4.see() == dict.fromkeys(l4.names, FULL)
    assert l4.see("m1", verdict=DOWN) == {"m0": FULL, "m1": REMOVED, "m2": FULL}
    assert l4.see("m1", verdict=UP) == dict.fromkeys(l4.names, FULL)
    assert l4.told == []


def test_an_operators_word(tmp_path: Path) -> None:
    l4 = L4(tmp_path, 2)
    l4.see()
    assert l4.want("m0", DRAIN)["m0"] == NO_NEW_WORK
    assert l4.see("m0", verdict=DOWN)["m0"] == NO_NEW_WORK  # its running work may still end
    assert l4.want("m0", HALT)["m0"] == REMOVED
    l4.see("m0", verdict=UNKNOWN)  # HAProxy does not ask it now
    assert l4.want("m0", READY)["m0"] == FULL


def test_a_word_outlives_rotad(tmp_path: Path) -> None:
    l4 = L4(tmp_path, 2)
    l4.see()
    l4.want("m0", DRAIN)
    l4.restart()
    l4.verdicts["m0"] = UNKNOWN
    assert l4.want("m0", READY)["m0"] == FULL


def test_a_start_makes_no_dip(tmp_path: Path) -> None:
    """At its start rotad knows nothing: files stay as they are, and none is made that says `down`."""
    l4 = L4(tmp_path, 3)
    (tmp_path / "pacs.m0").write_text("0\n")
    (tmp_path / "pacs.m1").write_text(f"{REMOVED}\n")
    before = l4.files()
    for _ in range(3):
        assert l4.see(verdict=UNKNOWN) == before
    assert l4.see(verdict=UP) == dict.fromkeys(l4.names, FULL)


@pytest.mark.parametrize("text", ["", "no number", "0"])
def test_a_file_that_keepalived_takes_for_up_is_taken_so(tmp_path: Path, text: str) -> None:
    l4 = L4(tmp_path, 2)
    (tmp_path / "pacs.m0").write_text(text)
    assert l4.see("m0", verdict=DOWN)["m0"] == REMOVED


def test_a_dead_rotad_leaves_the_files(tmp_path: Path) -> None:
    l4 = L4(tmp_path, 3)
    l4.see()
    before = l4.see("m0", verdict=DOWN)
    l4.restart()
    assert l4.files() == before


def test_most_at_once_pulls_the_brake(tmp_path: Path) -> None:
    l4 = L4(tmp_path, 4)
    l4.see()
    assert l4.see("m0", "m1", "m2", verdict=DOWN) == dict.fromkeys(l4.names, FULL)
    assert l4.bridge.braked("pacs")
    assert l4.told == [(True, "3 of 4 members went down within 21.3 s")]


def test_those_who_fell_first_within_the_interval_come_back(tmp_path: Path) -> None:
    """Checks find a broken network one member after the other."""
    l4 = L4(tmp_path, 3)
    l4.see()
    assert l4.see("m0", verdict=DOWN, after=1)["m0"] == REMOVED
    assert l4.see("m1", verdict=DOWN, after=9) == dict.fromkeys(l4.names, FULL)
    assert l4.see("m2", verdict=DOWN, after=9) == dict.fromkeys(l4.names, FULL)
    assert l4.bridge.braked("pacs")


def test_one_after_the_other_over_a_long_time_is_no_mass_failure(tmp_path: Path) -> None:
    l4 = L4(tmp_path, 3)
    l4.see()
    assert l4.see("m0", verdict=DOWN)["m0"] == REMOVED
    assert l4.see("m1", verdict=DOWN, after=window_of(l4.service) + 1) == {"m0": REMOVED, "m1": REMOVED, "m2": FULL}
    assert l4.see("m2", verdict=DOWN, after=window_of(l4.service) + 1) == dict.fromkeys(l4.names, REMOVED)
    assert l4.told == []


def test_one_of_two_is_not_most(tmp_path: Path) -> None:
    l4 = L4(tmp_path, 2)
    l4.see()
    assert l4.see("m0", verdict=DOWN)["m0"] == REMOVED
    assert not l4.bridge.braked("pacs")


def test_the_brake_lets_go_when_half_are_back(tmp_path: Path) -> None:
    l4 = L4(tmp_path, 4)
    l4.see()
    l4.see(verdict=DOWN)
    assert l4.see("m0", "m1", after=30) == {"m0": FULL, "m1": FULL, "m2": REMOVED, "m3": REMOVED}
    assert [on for on, _ in l4.told] == [True, False]


def test_the_brake_holds_as_long_as_nobody_answers(tmp_path: Path) -> None:
    l4 = L4(tmp_path, 3)
    l4.see()
    l4.see(verdict=DOWN)
    assert l4.see(verdict=DOWN, after=10_000) == dict.fromkeys(l4.names, FULL)
    assert l4.bridge.braked("pacs")


def test_the_brake_lets_go_for_a_fallback(tmp_path: Path) -> None:
    """The model says where callers shall go when nobody answers."""
    l4 = L4(tmp_path, 3)
    l4.service = l4.service.model_copy(update={"fallback": Fallback(address="192.0.2.9")})
    l4.see()
    assert l4.see(verdict=DOWN) == dict.fromkeys(l4.names, FULL)
    assert l4.see(verdict=DOWN, after=59) == dict.fromkeys(l4.names, FULL)
    assert l4.see(verdict=DOWN, after=2) == dict.fromkeys(l4.names, REMOVED)
    assert l4.told[-1] == (False, "after 60 s nobody answers: the fallback takes over")
    assert l4.see("m0") == {"m0": FULL, "m1": REMOVED, "m2": REMOVED}


def test_the_brake_lets_go_of_the_really_dead(tmp_path: Path) -> None:
    """Somebody answers, so the node's own network works."""
    l4 = L4(tmp_path, 3)
    l4.see()
    l4.see("m0", "m1", verdict=DOWN)
    assert l4.see("m0", "m1", verdict=DOWN, after=59) == dict.fromkeys(l4.names, FULL)
    assert l4.see("m0", "m1", verdict=DOWN, after=2) == {"m0": REMOVED, "m1": REMOVED, "m2": FULL}
    assert not l4.bridge.braked("pacs")
    assert l4.see("m0", "m1", verdict=DOWN, after=1) == {"m0": REMOVED, "m1": REMOVED, "m2": FULL}
    assert l4.see(verdict=UP) == dict.fromkeys(l4.names, FULL)


def test_an_operator_is_obeyed_under_the_brake(tmp_path: Path) -> None:
    l4 = L4(tmp_path, 3)
    l4.see()
    l4.see(verdict=DOWN)
    assert l4.want("m0", HALT) == {"m0": REMOVED, "m1": FULL, "m2": FULL}
    assert l4.want("m0", READY)["m0"] == FULL
    assert l4.bridge.braked("pacs")


def test_a_rotad_that_starts_into_a_mass_failure_holds(tmp_path: Path) -> None:
    l4 = L4(tmp_path, 3)
    l4.see()
    l4.restart()
    assert l4.see(verdict=DOWN) == dict.fromkeys(l4.names, FULL)
    assert l4.bridge.braked("pacs")


def test_a_full_disk_is_said_and_written_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    l4 = L4(tmp_path, 3)
    l4.see()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("os.replace", full)
        assert l4.see("m0", verdict=DOWN)["m0"] == FULL
        assert l4.bridge.problem == "a track file of pacs cannot be written: No space left on device"
    assert l4.see("m0", verdict=DOWN)["m0"] == REMOVED
    assert l4.bridge.problem is None


def test_every_write_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """keepalived reads at the moment of the change: it must never see half a number."""
    import os

    seen = []
    replace = os.replace

    def spy(source: str, target: str) -> None:
        seen.append(Path(source).read_text())
        replace(source, target)

    monkeypatch.setattr("os.replace", spy)
    l4 = L4(tmp_path, 1)
    l4.see()
    l4.want("m0", HALT)
    assert seen == ["0\n", f"{REMOVED}\n"]
    assert (tmp_path / "pacs.m0").stat().st_mode & 0o777 == 0o644
