"""A witness of the addresses: what the kernels of both nodes added and removed, and when."""

from __future__ import annotations

import re
import subprocess
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from types import TracebackType

from lib.lab import NODES, Host

# `ip -tshort -oneline monitor address`
_EVENT = re.compile(r"^\[(?P<time>[\d.:T-]+)\]\s*(?P<deleted>Deleted )?\d+: (?P<link>\S+)\s+inet6? (?P<address>[^/\s]+)")
# Seconds in which the old holder lets go, with the new one already there.
FAREWELL = 0.15


@dataclass(frozen=True)
class Event:
    """An address came to a node, or left it."""

    time: float
    node: str
    address: str
    held: bool


class HolderWatch:
    """Writes down every change of the service addresses on the nodes while the block runs; polling would miss short ones."""

    def __init__(self, addresses: Iterable[str], nodes: Iterable[str] = NODES) -> None:
        self._addresses = set(addresses)
        self._nodes = list(nodes)
        self.events: list[Event] = []
        self._began = 0.0
        self._processes: list[subprocess.Popen[str]] = []
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> HolderWatch:
        for name in self._nodes:
            self.join(name)
        self._began = datetime.now().timestamp()
        return self

    def __exit__(self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None) -> None:
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            process.wait(timeout=10)
        for thread in self._threads:
            thread.join(timeout=10)
        for process in self._processes:
            if process.stdout is not None:
                process.stdout.close()

    def join(self, name: str) -> None:
        """Begin to watch a node, also one that has just booted; what it holds now counts from now."""
        node = Host(name)
        argv = node.inside("ip", "-tshort", "-oneline", "monitor", "address")
        process = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        self._processes.append(process)
        thread = threading.Thread(target=self._read, args=(name, process), daemon=True)
        thread.start()
        self._threads.append(thread)
        now = datetime.now().timestamp()
        for address in node.addresses() & self._addresses:
            self.events.append(Event(now, name, address, held=True))

    def left(self, name: str, when: float) -> None:
        """Note that a node died: its kernel can no longer say so."""
        self.events += [Event(when, name, address, held=False) for address in self._addresses]

    def overlaps(self) -> list[str]:
        """Return, in words, when an address had two holders for longer than a farewell takes; none is good.

        A master that steps down says so first and then lets go of its addresses (RFC 5798 6.4.3), so some milliseconds with
        two holders are part of every hand-over. What a neighbour could notice is not.
        """
        result = []
        for address in sorted(self._addresses):
            holding: set[str] = set()
            both_since: float | None = None
            events = sorted((e for e in self.events if e.address == address), key=lambda event: event.time)
            for event in [*events, Event(datetime.now().timestamp(), "", address, held=False)]:
                if both_since is not None and event.time - both_since > FAREWELL:
                    result.append(f"{address}: {sorted(holding)} for {event.time - both_since:.3f} s from {both_since:.3f}")
                    both_since = None
                (holding.add if event.held else holding.discard)(event.node)
                both_since = (both_since or event.time) if len(holding) > 1 else None
        return result

    def changes(self) -> list[Event]:
        """Return what changed since the block began: nothing, if no address moved."""
        return [event for event in self.events if event.time > self._began]

    def moves(self, address: str) -> list[str]:
        """Return the nodes that got `address`, in order of time."""
        chosen = sorted((e for e in self.events if e.address == address and e.held), key=lambda event: event.time)
        return [event.node for event in chosen]

    def _read(self, name: str, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            found = _EVENT.match(line)
            if found and found["address"] in self._addresses:
                when = datetime.fromisoformat(found["time"]).timestamp()
                self.events.append(Event(when, name, found["address"], held=not found["deleted"]))
