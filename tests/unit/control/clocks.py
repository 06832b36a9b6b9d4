"""A clock that tests turn by hand."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from rota.control.clock import Clock

NOON = datetime(2026, 5, 4, 12, tzinfo=UTC)


class Hands:
    """Both clocks of a node. `pass_` lets time pass; `jump` moves only the time of day."""

    def __init__(self) -> None:
        self.now, self.steady = NOON, 1000.0
        self.clock = Clock(lambda: self.now, lambda: self.steady)

    def pass_(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)
        self.steady += seconds

    def jump(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)
