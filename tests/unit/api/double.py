"""A controller in memory: what the API and the command are tested against. It keeps rotad's rules, and no HAProxy."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

from rota.control.controller import Refused
from rota.control.state import (
    Alarm,
    Association,
    AuditRequest,
    Event,
    FailoverRequest,
    GroupState,
    Intent,
    IntentRequest,
    IntentState,
    MemberState,
    PairState,
    PeerState,
    Role,
    ServiceState,
    Status,
    Verdict,
    Window,
    WindowPhase,
    WindowRequest,
)

NOON = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)


def member(name: str, verdict: Verdict = Verdict.UP, **more: object) -> MemberState:
    fields: dict[str, object] = {
        "name": name,
        "address": "203.0.113.21",
        "port": 104,
        "verdict": verdict,
        "reason": "ok" if verdict is Verdict.UP else "silent: no association within 3 s",
        "since": NOON - timedelta(hours=3),
        "intent": None,
        "backup": False,
        "in_use": verdict is Verdict.UP,
        "associations": 0,
        "limit": None,
        "check": "dicom",
    }
    return MemberState.model_validate(fields | more)


def service(name: str, members: list[MemberState], **more: object) -> ServiceState:
    up = sum(m.in_use for m in members)
    fields: dict[str, object] = {
        "name": name,
        "profile": "dicom",
        "department": "Radiology",
        "description": "",
        "group": "main",
        "mode": "l7",
        "addresses": ["203.0.113.100"],
        "ports": [104],
        "verdict": "up" if up == len(members) else "degraded" if up else "down",
        "braked": False,
        "members": members,
    }
    return ServiceState.model_validate(fields | more)


class Double:
    """Two services, two nodes; intents are kept, events are told to who subscribed."""

    def __init__(self) -> None:
        self.services = [
            service("pacs", [member("pacs-a"), member("pacs-b")]),
            service("hl7", [member("hl7-a", check="tcp"), member("hl7-b", backup=True, in_use=False)], profile="hl7", ports=[2575]),
            service("worklist", [member("pacs-b")]),
        ]  # fmt: skip
        self.group = "main"
        self.role = Role.ACTIVE
        self.peer_fit = True
        self.node, self.pair = "lb1", PairState.OK
        self.out_of_step: str | None = None
        self.alarms: list[Alarm] = []
        self.open: list[Association] = []
        self.journal: list[Event] = []
        self.people: list[str] = []
        self.subscribers: list[asyncio.Queue[Event]] = []
        self.windows: list[Window] = []
        self.broken = False

    def status(self) -> Status:
        if self.broken:
            raise RuntimeError("a fault of our own")
        other = {Role.ACTIVE: Role.STANDBY, Role.STANDBY: Role.ACTIVE}[self.role]
        peer = {"lb1": "lb2", "lb2": "lb1"}[self.node]
        holder = self.node if self.role is Role.ACTIVE else peer
        both = self.pair is PairState.SPLIT_BRAIN
        assert other is not self.role
        return Status(
            node=self.node,
            version="0.1.0",
            model_hash="abc",
            at=NOON,
            haproxy_since=NOON - timedelta(days=3),
            haproxy_problem=None,
            groups=[
                GroupState(
                    name=self.group, role=self.role, since=NOON - timedelta(days=3), holders=["lb1", "lb2"] if both else [holder], state=self.pair,
                    addresses=["203.0.113.100"],
                )
            ],
            peers=[
                PeerState(
                    node=peer, reachable=self.peer_fit, heartbeat=self.peer_fit, since=NOON - timedelta(days=3), version="0.1.0",
                    model_hash="abc", in_step=self.peer_fit and not self.out_of_step,
                    problem=self.out_of_step if self.peer_fit else "does not answer",
                )
            ],
            services=self.services,
            alarms=self.alarms,
            windows=[w for w in self.windows if w.live],
        )  # fmt: skip

    async def associations(self, service: str | None) -> list[Association]:
        return [a for a in self.open if service in (None, a.service)]

    async def events(
        self, since: datetime | None, until: datetime | None, service: str | None, limit: int, general: bool = False
    ) -> list[Event]:
        found = [
            e
            for e in self.journal
            if (since is None or e.at >= since)
            and (until is None or e.at <= until)
            and (service in (None, e.service) or (general and e.service is None))
        ]
        return found[-limit:]

    async def subscribe(self) -> AsyncIterator[Event]:
        queue: asyncio.Queue[Event] = asyncio.Queue()
        self.subscribers.append(queue)
        try:
            while True:
                yield await queue.get()
        finally:
            self.subscribers.remove(queue)

    def tell(self, event: Event) -> None:
        self.journal.append(event)
        for queue in self.subscribers:
            queue.put_nowait(event)

    async def intend(self, request: IntentRequest, person: str) -> list[Intent]:
        known = [s for s in self.services if request.service in (None, s.name)]
        if not known:
            raise Refused("unknown-service", f"there is no service {request.service!r}", 404)
        chosen = [s for s in known if request.member in {m.name for m in s.members}]
        if not chosen:
            raise Refused("unknown-member", f"there is no member {request.member!r}", 404)
        for one in chosen:
            others = [m for m in one.members if m.name != request.member and m.verdict is Verdict.UP and not _away(m)]
            if request.state is not IntentState.READY and not others and not request.force:
                raise Refused("last-member", f"{request.member} is the last member of {one.name} that serves")
        self.people.append(person)
        intents = [
            Intent(service=s.name, member=request.member, state=request.state, reason=request.reason, person=person,
                   at=NOON, until=request.until, counter=len(self.people), node="lb1")
            for s in chosen
        ]  # fmt: skip
        self.services = [
            s.model_copy(update={"members": [
                m.model_copy(update={"intent": i, "in_use": request.state is IntentState.READY})
                if (i := next((i for i in intents if i.service == s.name and i.member == m.name), None)) else m
                for m in s.members
            ]})
            for s in self.services
        ]  # fmt: skip
        return intents

    def planned(self) -> list[Window]:
        return self.windows

    async def plan(self, request: WindowRequest, person: str) -> Window:
        chosen = [s for s in self.services if request.service in (None, s.name)]
        chosen = [s for s in chosen if request.member in {m.name for m in s.members}]
        if not chosen:
            raise Refused("unknown-member", f"there is no member {request.member!r}", 404)
        if request.starts <= datetime.now(UTC):
            raise Refused("until-past", "the start has passed", 400)
        if request.until <= request.starts:
            raise Refused("until-past", "the window ends before it starts", 400)
        if any(len(s.members) == 1 for s in chosen) and not request.force:
            raise Refused(
                "last-member", f"{request.member} would be the last member of {chosen[-1].name}; --force plans it anyway"
            )
        window = Window(
            id=f"{len(self.windows) + 0xA00001:06x}", member=request.member, service=request.service, state=IntentState(request.state),
            starts=request.starts, until=request.until, reason=request.reason, person=person, force=request.force,
            phase=WindowPhase.PLANNED, outcome=None, at=NOON, counter=len(self.windows) + 1, node="lb1",
        )  # fmt: skip
        self.people.append(person)
        self.windows.append(window)
        return window

    async def call_off(self, window: str, reason: str, person: str) -> Window:
        for number, one in enumerate(self.windows):
            if one.id == window:
                if one.phase is not WindowPhase.PLANNED:
                    raise Refused("window-over", f"the window is {one.phase.value} already")
                said = {"phase": WindowPhase.CALLED_OFF, "outcome": f"called off by {person}: {reason}"}
                self.windows[number] = one.model_copy(update=said)
                self.people.append(person)
                return self.windows[number]
        raise Refused("unknown-window", f"there is no maintenance window {window}"[:200], 404)

    def audit(self, request: AuditRequest, person: str) -> Event:
        said = f"from {request.source}" + (f": {request.text}" if request.text else "")
        event = Event(
            id=len(self.journal) + 1, at=NOON, node="lb1", kind="audit", service=request.service, member=request.member,
            before=request.action, after=request.outcome, reason=said, person=person,
        )  # fmt: skip
        self.tell(event)
        return event

    async def failover(self, request: FailoverRequest, person: str) -> list[str]:
        if request.group not in (None, self.group):
            raise Refused("unknown-group", f"there is no group {request.group!r}", 404)
        if not self.peer_fit and not request.force:
            raise Refused("peer-unfit", "lb2 cannot take over: it does not answer")
        self.people.append(person)
        self.role = Role.ACTIVE if self.role is Role.STANDBY else Role.STANDBY  # either node acts on both
        return [self.group]


def _away(one: MemberState) -> bool:
    return one.intent is not None and one.intent.state is not IntentState.READY
