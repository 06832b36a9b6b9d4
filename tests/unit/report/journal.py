"""Journals for the report's tests: a month of a pair, written as rotad writes it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

from rota.control.state import Event, GroupState, PairState, Role, ServiceState, Status, Verdict
from unit.api.double import Double, member, service

BEGIN = datetime(2026, 10, 1, tzinfo=UTC)
END = datetime(2026, 10, 31, tzinfo=UTC)
_ids = count(1)


def at(days: float = 0, hours: float = 0, seconds: float = 0) -> datetime:
    return BEGIN + timedelta(days=days, hours=hours, seconds=seconds)


def event(moment: datetime, kind: str, node: str = "lb1", **more: Any) -> Event:
    return Event.model_validate({"id": next(_ids), "at": moment, "node": node, "kind": kind, **more})


def verdict(moment: datetime, name: str, before: str, after: str, **more: Any) -> Event:
    more = {"service": "pacs", "reason": "silent: no association within 3 s" if after == "down" else "ok", **more}
    return event(moment, "verdict", member=name, before=before, after=after, **more)


def down(moment: datetime, name: str, seconds: float, **more: Any) -> list[Event]:
    """`name` fails at `moment` and is back after `seconds`."""
    back = verdict(moment + timedelta(seconds=seconds), name, "down", "up", **more)
    return [verdict(moment, name, "up", "down", **more), back]


def intent(moment: datetime, name: str, before: str, after: str, **more: Any) -> Event:
    more = {"service": "pacs", "person": "anna", "reason": "patching", **more}
    return event(moment, "intent", member=name, before=before, after=after, **more)


def role(moment: datetime, node: str, before: str, after: str, **more: Any) -> Event:
    return event(moment, "role", node, member="main", before=before, after=after, **more)


def status(services: list[ServiceState] | None = None, *, holder: str = "lb1", now: datetime = END) -> Status:
    """What rotad says at the end of the period."""
    double = Double()
    double.services = services or [service("pacs", [member("pacs-a"), member("pacs-b")])]
    own = Role.ACTIVE if holder == "lb1" else Role.STANDBY
    groups = [
        GroupState(name="main", role=own, since=None, holders=[holder], state=PairState.OK, addresses=["203.0.113.100"])
    ]
    return double.status().model_copy(update={"at": now, "groups": groups})


def month() -> tuple[list[Event], Status]:
    """A month in which a bit of everything happened."""
    services = [
        service("pacs", [member("pacs-a"), member("pacs-b")]),
        service("worklist", [member("ris-a")], department="Radiology"),
        service("hl7", [member("hl7-a"), member("hl7-b", backup=True)], department="Integration"),
        service("xds", [member("xds-a"), member("xds-b", Verdict.DOWN)], department="Records"),
    ]
    events = [
        # patching: one after the other, nobody notices
        intent(at(2, 20), "pacs-b", "ready", "drain"), *down(at(2, 20.5), "pacs-b", 1200),
        intent(at(2, 21), "pacs-b", "drain", "ready", reason="patched"),
        intent(at(3, 20), "pacs-a", "ready", "drain"), *down(at(3, 20.5), "pacs-a", 900),
        # while pacs-a is away, pacs-b fails: an outage
        *down(at(3, 20.75), "pacs-b", 95),
        intent(at(3, 21), "pacs-a", "drain", "ready", reason="patched"),
        # the worklist's only server is replaced: planned
        intent(at(9, 19), "ris-a", "ready", "halt", service="worklist", person="bela", reason="new server"),
        *down(at(9, 19.1), "ris-a", 3600 * 2.5, service="worklist"),
        intent(at(9, 22), "ris-a", "halt", "ready", service="worklist", person="bela", reason="done"),
        # a planned failover and an unplanned one
        event(at(12, 12), "failover", member="main", before="lb1", after="lb2", person="anna", reason="kernel update"),
        role(at(12, 12, 0.2), "lb2", "standby", "active"), role(at(12, 12, 0.3), "lb1", "active", "standby"),
        event(at(20, 3), "pair", "lb1", member="main", before="ok", after="no-active"),
        role(at(20, 3, 0.8), "lb1", "standby", "active", reason="lb2 is not heard of"),
        event(at(20, 3, 0.9), "pair", "lb1", member="main", before="no-active", after="peer-unknown"),
        event(at(20, 3, 2), "failover", "lb1", service="hl7", member="hl7-a", before="- 198.51.100.61:4410", after="cut",
              reason="HL7 feed: may hold one unacknowledged message"),
        event(at(20, 3, 2), "failover", "lb1", service="pacs", member="pacs-b", before="CT_1 198.51.100.51:4711", after="cut",
              reason="must send again"),
        event(at(20, 4), "pair", "lb1", member="main", before="peer-unknown", after="ok"),
        # a check that cannot make up its mind
        *(e for n in range(7) for e in down(at(23, 8, 80 * n), "xds-b", 30, service="xds", reason="timeout")),
        verdict(at(29), "xds-b", "up", "down", service="xds", reason="refused"),
        # rotad of both nodes was away for an hour
        event(at(25, 2), "rotad", "lb1", after="stopped"), event(at(25, 2), "rotad", "lb2", after="stopped"),
        event(at(25, 3), "rotad", "lb1", after="started"), event(at(25, 3), "rotad", "lb2", after="started"),
    ]  # fmt: skip
    return sorted(events, key=lambda e: e.at), status(services)
