"""The answer to HAProxy's agent-check: one line per connection, and never a word that outlives its reason.

HAProxy (configuration manual, "agent-check") connects, sends `SERVICE/MEMBER` and reads one line. Only `up` and `down` are
ever said: drains and maintenance are the operators' and not an agent's to give or to take.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable

log = logging.getLogger("rota.agent")

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


class Agent:
    """The listener."""

    def __init__(self, objection: Objection) -> None:
        self._objection = objection
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.Task[None]] = set()

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
        self._server = await asyncio.start_server(self._serve, host, port, limit=_LONGEST, backlog=1024)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._open.add(task)
            task.add_done_callback(self._open.discard)
        try:
            if len(self._open) <= _MOST:
                async with asyncio.timeout(_PATIENCE):
                    writer.write(answer(await reader.readuntil(b"\n"), self._objection))
                    await writer.drain()
        except (TimeoutError, OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # no question, no answer: HAProxy changes nothing then
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def close(self) -> None:
        """Listen no more, and end what is open."""
        if self._server is not None:
            self._server.close()
            for task in list(self._open):
                task.cancel()
            await asyncio.gather(*self._open, return_exceptions=True)
            await self._server.wait_closed()
