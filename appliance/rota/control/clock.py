"""The two clocks: what people read, and what lengths of time are measured with. A jump of the first moves nothing."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime


def _now() -> datetime:
    return datetime.now(UTC)


def _steady() -> float:
    # BOOTTIME and not MONOTONIC: a virtual machine that was suspended has aged
    return time.clock_gettime(time.CLOCK_BOOTTIME)


@dataclass(frozen=True)
class Clock:
    """`now` gives the time of day in UTC, `steady` seconds that only ever grow. Tests pass their own."""

    now: Callable[[], datetime] = _now
    steady: Callable[[], float] = _steady


class JumpWatch:
    """Sees the time of day jump against the steady clock."""

    def __init__(self, clock: Clock, *, tolerance: float = 30.0) -> None:
        """`tolerance` in seconds; slewing by an NTP client stays far below it."""
        self._clock = clock
        self._tolerance = tolerance
        self._offset = self._measure()
        self._settled = clock.steady()

    def _measure(self) -> float:
        return self._clock.now().timestamp() - self._clock.steady()

    def jumped(self) -> float:
        """Seconds by which the time of day has jumped since the last call; 0.0 for none."""
        offset = self._measure()
        jump = offset - self._offset
        if abs(jump) <= self._tolerance:
            self._offset = offset  # follow a slow drift
            return 0.0
        self._offset = offset
        self._settled = self._clock.steady()
        return jump

    def steady_for(self) -> float:
        """Seconds since the last jump, or since the start."""
        return self._clock.steady() - self._settled
