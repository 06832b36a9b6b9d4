"""What the network between a node and a member is like: route, path MTU, and who answers for a service address."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import os
import socket
import struct
import time
from dataclasses import dataclass
from typing import Any

_IP_MTU_DISCOVER, _IP_PMTUDISC_PROBE = 10, 3  # linux/in.h
_IPV6_MTU_DISCOVER, _IPV6_PMTUDISC_PROBE = 23, 3  # linux/in6.h
_ARP = 0x0806


@dataclass(frozen=True)
class Route:
    """How the kernel would send to an address."""

    interface: str
    gateway: str | None
    source: str
    mtu: int


async def route(address: str) -> Route | None:
    """The kernel's route, or None when there is none."""
    found = await _ip("route", "get", address)
    if not found:
        return None
    entry = found[0]
    links = await _ip("link", "show", "dev", str(entry.get("dev", "")))
    mtu = int(links[0].get("mtu", 0)) if links else 0
    gateway = entry.get("gateway")
    return Route(str(entry.get("dev", "")), str(gateway) if gateway else None, str(entry.get("prefsrc", "")), mtu)


async def neighbour(address: str) -> str | None:
    """The hardware address of a neighbour that the kernel knows."""
    found = await _ip("neigh", "show", address)
    return next((str(entry["lladdr"]) for entry in found if "lladdr" in entry), None)


async def _ip(*words: str) -> list[dict[str, Any]]:
    process = await asyncio.create_subprocess_exec(
        "ip",
        "-j",
        *words,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    out, _ = await process.communicate()
    with contextlib.suppress(ValueError):
        found = json.loads(out or b"[]")
        return [entry for entry in found if isinstance(entry, dict) and entry] if process.returncode == 0 else []
    return []


async def echo(address: str, size: int, *, deadline: float = 1.0) -> bool | None:
    """Whether an echo in one packet of `size` bytes, which nobody may split, comes back. None: it cannot be asked here."""
    six = ":" in address
    try:
        sock = socket.socket(
            socket.AF_INET6 if six else socket.AF_INET,
            socket.SOCK_RAW,
            socket.IPPROTO_ICMPV6 if six else socket.IPPROTO_ICMP,
        )
    except PermissionError:
        return None
    with sock:
        level, option, value = (
            (socket.IPPROTO_IPV6, _IPV6_MTU_DISCOVER, _IPV6_PMTUDISC_PROBE)
            if six
            else (socket.IPPROTO_IP, _IP_MTU_DISCOVER, _IP_PMTUDISC_PROBE)
        )
        sock.setsockopt(level, option, value)
        sock.setblocking(False)
        mark = os.urandom(4)
        payload = mark + bytes(max(0, size - (40 if six else 20) - 8 - 4))
        packet = struct.pack(">BBH", 128 if six else 8, 0, 0) + mark + payload
        if not six:  # the kernel does it for ICMPv6
            packet = packet[:2] + struct.pack(">H", checksum(packet)) + packet[4:]
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(deadline):
                sock.connect((address, 0))
                await loop.sock_sendall(sock, packet)
                while True:
                    answer = await loop.sock_recv(sock, 65536)
                    body = answer if six else answer[(answer[0] & 15) * 4 :]
                    if body[:1] == (b"\x81" if six else b"\x00") and body[4:12] == mark + mark:
                        return True
        except TimeoutError:
            return False
        except OSError as error:
            return (
                False if error.errno in (errno.EMSGSIZE, errno.ECONNREFUSED, errno.EHOSTUNREACH, errno.ENETUNREACH) else None
            )


def checksum(data: bytes) -> int:
    """The Internet checksum (RFC 1071)."""
    data += b"\0" * (len(data) % 2)
    total: int = sum(struct.unpack(f">{len(data) // 2}H", data))
    total = (total >> 16) + (total & 0xFFFF)
    total += total >> 16
    return ~total & 0xFFFF


async def arp_answers(address: str, interface: str, *, wait: float = 1.0) -> set[str] | None:
    """The hardware addresses that answer for an IPv4 address on a network. None: it cannot be asked here."""
    try:
        sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ARP))
        sock.bind((interface, _ARP))
    except OSError:
        return None
    with sock:
        own = sock.getsockname()[4]
        # an ARP probe (RFC 5227): its sender address is zero, so it changes nobody's cache
        request = struct.pack(">HHBBH", 1, 0x0800, 6, 4, 1) + own + bytes(4) + bytes(6) + socket.inet_aton(address)
        sock.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(sock, b"\xff" * 6 + own + struct.pack(">H", _ARP) + request)
        found: set[str] = set()
        end = time.monotonic() + wait
        with contextlib.suppress(TimeoutError):
            while (left := end - time.monotonic()) > 0:
                frame = await asyncio.wait_for(loop.sock_recv(sock, 2048), left)
                if len(frame) >= 42 and frame[20:22] == b"\0\2" and frame[28:32] == socket.inet_aton(address):
                    found.add(frame[22:28].hex(":"))
        return found


async def reverse_name(address: str, *, deadline: float = 5.0) -> tuple[str | None, float]:
    """The name of an address, and the seconds that it took; None when there is none in time."""
    import threading

    loop = asyncio.get_running_loop()
    done: asyncio.Future[str | None] = loop.create_future()

    def settle(name: str | None) -> None:
        if not done.done():
            done.set_result(name)

    def ask() -> None:
        name = None
        with contextlib.suppress(OSError):
            name = socket.gethostbyaddr(address)[0]
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(settle, name)

    began = time.monotonic()
    # a resolver without an answer cannot be cancelled: only a daemon thread lets the program end
    threading.Thread(target=ask, daemon=True).start()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(deadline):
            return await done, time.monotonic() - began
    return None, time.monotonic() - began
