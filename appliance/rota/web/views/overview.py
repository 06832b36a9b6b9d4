"""The status page: one line of truth, and every service with its members below it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from rota.control.state import Alarm, GroupState, MemberState, PairState, PeerState, ServiceState, Status
from rota.model import Site
from rota.web.live import Reading
from rota.web.views import words
from rota.web.views.words import Tag

EARLIER = "before start"  # since before rotad began to watch


@dataclass(frozen=True)
class Headline:
    """The line at the top; `level` is good, warn, bad or unknown."""

    text: str
    level: str
    heard: str


@dataclass(frozen=True)
class MemberRow:
    """One member, every cell in words."""

    id: str
    service: str
    name: str
    where: str
    tag: Tag
    why: str
    since: str
    work: str
    open: str
    intent: str
    planned: str  # its next maintenance window
    pace: str
    well: bool


@dataclass(frozen=True)
class Head:
    """The head of a service."""

    id: str
    name: str
    tag: Tag
    what: str
    where: str
    department: str
    description: str
    note: str
    members: str  # how many of them take work


@dataclass(frozen=True)
class Card:
    """A service with its members."""

    head: Head
    rows: list[MemberRow]

    @property
    def well(self) -> bool:
        """Nothing here needs a look."""
        return self.head.tag.colour == "good" and all(row.well for row in self.rows)

    def text(self) -> str:
        """What a search looks in."""
        head = self.head
        return " ".join((head.name, head.what, head.where, head.department, head.description, head.tag.text)).lower()


@dataclass(frozen=True)
class Notice:
    """An alarm, or what is known of a peer."""

    text: str
    level: str
    since: str
    href: str | None = None


@dataclass(frozen=True)
class Overview:
    """All of it."""

    headline: Headline
    notices: list[Notice]
    pair: list[Notice]
    cards: list[Card]


def overview(reading: Reading, site: Site | None, node: str) -> Overview:
    """The page for `reading`. `site` gives the pace of checks; without it the pace is left out."""
    status = reading.status
    if status is None:
        return Overview(headline(reading, node), [], [], [])
    since = words.clock(reading.heard, status.at)
    silent_since = None if reading.known else since
    cards = [_card(one, status, _pace(site, one.name), silent_since) for one in status.services]
    notices = [_notice(alarm, status.at) for alarm in status.alarms] if reading.known else []
    return Overview(headline(reading, node), notices, list(_pair(status)) if reading.known else [], cards)


# --- the line of truth


def headline(reading: Reading, node: str) -> Headline:
    """What matters, in one or two sentences."""
    status = reading.status
    if status is None:
        return Headline(f"Nothing is known yet: rotad on {node} does not answer.", "unknown", "never")
    heard = words.clock(reading.heard, status.at)
    if not reading.known:
        text = f"Unknown since {heard}: rotad on {node} does not answer. Traffic goes on as it was."
        return Headline(text, "unknown", heard)
    if status.haproxy_problem is not None:
        return Headline(f"HAProxy on {node} does not answer: no verdict is known here. {_nodes(status)}", "bad", heard)
    first, level = _services(status.services)
    second, worse = _nodes(status), _pair_level(status)
    order = ("good", "warn", "unknown", "bad")
    return Headline(f"{first} {second}".strip(), max(level, worse, key=order.index), heard)


def _services(services: list[ServiceState]) -> tuple[str, str]:
    total = len(services)
    by = {v: [s.name for s in services if s.verdict == v] for v in ("down", "unknown", "degraded", "up")}
    if not total:
        return "No service is configured.", "warn"
    if len(by["up"]) == total:
        return ("The one service is up." if total == 1 else f"All {total} services are up."), "good"
    parts = []
    for verdict, word in (("down", "down"), ("unknown", "unknown"), ("degraded", "reduced")):
        if by[verdict]:
            one = len(by[verdict]) == 1
            serves = (" but serves" if one else " but serve") if verdict == "degraded" else ""
            parts.append(f"{words.listed(by[verdict])} {'is' if one else 'are'} {word}{serves}")
    level = "bad" if by["down"] else "unknown" if by["unknown"] else "warn"
    return f"{len(by['up'])} of {total} services {'is' if len(by['up']) == 1 else 'are'} up; {'; '.join(parts)}.", level


def _nodes(status: Status) -> str:
    parts = [_group(group, len(status.groups) > 1, status) for group in status.groups]
    if len(set(parts)) == 1:
        parts = parts[:1]
    steps = [_peer(peer, status.at) for peer in status.peers]
    return "; ".join([*parts, *steps]) + "." if parts or steps else ""


def _group(group: GroupState, several: bool, status: Status) -> str:
    where = f" for {group.name}" if several and len({tuple(g.holders) for g in status.groups}) > 1 else ""
    match group.state:
        case PairState.SPLIT_BRAIN:
            return f"SPLIT BRAIN{where}: {words.listed(group.holders)} all hold the addresses"
        case PairState.NO_ACTIVE:
            return f"NO ACTIVE NODE{where}: nobody holds the addresses"
    others = [peer.node for peer in status.peers if peer.reachable and peer.node not in group.holders]
    if group.role.value == "standby":
        others = [status.node, *others]
    standing = f", {words.listed(others)} {'stands' if len(others) == 1 else 'stand'} by" if others and group.holders else ""
    if group.holders:
        return f"{words.listed(group.holders)} is active{where}{standing}"
    return f"who is active{where} is unknown"


def _peer(peer: PeerState, at: datetime) -> str:
    since = words.clock(peer.since, at)
    if not peer.reachable:
        return f"{peer.node} has not answered since {since}" if peer.since else f"{peer.node} does not answer"
    return f"in step since {since}" if peer.in_step and peer.since else "in step" if peer.in_step else "out of step"


def _pair_level(status: Status) -> str:
    states = {group.state for group in status.groups}
    if states & {PairState.SPLIT_BRAIN, PairState.NO_ACTIVE}:
        return "bad"
    if PairState.PEER_UNKNOWN in states or any(not p.reachable or not p.in_step for p in status.peers):
        return "warn"
    return "bad" if any(a.severity == "critical" for a in status.alarms) else "good"


# --- below it


def _notice(alarm: Alarm, at: datetime) -> Notice:
    kind, _, what = alarm.key.partition(":")
    service = what.partition("/")[0] if kind in ("member-down", "service-down", "brake") else None
    level = "bad" if alarm.severity == "critical" else "warn"
    return Notice(alarm.text, level, words.clock(alarm.since, at), service)


def _pair(status: Status) -> Iterator[Notice]:
    for peer in status.peers:
        if not peer.reachable:
            seen = "its service network answers" if peer.heartbeat else "nothing of it answers"
            text = f"{peer.node}: its rotad does not answer, {seen}. {peer.problem or ''}"
            yield Notice(text.strip(), "warn", words.clock(peer.since, status.at))
        elif not peer.in_step:
            text = f"{peer.node} is out of step: {peer.problem or 'its intents differ from those here'}"
            yield Notice(text, "warn", words.clock(peer.since, status.at))


def _pace(site: Site | None, service: str) -> str:
    if site is None or service not in site.services:
        return ""
    return f"every {words.length(site.services[service].check.interval / 1000)}"


def _card(one: ServiceState, status: Status, pace: str, silent_since: str | None) -> Card:
    rows = [_row(one.name, member, status, pace, silent_since) for member in one.members]
    working = sum(member.in_use for member in one.members)
    note = "Braked: too many members failed at once; layer 4 keeps its last state." if one.braked else ""
    head = Head(
        id=f"s.{one.name}",
        name=one.name,
        tag=words.service(one.verdict) if silent_since is None else words.UNKNOWN,
        what=words.profile(one.profile),
        where=" ".join(words.places(one)),
        department=one.department,
        description=one.description,
        note=note if silent_since is None else "",
        members=f"{working} of {words.count(len(one.members), 'member')} in use" if silent_since is None else "",
    )
    return Card(head, rows)


def _row(service: str, member: MemberState, status: Status, pace: str, silent_since: str | None) -> MemberRow:
    known, at = silent_since is None, status.at
    opened = f"{member.associations}/{member.limit}" if member.limit else str(member.associations)
    return MemberRow(
        id=f"m.{service}.{member.name}",
        service=service,
        name=member.name,
        where=words.place(member.address, member.port),
        tag=words.verdict(member.verdict) if known else words.UNKNOWN,
        why="; ".join(filter(None, (member.reason, member.deep))) if known else "rotad does not answer",
        since=(words.clock(member.since, at) if member.since else EARLIER) if known else silent_since or "?",
        work=words.work(member) if known else "?",
        open=opened if known else "?",
        intent=words.intent(member.intent, at),
        planned=words.planned(status.windows, service, member.name),
        pace=pace,
        well=known and words.well(member),
    )


# --- filter and order


@dataclass(frozen=True)
class Wanted:
    """What a person asked to see."""

    text: str = ""
    problems: bool = False
    by: str = "department"  # or kind

    @property
    def narrowed(self) -> bool:
        """Whether anything is left out."""
        return bool(self.text) or self.problems


def sections(cards: list[Card], wanted: Wanted) -> list[tuple[str, list[Card]]]:
    """The cards that are wanted, by department or kind, in the order of the model."""
    found: dict[str, list[Card]] = {}
    for card in cards:
        kept = _kept(card, wanted)
        if kept is not None:
            name = card.head.what if wanted.by == "kind" else card.head.department or "No department"
            found.setdefault(name, []).append(kept)
    return list(found.items())


def _kept(card: Card, wanted: Wanted) -> Card | None:
    """The card with the members that are wanted: all of them when the service itself is meant."""
    if wanted.problems and card.well:
        return None
    needles = wanted.text.lower().split()
    if all(needle in card.text() for needle in needles):
        return card
    rows = [
        row for row in card.rows if all(n in f"{row.name} {row.where} {row.tag.text} {card.text()}".lower() for n in needles)
    ]
    return Card(card.head, rows) if rows else None
