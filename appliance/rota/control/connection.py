"""Connections to the API: how many, how long they may stay silent, and what garbage gets for an answer."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from aiohttp import web

from rota.control.access import caller_of
from rota.control.state import Problem

log = logging.getLogger("rota.api")


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

    __slots__ = ("_counts", "_deadline", "_limits", "_refused", "_uid")

    def __init__(self, server: web.Server, counts: Counter[int], limits: Limits, **kwargs: Any) -> None:
        super().__init__(server, loop=asyncio.get_running_loop(), **kwargs)
        self._counts = counts
        self._limits = limits
        self._uid = -1
        self._refused = False
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._uid = _uid_of(transport.get_extra_info("socket"))
        self._counts[self._uid] += 1
        if self._counts[self._uid] > self._limits.connections and isinstance(transport, asyncio.Transport):
            self._refuse(transport)
            return
        self._deadline = asyncio.get_running_loop().call_later(self._limits.idle, self._give_up)

    def _refuse(self, transport: asyncio.Transport) -> None:
        """Say why, and close a moment later: closing at once would take the answer back, as the request is still unread."""
        self._refused = True
        if self._counts[self._uid] > 2 * self._limits.connections:
            transport.abort()
            return
        transport.write(_TOO_MANY)
        transport.write_eof()
        self._deadline = asyncio.get_running_loop().call_later(1.0, transport.abort)

    def data_received(self, data: bytes) -> None:
        if not self._refused:
            super().data_received(data)

    def connection_lost(self, exc: BaseException | None) -> None:
        self._counts[self._uid] -= 1
        if self._counts[self._uid] <= 0:
            del self._counts[self._uid]
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
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
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


async def connections(runner: web.AppRunner, sock: socket.socket, limits: Limits) -> asyncio.Server:
    """Accept connections on `sock` for the application of `runner`, which is set up already."""
    server = runner.server
    if server is None:
        raise ValueError("the runner is not set up")
    counts: Counter[int] = Counter()

    def connection() -> _Connection:
        return _Connection(server, counts, limits, keepalive_timeout=limits.idle, access_log=None)

    loop = asyncio.get_running_loop()
    if sock.family == socket.AF_UNIX:
        return await loop.create_unix_server(connection, sock=sock)
    return await loop.create_server(connection, sock=sock)
