"""What the kernel's IPVS has of each layer 4 member: its weight and its connections, over generic netlink.

The messages are pyroute2's; the socket is our own, because its sockets keep a loop and descriptors for every try at a
kernel that has no IPVS. A read takes about a millisecond for ten members, and happens in a thread: rotad never waits.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import struct
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from rota.control.state import IpvsCounts
from rota.keepalived.ipvs import Destination, Virtual, destinations
from rota.model import Site

if TYPE_CHECKING:
    from rota.control.config import Config
    from rota.control.core import Core

log = logging.getLogger("rota.ipvs")

STALE = 15.0  # seconds after which counts are no longer shown as true
_LONGEST = 5.0  # seconds for one reading

_CONTROL, _GET_FAMILY, _FAMILY_ID, _FAMILY_NAME = 16, 3, 1, 2  # genetlink(7): nlctrl
_GET_SERVICE, _GET_DEST = 4, 8  # linux/ip_vs.h
_REQUEST, _DUMP = 0x001, 0x300
_ERROR, _DONE = 2, 3
_HEADER = struct.Struct("=IHHII")
_PROTOCOLS = {socket.IPPROTO_TCP: "tcp", socket.IPPROTO_UDP: "udp"}

Key = tuple[str, str]


class IpvsUnknown(Exception):
    """The kernel did not say; the text is for people."""


class Row(NamedTuple):
    """One real server of one virtual server."""

    weight: int
    active: int
    inactive: int


Table = dict[Virtual, dict[Destination, Row]]


def read() -> Table:
    """Everything that this kernel balances. Blocks for a moment; raises IpvsUnknown."""
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 16) as ask:
            ask.settimeout(1.0)
            ask.bind((0, 0))
            return ask_all(ask)
    except FileNotFoundError:
        raise IpvsUnknown("this kernel has no ip_vs: layer 4 services do not work (modprobe ip_vs)") from None
    except (OSError, ValueError, KeyError) as error:
        raise IpvsUnknown(f"the kernel does not list its IPVS: {getattr(error, 'strerror', None) or error}") from None


def ask_all(ask: socket.socket) -> Table:
    """The same over a socket that is open; raises what sockets raise, ValueError and KeyError."""
    family = _family(ask)
    return {virtual: dict(_destinations(ask, family, key)) for virtual, key in _services(ask, family)}


def _family(ask: socket.socket) -> int:
    name = b"IPVS\0"
    body = struct.pack("=BBHHH", _GET_FAMILY, 1, 0, 4 + len(name), _FAMILY_NAME) + name + b"\0" * (-len(name) % 4)
    ask.send(_HEADER.pack(_HEADER.size + len(body), _CONTROL, _REQUEST, 1, 0) + body)
    answer = next(_messages(ask, one=True))
    rest = answer[_HEADER.size + 4 :]
    while len(rest) >= 4:
        length, kind = struct.unpack_from("=HH", rest)
        if kind == _FAMILY_ID:
            return int(struct.unpack_from("=H", rest, 4)[0])
        if length < 4:
            break
        rest = rest[(length + 3) & ~3 :]
    raise ValueError("no number of its family")


def _messages(ask: socket.socket, *, one: bool = False) -> Iterator[bytes]:
    """The answers to one request, whole; OSError for what the kernel refuses."""
    while True:
        data = ask.recv(1 << 17)
        while len(data) >= _HEADER.size:
            length, kind, *_ = _HEADER.unpack_from(data)
            if kind == _DONE:
                return
            if kind == _ERROR:
                number = -struct.unpack_from("=i", data, _HEADER.size)[0]
                raise OSError(number, os.strerror(number))  # ENOENT becomes FileNotFoundError
            if length < _HEADER.size:
                raise ValueError("a broken answer")
            yield data[:length]
            if one:
                return
            data = data[(length + 3) & ~3 :]


def _dump(ask: socket.socket, family: int, command: int, attributes: list[Any]) -> list[dict[str, Any]]:
    """The attributes of every answer to a dump."""
    from pyroute2.netlink.generic.ipvs import GENL_VERSION, ipvsmsg

    question = ipvsmsg()
    question["cmd"], question["version"], question["attrs"] = command, GENL_VERSION, attributes
    question["header"]["type"], question["header"]["flags"] = family, _REQUEST | _DUMP
    question["header"]["sequence_number"] = 1
    question.encode()
    ask.send(bytes(question.data))
    wanted = "IPVS_CMD_ATTR_SERVICE" if command == _GET_SERVICE else "IPVS_CMD_ATTR_DEST"
    found = []
    for data in _messages(ask):
        answer = ipvsmsg(data)
        answer.decode()
        found.append(dict(answer.get(wanted)["attrs"]))
    return found


def _services(ask: socket.socket, family: int) -> Iterator[tuple[Virtual, list[Any]]]:
    for service in _dump(ask, family, _GET_SERVICE, []):
        version = 4 if service["IPVS_SVC_ATTR_AF"] == socket.AF_INET else 6
        key: list[Any] = [("IPVS_SVC_ATTR_AF", service["IPVS_SVC_ATTR_AF"])]
        if "IPVS_SVC_ATTR_FWMARK" in service:
            virtual = Virtual(version, service["IPVS_SVC_ATTR_FWMARK"], "", "", 0)
            key.append(("IPVS_SVC_ATTR_FWMARK", virtual.mark))
        else:
            names = ("PROTOCOL", "ADDR", "PORT")
            key += [(f"IPVS_SVC_ATTR_{name}", service[f"IPVS_SVC_ATTR_{name}"]) for name in names]
            protocol = _PROTOCOLS.get(service["IPVS_SVC_ATTR_PROTOCOL"], "other")
            virtual = Virtual(version, 0, protocol, service["IPVS_SVC_ATTR_ADDR"], service["IPVS_SVC_ATTR_PORT"])
        yield virtual, key


def _destinations(ask: socket.socket, family: int, key: list[Any]) -> Iterator[tuple[Destination, Row]]:
    for one in _dump(ask, family, _GET_DEST, [("IPVS_CMD_ATTR_SERVICE", {"attrs": key})]):
        counts = (one[f"IPVS_DEST_ATTR_{name}"] for name in ("WEIGHT", "ACTIVE_CONNS", "INACT_CONNS"))
        yield Destination(one["IPVS_DEST_ATTR_ADDR"], one["IPVS_DEST_ATTR_PORT"]), Row(*counts)


def counts(site: Site, node: str, table: Table) -> dict[Key, IpvsCounts]:
    """What the kernel has of each layer 4 member, over all addresses, ports and protocols of its service.

    The weight is the lowest of them; None when it is missing in one: then it gets no new work there.
    """
    found: dict[Key, IpvsCounts] = {}
    for key, places in destinations(site, node).items():
        rows = [table.get(virtual, {}).get(destination) for virtual, destination in places]
        there = [row for row in rows if row is not None]
        weight = min(row.weight for row in there) if there and len(there) == len(rows) else None
        found[key] = IpvsCounts(weight=weight, active=sum(r.active for r in there), inactive=sum(r.inactive for r in there))
    return found


class Layer4:
    """The last reading, for the status."""

    def __init__(self, steady: Callable[[], float]) -> None:
        """`steady` gives seconds that never go back."""
        self._steady = steady
        self._counts: dict[Key, IpvsCounts] = {}
        self._at = float("-inf")
        self.problem: str | None = None

    def of(self, key: Key) -> IpvsCounts | None:
        """What the kernel has of a member; None: not known, or not a layer 4 member."""
        return self._counts.get(key) if self._steady() - self._at < STALE else None

    def active(self) -> dict[Key, int]:
        """Open connections of each member that has some."""
        return {key: seen.active for key in self._counts if (seen := self.of(key)) and seen.active}

    def heard(self, found: dict[Key, IpvsCounts], problem: str | None) -> None:
        """Keep a reading; a problem is logged once, when it begins and when it ends."""
        if problem != self.problem:
            log.warning("%s", problem) if problem else log.info("the kernel lists its IPVS again")
        self._counts, self.problem, self._at = found, problem, self._steady()


class Watch:
    """Reads the kernel beside the core, as often as HAProxy's statistics."""

    def __init__(self, core: Core, reader: Callable[[], Table] = read) -> None:
        self._core = core
        self._reader = reader
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin."""
        self._task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        while True:
            await self.look()
            await asyncio.sleep(self._core.statistics_pace())

    async def look(self) -> None:
        """Read once, if there is anything to read."""
        core = self._core
        if not any(service.mode.is_l4 for service in core.services().values()):
            core.layer4.heard({}, None)
            return
        try:
            async with asyncio.timeout(_LONGEST):
                table = await asyncio.to_thread(self._reader)
        except IpvsUnknown as problem:
            core.layer4.heard({}, str(problem))
        except TimeoutError:
            core.layer4.heard({}, f"the kernel did not list its IPVS within {_LONGEST:g} s")
        else:
            core.layer4.heard(counts(core.site, core.node, table), None)

    async def close(self) -> None:
        """End."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task


async def start(core: Core, config: Config) -> Watch:
    """Begin; close what is returned to end it."""
    part = Watch(core)
    await part.look()
    part.start()
    return part
