"""What rotad refuses, and whom it tells: without HAProxy, sockets or peers."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from rota.control.config import Config, PeerConfig
from rota.control.controller import Refused
from rota.control.core import BACKLOG, Core
from rota.control.journal import Journal
from rota.control.state import AuditRequest, IntentRequest, IntentState
from rota.model import parse
from unit.control.clocks import NOON, Hands

MEMBERS = {"a": {"address": "203.0.113.21"}, "b": {"address": "203.0.113.22"}}
DOCUMENT = {
    "site": {
        "name": "test",
        "nodes": {"lb1": {"address": "203.0.113.11"}},
        "networks": {"lan": {"prefix": "203.0.113.0/24", "interface": "eth0"}},
    },
    "services": {
        "pacs": {"profile": "xds-registry", "address": "203.0.113.100", "members": MEMBERS},
        "adt": {"profile": "hl7", "address": "203.0.113.101", "members": MEMBERS},
        "ris": {"profile": "rest", "address": "203.0.113.102", "members": {"c": {"address": "203.0.113.23"}}},
    },
}


@pytest.fixture
def hands() -> Hands:
    return Hands()


@pytest.fixture
def core(tmp_path: Path, hands: Hands) -> Iterator[Core]:
    (tmp_path / "run/track").mkdir(parents=True)
    none = tmp_path / "none"
    config = Config(
        node="lb1", site=none, state_directory=tmp_path, run_directory=tmp_path / "run", haproxy_socket=none,
        haproxy_state=tmp_path / "server-state", peer=PeerConfig("127.0.0.1", 1, none, none, none), journal_days=1,
        journal_mebibytes=1,
    )  # fmt: skip
    result = parse(DOCUMENT)
    assert result.site, result.problems
    made = Core(config, result.site, version="1", clock=hands.clock, addresses=set)
    yield made
    made.journal.close()


def request(member: str, service: str | None = None, **more: Any) -> IntentRequest:
    return IntentRequest.model_validate(
        {"member": member, "service": service, "state": "drain", "reason": "patching", **more}
    )


async def refused(core: Core, asked: IntentRequest) -> tuple[str, int, str]:
    with pytest.raises(Refused) as refusal:
        await core.intend(asked, "ann")
    assert core.intents.all() == []
    return refusal.value.code, refusal.value.status, refusal.value.title


async def test_what_cannot_be_meant_is_refused_with_its_reason(core: Core) -> None:
    assert await refused(core, request("a", "pax")) == ("unknown-service", 404, "there is no service pax")
    assert await refused(core, request("z", "pacs")) == ("unknown-member", 404, "service pacs has no member z")
    assert await refused(core, request("z")) == ("unknown-member", 404, "no service has a member z")
    assert await refused(core, request("c")) == (
        "last-member",
        409,
        "c is the last serving member of ris; --force does it anyway",
    )
    past = await refused(core, request("a", until=NOON - timedelta(seconds=1)))
    assert past == ("until-past", 422, "until is over already: it is 2026-05-04T12:00:00Z")
    assert (await refused(core, request("a", until=datetime(2027, 1, 1))))[2] == "until has no time zone"


async def test_a_member_is_drained_in_all_its_services_with_one_word(core: Core) -> None:
    made = await core.intend(request("a"), "ann")
    assert [(i.service, i.member, i.state, i.person, i.counter) for i in made] == [
        ("pacs", "a", IntentState.DRAIN, "ann", 1), ("adt", "a", IntentState.DRAIN, "ann", 1),
    ]  # fmt: skip
    events = await core.events(None, None, None, 10)
    assert [(e.service, e.before, e.after, e.reason) for e in events if e.kind == "intent"] == [
        ("pacs", "ready", "drain", "patching"), ("adt", "ready", "drain", "patching"),
    ]  # fmt: skip
    # HAProxy is not there: what is wanted is kept for it, and nothing is shown as up
    shown = core.status().services
    assert {m.verdict for s in shown for m in s.members} == {"unknown"}
    assert "up" not in {s.verdict for s in shown}


async def test_a_journal_that_cannot_be_read_tells_what_waits(core: Core, tmp_path: Path) -> None:
    core.record("rotad", after="one")
    core.journal.flush()
    for file in (core.config.state_directory).glob("journal.db*"):
        file.unlink()
    core.record("rotad", after="two")
    assert [e.after for e in await core.events(None, None, None, 10)][-1] == "two"


async def test_the_last_of_many_services_stops_the_whole_act(core: Core) -> None:
    await core.intend(request("b", "adt"), "ann")
    with pytest.raises(Refused, match="a is the last serving member of adt"):
        await core.intend(request("a"), "bob")
    assert core.intents.of(("pacs", "a")) is None


async def test_a_slow_listener_is_let_go_and_others_are_not(core: Core) -> None:
    slow, quick = core.subscribe(), core.subscribe()
    heard = 0
    for number in range(BACKLOG + 10):
        core.record("rotad", after=str(number))
        assert (await anext(quick)).after == str(number)
    async for _ in slow:
        heard += 1
    assert heard == BACKLOG - 1
    core.record("rotad", after="still here")
    assert (await asyncio.wait_for(anext(quick), 1)).after == "still here"


async def test_history_from_a_peer_is_kept_and_not_told_as_news(core: Core, hands: Hands, tmp_path: Path) -> None:
    other = Journal(tmp_path / "other.db", "lb2", hands.clock, days=1, mebibytes=1)
    other.record(kind="rotad", after="old")
    hands.pass_(3600)
    other.record(kind="rotad", after="new")
    other.flush()
    assert other.sync() is None
    listener = core.subscribe()
    core.take_events(other.after(core.journal.vector()))
    other.close()
    assert (await asyncio.wait_for(anext(listener), 5)).after == "new"
    assert [e.after for e in await core.events(None, None, None, 10)] == ["old", "new"]


async def test_what_somebody_did_elsewhere_is_in_the_journal_and_goes_to_the_peer(core: Core) -> None:
    asked = AuditRequest(action="sign-in", outcome="refused", source="203.0.113.50", text="wrong password")
    event = core.audit(asked, "anna via rota-web")
    assert (event.kind, event.before, event.after) == ("audit", "sign-in", "refused")
    assert (event.reason, event.person) == ("from 203.0.113.50: wrong password", "anna via rota-web")
    core.journal.flush()
    assert await core.events(None, None, None, 10) == [event]
    assert core.journal.sync() is None
    assert [row[4] for row in core.journal.after({})] == ["audit"]
