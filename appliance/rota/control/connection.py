"""Connections to the API: how many, how long they may stay silent, and what garbage gets for an answer."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus

from aiohttp import web

from rota.control.access import caller_of
from rota.control.state import Problem

log = logging.getLogger("rota.api")
BACKLOG = 100  # callers that the kernel lets wait


@dataclass(frozen=True)
class Limits:
    """What callers may cost. Connections are counted by user, so that one user's flood leaves the others their share."""

    connections: int = 32  # per user
    streams: int = 32  # of everybody
    backlog: int = 1000  # events that a stream may be behind
    idle: float = 30.0  # s until a silent connection, or one that never finishes its first request, is closed


def problem(status: int, code: str, title: str, headers: Mapping[str, str] | None = None) -> web.Response:
    """An error as RFC 9457 has it."""
    body = Problem(status=status, code=code, title=title[:300]).model_dump_json()
    return web.Response(status=status, text=body, content_type="application/problem+json", headers=headers)


class _Connection(web.RequestHandler):
    """One connection. aiohttp answers what is no HTTP with text; here it gets a Problem like every other error."""

    __slots__ = ("_deadline", "_left", "_limits", "_refused", "made")

    def __init__(self, server: web.Server, limits: Limits, refused: bool, left: Callable[[], None]) -> None:
        """`left` is called when it is over; `refused` says that this user has too many."""
        super().__init__(server, loop=asyncio.get_running_loop(), keepalive_timeout=limits.idle, access_log=None)  # type: ignore[arg-type]
        self._limits = limits
        self._refused = refused
        self._left = left
        self.made = False
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.made = True
        loop = asyncio.get_running_loop()
        if self._refused and isinstance(transport, asyncio.Transport):
            # say why, and close a moment later: closing at once would take the answer back, as the request is still unread
            transport.write(_TOO_MANY)
            transport.write_eof()
            self._deadline = loop.call_later(1.0, transport.abort)
        else:
            self._deadline = loop.call_later(self._limits.idle, self._give_up)

    def data_received(self, data: bytes) -> None:
        if not self._refused:
            super().data_received(data)

    def connection_lost(self, exc: BaseException | None) -> None:
        self._left()
        self.began()
        super().connection_lost(exc)

    def began(self) -> None:
        """A request has come in whole: from here on aiohttp's own time-outs watch."""
        if self._deadline:
            self._deadline.cancel()
            self._deadline = None

    def _give_up(self) -> None:
        self.force_close()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer what aiohttp could not parse, without a traceback in the log: it is the caller's fault."""
        if isinstance(exc, ConnectionError):
            answer = problem(status, "gone", "the caller has left")  # nobody reads it
        elif status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            log.error("a request failed", exc_info=exc)
            answer = problem(status, "internal", "rotad met a fault of its own; its log has more")
        else:
            answer = problem(status, "bad-request", "that is no HTTP request")
        answer.force_close()
        return answer


def _uid_of(sock: socket.socket) -> int:
    try:
        return caller_of(sock).uid
    except (OSError, AttributeError):
        return -1


def began(request: web.BaseRequest) -> None:
    """Say that `request` has come, headers and all: its connection is no longer one that may never ask."""
    if isinstance(request.protocol, _Connection):
        request.protocol.began()


_BODY = Problem(status=503, code="too-many", title="this user has too many connections open").model_dump_json().encode()
_TOO_MANY = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/problem+json\r\nConnection: close\r\n"
    b"Content-Length: %d\r\n\r\n%s" % (len(_BODY), _BODY)
)


class Door:
    """Accepts connections for an application, and turns a user's flood away at once: one accept each, and no more.

    asyncio's own server makes all of a connection before anybody can look at it, and takes a hundred in a row.
    """

    def __init__(self, server: web.Server, limits: Limits) -> None:
        self._server = server
        self._limits = limits
        self._counts: Counter[int] = Counter()
        self._tasks: set[asyncio.Task[None]] = set()
        self._accepting: asyncio.Task[None] | None = None

    def open(self, listener: socket.socket) -> None:
        """Listen on a bound socket, which is this object's from now on."""
        listener.setblocking(False)
        listener.listen(BACKLOG)
        self._accepting = asyncio.create_task(self._accept(listener))

    async def _accept(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        with listener:
            while True:
                try:
                    link, _ = await loop.sock_accept(listener)
                except OSError as error:
                    # out of descriptors: others must have time to give some back
                    log.warning("accept: %s", error.strerror or error)
                    await asyncio.sleep(0.1)
                    continue
                uid = _uid_of(link)
                if self._counts[uid] >= 2 * self._limits.connections:
                    link.close()
                    # while somebody waits, `sock_accept` returns without a turn for the others
                    await asyncio.sleep(0)
                    continue
                self._counts[uid] += 1
                task = asyncio.create_task(self._serve(link, uid))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    async def _serve(self, link: socket.socket, uid: int) -> None:
        refused = self._counts[uid] > self._limits.connections
        protocol = _Connection(self._server, self._limits, refused, lambda: self._left(uid))
        try:
            await asyncio.get_running_loop().connect_accepted_socket(lambda: protocol, link)
        except OSError:
            link.close()
            if not protocol.made:
                self._left(uid)

    def _left(self, uid: int) -> None:
        self._counts[uid] -= 1
        if self._counts[uid] <= 0:
            del self._counts[uid]

    async def close(self) -> None:
        """Stop listening. Open connections are the application's to close."""
        tasks = [*self._tasks, *([self._accepting] if self._accepting else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
