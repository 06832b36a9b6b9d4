"""From the journal to what each service was at each moment.

The journal has changes; a state before its first change in the period is that change's `before`, and what never changed is
what it is today. A service is judged by the node that held its addresses; while that node's rotad was away, by its peer.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import cached_property
from itertools import chain
from typing import Generic, TypeVar

from rota.control.state import Event, ServiceState, Status
from rota.report.model import Span, State

Key = tuple[str, str, str]
T = TypeVar("T")
NOBODY, UNKNOWN = "", "?"  # instead of a node's name


class Series(Generic[T]):
    """One value over time. Questions that go forward in time are answered fastest."""

    def __init__(self, initial: T) -> None:
        self._times: list[datetime] = []
        self._values: list[T] = [initial]
        self._near = 0

    def add(self, at: datetime, value: T) -> None:
        """`value` from `at` on; times do not go back."""
        self._times.append(at)
        self._values.append(value)

    @property
    def last(self) -> datetime:
        """When it changed last; the beginning of time when never."""
        return self._times[-1] if self._times else datetime.min.replace(tzinfo=UTC)

    def at(self, moment: datetime) -> T:
        """The value that holds at `moment`."""
        times, near = self._times, self._near
        if near and times[near - 1] > moment:
            near = 0
        if near < len(times) and times[near] <= moment:
            near += 1
            if near < len(times) and times[near] <= moment:
                near = bisect_right(times, moment, near)
        self._near = near
        return self._values[near]


class History:
    """The journal of a period, made ready for questions."""

    def __init__(self, events: Sequence[Event], status: Status, begin: datetime, watched_from: datetime | None) -> None:
        self.status = status
        self.watched_from = watched_from
        self.verdicts: dict[Key, list[Event]] = defaultdict(list)
        self.intents: dict[tuple[str, str], list[Event]] = defaultdict(list)
        self.roles: dict[str, list[Event]] = defaultdict(list)
        self.pairs: dict[str, list[Event]] = defaultdict(list)
        self.haproxy: dict[str, list[Event]] = defaultdict(list)
        self.nodes = {status.node, *(peer.node for peer in status.peers)}
        self.gaps: dict[str, list[tuple[datetime, datetime]]] = defaultdict(list)
        self.starts: dict[str, list[datetime]] = defaultdict(list)
        stopped: dict[str, datetime] = {}
        for event in events:
            self.nodes.add(event.node)
            match event.kind:
                case "verdict" if event.service and event.member:
                    self.verdicts[event.node, event.service, event.member].append(event)
                case "intent" if event.service and event.member:
                    self.intents[event.service, event.member].append(event)
                case "role" if event.member:
                    self.roles[event.member].append(event)
                case "pair" if event.member:
                    self.pairs[event.member].append(event)
                case "haproxy" if event.after in ("up", "down"):
                    self.haproxy[event.node].append(event)
                case "rotad":
                    self._rotad(event, stopped, begin)
        for node, at in stopped.items():
            self.gaps[node].append((at, status.at))

    def _rotad(self, event: Event, stopped: dict[str, datetime], begin: datetime) -> None:
        if event.after == "stopped":
            stopped[event.node] = event.at
        elif event.after == "started":
            self.starts[event.node].append(event.at)
            alive = stopped.pop(event.node, None) or _time(event.before)
            # Without a word on when it was last alive, the watch had no gap that anybody knows of.
            if alive and alive < event.at:
                self.gaps[event.node].append((max(alive, begin), event.at))

    def first_holder(self, group: str) -> str:
        """The node that held the addresses of `group` when the period began."""
        events = self.roles.get(group, [])
        if not events:
            today = next((g for g in self.status.groups if g.name == group), None)
            return today.holders[-1] if today and today.holders else UNKNOWN
        first: dict[str, str | None] = {}
        for event in events:
            first.setdefault(event.node, event.before)
        for node, before in first.items():
            if before == "active":
                return node
        # A node that held them and died wrote nothing: in a pair it was the one that is not heard of.
        quiet = sorted(self.nodes - first.keys())
        return quiet[0] if len(quiet) == 1 and set(first.values()) == {"standby"} else UNKNOWN

    @cached_property
    def watchers(self) -> Series[tuple[str, ...]]:
        """The nodes whose rotad watched, over time."""
        found: Series[tuple[str, ...]] = Series(())
        if self.watched_from is None:
            return found
        edges = {edge for gaps in self.gaps.values() for gap in gaps for edge in gap if edge > self.watched_from}
        for at in sorted(edges | {self.watched_from}):
            away = {node for node, gaps in self.gaps.items() if any(a <= at < b for a, b in gaps)}
            found.add(at, tuple(node for node in sorted(self.nodes) if node not in away))
        return found


def _time(text: str | None) -> datetime | None:
    try:
        moment = datetime.fromisoformat(text or "")
    except ValueError:
        return None
    return moment if moment.tzinfo else None


def _series(events: list[Event], today: str, starts: Sequence[datetime] = ()) -> Series[str]:
    """The value that `events` changed. What changed while rotad was away shows at its next start, without an event."""
    value = (events[0].before or today) if events else today
    found: Series[str] = Series(value)
    for event in events:
        if event.before and event.before != value:
            _amend(found, starts, event.at, event.before)
        value = event.after or "unknown"
        found.add(event.at, value)
    if events and today != value:
        _amend(found, starts, None, today)
    return found


def _amend(series: Series[str], starts: Sequence[datetime], before: datetime | None, value: str) -> None:
    """`value` was seen first at a start of rotad after the series' last change."""
    since = [at for at in starts if at > series.last and (before is None or at < before)]
    if since:
        series.add(since[0], value)


class ServiceView:
    """What one service was, from the history."""

    def __init__(self, history: History, service: ServiceState) -> None:
        self._history = history
        self._service = service
        self._members = [m.name for m in service.members]
        self._l4 = service.mode.startswith("l4")
        status = history.status
        self._verdicts: dict[tuple[str, str], Series[str]] = {}
        self._told: dict[str, list[Event]] = {}  # member → verdict events of every node
        self._events: list[Event] = []
        for member in service.members:
            told = [history.verdicts.get((node, service.name, member.name), []) for node in history.nodes]
            self._told[member.name] = sorted(chain.from_iterable(told), key=lambda event: event.at)
            own = history.verdicts.get((status.node, service.name, member.name), [])
            for node in history.nodes:
                # A node that wrote nothing of a member is taken to have seen what this node saw.
                events = history.verdicts.get((node, service.name, member.name), [])
                source, events = (node, events) if events else (status.node, own)
                today = member.verdict.value if source == status.node else events[-1].after or "unknown"
                self._verdicts[node, member.name] = _series(events, today, history.starts.get(source, ()))
            self._events += self._told[member.name]
        self._intents = {}
        for member in service.members:
            events = history.intents.get((service.name, member.name), [])
            if events or member.intent:
                self._intents[member.name] = _series(events, member.intent.state.value if member.intent else "ready")
            self._events += events
        self._holders = self._holder_series()
        pair = history.pairs.get(service.group, [])
        state = next((g.state.value for g in status.groups if g.name == service.group), "ok")
        self._pair = _series(pair, state)
        nodes = {*history.nodes, *(g for group in status.groups for g in group.holders)}
        self._haproxy = {n: _series(history.haproxy.get(n, []), "up") for n in nodes}
        self._events += [*history.roles.get(service.group, []), *pair]
        for node in history.nodes:
            self._events += history.haproxy.get(node, [])

    def _holder_series(self) -> Series[str]:
        """Who holds the addresses: who became active last; a node that dies never says that it stopped."""
        events = self._history.roles.get(self._service.group, [])
        current = self._history.first_holder(self._service.group)
        found: Series[str] = Series(current)
        for event in events:
            if event.after == "active":
                current = event.node
            elif current == event.node:
                current = NOBODY if event.after == "standby" else UNKNOWN
            else:
                continue
            found.add(event.at, current)
        return found

    def spans(self, begin: datetime, end: datetime) -> list[Span]:
        """The states from `begin` to `end`, without a gap; neighbours differ."""
        gaps = [edge for node in self._history.nodes for gap in self._history.gaps.get(node, ()) for edge in gap]
        watched = [self._history.watched_from] if self._history.watched_from else []
        points = {e.at for e in self._events} | set(gaps) | set(watched)
        edges = [begin, *sorted(p for p in points if begin < p < end), end]
        # The first cause of a state stays: what came after a service was down did not take it down.
        found: list[tuple[datetime, State, str]] = []
        for left in edges[:-1]:
            state = self.state(left)
            if not found or found[-1][1] is not state:
                found.append((left, state, self.cause(left) if state >= State.PLANNED else ""))
        ends = [left for left, _, _ in found[1:]] + [end]
        return [Span(left, right, state, cause) for (left, state, cause), right in zip(found, ends, strict=True)]

    def state(self, moment: datetime) -> State:
        """What the service was at `moment`."""
        watchers = self._history.watchers.at(moment)
        holder = self._holders.at(moment)
        if not watchers or holder == UNKNOWN:
            return State.UNKNOWN
        if holder == NOBODY or self._pair.at(moment) == "no-active" or self._haproxy_down(holder, moment):
            return State.DOWN
        verdicts, away = self._members_at(moment)
        up = sum(verdict == "up" for verdict in verdicts.values())
        if not away:
            if up:
                return State.UP if up == len(verdicts) else State.DEGRADED
        elif any(verdict == "up" and member not in away for member, verdict in verdicts.items()):
            return State.DEGRADED
        if verdicts and away == verdicts.keys():
            return State.PLANNED
        return State.UNKNOWN if any(verdicts[m] == "unknown" for m in verdicts if m not in away) else State.DOWN

    def cause(self, moment: datetime) -> str:
        """Why the service did not serve at `moment`, in words."""
        holder = self._holders.at(moment)
        if not self._history.watchers.at(moment):
            return "nobody watched"
        if holder == UNKNOWN:
            return "who held the addresses is unknown"
        if holder == NOBODY or self._pair.at(moment) == "no-active":
            return f"no node held the addresses of group {self._service.group}"
        if self._haproxy_down(holder, moment):
            return f"HAProxy on {holder} gave no answer"
        verdicts, away = self._members_at(moment)
        return "; ".join(
            f"{m} {self._why_away(m, moment) if m in away else verdict + self._why_down(m, moment)}"
            for m, verdict in verdicts.items()
        )

    def _haproxy_down(self, holder: str, moment: datetime) -> bool:
        return not self._l4 and self._haproxy[holder].at(moment) == "down"

    def _members_at(self, moment: datetime) -> tuple[dict[str, str], set[str]]:
        """The verdicts of the node that counts, and the members that an operator keeps away."""
        holder, watchers = self._holders.at(moment), self._history.watchers.at(moment)
        node = holder if holder in watchers else watchers[0]
        verdicts = {m: self._verdicts[node, m].at(moment) for m in self._members}
        return verdicts, {m for m, intent in self._intents.items() if intent.at(moment) in ("drain", "halt")}

    def _why_away(self, member: str, moment: datetime) -> str:
        last = _last(self._history.intents.get((self._service.name, member), []), moment)
        if last is None:
            return "kept away by an operator"
        by = f" by {last.person}" if last.person else ""
        return f"in {last.after}{by}" + (f" ({last.reason})" if last.reason else "")

    def _why_down(self, member: str, moment: datetime) -> str:
        last = _last(self._told[member], moment)
        return f" ({last.reason})" if last and last.reason else ""


def _last(events: list[Event], moment: datetime) -> Event | None:
    found = bisect_right(events, moment, key=lambda e: e.at)
    return events[found - 1] if found else None
