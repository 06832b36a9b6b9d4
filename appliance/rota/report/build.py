"""The report of a period, from the journal and today's status."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime, timedelta

from rota.control.state import Event, Status
from rota.report.model import Cut, Failover, Flap, Incident, Outage, Report, ServiceReport, Span, State, Work
from rota.report.view import UNKNOWN, History, ServiceView

FLAP_WINDOW = timedelta(minutes=10)
FLAP_TIMES = 3  # down so often within the window
NEAR = timedelta(seconds=60)  # a failover's word, its role changes and the cuts it made lie so close together


def build(
    events: Sequence[Event],
    status: Status,
    begin: datetime,
    end: datetime,
    *,
    watched_from: datetime | None,
    service: str | None = None,
) -> Report:
    """Say what `events` mean. They reach from `begin` to the present, so that a state nobody changed is today's.

    `watched_from` is where the journal begins (None: it is empty): what was before is unknown, and counted as such.
    """
    ordered = sorted(events, key=lambda event: event.at)
    end = min(end, status.at)
    history = History(ordered, status, begin, watched_from)
    chosen = [s for s in status.services if service in (None, s.name)]
    within = [event for event in ordered if begin <= event.at < end]
    services, outages = [], []
    for one in chosen:
        spans = ServiceView(history, one).spans(begin, end)
        found = [_outage(one.name, span, end) for span in spans if span.state in (State.DOWN, State.PLANNED)]
        services.append(_service(one.name, one.department, spans, found))
        outages += found
    cuts = [_cut(event) for event in within if event.kind == "failover" and event.service and event.after == "cut"]
    failovers = _failovers(history, within, cuts)
    taken = {id(cut) for failover in failovers for cut in failover.cut}
    names = {s.name for s in chosen}
    return Report(
        site="",
        node=status.node,
        begin=begin,
        end=end,
        made=status.at,
        watched_from=watched_from,
        services=services,
        outages=sorted(outages, key=lambda o: o.begin),
        work=[w for w in _work(history, status, begin, end) if w.service in names],
        failovers=failovers,
        cut=[cut for cut in cuts if id(cut) not in taken and cut.service in names],
        incidents=_incidents(history, begin, end),
        flaps=[f for f in _flaps(within) if f.service in names],
        certificates=[a.text for a in status.alarms if "certificate" in f"{a.key} {a.text}"],
    )


def _outage(service: str, span: Span, end: datetime) -> Outage:
    planned = span.state is State.PLANNED
    return Outage(service, span.begin, span.end, span.seconds, planned, span.end >= end, span.cause)


def _service(name: str, department: str, spans: list[Span], outages: list[Outage]) -> ServiceReport:
    total: dict[State, float] = defaultdict(float)
    for span in spans:
        total[span.state] += span.seconds
    unplanned = [outage.seconds for outage in outages if not outage.planned]
    return ServiceReport(
        name=name,
        department=department,
        seconds=sum(total.values()),
        unknown_s=total[State.UNKNOWN],
        planned_s=total[State.PLANNED],
        down_s=total[State.DOWN],
        degraded_s=total[State.DEGRADED],
        outages=len(unplanned),
        longest_s=max(unplanned, default=0.0),
        spans=spans,
    )


def _cut(event: Event) -> Cut:
    return Cut(event.at, event.service or "", event.member or "", event.before or "?", event.reason or "")


def _failovers(history: History, events: list[Event], cuts: list[Cut]) -> list[Failover]:
    """A group has failed over when another node than before became active; an operator's word near it makes it planned."""
    words = [e for e in events if e.kind == "failover" and not e.service]
    holder = {group: history.first_holder(group) for group in history.roles}
    found = []
    for event in events:
        if event.kind != "role" or not event.member:
            continue
        group = event.member
        before = holder[group]
        if event.after != "active" or before == event.node:
            continue
        holder[group] = event.node
        # The word names the node that took over: a try that failed explains nothing.
        near = [w for w in words if w.member == group and w.person and abs(w.at - event.at) <= NEAR]
        word = next((w for w in near if w.after == event.node), None)
        if before == UNKNOWN and word is None:
            continue  # rotad came to know who holds; nothing need have moved
        about = word or event
        found.append(
            Failover(
                at=event.at,
                group=group,
                before=before,
                after=event.node,
                planned=word is not None,
                person=(word.person or "") if word else "",
                reason=about.reason or "",
                cut=[cut for cut in cuts if abs(cut.at - event.at) <= NEAR],
            )
        )
    return found


def _work(history: History, status: Status, begin: datetime, end: datetime) -> list[Work]:
    found = []
    for (service, member), events in history.intents.items():
        open_: Event | None = None
        if events[0].before in ("drain", "halt"):  # it began before the period, and the journal of the period has no name
            before = events[0]
            open_ = before.model_copy(update={"at": begin, "after": before.before, "reason": "from before", "person": "?"})
        for event in events:
            if open_ is not None:
                found.append(_worked(service, member, open_, event.at))
            open_ = event if event.after in ("drain", "halt") else None
        if open_ is not None:
            found.append(_worked(service, member, open_, None))
    for one in status.services:
        for state in one.members:
            intent = state.intent
            quiet = (one.name, state.name) not in history.intents
            if quiet and intent and intent.state.value in ("drain", "halt"):
                found.append(Work(one.name, state.name, intent.state.value, intent.at, None, intent.person, intent.reason))
    inside = [w for w in found if w.begin < end and (w.end is None or w.end > begin)]
    return sorted(inside, key=lambda w: w.begin)


def _worked(service: str, member: str, event: Event, end: datetime | None) -> Work:
    return Work(service, member, event.after or "", event.at, end, event.person or "?", event.reason or "")


def _incidents(history: History, begin: datetime, end: datetime) -> list[Incident]:
    found = []
    for group, events in history.pairs.items():
        open_: tuple[str, datetime] | None = None
        for event in events:
            if open_ and event.after != open_[0]:
                found.append(Incident(group, open_[0], open_[1], event.at))
                open_ = None
            if event.after in ("split-brain", "no-active") and open_ is None:
                open_ = (event.after, event.at)
        if open_:
            found.append(Incident(group, open_[0], open_[1], None))
    return sorted((i for i in found if i.begin < end and (i.end is None or i.end > begin)), key=lambda i: i.begin)


def _flaps(events: list[Event]) -> list[Flap]:
    downs: dict[tuple[str, str, str], list[Event]] = defaultdict(list)
    for event in events:
        if event.kind == "verdict" and event.after == "down" and event.service and event.member:
            downs[event.service, event.member, event.node].append(event)
    worst: dict[tuple[str, str], Flap] = {}
    for (service, member, _), found in downs.items():
        left, most, when = 0, 0, found[0]
        for right, event in enumerate(found):
            while event.at - found[left].at > FLAP_WINDOW:
                left += 1
            if right - left + 1 > most:
                most, when = right - left + 1, found[left]
        if most >= FLAP_TIMES:
            flap = Flap(service, member, len(found), most, when.at, when.reason or "")
            # Both nodes saw the same member: the one that saw more of it says it.
            if (service, member) not in worst or worst[service, member].times < flap.times:
                worst[service, member] = flap
    return sorted(worst.values(), key=lambda f: -f.times)
