"""A byte stream to a peer, plain or TLS, that counts what came and maps every failure to a reason.

TLS runs over memory buffers here (ssl.MemoryBIO) instead of asyncio's own transport: only so is it known whether the
peer said anything at all before a handshake stalled, and closing never waits for the peer.
"""

from __future__ import annotations

import asyncio
import contextlib
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

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, probe: Probe) -> None:
        self._reader = reader
        self._writer = writer
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
        with contextlib.suppress(OSError, ssl.SSLError):
            if self._tls is not None:
                self._tls.write(data)
                data = self._outgoing.read()
            self._writer.write(data)

    async def close(self) -> None:
        """Close at once: what the peer still has to say is of no interest, and must not cost time."""
        transport = self._writer.transport
        if transport.get_write_buffer_size():
            transport.abort()
        else:
            transport.close()
        await asyncio.sleep(0)  # lets the loop run the transport's own clean-up

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
        try:
            self._writer.write(data)
            await self._writer.drain()
        except OSError as exc:
            raise self._closed() from exc

    async def _receive(self) -> bytes:
        try:
            data = await self._reader.read(_CHUNK)
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
    sock = await connect(address, probe)
    reader, writer = await asyncio.open_connection(sock=sock)
    wire = Wire(reader, writer, probe)
    try:
        if tls is not None:
            await wire.start_tls(tls, address.host)
        yield wire
    finally:
        await wire.close()
