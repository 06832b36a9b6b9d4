"""Maintenance windows: they begin and end by themselves, once, and what stops one is said aloud."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from rota.control.config import Config, PeerConfig
from rota.control.controller import Refused
from rota.control.core import Core
from rota.control.exchange import Hello, PeerView
from rota.control.state import IntentRequest, IntentState, WindowPhase, WindowRequest
from rota.model import parse
from unit.control.clocks import NOON, Hands
from unit.control.test_core import DOCUMENT

READY, DRAIN, HALT = IntentState.READY, IntentState.DRAIN, IntentState.HALT
PLANNED, RUNNING, OVER = WindowPhase.PLANNED, WindowPhase.RUNNING, WindowPhase.OVER
SKIPPED, CALLED_OFF = WindowPhase.SKIPPED, WindowPhase.CALLED_OFF
HOUR = 3600
NODES = {"lb1": {"address": "203.0.113.11"}, "lb2": {"address": "203.0.113.12"}}


@pytest.fixture
def hands() -> Hands:
    return Hands()


class Makes:
    """Makes cores whose clocks are the test's, and closes them."""

    def __init__(self, folder: Path, hands: Hands) -> None:
        self.folder, self.hands = folder, hands
        self.made: list[Core] = []

    def __call__(self, node: str = "lb1", document: dict[str, Any] = DOCUMENT, **services: Any) -> Core:
        folder, none = self.folder / node, self.folder / "none"
        (folder / "run/track").mkdir(parents=True, exist_ok=True)
        config = Config(
            node=node, site=none, state_directory=folder, run_directory=folder / "run", haproxy_socket=none,
            haproxy_state=folder / "server-state", peer=PeerConfig("127.0.0.1", 1, none, none, none), journal_days=1,
            journal_mebibytes=1,
        )  # fmt: skip
        site = document["site"] | {"nodes": NODES}
        result = parse(document | {"site": site} | ({"services": services} if services else {}))
        assert result.site, result.problems
        self.made.append(Core(config, result.site, version="1", clock=self.hands.clock, addresses=set))
        return self.made[-1]

    def again(self, core: Core) -> Core:
        """Its rotad is started anew."""
        core.journal.flush()
        core.journal.close()
        self.made.remove(core)
        return self(core.node)


@pytest.fixture
def makes(tmp_path: Path, hands: Hands) -> Iterator[Makes]:
    makes = Makes(tmp_path, hands)
    yield makes
    for core in makes.made:
        core.journal.close()


@pytest.fixture
def core(makes: Makes) -> Core:
    return makes()


def request(member: str = "a", service: str | None = "pacs", begin: float = 1, end: float = 3, **more: Any) -> WindowRequest:
    """A window from `begin` to `end` hours after noon."""
    fields = {
        "state": "drain",
        "reason": "patching",
        "starts": NOON + timedelta(hours=begin),
        "until": NOON + timedelta(hours=end),
    }
    return WindowRequest.model_validate({"member": member, "service": service, **fields, **more})


def state(core: Core, member: str = "a", service: str = "pacs") -> IntentState:
    return core.intents.state_of((service, member))


def told(core: Core) -> list[tuple[str | None, str | None, str | None, str | None]]:
    found = [e for e in core.journal.query(limit=100) if e.kind == "window"]
    return [(e.before, e.after, e.reason, e.person) for e in found]


def alarms(core: Core) -> list[str]:
    return [alarm.text for alarm in core.board.current() if alarm.key.startswith("window")]


async def test_a_window_begins_and_ends_by_itself(core: Core, hands: Hands) -> None:
    window = await core.plan(request(), "ann")
    await core.windows.tick()
    assert (window.phase, state(core)) == (PLANNED, READY)
    assert [w.id for w in core.status().windows] == [window.id]
    hands.pass_(HOUR - 1)
    await core.windows.tick()
    assert state(core) is READY
    hands.pass_(1)
    await core.windows.tick()
    intent = core.intents.of(("pacs", "a"))
    assert intent is not None
    assert (intent.state, intent.person, intent.reason, intent.until) == (DRAIN, "ann", "patching", window.until)
    assert [w.phase for w in core.status().windows] == [RUNNING]
    assert state(core, service="adt") is READY  # only where it was asked for
    hands.pass_(2 * HOUR)
    await core.put_in_force(core.expire())
    await core.windows.tick()
    assert state(core) is READY
    assert core.status().windows == []
    assert [w.phase for w in core.planned()] == [OVER]
    assert told(core) == [
        (None, "planned", "drain 2026-05-04 13:00 to 15:00 UTC: patching", "ann"),
        ("planned", "running", "patching", "ann"),
        ("running", "over", "its time is over", "rotad"),
    ]
    assert alarms(core) == []


async def test_a_halt_in_all_services_of_a_member(core: Core, hands: Hands) -> None:
    await core.plan(request(service=None, state="halt"), "ann")
    hands.pass_(HOUR)
    await core.windows.tick()
    assert [state(core, service=name) for name in ("pacs", "adt")] == [HALT, HALT]


async def test_it_survives_a_restart_before_within_and_after(makes: Makes, hands: Hands) -> None:
    core = makes()
    planned = await core.plan(request(), "ann")
    core = makes.again(core)
    assert core.planned() == [planned]
    hands.pass_(HOUR + 300)
    await core.windows.tick()
    assert state(core) is DRAIN  # rotad was away when it was time: late is better than not at all, and is said
    assert told(core)[-1][:3] == ("planned", "running", "5 min late")
    core = makes.again(core)
    await core.windows.tick()
    assert [w.phase for w in core.planned()] == [RUNNING]
    assert state(core) is DRAIN
    hands.pass_(2 * HOUR)
    core = makes.again(core)
    await core.put_in_force(core.expire())
    await core.windows.tick()
    assert (state(core), [w.phase for w in core.planned()]) == (READY, [OVER])


async def test_one_that_nobody_was_there_to_begin_is_said(makes: Makes, hands: Hands) -> None:
    core = makes()
    await core.plan(request(), "ann")
    hands.pass_(4 * HOUR)
    core = makes.again(core)
    await core.windows.tick()
    assert state(core) is READY
    assert [w.phase for w in core.planned()] == [SKIPPED]
    (text,) = alarms(core)
    assert text == (
        "the window of a (drain, 2026-05-04 13:00 to 15:00 UTC) did not begin:"
        " rotad did not run, or its clock was wrong, when it was time"
    )
    hands.pass_(12 * HOUR)
    await core.windows.tick()
    assert alarms(core) == []  # not for ever


async def test_the_last_member_is_not_taken_out_and_that_is_said(core: Core, hands: Hands) -> None:
    await core.plan(request(), "ann")
    await core.intend(IntentRequest(member="b", service="pacs", state=DRAIN, reason="it burns"), "bob")
    hands.pass_(HOUR)
    await core.windows.tick()
    assert state(core) is READY
    assert told(core)[-1] == ("planned", "skipped", "a is the last serving member of pacs", "rotad")
    assert alarms(core) == [
        "the window of a (drain, 2026-05-04 13:00 to 15:00 UTC) did not begin: a is the last serving member of pacs"
    ]
    await core.intend(IntentRequest(member="b", service="pacs", state=READY, reason="mended"), "bob")
    hands.pass_(60)
    await core.windows.tick()
    assert state(core) is READY  # it is not tried again: somebody may count on what was said


async def test_the_last_of_many_services_stops_the_whole_window(core: Core, hands: Hands) -> None:
    await core.plan(request(service=None), "ann")
    await core.intend(IntentRequest(member="b", service="adt", state=DRAIN, reason="it burns"), "bob")
    hands.pass_(HOUR)
    await core.windows.tick()
    assert [state(core, service=name) for name in ("pacs", "adt")] == [READY, READY]
    assert told(core)[-1][:3] == ("planned", "skipped", "a is the last serving member of adt")


async def test_with_force_it_is(core: Core, hands: Hands) -> None:
    await core.plan(request(force=True), "ann")
    await core.intend(IntentRequest(member="b", service="pacs", state=DRAIN, reason="it burns"), "bob")
    hands.pass_(HOUR)
    await core.windows.tick()
    assert state(core) is DRAIN


async def test_what_somebody_did_by_hand_is_not_ended_by_a_window(core: Core, hands: Hands) -> None:
    await core.plan(request(), "ann")
    await core.intend(IntentRequest(member="a", service="pacs", state=HALT, reason="it burns"), "bob")
    hands.pass_(HOUR)
    await core.windows.tick()
    assert told(core)[-1][:3] == (
        "planned", "skipped", "a is out already by bob: it burns; the window neither changes nor ends that",
    )  # fmt: skip
    hands.pass_(3 * HOUR)
    assert core.expire() == []
    assert state(core) is HALT


async def test_of_several_services_only_those_where_it_serves(core: Core, hands: Hands) -> None:
    await core.plan(request(service=None), "ann")
    await core.intend(IntentRequest(member="a", service="adt", state=HALT, reason="it burns"), "bob")
    hands.pass_(HOUR)
    await core.windows.tick()
    assert (state(core), state(core, service="adt")) == (DRAIN, HALT)


@pytest.mark.parametrize(("word", "outcome"), [(READY, "ready by bob: done early"), (HALT, "halt by bob: done early")])
async def test_an_operator_has_the_last_word(core: Core, hands: Hands, word: IntentState, outcome: str) -> None:
    await core.plan(request(), "ann")
    hands.pass_(HOUR)
    await core.windows.tick()
    await core.intend(IntentRequest(member="a", service="pacs", state=word, reason="done early"), "bob")
    await core.windows.tick()
    assert told(core)[-1][:3] == ("running", "over", outcome)
    hands.pass_(3 * HOUR)
    assert core.expire() == []
    await core.windows.tick()
    assert state(core) is word


async def test_one_can_be_called_off(core: Core, hands: Hands) -> None:
    window = await core.plan(request(), "ann")
    off = await core.call_off(window.id, "the vendor is ill", "bob")
    assert (off.phase, off.outcome) == (CALLED_OFF, "called off by bob: the vendor is ill")
    assert told(core)[-1] == ("planned", "called-off", "the vendor is ill", "bob")
    hands.pass_(HOUR)
    await core.windows.tick()
    assert state(core) is READY
    for name, code, status in (("000000", "unknown-window", 404), (window.id, "window-over", 409)):
        with pytest.raises(Refused) as refusal:
            await core.call_off(name, "again", "bob")
        assert (refusal.value.code, refusal.value.status) == (code, status)


async def test_one_that_runs_is_not_called_off_but_ended(core: Core, hands: Hands) -> None:
    window = await core.plan(request(), "ann")
    hands.pass_(HOUR)
    await core.windows.tick()
    with pytest.raises(Refused, match="bring a back, and it is over"):
        await core.call_off(window.id, "changed our mind", "bob")


@pytest.mark.parametrize(
    ("asked", "code", "says"),
    [
        (request("z"), "unknown-member", "service pacs has no member z"),
        (request(service="pax"), "unknown-service", "there is no service pax"),
        (request(begin=-1), "until-past", "the start has passed: it is 2026-05-04T12:00:00Z"),
        (request(begin=2, end=2), "until-past", "the window ends before it starts"),
        (request(begin=1, end=24 * 400), "too-far", "the window ends more than a year ahead"),
        (request("c", "ris"), "last-member", "c would be the last member of ris: it has no other member; --force plans it anyway"),
    ],
)  # fmt: skip
async def test_what_cannot_be_meant_is_refused(core: Core, asked: WindowRequest, code: str, says: str) -> None:
    with pytest.raises(Refused) as refusal:
        await core.plan(asked, "ann")
    assert (refusal.value.code, refusal.value.title) == (code, says)
    assert core.planned() == []


async def test_two_windows_that_leave_nobody_are_refused(core: Core) -> None:
    first = await core.plan(request("a", None), "ann")
    with pytest.raises(Refused) as refusal:
        await core.plan(request("b", begin=2, end=4), "bob")
    assert refusal.value.title == (
        "b would be the last member of pacs: the others are out then, too: a, 2026-05-04 13:00 to 15:00 UTC;"
        " --force plans it anyway"
    )
    with pytest.raises(Refused, match=f"a has a window then: {first.id}"):
        await core.plan(request("a", "adt", force=True), "bob")
    await core.plan(request("b", begin=3, end=5), "bob")  # one after the other is what windows are for


async def test_a_clock_that_jumps_begins_nothing_early(core: Core, hands: Hands) -> None:
    await core.plan(request(), "ann")
    hands.jump(1.5 * HOUR)
    await core.windows.tick()
    assert state(core) is READY
    hands.jump(-1.5 * HOUR)
    hands.pass_(HOUR)
    await core.windows.tick()
    assert state(core) is DRAIN


def exchange(one: Core, two: Core) -> None:
    for here, there in ((one, two), (two, one)):
        there.windows.receive(here.planned())
        there.receive(here.intents.all())


async def test_the_other_node_begins_it_when_its_own_is_away(makes: Makes, hands: Hands) -> None:
    one, two = makes("lb1"), makes("lb2")
    await one.plan(request(), "ann")
    exchange(one, two)
    assert one.windows.store.digest() == two.windows.store.digest() != ""
    hands.pass_(HOUR)
    await two.windows.tick()
    assert state(two) is READY
    hands.pass_(3)
    await two.windows.tick()
    assert state(two) is DRAIN
    exchange(one, two)
    await one.windows.tick()
    assert [w.phase for w in one.planned()] == [RUNNING]
    assert [t[:2] for t in told(one)] == [(None, "planned")]  # the event comes over with the journal, once


async def test_a_node_that_comes_back_asks_before_it_acts(makes: Makes, hands: Hands) -> None:
    """Or it would drain anew what was ended, or called off, while it was away."""
    one = makes("lb1")
    await one.plan(request(), "ann")
    hands.pass_(HOUR + 60)
    one = makes.again(one)
    view = one.peers.views["lb2"] = PeerView("lb2", hands.clock)
    await one.windows.tick()
    assert state(one) is READY
    hands.pass_(16)  # nobody there: then it acts alone
    await one.windows.tick()
    assert state(one) is DRAIN
    assert view.hello is None


async def test_a_peer_of_another_version_is_told_no_windows(makes: Makes, hands: Hands) -> None:
    """It may not know them, and a message that it cannot read would look like silence."""
    one = makes("lb1")
    await one.plan(request(), "ann")
    view = one.peers.views["lb2"] = PeerView("lb2", hands.clock)
    for version, count in (("0", 0), ("1", 1)):
        view.heard(Hello(node="lb2", version=version, model_hash="x", digest="x", held={}, unfit={}))
        message = one.peers._message("lb2")
        assert (len(message.windows), bool(message.hello.windows)) == (count, bool(count))
        assert ("windows" in message.model_dump_json(exclude_defaults=True)) is bool(count)


async def test_a_full_disk_is_an_alarm_and_the_window_is_planned(core: Core, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    await core.plan(request(), "ann")
    assert alarms(core) == ["maintenance windows are planned but not on the disk: No space left on device"]
    monkeypatch.undo()
    await core.windows.tick()
    assert alarms(core) == []
