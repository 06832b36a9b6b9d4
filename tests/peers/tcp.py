"""A TCP server in threads that runs one scripted conversation per connection."""

from __future__ import annotations

import contextlib
import itertools
import os
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import TracebackType

Talk = Callable[["Conversation"], None]


class Gone(Exception):
    """The other side closed the connection, or the test is over: the conversation ends here."""


@dataclass(frozen=True)
class Case:
    """What a peer does, the reason that a check gives for it, and the passing twin of a failing case."""

    talk: Talk
    reason: str = "ok"
    twin: str | None = None


class Conversation:
    """The server's end of one connection."""

    def __init__(self, sock: socket.socket, stopping: threading.Event) -> None:
        self.sock = sock
        self.stopping = stopping
        self.received = bytearray()

    def read(self, size: int) -> bytes:
        """Return exactly `size` bytes."""
        data = b""
        while len(data) < size:
            piece = self._recv(size - len(data))
            data += piece
        return data

    def read_until(self, end: bytes) -> bytes:
        """Return everything up to and with `end`."""
        data = b""
        while not data.endswith(end):
            data += self._recv(1)
        return data

    def pdu(self) -> tuple[int, bytes]:
        """Return type and body of the next DICOM PDU."""
        kind, _, length = struct.unpack(">BBL", self.read(6))
        return kind, self.read(length)

    def send(self, data: bytes, piece: int | None = None, gap: float = 0.0) -> None:
        """Send `data`, in pieces of `piece` bytes with `gap` seconds between them."""
        size = piece or len(data) or 1
        for start in range(0, len(data), size):
            if start and self.stopping.wait(gap):
                raise Gone
            try:
                self.sock.sendall(data[start : start + size])
            except OSError as exc:
                raise Gone from exc

    def hold(self) -> None:
        """Say nothing until the other side goes away."""
        while True:
            self._recv(65536)

    def reset(self) -> None:
        """End the connection with a TCP reset."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()
        raise Gone

    def _recv(self, size: int) -> bytes:
        try:
            data = self.sock.recv(size)
        except OSError as exc:
            raise Gone from exc
        if not data:
            raise Gone
        self.received += data
        return data


class TcpPeer:
    """Listens on a free port of `host` and runs `talk` for every connection. A context manager."""

    def __init__(self, talk: Talk, *, host: str = "127.0.0.1", tls: ssl.SSLContext | None = None) -> None:
        self.talk = talk
        self.host = host
        self.tls = tls
        self.port = 0
        self.connections = 0
        self.conversations: list[Conversation] = []
        self._errors: list[BaseException] = []
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []

    @property
    def hostport(self) -> str:
        """HOST:PORT as the command line takes it."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def __enter__(self) -> TcpPeer:
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        self._listener = socket.create_server((self.host, 0), family=family)
        self.port = self._listener.getsockname()[1]
        self._spawn(self._accept)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stopping.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for conversation in self.conversations:
            with contextlib.suppress(OSError):
                conversation.sock.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(5)
            assert not thread.is_alive(), "a peer's thread did not end"
        if error is None and self._errors:
            raise self._errors[0]

    def _spawn(self, target: Callable[[], None]) -> None:
        thread = threading.Thread(target=target, name="peer", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            # Or Nagle's algorithm would glue the pieces together that a case sends one by one.
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            conversation = Conversation(sock, self._stopping)
            self.conversations.append(conversation)
            if self._stopping.is_set():
                sock.close()
                return
            self._spawn(lambda conversation=conversation: self._run(conversation))  # type: ignore[misc]

    def _run(self, conversation: Conversation) -> None:
        try:
            if self.tls is not None:
                # A handshake that the other side does not finish would outlive the test.
                conversation.sock.settimeout(5)
                conversation.sock = self.tls.wrap_socket(conversation.sock, server_side=True)
                conversation.sock.settimeout(None)
            self.talk(conversation)
        except (Gone, OSError):  # ssl.SSLError is an OSError
            pass
        except BaseException as exc:
            self._errors.append(exc)
        finally:
            conversation.sock.close()


def silent(talk: Conversation) -> None:
    """Take the connection and say nothing."""
    talk.hold()


def closes(_talk: Conversation) -> None:
    """Close at once."""


def closes_after_request(talk: Conversation) -> None:
    """Read something, then close without a word."""
    talk._recv(65536)


def resets(talk: Conversation) -> None:
    """Reset the connection at once."""
    talk.reset()


def resets_after_request(talk: Conversation) -> None:
    """Read something, then reset."""
    talk._recv(65536)
    talk.reset()


def says(data: bytes, *, piece: int | None = None, gap: float = 0.0, first: bool = False) -> Talk:
    """Answer with `data` whatever was asked (or before anything is asked), and then keep the connection."""

    def talk(conversation: Conversation) -> None:
        if not first:
            conversation._recv(65536)
        conversation.send(data, piece, gap)
        conversation.hold()

    return talk


HTTP_PAGE = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
SSH_BANNER = b"SSH-2.0-OpenSSH_9.2\r\n"
GARBAGE = bytes(range(255, 127, -1))


# Below the ports that the kernel gives to callers (net.ipv4.ip_local_port_range): between the choice and its use a check
# or a caller could otherwise be given the same one. Two processes begin at different places.
_PORTS = itertools.cycle(range(10_000, 30_000))
for _ in range(os.getpid() * 101 % 20_000):
    next(_PORTS)


def free_port(host: str = "127.0.0.1") -> int:
    """Return a port on which nothing listens now, and which this process has not been given lately."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for port in _PORTS:
        with contextlib.suppress(OSError), socket.create_server((host, port), family=family):
            return port
    raise AssertionError("unreachable: the ports go round")


@contextlib.contextmanager
def full_backlog(host: str = "127.0.0.1") -> Iterator[int]:
    """Give a port that does not answer connection requests any more: its queue is full, as behind a firewall that drops."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind((host, 0))
        listener.listen(0)
        port = listener.getsockname()[1]
        for _ in range(4):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex((host, port))
        yield port
