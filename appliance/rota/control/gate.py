"""A listener for TLS that bounds who is still shaking hands: before the handshake anybody on the network may come.

Strangers share few places and one source gets fewer; known peers have places of their own, so a flood keeps nobody out
who belongs here. Whoever finds no place is closed at once, and costs one accept.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
from collections import Counter
from collections.abc import Callable, Collection

log = logging.getLogger("rota.gate")

HANDSHAKE = 3.0  # seconds
STRANGERS = 16  # places of all unknown sources together
EACH = 8  # places of one source
BACKLOG = 32


class Gate:
    """Accepts on one address and port. `known` gives the addresses that have places of their own."""

    def __init__(self, known: Callable[[], Collection[str]]) -> None:
        self._known = known
        self._socket: socket.socket | None = None
        self._accepting: asyncio.Task[None] | None = None
        self._shaking: Counter[str] = Counter()
        self._tasks: set[asyncio.Task[None]] = set()
        self.refused = 0

    @property
    def shaking(self) -> int:
        """How many handshakes are under way."""
        return self._shaking.total()

    def start(self, host: str, port: int, factory: Callable[[], asyncio.BaseProtocol], context: ssl.SSLContext) -> int:
        """Listen; returns the port. Raises OSError when that is not possible."""
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._socket = socket.create_server((host, port), family=family, backlog=BACKLOG, reuse_port=False)
        self._socket.setblocking(False)
        self._accepting = asyncio.create_task(self._accept(self._socket, factory, context))
        return int(self._socket.getsockname()[1])

    async def _accept(
        self, listener: socket.socket, factory: Callable[[], asyncio.BaseProtocol], context: ssl.SSLContext
    ) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, address = await loop.sock_accept(listener)
            except OSError as error:
                # out of descriptors: others must have time to give some back
                log.warning("accept: %s", error.strerror or error)
                await asyncio.sleep(0.1)
                continue
            source = str(address[0])
            if not self._has_place(source):
                self.refused += 1
                connection.close()
                # while somebody waits, `sock_accept` returns without a turn for the others
                await asyncio.sleep(0)
                continue
            self._shaking[source] += 1
            task = asyncio.create_task(self._shake(connection, source, factory, context))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def _has_place(self, source: str) -> bool:
        known = set(self._known())
        if self._shaking[source] >= EACH:
            return False
        return source in known or sum(n for s, n in self._shaking.items() if s not in known) < STRANGERS

    async def _shake(
        self, connection: socket.socket, source: str, factory: Callable[[], asyncio.BaseProtocol], context: ssl.SSLContext
    ) -> None:
        try:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await asyncio.get_running_loop().connect_accepted_socket(
                factory, connection, ssl=context, ssl_handshake_timeout=HANDSHAKE, ssl_shutdown_timeout=1.0
            )
        except (OSError, ssl.SSLError):
            connection.close()  # a stranger, or gone: nothing that anybody has to look at
        finally:
            self._shaking[source] -= 1
            if not self._shaking[source]:
                del self._shaking[source]

    async def close(self) -> None:
        """Stop listening, and end every handshake."""
        tasks = [*self._tasks, *([self._accepting] if self._accepting else [])]
        for task in tasks:
            task.cancel()
        with contextlib.suppress(Exception):
            await asyncio.gather(*tasks, return_exceptions=True)
        if self._socket is not None:
            self._socket.close()
            self._socket = None
