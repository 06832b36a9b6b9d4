"""Alarms go out to people, and events to the site's log; what cannot be delivered waits, and is itself an alarm."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

from rota.control.notice.desk import Desk, Notice
from rota.control.notice.settings import Settings, read
from rota.control.notice.ways import Mail, Syslog, Undelivered, Webhook

if TYPE_CHECKING:
    from rota.control.config import Config
    from rota.control.core import Core

log = logging.getLogger("rota.notices")

_TICK = 1.0
_MOST = 1000  # that wait for one way; the oldest go first
_OLD = 3600.0  # seconds after which a notice is no news
_PAUSES = (5.0, 15.0, 60.0, 300.0)


class Way(Protocol):
    """Takes one thing and delivers it, or raises Undelivered."""

    name: str

    async def send(self, item: Any) -> None:
        """Deliver."""


def ways(settings: Settings) -> tuple[list[Way], Syslog | None]:
    """The ways for notices, and the one for all events."""
    found: list[Way] = []
    if settings.mail is not None:
        found.append(Mail(settings.mail))
    if settings.webhook is not None:
        found.append(Webhook(settings.webhook))
    return found, Syslog(settings.syslog) if settings.syslog is not None else None


class Outbox:
    """What waits for one way, and the task that sends it."""

    def __init__(self, way: Way, core: Core, *, most: int = _MOST, pauses: Sequence[float] = _PAUSES) -> None:
        self.way = way
        self._core = core
        self._most, self._pauses = most, pauses
        self._waiting: deque[tuple[float, Any]] = deque()
        self._there = asyncio.Event()
        self._lost = 0

    def put(self, item: Any) -> None:
        """Send soon."""
        if len(self._waiting) >= self._most:
            self._waiting.popleft()
            self._lost += 1
        self._waiting.append((self._core.clock.steady(), item))
        self._there.set()

    async def run(self) -> None:
        """Send for ever, one after the other."""
        failures = 0
        while True:
            await self._there.wait()
            while self._waiting:
                at, item = self._waiting[0]
                if isinstance(item, Notice) and self._core.clock.steady() - at > _OLD:
                    self._waiting.popleft()
                    self._lost += 1
                    continue
                try:
                    await self.way.send(item)
                except Undelivered as problem:
                    self._fails(str(problem))
                    await asyncio.sleep(self._pauses[min(failures, len(self._pauses) - 1)])
                    failures += 1
                except Exception:
                    # whatever it is about this item, the next ones must not wait for it
                    log.exception("%s: one message is dropped", self.way.name)
                    self._done(item)
                else:
                    failures = 0
                    self._done(item)
                    self._core.board.clear(f"undelivered:{self.way.name}")
            self._there.clear()

    def _done(self, item: Any) -> None:
        # a full box may have let it go meanwhile
        if self._waiting and self._waiting[0][1] is item:
            self._waiting.popleft()

    def _fails(self, why: str) -> None:
        lost = f", {self._lost} are lost" if self._lost else ""
        text = f"{self.way.name} cannot be delivered: {why}; {len(self._waiting)} wait{lost}"
        self._core.board.raise_(f"undelivered:{self.way.name}", "warning", text)


class Notices:
    """The part. It does nothing when table [alarms] names no way out."""

    def __init__(self, core: Core, settings: Settings) -> None:
        self._core = core
        self._desk = Desk(core.node, core.site.site.name, settings.policy, core.clock.steady, core.clock.now)
        found, syslog = ways(settings)
        self._outboxes = [Outbox(way, core) for way in found]
        self._syslog = syslog
        self._forward = Outbox(syslog, core, most=10 * _MOST) if syslog is not None else None
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Begin."""
        boxes = [*self._outboxes, *([self._forward] if self._forward else [])]
        if boxes:
            work = [*(box.run() for box in boxes), self._listen(), self._watch()]
            self._tasks = [asyncio.create_task(coroutine) for coroutine in work]

    async def _listen(self) -> None:
        core = self._core
        while True:
            async for event in core.subscribe():
                if event.kind == "alarm" and event.node != core.node and event.member:
                    (self._desk.peer_raised if event.after == "raised" else self._desk.peer_cleared)(event.member)
                # each node forwards its own: both together have all, once
                if self._forward is not None and event.node == core.node:
                    self._forward.put(event)

    async def _watch(self) -> None:
        core = self._core
        while True:
            heard = [view.node for view in core.peers.views.values() if view.reachable]
            for notice in self._desk.look(core.board.current(), speaks=core.node <= min([core.node, *heard])):
                log.info("notice=%s alarm=%s", notice.kind, notice.key)
                for box in self._outboxes:
                    # that mail does not arrive is not told by mail
                    if notice.key != f"undelivered:{box.way.name}":
                        box.put(notice)
            await asyncio.sleep(_TICK)

    async def close(self) -> None:
        """End; what waits is lost, and the journal has it."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._syslog is not None:
            with contextlib.suppress(Exception):
                await self._syslog.close()


async def start(core: Core, config: Config) -> Notices:
    """Begin; close what is returned to end it. Raises BadConfig for a mistake in table [alarms]."""
    part = Notices(core, read(config.raw))
    await part.start()
    return part
