"""Addresses, names and TCP connections, with every failure told apart."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import ipaddress
import os
import socket
import threading
from dataclasses import dataclass
from typing import Any

from rota.checks.probe import Probe
from rota.checks.verdict import Failure, Reason

AddressInfo = tuple[socket.AddressFamily, socket.SocketKind, int, str, tuple[Any, ...]]


@dataclass(frozen=True)
class Address:
    """A host (name or IP literal) and a TCP port."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Address:
        """Read `HOST:PORT`, `192.0.2.10:104` or `[2001:db8::10]:104`; ValueError with one clear line otherwise."""
        if text.startswith("["):
            host, bracket, rest = text[1:].partition("]")
            if not bracket or not rest.startswith(":"):
                raise ValueError(f"{text}: write an IPv6 address as [ADDRESS]:PORT")
            if not _is_ip(host):
                raise ValueError(f"{text}: {host} is not an IPv6 address")
            port = rest[1:]
        else:
            host, colon, port = text.rpartition(":")
            if not colon or not host:
                raise ValueError(f"{text}: write HOST:PORT")
            if ":" in host:
                raise ValueError(f"{text}: write an IPv6 address as [ADDRESS]:PORT")
        if any(c.isspace() or not c.isprintable() for c in host) or not host.isascii() or len(host) > 253:
            raise ValueError(f"{text!r}: not a host name")
        return cls(host, parse_port(port, text))

    @property
    def is_ip(self) -> bool:
        """Whether the host is an IP literal, so that no name service is asked."""
        return _is_ip(self.host)

    def __str__(self) -> str:
        """Return the address as `parse` reads it."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_port(text: str, where: str) -> int:
    """Read a TCP port; ValueError that quotes `where`."""
    # str.isdigit alone would let "²" through, which int() refuses.
    if text.isascii() and text.isdigit() and len(text) <= 5 and 1 <= int(text) <= 65535:
        return int(text)
    raise ValueError(f"{where}: {text or 'nothing'} is not a port (1–65535)")


def _is_ip(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


async def resolve(address: Address) -> list[AddressInfo]:
    """Return the addresses of a host, best first.

    getaddrinfo(3) cannot be cancelled, and Python waits for its thread pools at exit: only a daemon thread of our own
    keeps the deadline when no name server answers.
    """
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[list[AddressInfo]] = loop.create_future()

    def settle(result: list[AddressInfo] | None, problem: Exception | None) -> None:
        if answer.done():
            return
        if problem is not None:
            answer.set_exception(problem)
        else:
            answer.set_result(result or [])

    def ask() -> None:
        result: list[AddressInfo] | None = None
        problem: Exception | None = None
        try:
            result = list[AddressInfo](socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM))
        except (OSError, UnicodeError) as exc:
            problem = exc
        with contextlib.suppress(RuntimeError):  # the loop may be closed by now
            loop.call_soon_threadsafe(settle, result, problem)

    if address.is_ip:
        ask()
    else:
        threading.Thread(target=ask, name="rota-resolve", daemon=True).start()
    try:
        found = await answer
    except socket.gaierror as exc:
        raise Failure(Reason.UNKNOWN_HOST, f"{address.host}: {exc.strerror}") from exc
    except (OSError, UnicodeError) as exc:
        raise Failure(Reason.UNKNOWN_HOST, f"{address.host}: not a usable host name") from exc
    if not found:
        raise Failure(Reason.UNKNOWN_HOST, f"{address.host}: no address")
    return found


def connect_failure(exc: OSError, where: str) -> Failure:
    """Say what an error of connect(2) means."""
    if exc.errno == errno.ECONNREFUSED:
        return Failure(Reason.REFUSED, f"{where}: connection refused")
    if exc.errno == errno.ETIMEDOUT:
        return Failure(Reason.TIMEOUT, f"{where}: no answer to the connection request")
    if isinstance(exc, ConnectionResetError | BrokenPipeError):
        return Failure(Reason.CLOSED, f"{where}: the server reset the connection at once")
    text = os.strerror(exc.errno).lower() if exc.errno else (exc.strerror or type(exc).__name__)
    return Failure(Reason.UNREACHABLE, f"{where}: {text}")


async def _connect(sock: socket.socket, sockaddr: Any) -> None:
    try:
        await asyncio.get_running_loop().sock_connect(sock, sockaddr)
    except ConnectionResetError:
        # A server at its limit may refuse and reset before we have looked: what it said is still there to be read.
        said = b""
        with contextlib.suppress(OSError):
            said = sock.recv(1, socket.MSG_PEEK)
        if not said:
            raise


async def connect(address: Address, probe: Probe) -> socket.socket:
    """Open a TCP connection to the first address of the host that takes one."""
    probe.doing = f"looking up {address.host}"
    found = await resolve(address)
    failure = Failure(Reason.TIMEOUT, f"{address}: no connection")
    for tried, (family, kind, protocol, _name, sockaddr) in enumerate(found):
        where = str(Address(str(sockaddr[0]), address.port))
        probe.doing = f"connecting to {where}"
        sock = socket.socket(family, kind, protocol)
        try:
            sock.setblocking(False)
            # A silent first address must leave time for the others; the last one has all that is left.
            last = tried == len(found) - 1
            async with asyncio.timeout(None if last else probe.remaining / (len(found) - tried)):
                await _connect(sock, sockaddr)
        except TimeoutError as exc:
            sock.close()
            # ETIMEDOUT of the kernel is a TimeoutError too; an expired share has no errno.
            failure = connect_failure(exc if exc.errno else OSError(errno.ETIMEDOUT, ""), where)
        except OSError as exc:
            sock.close()
            failure = connect_failure(exc, where)
        except BaseException:
            sock.close()
            raise
        else:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            probe.connected = True
            return sock
    raise failure
