"""Runs `bench.lib.prober` somewhere and says what its associations tell of a fault."""

from __future__ import annotations

import json
import subprocess
import threading
from dataclasses import dataclass

from bench.lib.pdus import echo_pdus
from bench.lib.processes import until
from bench.lib.root import TOP

LEAD = 1.0  # seconds of probing before a fault


@dataclass
class Attempt:
    """One association of the prober; seconds since the fault."""

    start: float
    end: float
    outcome: str


def longest_gap(attempts: list[Attempt], interval: float) -> float:
    """Longest time in which no association was served, beyond the prober's own pace, in seconds.

    Associations that hang on a lost packet do not count as long as a newer one is served: a client that comes new is.
    """
    served = sorted(attempt.end for attempt in attempts if attempt.outcome == "ok")
    if len(served) < 2:
        return float("inf")
    return max(0.0, max(later - earlier for earlier, later in zip(served, served[1:], strict=False)) - interval)


class Prober:
    """A prober, started by `command` (what goes before `python3`), that has asked for `LEAD` seconds when it is made."""

    def __init__(self, command: list[str], host: str, port: int, *, called: str, interval: float, seconds: float) -> None:
        plan = {"host": host, "port": port, "interval": interval, "patience": 3.0, "seconds": LEAD + seconds}
        script = (TOP / "bench/lib/prober.py").read_text()
        self._process = subprocess.Popen(
            [*command, "python3", "-c", script],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdin
        print(json.dumps({**plan, **echo_pdus(called, "BENCH")}), file=self._process.stdin, flush=True)
        self._lines: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        until(lambda: len(self._lines) * interval >= LEAD, within=20, what="the prober's first associations")

    def _read(self) -> None:
        for line in self._process.stdout or ():
            self._lines.append(line)

    def finish(self, fault: float) -> list[Attempt]:
        """All attempts; `fault` is the fault's time on this machine's monotonic clock, which containers share."""
        self._process.wait(60)
        self._reader.join(10)
        if self._process.returncode:
            raise RuntimeError(f"the prober failed: {self._process.stderr.read() if self._process.stderr else ''}")
        found = [json.loads(line) for line in self._lines]
        return [Attempt(one["start"] - fault, one["end"] - fault, one["outcome"]) for one in found]
