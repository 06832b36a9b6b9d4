"""Waits for a moment without other work on the machine: what others do would be measured as ours."""

from __future__ import annotations

import time
from pathlib import Path


def _busy_and_total() -> tuple[int, int]:
    """Ticks of work and of all time since boot, all cores (proc_stat(5))."""
    fields = [int(word) for word in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    return sum(fields) - fields[3] - fields[4], sum(fields)


class Calm:
    """Waits for calm before each measurement, `patience` seconds at most in all, and counts how often it got none."""

    def __init__(self, patience: float, *, limit: float = 0.1, window: float = 0.2) -> None:
        self.left, self.limit, self.window = patience, limit, window
        self.waits = self.busy = 0

    def wait(self) -> None:
        """Return as soon as less than `limit` of the processors was in use for one `window`, or patience is spent."""
        self.waits += 1
        begin = time.monotonic()
        while True:
            busy, total = _busy_and_total()
            time.sleep(self.window)
            busy_after, total_after = _busy_and_total()
            if busy_after - busy <= self.limit * max(1, total_after - total):
                break
            if time.monotonic() - begin > self.left:
                self.busy += 1
                break
        self.left = max(0.0, self.left - (time.monotonic() - begin - self.window))

    def note(self) -> str:
        """One sentence for the report."""
        return f"{self.waits - self.busy} of {self.waits} measurements began on an idle machine."
