"""The last word of rotad, shared by all pages that show it: asked at most once a second, however many look.

A word that is old is not shown as true: `Reading.known` says whether it may be.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from rota.control.client import Declined, Silent
from rota.control.state import Status
from rota.web.views.words import taken_out

FRESH = 1.0  # seconds for which an answer serves everybody
RETRY = 2.0  # seconds between two tries while rotad is silent
GAP = 10.0  # a longer pause between two looks breaks a row of them


@dataclass(frozen=True)
class Reading:
    """What rotad said last. `status` None: it never answered since this app started."""

    number: int
    status: Status | None
    heard: datetime | None
    problem: str | None  # why there is nothing newer

    @property
    def known(self) -> bool:
        """Whether the status may be shown as true."""
        return self.problem is None and self.status is not None


class Watch:
    """Asks for the status when somebody looks. Safe for threads."""

    def __init__(self, ask: Callable[[], Status], *, clock: Callable[[], float] = time.monotonic) -> None:
        """`ask` raises Silent or Declined; `clock` counts seconds."""
        self._ask = ask
        self._clock = clock
        self._lock = threading.Lock()
        self._looked = float("-inf")
        self._reading = Reading(0, None, None, "rotad was not asked yet")
        self._idle: dict[tuple[str, str], int] = {}

    def now(self, *, anew: bool = False) -> Reading:
        """A reading that is at most a second old; `anew`: asked for after this call, as after an act."""
        with self._lock:
            age = self._clock() - self._looked
            if anew or age >= (FRESH if self._reading.known else RETRY):
                self._look(broken=age > GAP)
            return self._reading

    def _look(self, *, broken: bool) -> None:
        number = self._reading.number + 1
        try:
            status = self._ask()
        except (Silent, Declined) as problem:
            self._reading = Reading(number, self._reading.status, self._reading.heard, str(problem))
            self._idle.clear()
        else:
            self._reading = Reading(number, status, datetime.now(UTC), None)
            self._count(status, broken=broken)
        self._looked = self._clock()

    def _count(self, status: Status, *, broken: bool) -> None:
        """How many looks in a row each member that was taken out was idle, with nothing hidden."""
        blind = status.haproxy_problem is not None or any(not peer.reachable for peer in status.peers)
        before = {} if broken or blind else self._idle
        self._idle = {
            (service.name, member.name): before.get((service.name, member.name), 0) + 1
            for service in status.services
            for member in service.members
            if taken_out(member.intent) and not member.associations and not blind
        }

    def idle(self, keys: Iterable[tuple[str, str]]) -> int:
        """The least number of looks in a row for which all of `keys` were idle."""
        with self._lock:
            return min((self._idle.get(key, 0) for key in keys), default=0)
