"""A caller: opens associations and holds them, or says how it was refused.

By hand, over one socket and without threads: pynetdicom takes a rejection that is followed at once by the end of the
connection for a cut, about once in 13 times, and leaves its socket to the garbage collector then. What real callers make
of Rota's answers is DCMTK's to say (`dcmtk_echo`), and pynetdicom's in tests/pair.
"""

from __future__ import annotations

import socket
import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from peers.dicom import ABORT, ECHO_RQ, IMPLICIT, command, item, p_data, pdu, read_command
from peers.servers import ensure, find

VERIFICATION = b"1.2.840.10008.1.1"
RELEASE_RQ = pdu(5, bytes(4))


@dataclass(frozen=True)
class Refusal:
    """The three numbers of an A-ASSOCIATE-RJ (PS3.8 Table 9-21)."""

    result: int
    source: int
    reason: int


CALLING_NOT_RECOGNISED = Refusal(1, 1, 3)
CALLED_NOT_RECOGNISED = Refusal(1, 1, 7)
LIMIT_EXCEEDED = Refusal(2, 3, 2)


def request(called: str, calling: str) -> bytes:
    """An A-ASSOCIATE-RQ with one presentation context, Verification (PS3.8 9.3.2)."""
    context = item(0x20, bytes([1, 0, 0, 0]) + item(0x30, VERIFICATION) + item(0x40, IMPLICIT))
    user = item(0x50, item(0x51, struct.pack(">L", 16384)) + item(0x52, b"2.25.1"))
    titles = called.encode().ljust(16) + calling.encode().ljust(16)
    return pdu(1, b"\x00\x01\x00\x00" + titles + bytes(32) + item(0x10, b"1.2.840.10008.3.1.1.1") + context + user)


class Association:
    """An association that stands."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock

    def echo(self) -> int:
        """C-ECHO: its status. Raises OSError when the association is cut."""
        elements = {0x0002: VERIFICATION + b"\0", 0x0100: struct.pack("<H", ECHO_RQ), 0x0110: b"\1\0", 0x0800: b"\1\1"}
        self._sock.sendall(p_data(1, 3, command(elements)))
        kind, body = read_pdu(self._sock)
        if kind != 4:
            raise ConnectionAbortedError(f"PDU type {kind} in place of a C-ECHO-RSP")
        return int(struct.unpack("<H", read_command(body[6:])[0x0900])[0])

    def release(self) -> None:
        """End it in good order: A-RELEASE-RQ, and the answer to it."""
        self._sock.sendall(RELEASE_RQ)
        with suppress(OSError):
            read_pdu(self._sock)
        self._sock.close()

    def abort(self) -> None:
        """End it with an A-ABORT."""
        self._sock.sendall(ABORT)
        self._sock.close()

    @property
    def stands(self) -> bool:
        """Nobody on this side has ended it."""
        return self._sock.fileno() >= 0

    def close(self) -> None:
        """Give the socket back, whatever became of the association."""
        self._sock.close()


def read_pdu(sock: socket.socket) -> tuple[int, bytes]:
    """Type and body of the next PDU. Raises OSError when there is none."""

    def exactly(size: int) -> bytes:
        data = b""
        while len(data) < size:
            piece = sock.recv(size - len(data))
            if not piece:
                raise ConnectionAbortedError("closed in place of a PDU")
            data += piece
        return data

    kind, _, length = struct.unpack(">BBL", exactly(6))
    return kind, exactly(length)


def _associate(host: str, port: int, called: str, calling: str, source: str | None) -> Association | Refusal:
    """Raises OSError when the connection is refused or cut."""
    sock = socket.create_connection((host, port), 5, (source, 0) if source else None)
    try:
        sock.settimeout(15)
        sock.sendall(request(called, calling))
        kind, body = read_pdu(sock)
    except OSError:
        sock.close()
        raise
    if kind == 2:
        return Association(sock)
    sock.close()
    if kind == 3:
        return Refusal(*body[1:4])
    raise ConnectionAbortedError(f"PDU type {kind} in place of an answer to A-ASSOCIATE-RQ")


@contextmanager
def association(
    port: int, called: str = "PACS", calling: str = "CT1", *, host: str = "127.0.0.100", source: str | None = None
) -> Iterator[Association]:
    """An association that stands; released at the end."""
    held = _associate(host, port, called, calling, source)
    assert isinstance(held, Association), held
    try:
        yield held
        if held.stands:
            held.release()
    finally:
        held.close()


def echo(
    port: int, called: str = "PACS", calling: str = "CT1", *, host: str = "127.0.0.100", source: str | None = None
) -> Refusal | int | None:
    """C-ECHO: its status, how the association was refused, or None when it was refused or cut without a word."""
    try:
        held = _associate(host, port, called, calling, source)
        if isinstance(held, Refusal):
            return held
        try:
            status = held.echo()
            held.release()
        finally:
            held.close()
    except OSError:
        return None
    return status


def dcmtk_echo(port: int, called: str = "PACS", calling: str = "CT1", host: str = "127.0.0.100") -> tuple[int, str]:
    """What DCMTK's echoscu says."""
    ensure("storescp")
    argv = [find("echoscu") or "echoscu", "-to", "5", "-ta", "10", "-aec", called, "-aet", calling, host, str(port)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=30, check=False)
    return done.returncode, done.stderr + done.stdout
