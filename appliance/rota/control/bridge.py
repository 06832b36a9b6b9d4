"""Layer 4 follows layer 7's verdicts: one track file for each member of an IPVS service, read by keepalived's FILE_CHECK.

The brake: when most members of a service go down within one interval of their check, the network in front of the prober
is the likelier fault, and IPVS keeps its last state. It lets go when at least half are back, or after `hold` seconds if
the prober can still see a member (then its network works, and the others are really dead), or if the service names a
fallback: where callers shall go when nobody answers is then decided.

Fail static: a verdict that is unknown changes nothing, nor does a rotad that is dead.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from rota.control import atomic
from rota.control.clock import Clock
from rota.control.state import IntentState, Verdict
from rota.model import Service

log = logging.getLogger("rota.bridge")

FULL = 0
NO_NEW_WORK = -1000  # below every weight (0 to 256): weight 0
REMOVED = -(2**31)
HOLD = 60.0


@dataclass
class _Held:
    """What the bridge knows of one service."""

    written: dict[str, int] = field(default_factory=dict)  # by rotad or one before it; a missing file counts as up
    by_word: set[str] = field(default_factory=set)  # members whose file shows an operator's word
    falls: dict[str, float] = field(default_factory=dict)  # member → when it fell
    braked_at: float | None = None


def window_of(service: Service) -> float:
    """Seconds within which every member has been asked once and judged."""
    check = service.check
    return (check.interval + check.fall * (check.fast_interval + check.timeout)) / 1000


class Bridge:
    """Writes the track files in `folder`. `report` is told when a brake takes hold or lets go: (service, on, why)."""

    def __init__(self, folder: Path, clock: Clock, report: Callable[[str, bool, str], None], *, hold: float = HOLD) -> None:
        self._folder = folder
        self._clock = clock
        self._report = report
        self._hold = hold
        self._services: dict[str, _Held] = {}
        self.problem: str | None = None

    def path(self, service: str, member: str) -> Path:
        """The track file of a member."""
        return self._folder / f"{service}.{member}"

    def braked(self, service: str) -> bool:
        """Whether a service's layer 4 holds its last state."""
        held = self._services.get(service)
        return held is not None and held.braked_at is not None

    def update(self, name: str, service: Service, verdicts: dict[str, Verdict], intents: dict[str, IntentState]) -> None:
        """Bring the files of one layer 4 service in line."""
        held = self._services.setdefault(name, _Held())
        for member in service.members:
            if member not in held.written:
                held.written[member] = self._read(name, member)
        self._brake(name, service, held, verdicts, intents)
        for member in service.members:
            value = self._wanted(held, member, verdicts[member], intents[member])
            missing = not self.path(name, member).exists() if value is not None else False
            if value is not None and (value != held.written[member] or missing):
                self._write(name, member, value)
                if self.problem is None:
                    held.written[member] = value

    def _wanted(self, held: _Held, member: str, verdict: Verdict, intent: IntentState) -> int | None:
        if intent is not IntentState.READY:
            held.by_word.add(member)
            return REMOVED if intent is IntentState.HALT else NO_NEW_WORK
        after_word = member in held.by_word
        if held.braked_at is not None:
            # whoever fell within the interval goes back to what it was; an operator's `ready` still counts
            held.by_word.discard(member)
            return FULL if member in held.falls or after_word else None
        if verdict is Verdict.UNKNOWN:
            if after_word or held.written[member] == NO_NEW_WORK:
                held.by_word.discard(member)
                return FULL  # only an operator ever wrote this; without a word against it, a missing verdict means up
            return None
        held.by_word.discard(member)
        return FULL if verdict is not Verdict.DOWN else REMOVED

    def _brake(
        self, name: str, service: Service, held: _Held, verdicts: dict[str, Verdict], intents: dict[str, IntentState]
    ) -> None:
        now = self._clock.steady()
        window = window_of(service)
        judged = [m for m in service.members if intents[m] is IntentState.READY]
        down = {m for m in judged if verdicts[m] is Verdict.DOWN}
        if held.braked_at is not None:
            seen = any(verdicts[m] is Verdict.UP for m in judged)
            fallback = service.fallback is not None
            held.falls = {m: held.falls.get(m, now) for m in held.falls if m in down} | {
                m: now for m in down if held.written[m] == FULL and m not in held.falls
            }
            if len(down) * 2 <= len(judged):
                self._release(name, held, "at least half of the members answer again")
            elif (seen or fallback) and now - held.braked_at >= self._hold:
                why = (
                    "the others still answer, so these are really down"
                    if seen
                    else "nobody answers: the fallback takes over"
                )
                self._release(name, held, f"after {self._hold:g} s {why}")
            return
        for member in down:
            if held.written[member] == FULL and member not in held.falls:
                held.falls[member] = now
        held.falls = {m: at for m, at in held.falls.items() if m in down and now - at <= window}
        before = {m for m in judged if held.written[m] == FULL} | held.falls.keys()
        if len(held.falls) >= 2 and len(held.falls) * 2 > len(before):
            held.braked_at = now
            self._report(name, True, f"{len(held.falls)} of {len(before)} members went down within {window:g} s")

    def _release(self, name: str, held: _Held, why: str) -> None:
        held.braked_at = None
        # those who are down now are no new fall: the brake was for them
        held.falls = {member: float("-inf") for member in held.falls}
        self._report(name, False, why)

    def _read(self, service: str, member: str) -> int:
        try:
            value = int(self.path(service, member).read_text())
        except (OSError, ValueError):
            return FULL  # so keepalived reads it, too
        return FULL if value >= 0 else REMOVED if value <= REMOVED else NO_NEW_WORK

    def _write(self, service: str, member: str, value: int) -> None:
        try:
            atomic.write(self.path(service, member), f"{value}\n", mode=0o644, durable=False)
        except OSError as error:
            self.problem = f"a track file of {service} cannot be written: {error.strerror}"
            return
        self.problem = None

    def forget(self, keep: set[str]) -> None:
        """A new model: services that are gone are forgotten; their files stay, keepalived no longer reads them."""
        for name in self._services.keys() - keep:
            del self._services[name]
