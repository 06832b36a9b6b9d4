"""What happened while the series was sent, gathered from the sender's events."""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from lib.lab import Host

SENDER = Path(__file__).with_name("sender.py")


@dataclass
class Fault:
    """One thing that was broken, and when."""

    at: float
    what: str


@dataclass
class Record:
    """Every acknowledgement and failure, in the order in which the client saw them."""

    stored: dict[str, float] = field(default_factory=dict)
    resent: dict[str, int] = field(default_factory=dict)
    failures: list[tuple[float, str]] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    began: float | None = None
    gave_up: bool = False

    def take(self, line: str) -> None:
        """Take in one event of the sender."""
        event = json.loads(line)
        at = float(event["at"])
        if self.began is None:
            self.began = at
        if event["event"] == "stored":
            self.stored[event["file"]] = at
            if event["attempt"] > 1:
                self.resent[event["file"]] = event["attempt"] - 1
        elif event["event"] == "failed":
            self.failures.append((at, event["why"]))
        else:
            self.gave_up = True

    def longest_gap(self, begin: float = 0.0, end: float = float("inf")) -> float:
        """Return the longest time without an acknowledgement from `begin` to `end`, in seconds.

        A gap that had begun before counts from its beginning, one that outlasts `end` up to there.
        """
        times = sorted(self.stored.values())
        pairs = zip(times, times[1:], strict=False)
        return max((min(b, end) - a for a, b in pairs if b > begin and a < end), default=0.0)

    def gap_after(self, fault: Fault) -> float:
        """Return the longest gap from this fault to the next one."""
        later = [other.at for other in self.faults if other.at > fault.at]
        return self.longest_gap(fault.at, min(later, default=float("inf")))


class Sending:
    """The client's sender, running beside us; its record grows while it runs."""

    def __init__(self, client: Host, target: tuple[str, int, str], folder: str, *, pause: float, give_up: float) -> None:
        """Start to send every file of `folder` (a path in the client) to `target` (address, port, called AE)."""
        host, port, called = target
        self.record = Record()
        words = ["python3", "-", host, str(port), called, "5", str(pause), str(give_up), folder]
        self._process = subprocess.Popen(
            ["podman", "exec", "--interactive", client.container, *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        if self._process.stdin is not None:
            self._process.stdin.write(SENDER.read_text())
            self._process.stdin.close()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        for line in self._process.stdout or []:
            self.record.take(line)

    @property
    def running(self) -> bool:
        """Whether there is something left to send."""
        return self._reader.is_alive()

    def until(self, stored: int, tick: Callable[[], None]) -> None:
        """Wait until so many instances are acknowledged, or sending has ended; call `tick` meanwhile."""
        while self.running and len(self.record.stored) < stored:
            self._reader.join(0.05)
            tick()
        tick()
