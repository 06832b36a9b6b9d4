"""Maintenance: what an act would mean, in words, before it is done; and when a server is safe to patch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rota.commands.times import length
from rota.commands.wait import LOOKS, Look
from rota.control.state import (
    Intent,
    IntentState,
    MemberState,
    ServiceState,
    Status,
    Verdict,
    Window,
    WindowPhase,
)
from rota.web.live import Reading
from rota.web.views import words
from rota.web.views.service import Caller, callers
from rota.web.views.words import Tag

READY, DRAIN, HALT = IntentState.READY, IntentState.DRAIN, IntentState.HALT
ACTS = {DRAIN: "Drain", HALT: "Halt", READY: "Bring back"}


@dataclass(frozen=True)
class Place:
    """A member in one service."""

    service: ServiceState
    member: MemberState

    @property
    def key(self) -> tuple[str, str]:
        """Service and member."""
        return self.service.name, self.member.name


def places(status: Status, member: str, service: str | None = None) -> list[Place]:
    """Where a member serves: in all services, or in one."""
    return [
        Place(one, found)
        for one in status.services
        if service in (None, one.name)
        for found in one.members
        if found.name == member
    ]


# --- the list


@dataclass(frozen=True)
class Standing:
    """A server over all its services."""

    name: str
    where: str
    services: str
    tag: Tag
    open: str
    intent: str
    out: bool


def standings(reading: Reading) -> list[Standing]:
    """Every server once, those that are taken out first."""
    status = reading.status
    if status is None:
        return []
    by_name: dict[str, list[Place]] = {}
    for service in status.services:
        for member in service.members:
            by_name.setdefault(member.name, []).append(Place(service, member))
    found = [_standing(name, here, reading, status) for name, here in by_name.items()]
    return sorted(found, key=lambda s: not s.out)


def _standing(name: str, here: list[Place], reading: Reading, status: Status) -> Standing:
    order = [Verdict.UP, Verdict.UNKNOWN, Verdict.CANNOT_STORE, Verdict.DOWN]
    worst = max((p.member.verdict for p in here), key=order.index)
    intents = dict.fromkeys(filter(None, (words.intent(p.member.intent, status.at) for p in here)))
    out = [p for p in here if words.taken_out(p.member.intent)]
    share = f" (in {words.listed([p.service.name for p in out])})" if out and len(out) < len(here) else ""
    addresses = dict.fromkeys(words.place(p.member.address, p.member.port) for p in here)
    return Standing(
        name=name,
        where=" ".join(addresses),
        services=words.listed([p.service.name for p in here], 6),
        tag=words.verdict(worst) if reading.known else words.UNKNOWN,
        open=str(sum(p.member.associations for p in here)) if reading.known else "?",
        intent="; ".join(intents) + share,
        out=bool(out),
    )


# --- what an act means


@dataclass(frozen=True)
class Impact:
    """What happens to one service. `nobody`: it has no member left then."""

    service: str
    text: str
    nobody: bool = False


def impact(here: Sequence[Place], state: IntentState) -> list[Impact]:
    """What `state` for these members would mean, service by service."""
    return [_ready(place) if state is READY else _away(place, state) for place in here]


def _ready(place: Place) -> Impact:
    member = place.member
    if not words.taken_out(member.intent):
        return Impact(place.service.name, f"{member.name} is not taken out: nothing changes.")
    if member.verdict is Verdict.UP:
        return Impact(place.service.name, f"{member.name} gets new work at once: its check says up.")
    return Impact(
        place.service.name,
        f"{member.name} gets new work as soon as its check passes. Now it is {_now(member)}.",
    )


def _now(member: MemberState) -> str:
    return f"{words.verdict(member.verdict).text.lower()}: {member.reason or 'no reason known'}"


def _away(place: Place, state: IntentState) -> Impact:
    service, member = place.service, place.member
    others = [m for m in service.members if m.name != member.name and m.in_use]
    total = len(service.members)
    if others:
        names = words.listed([m.name for m in others])
        first = f"{len(others)} of {words.count(total, 'member')} {'remains' if len(others) == 1 else 'remain'}: {names}."
    elif member.in_use:
        first = "NOBODY REMAINS: callers find no member until one is back."
    else:
        first = f"{member.name} does not serve now, and nobody else does."
    opened = member.associations
    if not opened:
        second = "Nothing is open on it now."
    elif state is DRAIN:
        alone = "itself" if opened == 1 else "themselves"
        second = f"{words.count(opened, 'connection')} may end by {alone}; new callers go elsewhere."
    else:
        second = (
            f"{words.count(opened, 'connection')} {'is' if opened == 1 else 'are'} CUT at once: the senders must send again."
        )
    return Impact(service.name, f"{first} {second}", nobody=not others and member.in_use)


# --- waiting


@dataclass(frozen=True)
class Wait:
    """How far a server is from being safe to patch."""

    safe: bool
    ended: bool
    title: str
    text: str
    level: str
    blind: list[str]
    callers: list[Caller]
    more: int
    until: str
    as_of: str


SHOWN = 20


def wait(member: str, look: Look, idle: int, here: Sequence[Place], reading: Reading) -> Wait:
    """What to tell somebody who waits. `idle` is the number of looks in a row that saw nothing open."""
    status = reading.status
    assert status is not None  # noqa: S101 (there are places)
    ends = [p.member.intent.until for p in here if p.member.intent and p.member.intent.until]
    until = (
        f"It ends by itself in {length((min(ends) - status.at).total_seconds())}."
        if ends
        else "It stays until somebody ends it."
    )
    safe = look.idle and not look.ended and idle >= LOOKS and reading.known
    if look.ended:
        title, text, level = f"{member} is not taken out", f"{look.ended}: not safe to patch.", "warn"
    elif safe:
        title, text, level = f"{member}: safe to patch", "Nothing is open through any node.", "good"
    elif look.count:
        title = f"{words.count(look.count, 'connection')} still open on {member}"
        text, level = "Not safe to patch yet: wait, finish what is open at the sender, or halt it.", "warn"
    elif look.blind:
        title, text, level = (
            f"Not known whether {member} is safe",
            "Nothing is seen open, but not everything is seen.",
            "unknown",
        )
    else:
        title, text, level = f"Nothing open on {member}: making sure", "Safe when it stays so for some seconds.", "warn"
    shown = callers(look.open)
    return Wait(
        safe=safe, ended=bool(look.ended), title=title, text=text, level=level, blind=look.blind, callers=shown[:SHOWN],
        more=max(0, look.count - len(shown[:SHOWN])), until="" if look.ended else until,
        as_of=words.clock(reading.heard, status.at),
    )  # fmt: skip


def queued(status: Status) -> list[str]:
    """Who does not know of an act yet."""
    return [
        f"{peer.node} does not answer: the act is in force here and queued for {peer.node}, which learns it when it is back."
        for peer in status.peers
        if not peer.reachable
    ]


def queued_of(reading: Reading) -> list[str]:
    """The same of a reading."""
    return queued(reading.status) if reading.status else []


# --- windows

PHASES = {
    WindowPhase.PLANNED: Tag("Planned", "now"),
    WindowPhase.RUNNING: Tag("Running", "warn"),
    WindowPhase.OVER: Tag("Over", "good"),
    WindowPhase.SKIPPED: Tag("Skipped", "bad"),
    WindowPhase.CALLED_OFF: Tag("Called off", "unknown"),
}
PAST = 10  # windows that have been, on the page


@dataclass(frozen=True)
class WindowRow:
    """A maintenance window in words."""

    id: str
    member: str
    when: str
    what: str
    where: str
    why: str
    tag: Tag
    outcome: str
    planned: bool  # it can be called off
    running: bool


def windows(found: Sequence[Window]) -> list[WindowRow]:
    """Those to come, the next one first; then the last ones of the past, the newest first."""
    live = [w for w in found if w.live]
    past = [w for w in found if not w.live][::-1][:PAST]
    return [window(one) for one in (*live, *past)]


def window(one: Window) -> WindowRow:
    """One window."""
    return WindowRow(
        id=one.id, member=one.member, when=words.window_time(one),
        what=ACTS[one.state] + (", even as the last member" if one.force else ""), where=one.service or "all its services",
        why=f"{one.person}: {one.reason}", tag=PHASES[one.phase], outcome=one.outcome or "",
        planned=one.phase is WindowPhase.PLANNED, running=one.phase is WindowPhase.RUNNING,
    )  # fmt: skip


# --- undo


def before(here: Sequence[Place]) -> list[str]:
    """What was in force, as a form can carry it: `service=state`."""
    return [f"{p.service.name}={p.member.intent.state if p.member.intent else READY}" for p in here]


def done(intents: Sequence[Intent], state: IntentState) -> str:
    """What has been done, in one sentence."""
    names = words.listed(sorted({i.service for i in intents}), 6)
    word = {DRAIN: "is draining", HALT: "is halted", READY: "is ready again"}[state]
    return f"{intents[0].member} {word} in {names}." if intents else "Nothing was changed."
