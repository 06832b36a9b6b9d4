"""A byte stream to a peer, plain or TLS, that counts what came and maps every failure to a reason.

asyncio's own transports are not used: they throw away what was received before an error, know nothing of bytes within a
TLS handshake, and wait for the peer when they close. TLS runs over memory buffers (ssl.MemoryBIO) instead.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from typing import TypeVar

from rota.checks.net import Address, connect
from rota.checks.probe import Probe
from rota.checks.trust import Tls, tls_failure
from rota.checks.verdict import Failure, Reason

T = TypeVar("T")
_CHUNK = 65536


class Wire:
    """One connection. Use `opened` to make it."""

    def __init__(self, sock: socket.socket, probe: Probe) -> None:
        self._sock = sock
        self._loop = asyncio.get_running_loop()
        self._probe = probe
        self._unread = b""
        self._tls: ssl.SSLObject | None = None
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()

    @property
    def tls(self) -> ssl.SSLObject | None:
        """The TLS session, or None on a plain connection."""
        return self._tls

    async def start_tls(self, tls: Tls, host: str) -> None:
        """Shake hands. Any refusal, by them or by us, is a `Failure` with reason tls or expired."""
        if self._unread:
            # what came in the clear must not pass for what TLS protects
            raise Failure(Reason.BAD_ANSWER, f"{len(self._unread)} bytes more than the answer before TLS")
        self._probe.doing = "TLS handshake"
        try:
            self._tls = tls.context().wrap_bio(self._incoming, self._outgoing, server_hostname=tls.server_name or host)
        except ValueError as exc:
            raise Failure(Reason.TLS, f"{tls.server_name or host}: not a server name") from exc
        try:
            await self._pump(self._tls.do_handshake)
        except Failure as failure:
            if failure.reason is Reason.CLOSED:
                raise Failure(Reason.TLS, "the server ended the connection during the TLS handshake") from failure
            raise

    async def read(self, limit: int = _CHUNK) -> bytes:
        """Return what comes next, at least one byte; a closed connection is a `Failure`."""
        if self._unread:
            data, self._unread = self._unread[:limit], self._unread[limit:]
            return data
        session = self._tls
        data = await self._receive() if session is None else await self._pump(lambda: session.read(_CHUNK))
        if not data:
            raise self._closed()
        self._unread = data[limit:]
        return data[:limit]

    async def read_exactly(self, size: int) -> bytes:
        """Return `size` bytes, however small the pieces in which they come."""
        data = bytearray()
        while len(data) < size:
            data += await self.read(size - len(data))
        return bytes(data)

    async def write(self, data: bytes) -> None:
        """Send all of `data`."""
        session = self._tls
        if session is None:
            await self._send(data)
        else:
            await self._pump(lambda: session.write(data))

    def farewell(self, data: bytes) -> None:
        """Send `data` if it can go at once; never wait, never fail."""
        with contextlib.suppress(OSError):  # ssl.SSLError is one
            if self._tls is not None:
                self._tls.write(data)
                data = self._outgoing.read()
            self._sock.send(data)

    async def _pump(self, step: Callable[[], T]) -> T:
        """Run a TLS step again and again, moving bytes between the buffers and the socket."""
        while True:
            try:
                result = step()
            except ssl.SSLWantReadError:
                await self._flush()
                data = await self._receive()
                if data:
                    self._incoming.write(data)
                else:
                    self._incoming.write_eof()
            except (ssl.SSLEOFError, ssl.SSLZeroReturnError) as exc:
                raise self._closed() from exc
            except ssl.SSLError as exc:
                # The alert that tells the server why.
                with contextlib.suppress(Failure):
                    await self._flush()
                raise tls_failure(exc) from exc
            else:
                await self._flush()
                return result

    async def _flush(self) -> None:
        if self._outgoing.pending:
            await self._send(self._outgoing.read())

    async def _send(self, data: bytes) -> None:
        # A server that refuses may say why and close before it has read everything. Its last words are still there to be
        # read, so a failure to send is none yet: the next read tells.
        with contextlib.suppress(OSError):
            await self._loop.sock_sendall(self._sock, data)

    async def _receive(self) -> bytes:
        try:
            data = await self._loop.sock_recv(self._sock, _CHUNK)
        except OSError as exc:
            raise self._closed() from exc
        self._probe.received += len(data)
        return data

    def _closed(self) -> Failure:
        return Failure(
            Reason.CLOSED,
            f"the server ended the connection ({self._probe.doing}, {self._probe.received} bytes received)",
        )


@contextlib.asynccontextmanager
async def opened(address: Address, probe: Probe, tls: Tls | None = None) -> AsyncIterator[Wire]:
    """Connect, shake hands if `tls` is given, and close at the end whatever happened."""
    # The connection is closed at once in the end: what the peer still has to say must not cost time.
    with await connect(address, probe) as sock:
        wire = Wire(sock, probe)
        if tls is not None:
            await wire.start_tls(tls, address.host)
        yield wire
