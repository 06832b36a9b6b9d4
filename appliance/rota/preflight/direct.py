"""Whether a member takes packets for a service address that is not its own: what IPVS in mode DR and TUN will send it.

A SYN is sent on to the member as the director would, with this node's own address as the caller's. A member that is
prepared answers it from the service address. Nothing is left behind: the half-open connection is reset.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import secrets
import socket
import struct
import time

from rota.preflight.network import checksum

_TCP = 6
_SYN, _RST, _SYN_ACK = 0x02, 0x04, 0x12
_TRIES = 3


class CannotAsk(Exception):
    """This node may not, or cannot, send such packets; the text is for people."""


def segment(source: str, target: str, ports: tuple[int, int], sequence: int, flags: int) -> bytes:
    """An IP packet with one TCP header and no data (RFC 9293 3.1; the sum covers a pseudo-header)."""
    here, there = ipaddress.ip_address(source), ipaddress.ip_address(target)
    bare = struct.pack("!HHIIBBHHH", *ports, sequence, 0, 5 << 4, flags, 65535, 0, 0)
    pseudo = here.packed + there.packed + struct.pack("!IxxxB", len(bare), _TCP)
    tcp = bare[:16] + struct.pack("!H", checksum(pseudo + bare)) + bare[18:]
    if here.version == 6:
        return struct.pack("!IHBB", 6 << 28, len(tcp), _TCP, 64) + here.packed + there.packed + tcp
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(tcp), 0, 0, 64, _TCP, 0) + here.packed + there.packed
    return head[:10] + struct.pack("!H", checksum(head)) + head[12:] + tcp


def read_answer(packet: bytes, service: str, own: str, ports: tuple[int, int]) -> int | None:
    """The TCP flags of an answer from `service` to `own`; None: it is another packet."""
    here, there = ipaddress.ip_address(own), ipaddress.ip_address(service)
    size = 16 if here.version == 6 else 4
    start = 8 if here.version == 6 else 12
    if len(packet) < 40 or packet[0] >> 4 != here.version or packet[6 if here.version == 6 else 9] != _TCP:
        return None
    if packet[start : start + size] != there.packed or packet[start + size : start + 2 * size] != here.packed:
        return None
    tcp = packet[40 if here.version == 6 else (packet[0] & 15) * 4 :]
    if len(tcp) < 14 or struct.unpack_from("!HH", tcp) != (ports[1], ports[0]):
        return None
    return tcp[13]


async def answers(
    service: str, port: int, own: str, interface: str, *, hardware: str | None = None, tunnel: str | None = None
) -> bool:
    """Whether a member answers for `service`, sent to its `hardware` address (DR) or through a `tunnel` to its own (TUN).

    A refusal of the connection is an answer, too: the packet was taken. Raises CannotAsk.
    """
    version = 6 if ":" in service else 4
    ports = (secrets.randbelow(20000) + 20000, port)
    kind = 0x86DD if version == 6 else 0x0800
    try:
        listen = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(kind))
    except OSError as error:
        raise CannotAsk(error.strerror or str(error)) from None
    with listen:
        listen.setblocking(False)
        listen.bind((interface, kind))
        for _ in range(_TRIES):
            sequence = secrets.randbits(31)
            _send(listen, segment(own, service, ports, sequence, _SYN), kind, interface, hardware, tunnel)
            flags = await _heard(listen, service, own, ports, wait=0.5)
            if flags is None:
                continue
            if flags & _SYN_ACK == _SYN_ACK:
                _send(listen, segment(own, service, ports, sequence + 1, _RST), kind, interface, hardware, tunnel)
            return True
    return False


def _send(listen: socket.socket, packet: bytes, kind: int, interface: str, hardware: str | None, tunnel: str | None) -> None:
    try:
        if hardware is not None:
            listen.sendto(packet, (interface, kind, 0, 0, bytes.fromhex(hardware.replace(":", ""))))
            return
        family = socket.AF_INET6 if ":" in str(tunnel) else socket.AF_INET
        inside = socket.IPPROTO_IPV6 if family == socket.AF_INET6 else socket.IPPROTO_IPIP
        with socket.socket(family, socket.SOCK_RAW, inside) as sender:
            sender.sendto(packet, (str(tunnel), 0))
    except OSError as error:
        raise CannotAsk(error.strerror or str(error)) from None


async def _heard(listen: socket.socket, service: str, own: str, ports: tuple[int, int], *, wait: float) -> int | None:
    loop, end = asyncio.get_running_loop(), time.monotonic() + wait
    with contextlib.suppress(TimeoutError):
        while (left := end - time.monotonic()) > 0:
            flags = read_answer(await asyncio.wait_for(loop.sock_recv(listen, 2048), left), service, own, ports)
            if flags is not None:
                return flags
    return None
