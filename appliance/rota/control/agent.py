"""The answer to HAProxy's agent-check: one line per connection, and never a word that outlives its reason.

HAProxy (configuration manual, "agent-check") connects, sends `SERVICE/MEMBER` and reads one line. Only `up` and `down` are
ever said: drains and maintenance are the operators' and not an agent's to give or to take.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

HOST, PORT = "127.0.0.1", 8405
_LONGEST = 128  # a service's and a member's name have 32 characters each
_PATIENCE = 2.0  # seconds for the question
_MOST = 2000  # connections at once

# What is against new work for a member (service, member), in words; None when nothing is, or when nothing is known.
Objection = Callable[[tuple[str, str]], str | None]


def answer(question: bytes, objection: Objection) -> bytes:
    """The line for a question; `up` whenever there is any doubt, for doubt must not take a member out."""
    service, slash, member = question.strip().decode("ascii", "replace").partition("/")
    against = objection((service, member)) if slash else None
    if against is None:
        return b"up\n"
    # the words go to HAProxy's statistics: one line, plain characters, no second `#`
    plain = "".join(c if c.isascii() and c.isprintable() and c != "#" else " " for c in against)[:180]
    return f"down #{plain}\n".encode("ascii")


class _Line(asyncio.Protocol):
    """One connection. A protocol and no stream: a thousand members ask a hundred times a second, and this costs a third."""

    def __init__(self, objection: Objection, open_: set[asyncio.Transport]) -> None:
        self._objection = objection
        self._open = open_
        self._question = b""
        self._transport: asyncio.Transport | None = None
        self._end: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 (a TCP server makes no other)
        if len(self._open) >= _MOST:
            transport.abort()
            return
        self._transport = transport
        self._open.add(transport)
        self._end = asyncio.get_running_loop().call_later(_PATIENCE, transport.abort)

    def data_received(self, data: bytes) -> None:
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        self._question += data
        if b"\n" in self._question:
            transport.write(answer(self._question.partition(b"\n")[0], self._objection))
            transport.close()
        elif len(self._question) > _LONGEST:
            # no question, no answer: HAProxy changes nothing then
            transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._end is not None:
            self._end.cancel()
        if self._transport is not None:
            self._open.discard(self._transport)


class Agent:
    """The listener."""

    def __init__(self, objection: Objection) -> None:
        self._objection = objection
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.Transport] = set()

    @property
    def listening(self) -> bool:
        """Whether it was started."""
        return self._server is not None

    @property
    def port(self) -> int:
        """Where it listens."""
        assert self._server is not None  # noqa: S101 (started)
        return int(self._server.sockets[0].getsockname()[1])

    async def start(self, host: str = HOST, port: int = PORT) -> None:
        """Listen. OSError when the port is taken."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Line(self._objection, self._open), host, port, backlog=1024)

    async def close(self) -> None:
        """Listen no more, and end what is open."""
        if self._server is not None:
            self._server.close()
            for transport in list(self._open):
                transport.abort()
            await self._server.wait_closed()
            await asyncio.sleep(0)  # the turn in which they are really closed
