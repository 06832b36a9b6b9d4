"""What a report holds. Times are UTC; lengths are seconds."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import IntEnum


class State(IntEnum):
    """A service at one moment; the larger is the worse one to overlook."""

    UP = 0
    DEGRADED = 1  # somebody serves, but not everybody who should
    PLANNED = 2  # nobody serves, because operators wanted it so
    UNKNOWN = 3  # nobody watched, or the checks had no answer
    DOWN = 4


@dataclass(frozen=True)
class Span:
    """A service's state from `begin` to `end`."""

    begin: datetime
    end: datetime
    state: State
    cause: str = ""

    @property
    def seconds(self) -> float:
        """Its length."""
        return (self.end - self.begin).total_seconds()


@dataclass(frozen=True)
class Outage:
    """Nobody served. `open`: it lasted beyond the end of the period."""

    service: str
    begin: datetime
    end: datetime
    seconds: float
    planned: bool
    open: bool
    cause: str


@dataclass(frozen=True)
class Work:
    """A member was kept away by an operator. `end` None: it still is."""

    service: str
    member: str
    state: str
    begin: datetime
    end: datetime | None
    person: str
    reason: str


@dataclass(frozen=True)
class Cut:
    """A sender whose association was cut, and that may have to send again."""

    at: datetime
    service: str
    member: str
    sender: str
    note: str


@dataclass(frozen=True)
class Failover:
    """A group went to another node."""

    at: datetime
    group: str
    before: str
    after: str
    planned: bool
    person: str
    reason: str
    cut: list[Cut]


@dataclass(frozen=True)
class Incident:
    """The pair itself was not well: two nodes held the addresses, or none did."""

    group: str
    state: str
    begin: datetime
    end: datetime | None


@dataclass(frozen=True)
class Flap:
    """A check that changed its mind often: a member at its limits, or a check that asks too much."""

    service: str
    member: str
    times: int  # went down in the period
    worst: int  # of these, within ten minutes
    worst_at: datetime
    reason: str


@dataclass(frozen=True)
class ServiceReport:
    """One service over the period."""

    name: str
    department: str
    seconds: float  # of the period
    unknown_s: float
    planned_s: float
    down_s: float
    degraded_s: float
    outages: int  # unplanned
    longest_s: float
    spans: list[Span] = field(repr=False)

    @property
    def availability(self) -> float | None:
        """Share of the time that was watched and not planned away, in which somebody served; None when none is left."""
        base = self.seconds - self.unknown_s - self.planned_s
        return (base - self.down_s) / base if base > 0 else None


@dataclass(frozen=True)
class Report:
    """Everything that a report says, in the order in which it says it."""

    site: str
    node: str
    begin: datetime
    end: datetime
    made: datetime
    watched_from: datetime | None  # the journal reaches back to here
    services: list[ServiceReport]
    outages: list[Outage]
    work: list[Work]
    failovers: list[Failover]
    cut: list[Cut]  # outside failovers: halts, members that died
    incidents: list[Incident]
    flaps: list[Flap]
    certificates: list[str]


def percent(share: float | None) -> str:
    """`99.99871 %`: five decimals, never rounded up, so that 100 % is said of nothing less."""
    if share is None:
        return "unknown"
    return f"{int(share * 10_000_000 + 1e-6) / 100_000:.5f} %"
