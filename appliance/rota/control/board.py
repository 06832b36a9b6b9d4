"""The alarms in force: each once, as long as it lasts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from rota.control.clock import Clock
from rota.control.state import Alarm

Severity = Literal["critical", "warning"]


class Board:
    """What a person should look at now. `report` is told of every change: (alarm, is it raised?)."""

    def __init__(self, clock: Clock, report: Callable[[Alarm, bool], None]) -> None:
        self._clock = clock
        self._report = report
        self._alarms: dict[str, Alarm] = {}
        self._pending: dict[str, float] = {}

    def raise_(self, key: str, severity: Severity, text: str) -> None:
        """Raise an alarm; one that is in force keeps its time and takes the new words."""
        old = self._alarms.get(key)
        self._alarms[key] = Alarm(key=key, severity=severity, text=text, since=old.since if old else self._clock.now())
        if old is None or old.severity != severity:
            self._report(self._alarms[key], True)

    def clear(self, key: str) -> None:
        """End an alarm, if it is in force."""
        self._pending.pop(key, None)
        if alarm := self._alarms.pop(key, None):
            self._report(alarm, False)

    def hold(self, key: str, wrong: bool, severity: Severity, text: str, *, after: float = 0.0) -> None:
        """Raise or clear by a condition that is looked at again and again; raised when it has held for `after` seconds."""
        if not wrong:
            self.clear(key)
            return
        began = self._pending.setdefault(key, self._clock.steady())
        if self._clock.steady() - began >= after:
            self.raise_(key, severity, text)

    def keep_only(self, prefix: str, keys: set[str]) -> None:
        """Clear alarms below `prefix` that are not among `keys`: members that a new model does not have."""
        for key in [key for key in {*self._alarms, *self._pending} if key.startswith(prefix) and key not in keys]:
            self.clear(key)

    def current(self) -> list[Alarm]:
        """The alarms in force, critical ones first, then by age."""
        return sorted(self._alarms.values(), key=lambda a: (a.severity != "critical", a.since, a.key))
