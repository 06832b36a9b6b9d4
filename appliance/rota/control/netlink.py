"""The addresses on this node's interfaces, from the kernel (rtnetlink(7)): no program is started to look."""

from __future__ import annotations

import socket
import struct

_RTM_NEWADDR, _RTM_GETADDR = 20, 22
_DONE, _ERROR = 3, 2
_REQUEST_DUMP = 0x301  # NLM_F_REQUEST | NLM_F_ROOT | NLM_F_MATCH
_GROUPS = 0x10 | 0x100  # RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR
_IFA_ADDRESS, _IFA_LOCAL = 1, 2
_DAD_FAILED = 0x08
_LOOPBACK = 1
_HEADER = struct.Struct("=IHHII")
_ADDRESS = struct.Struct("=BBBBI")


class AddressesUnknown(Exception):
    """The kernel did not say; the text is for people."""


def addresses() -> set[str]:
    """Every address on an interface other than `lo`, where a worker holds service addresses without being active.

    IPv6 addresses that failed duplicate address detection do not count: nobody can reach them.
    """
    found: set[str] = set()
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE) as ask:
            ask.settimeout(1.0)
            ask.bind((0, 0))
            body = _ADDRESS.pack(socket.AF_UNSPEC, 0, 0, 0, 0)
            ask.send(_HEADER.pack(_HEADER.size + len(body), _RTM_GETADDR, _REQUEST_DUMP, 1, 0) + body)
            while _read(ask.recv(65536), found):
                pass
    except OSError as error:
        raise AddressesUnknown(f"the kernel does not list its addresses: {error.strerror or error}") from None
    return found


def _read(data: bytes, found: set[str]) -> bool:
    """Take one datagram; tell whether more follows."""
    while len(data) >= _HEADER.size:
        length, kind, *_ = _HEADER.unpack_from(data)
        if kind == _DONE:
            return False
        if kind == _ERROR or length < _HEADER.size:
            raise OSError(None, "bad answer")
        if kind == _RTM_NEWADDR and (address := parse_address(data[_HEADER.size : length])):
            found.add(address)
        data = data[(length + 3) & ~3 :]
    return True


def parse_address(body: bytes) -> str | None:
    """The address in an RTM_NEWADDR body; None when it does not count."""
    family, _, flags, _, index = _ADDRESS.unpack_from(body)
    if index == _LOOPBACK or flags & _DAD_FAILED or family not in (socket.AF_INET, socket.AF_INET6):
        return None
    attributes: dict[int, bytes] = {}
    rest = body[_ADDRESS.size :]
    while len(rest) >= 4:
        length, kind = struct.unpack_from("=HH", rest)
        if length < 4:
            break
        attributes[kind] = rest[4:length]
        rest = rest[(length + 3) & ~3 :]
    raw = attributes.get(_IFA_LOCAL) or attributes.get(_IFA_ADDRESS)
    return socket.inet_ntop(family, raw) if raw else None


def watch() -> socket.socket:
    """A socket that becomes readable whenever an address comes or goes; read it empty, then ask `addresses`."""
    listener = socket.socket(
        socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK, socket.NETLINK_ROUTE
    )
    listener.bind((0, _GROUPS))
    return listener
