"""Intents: both nodes agree in the end, whatever was cut, lost or said twice; and clocks decide nothing."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rota.control.intents import IntentStore
from rota.control.state import Intent, IntentState
from unit.control.clocks import NOON, Hands

KEYS = [("pacs", "a"), ("pacs", "b"), ("adt", "a")]
NODES = ["lb1", "lb2", "lb3"]
READY, DRAIN, HALT = IntentState.READY, IntentState.DRAIN, IntentState.HALT


def store(folder: Path, node: str, hands: Hands | None = None) -> IntentStore:
    return IntentStore(folder / f"{node}.json", node, (hands or Hands()).clock)


def intents() -> st.SearchStrategy[Intent]:
    """Few counters and nodes, so that most collide; the same place in the order with other words, too."""
    return st.builds(
        Intent,
        service=st.sampled_from(["pacs", "adt"]),
        member=st.sampled_from(["a", "b"]),
        state=st.sampled_from(IntentState),
        reason=st.sampled_from(["patching", "a new disk"]),
        person=st.just("ann"),
        at=st.just(NOON),
        until=st.sampled_from([None, NOON + timedelta(hours=1)]),
        counter=st.integers(0, 3),
        node=st.sampled_from(NODES),
    )


@given(st.lists(intents(), max_size=12), st.randoms(use_true_random=False))
def test_any_order_and_any_repetition_come_to_the_same(found: list[Intent], random: object) -> None:
    one, two = store(Path("/nowhere"), "lb1"), store(Path("/nowhere"), "lb2")
    one.merge(found)
    shuffled = [*found, *found[: len(found) // 2]]
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    for intent in shuffled:
        two.merge([intent])
    assert one.all() == two.all()
    assert one.digest() == two.digest()
    assert two.merge(one.all()) == []


class Pair:
    """Two stores and a cable. Each act is: an operator's word on a node, an exchange, a restart, a clock that jumps."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.hands = {"lb1": Hands(), "lb2": Hands()}
        self.stores = {n: store(folder, n, self.hands[n]) for n in self.hands}

    def say(self, node: str, key: tuple[str, str], state: IntentState) -> None:
        here = self.stores[node]
        here.merge([here.make(key, state, reason="because", person="ann")])
        here.save()
        assert here.state_of(key) is state  # the last word on a node is in force there at once

    def exchange(self) -> None:
        one, two = self.stores.values()
        two.merge(one.all())
        one.merge(two.all())

    def lose_half(self) -> None:
        one, two = self.stores.values()
        two.merge(one.all()[::2])

    def restart(self, node: str) -> None:
        self.stores[node].save()
        self.stores[node] = store(self.folder, node, self.hands[node])


ACTS = st.one_of(
    st.tuples(st.just("say"), st.sampled_from(["lb1", "lb2"]), st.sampled_from(KEYS), st.sampled_from(IntentState)),
    st.tuples(st.just("exchange")),
    st.tuples(st.just("lose_half")),
    st.tuples(st.just("restart"), st.sampled_from(["lb1", "lb2"])),
    st.tuples(st.just("jump"), st.sampled_from(["lb1", "lb2"]), st.integers(-(10**7), 10**7)),
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=150)
@given(acts=st.lists(ACTS, max_size=20))
def test_both_nodes_agree_after_any_partition(tmp_path: Path, acts: list[tuple[object, ...]]) -> None:
    for old in tmp_path.glob("*.json"):
        old.unlink()
    pair = Pair(tmp_path)
    for name, *arguments in acts:
        if name == "jump":
            pair.hands[str(arguments[0])].jump(float(str(arguments[1])))
        else:
            getattr(pair, str(name))(*arguments)
    pair.exchange()
    one, two = pair.stores.values()
    assert one.all() == two.all()
    assert one.digest() == two.digest()
    # and what both say is what somebody said last, not an older word come back
    pair.say("lb2", KEYS[0], HALT)
    pair.exchange()
    assert one.state_of(KEYS[0]) is HALT


def test_a_word_after_an_exchange_wins_with_a_clock_far_behind(tmp_path: Path) -> None:
    ahead, behind = Hands(), Hands()
    ahead.jump(86400 * 365)
    one, two = store(tmp_path, "lb1", ahead), store(tmp_path, "lb2", behind)
    one.merge([one.make(KEYS[0], DRAIN, reason="patching", person="ann")])
    two.merge(one.all())
    two.merge([two.make(KEYS[0], READY, reason="patched", person="bob")])
    one.merge(two.all())
    assert one.state_of(KEYS[0]) is READY


def test_the_file_holds_what_is_in_force(tmp_path: Path) -> None:
    one = store(tmp_path, "lb1")
    assert one.begun_anew
    one.merge([one.make(KEYS[0], DRAIN, reason="patching", person="ann", until=NOON + timedelta(hours=2))])
    assert one.save()
    again = store(tmp_path, "lb1")
    assert again.all() == one.all()
    assert not again.begun_anew
    assert (tmp_path / "lb1.json").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("text", ["", "[{", "null", '[{"service": "pacs"}]', "\x00" * 400])
def test_a_damaged_file_is_set_aside_and_said(tmp_path: Path, text: str) -> None:
    (tmp_path / "lb1.json").write_text(text)
    one = store(tmp_path, "lb1")
    assert one.begun_anew
    assert one.damage is not None
    assert one.damage.startswith("the intents were damaged")
    assert [p.read_text() for p in tmp_path.glob("lb1.json.damaged-*")] == [text]
    assert one.all() == []


def test_a_full_disk_leaves_the_old_file_and_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = store(tmp_path, "lb1")
    one.merge([one.make(KEYS[0], DRAIN, reason="patching", person="ann")])
    one.save()
    one.merge([one.make(KEYS[0], HALT, reason="it burns", person="ann")])

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    assert not one.save()
    assert one.problem == "intents are in force but not on the disk: No space left on device"
    assert [i["state"] for i in json.loads((tmp_path / "lb1.json").read_text())] == ["drain"]
    assert [p.name for p in tmp_path.iterdir()] == ["lb1.json"]
    monkeypatch.undo()
    assert one.save()
    assert one.problem is None


def drained_for_an_hour(tmp_path: Path, hands: Hands, node: str = "lb1") -> IntentStore:
    one = store(tmp_path, node, hands)
    made = store(tmp_path, "lb1", hands).make(KEYS[0], DRAIN, reason="x y z", person="ann", until=NOON + timedelta(hours=1))
    one.merge([made])
    return one


def test_until_ends_a_drain(tmp_path: Path) -> None:
    hands = Hands()
    one = drained_for_an_hour(tmp_path, hands)
    hands.pass_(3599)
    assert one.expired() == []
    hands.pass_(2)
    (over,) = one.expired()
    assert (over.state, over.person, over.counter) == (READY, "rotad", 2)
    one.merge([over])
    assert one.expired() == []


def test_a_clock_that_jumps_ahead_ends_no_drain(tmp_path: Path) -> None:
    """Or a server that is being patched would get associations."""
    hands = Hands()
    one = drained_for_an_hour(tmp_path, hands)
    hands.jump(86400)
    assert one.expired() == []
    hands.pass_(3601)
    assert len(one.expired()) == 1


def test_a_clock_that_jumps_back_does_not_end_a_drain_early(tmp_path: Path) -> None:
    hands = Hands()
    one = drained_for_an_hour(tmp_path, hands)
    hands.jump(-7200)
    hands.pass_(3601)
    assert one.expired() == []
    hands.pass_(7200)
    assert len(one.expired()) == 1


def test_the_other_node_waits_so_that_one_ends_it(tmp_path: Path) -> None:
    hands = Hands()
    two = drained_for_an_hour(tmp_path, hands, "lb2")
    hands.pass_(3601)
    assert two.expired() == []
    hands.pass_(3)
    assert len(two.expired()) == 1


def test_adopted_drains_lose_to_every_true_word(tmp_path: Path) -> None:
    one = store(tmp_path, "lb1")
    (adopted,) = one.adopt([(KEYS[0], DRAIN)])
    assert adopted.counter == 0
    two = store(tmp_path, "lb2")
    two.merge([two.make(KEYS[0], READY, reason="patched", person="bob")])
    one.merge(two.all())
    assert one.state_of(KEYS[0]) is READY


def test_a_counter_beyond_reason_is_not_taken(tmp_path: Path) -> None:
    """One such would win for ever."""
    one = store(tmp_path, "lb1")
    two = store(tmp_path, "lb2")
    mad = two.make(KEYS[0], HALT, reason="gone mad", person="ann", counter=2**60)
    assert one.merge([mad]) == []
