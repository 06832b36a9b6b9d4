"""Keeps other work on the machine out of a measurement: what others do would be taken for ours."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")


def _worked() -> float:
    """Seconds that programs have used since boot, all cores (proc_stat(5): user, nice, system)."""
    return sum(int(word) for word in Path("/proc/stat").read_text().splitlines()[0].split()[1:4]) / TICKS


class Calm:
    """Begins a measurement on an idle machine and repeats it when others worked meanwhile, whatever it came to.

    `patience` is how many seconds may be lost to waiting and repeating, in all; after that everything counts.
    """

    def __init__(self, patience: float, *, limit: float = 0.15, window: float = 0.2) -> None:
        self.left, self.limit, self.window = patience, limit, window
        self.counted = self.disturbed = self.repeated = 0

    def measure(self, work: Callable[[], float], own: Callable[[], float]) -> float:
        """What `work` returns. `own` tells the seconds of processor time that the measured programs have used so far."""
        while True:
            self._wait()
            begin, others = time.monotonic(), _worked() - own()
            result = work()
            took = time.monotonic() - begin
            disturbed = _worked() - own() - others > self.limit * took
            if disturbed and self.left > 0:
                self.left -= took
                self.repeated += 1
                continue
            self.counted += 1
            self.disturbed += disturbed
            return result

    def _wait(self) -> None:
        begin = time.monotonic()
        while True:
            before = _worked()
            time.sleep(self.window)
            if _worked() - before <= self.limit * self.window or time.monotonic() - begin > self.left:
                break
        self.left = max(0.0, self.left - (time.monotonic() - begin - self.window))

    def note(self) -> str:
        """One sentence for the report."""
        return (
            f"{self.counted - self.disturbed} of {self.counted} measurements were free of other work "
            f"(less than {self.limit:g} of a core); {self.repeated} that were not were repeated."
        )
