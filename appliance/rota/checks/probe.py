"""One hard deadline over all steps of a check, name resolution included."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from rota.checks.verdict import Failure, Reason, Verdict


@dataclass
class Probe:
    """How far a check has come: it decides what a passed deadline means."""

    deadline: float
    started: float = field(default_factory=time.monotonic)
    doing: str = "starting"
    connected: bool = False
    received: int = 0
    extras: dict[str, object] = field(default_factory=dict)

    @property
    def remaining(self) -> float:
        """Seconds left, never below 0."""
        return max(0.0, self.started + self.deadline - time.monotonic())

    def late(self) -> tuple[Reason, str]:
        """Return reason and detail for a deadline that passed now."""
        if not self.connected:
            return Reason.TIMEOUT, f"no connection within {self.deadline:g} s ({self.doing})"
        if self.received == 0:
            return Reason.SILENT, f"connected, but no answer within {self.deadline:g} s ({self.doing})"
        return (
            Reason.TIMEOUT,
            f"not done within {self.deadline:g} s ({self.doing}, {self.received} bytes received)",
        )


async def run(question: Callable[[Probe], Awaitable[str]], deadline: float) -> Verdict:
    """Await `question` for at most `deadline` seconds and return what came of it.

    `question` returns the detail of a success, raises `Failure` for anything else, and holds no `await` that can last in
    its clean-up. ValueError for a deadline that is no positive number of seconds.
    """
    if not 0 < deadline < float("inf"):
        raise ValueError(f"timeout: {deadline:g} is not a number of seconds above 0")
    probe = Probe(deadline)
    try:
        async with asyncio.timeout(deadline):
            reason, detail = Reason.OK, await question(probe)
    except Failure as failure:
        reason, detail = failure.reason, failure.detail
        probe.extras.update(failure.extras)
    except TimeoutError:
        reason, detail = probe.late()
    elapsed = (time.monotonic() - probe.started) * 1000
    return Verdict(reason, detail, elapsed, probe.extras)
