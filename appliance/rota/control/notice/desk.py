"""Decides which alarms become messages: each once, no flapping, one node of two, and a word when it is over. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from rota.control.state import Alarm

Kind = Literal["raised", "over", "still", "test"]
# What both nodes see alike; everything else is a node's own.
_SHARED = ("member-down:", "service-down:", "deep-brake:", "deep:", "split-brain:", "no-active:", "brake:")


@dataclass(frozen=True)
class Notice:
    """One message to people. `times` says how often the alarm came back while they were left in peace."""

    kind: Kind
    node: str
    site: str
    key: str
    severity: str
    text: str
    since: datetime
    at: datetime
    times: int = 1

    @property
    def subject(self) -> str:
        """One line for a mail's subject or a pager."""
        word = {"raised": self.severity.upper(), "over": "OVER", "still": f"STILL {self.severity.upper()}", "test": "TEST"}
        return f"[rota {self.site}] {word[self.kind]}: {self.text}"[:200]


@dataclass(frozen=True)
class Policy:
    """Seconds: how long an alarm must last, how long it must be gone, how often a lasting one is told again (0: never)."""

    settle: float = 5.0
    quiet: float = 60.0
    repeat: float = 12 * 3600.0
    standby_delay: float = 20.0
    minimum: str = "warning"


@dataclass
class _Case:
    alarm: Alarm
    first: float  # steady
    told_at: float | None = None
    gone_at: float | None = None
    by_peer: bool = False
    times: int = 1


class Desk:
    """The cases that are open. `first` tells whether this node speaks for what both see."""

    def __init__(
        self, node: str, site: str, policy: Policy, steady: Callable[[], float], now: Callable[[], datetime]
    ) -> None:
        self._node, self._site, self._policy = node, site, policy
        self._steady, self._now = steady, now
        self._cases: dict[str, _Case] = {}
        self._by_peer: dict[str, float] = {}

    def peer_raised(self, key: str) -> None:
        """A peer has the same alarm, and is the one that speaks."""
        self._by_peer[key] = self._steady()
        if case := self._cases.get(key):
            case.by_peer = True

    def peer_cleared(self, key: str) -> None:
        """A peer's alarm is over."""
        self._by_peer.pop(key, None)

    def look(self, current: Iterable[Alarm], *, speaks: bool) -> list[Notice]:
        """Take the alarms in force now, and give what is to be told. `speaks`: no peer that can be heard comes before us."""
        now = self._steady()
        alarms = {a.key: a for a in current if self._policy.minimum != "critical" or a.severity == "critical"}
        for key, alarm in alarms.items():
            case = self._cases.get(key)
            if case is None:
                self._cases[key] = _Case(alarm, now, by_peer=key in self._by_peer)
            else:
                if case.gone_at is not None:
                    case.times += 1
                worse = alarm.severity == "critical" and case.alarm.severity != "critical"
                case.alarm, case.gone_at = alarm, None
                if worse:
                    case.told_at = None
        judged = [self._judge(key, case, key in alarms, now, speaks) for key, case in list(self._cases.items())]
        return [notice for notice in judged if notice is not None]

    def _judge(self, key: str, case: _Case, here: bool, now: float, speaks: bool) -> Notice | None:
        policy = self._policy
        if not here:
            if case.gone_at is None:
                case.gone_at = now
            if case.told_at is None:
                # nobody was told that it began
                del self._cases[key]
                return None
            if now - case.gone_at < policy.quiet:
                return None
            del self._cases[key]
            return self._notice("over", case)
        if case.told_at is None:
            ours = speaks or not key.startswith(_SHARED)
            if not ours and case.by_peer:
                return None
            # a peer that speaks first gets the time to say that it has the alarm too
            if now - case.first < policy.settle + (0.0 if ours else policy.standby_delay):
                return None
            case.told_at = now
            return self._notice("raised", case)
        if policy.repeat and now - case.told_at >= policy.repeat:
            case.told_at = now
            return self._notice("still", case)
        return None

    def _notice(self, kind: Kind, case: _Case) -> Notice:
        alarm, times = case.alarm, case.times
        case.times = 1
        return Notice(kind, self._node, self._site, alarm.key, alarm.severity, alarm.text, alarm.since, self._now(), times)
