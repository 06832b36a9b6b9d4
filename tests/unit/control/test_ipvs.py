"""What the kernel's IPVS says, byte for byte as linux/ip_vs.h has it, and what the status makes of it."""

from __future__ import annotations

import asyncio
import logging
import socket
import struct
import threading
from types import SimpleNamespace
from typing import Any

import pytest
from rota import model
from rota.control import ipvs
from rota.control.ipvs import IpvsUnknown, Layer4, Row, Table, Watch, ask_all, counts
from rota.control.state import IpvsCounts
from rota.keepalived.ipvs import Destination, Virtual
from rota.model import marks

SITE: dict[str, Any] = {
    "name": "test",
    "nodes": {"lb1": {"address": "198.51.100.11"}, "lb2": {"address": "198.51.100.12"}},
    "networks": {"clinical": {"prefixes": ["198.51.100.0/24", "2001:db8:51::/64"], "interface": "eth0"}},
}


def site(**service: Any) -> model.Site:
    members = {"a": {"address": "198.51.100.21"}, "b": {"address": "198.51.100.22"}}
    one = {"profile": "tcp", "mode": "l4-dr", "address": "198.51.100.100", "ports": [104, 11112], "members": members}
    parsed = model.parse({"site": SITE, "services": {"pacs": one | service}})
    assert parsed.site is not None, parsed.problems
    return parsed.site


# --- a kernel


def attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(value), kind) + value + b"\0" * (-len(value) % 4)


def address(text: str) -> bytes:
    """union nf_inet_addr: 16 bytes for either family."""
    version = socket.AF_INET6 if ":" in text else socket.AF_INET
    return socket.inet_pton(version, text).ljust(16, b"\0")


def number(value: int) -> bytes:
    return struct.pack("=I", value)


def message(kind: int, body: bytes) -> bytes:
    return struct.pack("=IHHII", 16 + len(body), kind, 2, 1, 0) + body


def service(version: int, *, mark: int = 0, at: str = "", port: int = 0, protocol: int = 6) -> bytes:
    """As ip_vs_genl_fill_service() writes it."""
    parts = [attribute(1, struct.pack("=H", version))]
    if mark:
        parts.append(attribute(5, number(mark)))
    else:
        parts += [
            attribute(2, struct.pack("=H", protocol)),
            attribute(3, address(at)),
            attribute(4, struct.pack("!H", port)),
        ]
    parts += [attribute(6, b"wlc\0"), attribute(7, struct.pack("=II", 0, 0xFFFFFFFF)), attribute(8, number(0))]
    parts.append(attribute(9, number(0xFFFFFFFF) if version == 2 else number(128)))
    parts.append(attribute(10, b"".join(attribute(n, number(n)) for n in (1, 2, 3))))
    return attribute(1, b"".join(parts))


def destination(at: str, port: int, weight: int, active: int, inactive: int) -> bytes:
    """As ip_vs_genl_dump_dest() writes it."""
    fields = {3: 3, 4: weight, 5: 0, 6: 0, 7: active, 8: inactive, 9: 0}
    parts = [attribute(1, address(at)), attribute(2, struct.pack("!H", port))]
    parts += [attribute(kind, number(value)) for kind, value in fields.items()]
    parts.append(attribute(11, struct.pack("=H", socket.AF_INET6 if ":" in at else socket.AF_INET)))
    return attribute(2, b"".join(parts))


class Kernel:
    """Answers as a netlink socket of a kernel that balances `table`: bytes of a service → bytes of its destinations."""

    def __init__(self, table: dict[bytes, list[bytes]], *, there: bool = True) -> None:
        self.table, self.there = table, there
        self.answers: list[bytes] = []

    def send(self, data: bytes) -> None:
        kind, command = struct.unpack_from("=H", data, 4)[0], data[16]
        if kind == 16:
            family = attribute(2, b"IPVS\0") + attribute(1, struct.pack("=H", 33))
            refused = message(2, struct.pack("=i", -2) + data[:16])
            self.answers.append(message(16, bytes(4) + family) if self.there else refused)
        elif command == 4:
            assert struct.unpack_from("=H", data, 6)[0] & 0x300 == 0x300
            whole = b"".join(message(33, b"\1\1\0\0" + one) for one in self.table)
            self.answers.append(whole + message(3, bytes(4)))
        else:
            asked = data[24:]
            found = next(rows for one, rows in self.table.items() if self.names(asked) == self.names(one[4:]))
            for row in found:  # one datagram each
                self.answers.append(message(33, b"\1\1\0\0" + row))
            self.answers.append(message(3, bytes(4)))

    @staticmethod
    def names(data: bytes) -> dict[int, bytes]:
        """The attributes by which the kernel finds a service; of an address, those bytes that matter."""
        found = {}
        while len(data) >= 4:
            length, kind = struct.unpack_from("=HH", data)
            if kind in (1, 2, 3, 4, 5):
                found[kind] = data[4:length].rstrip(b"\0") if kind == 3 else data[4:length]
            data = data[(length + 3) & ~3 :]
        return found

    def recv(self, _size: int) -> bytes:
        return self.answers.pop(0)


def test_every_kind_of_virtual_server_is_read() -> None:
    kernel = Kernel(
        {
            service(socket.AF_INET, at="198.51.100.100", port=104): [
                destination("198.51.100.21", 104, 100, 7, 2),
                destination("198.51.100.22", 104, 0, 1, 0),
            ],
            service(socket.AF_INET6, at="2001:db8:51::100", port=53, protocol=17): [
                destination("2001:db8:51::21", 53, 1, 0, 9)
            ],
            service(socket.AF_INET, mark=66123): [destination("198.51.100.30", 0, 256, 3, 0)],
            service(socket.AF_INET, at="198.51.100.101", port=80): [],
        }
    )
    assert ask_all(kernel) == {  # type: ignore[arg-type]
        Virtual(4, 0, "tcp", "198.51.100.100", 104): {
            Destination("198.51.100.21", 104): Row(100, 7, 2),
            Destination("198.51.100.22", 104): Row(0, 1, 0),
        },
        Virtual(6, 0, "udp", "2001:db8:51::100", 53): {Destination("2001:db8:51::21", 53): Row(1, 0, 9)},
        Virtual(4, 66123, "", "", 0): {Destination("198.51.100.30", 0): Row(256, 3, 0)},
        Virtual(4, 0, "tcp", "198.51.100.101", 80): {},
    }


def test_a_kernel_without_ipvs_is_said_as_such(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(FileNotFoundError):
        ask_all(Kernel({}, there=False))  # type: ignore[arg-type]

    def missing(_socket: object) -> Table:
        raise FileNotFoundError(2, "No such file or directory")

    monkeypatch.setattr(ipvs, "ask_all", missing)
    with pytest.raises(IpvsUnknown, match="this kernel has no ip_vs"):
        ipvs.read()


def test_this_kernel_answers_or_says_why() -> None:
    """The real one that the tests run on: with IPVS or without, as root or not, an answer comes."""
    try:
        said: object = ipvs.read()
    except IpvsUnknown as problem:
        said = problem
    words = ("this kernel has no ip_vs", "the kernel does not list its IPVS: ")
    assert isinstance(said, dict) or str(said).startswith(words)


# --- what the status makes of it

FIRST, SECOND = (Virtual(4, 0, "tcp", "198.51.100.100", port) for port in (104, 11112))


def test_counts_are_summed_over_the_ports_and_the_lowest_weight_is_told() -> None:
    table: Table = {
        FIRST: {Destination("198.51.100.21", 104): Row(100, 2, 1), Destination("198.51.100.22", 104): Row(100, 1, 0)},
        SECOND: {Destination("198.51.100.21", 11112): Row(0, 3, 4)},
    }
    found = counts(site(), "lb1", table)
    assert found["pacs", "a"] == IpvsCounts(weight=0, active=5, inactive=5)
    assert found["pacs", "b"] == IpvsCounts(weight=None, active=1, inactive=0), "it is missing on one port"
    assert counts(site(), "lb1", {})["pacs", "a"] == IpvsCounts(weight=None, active=0, inactive=0)


def test_a_mark_is_one_virtual_server() -> None:
    one = site(ports_as_one=True, persistence="source")
    (mark,) = marks(one)
    table: Table = {Virtual(4, mark.value, "", "", 0): {Destination("198.51.100.21", 0): Row(7, 8, 9)}}
    assert counts(one, "lb1", table)["pacs", "a"] == IpvsCounts(weight=7, active=8, inactive=9)


def test_layer_7_members_have_none() -> None:
    assert counts(site(mode="l7"), "lb1", {}) == {}


def test_what_is_old_is_not_shown() -> None:
    now = [100.0]
    seen = Layer4(lambda: now[0])
    seen.heard({("pacs", "a"): IpvsCounts(weight=1, active=2, inactive=3)}, None)
    assert seen.active() == {("pacs", "a"): 2}
    now[0] += ipvs.STALE
    assert seen.of(("pacs", "a")) is None
    assert seen.active() == {}


def core(one: model.Site) -> Any:
    return SimpleNamespace(
        site=one,
        node="lb1",
        layer4=Layer4(lambda: 0.0),
        services=lambda: one.services_of("lb1"),
        statistics_pace=lambda: 0.01,
    )


async def test_a_problem_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    def without() -> Table:
        raise IpvsUnknown("this kernel has no ip_vs")

    with caplog.at_level(logging.WARNING, "rota.ipvs"):
        one = core(site())
        watch = Watch(one, without)
        for _ in range(3):
            await watch.look()
    assert [record.message for record in caplog.records] == ["this kernel has no ip_vs"]
    assert one.layer4.problem == "this kernel has no ip_vs"
    assert one.layer4.of(("pacs", "a")) is None


async def test_nothing_is_asked_without_layer_4() -> None:
    def never() -> Table:
        raise AssertionError("asked")

    one = core(site(mode="l7"))
    await Watch(one, never).look()
    assert one.layer4.problem is None


async def test_rotad_does_not_wait_for_a_slow_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ipvs, "_LONGEST", 0.05)
    let_go = threading.Event()

    def slow() -> Table:
        let_go.wait(10)
        return {}

    one = core(site())
    watch = Watch(one, slow)
    looking = asyncio.create_task(watch.look())
    turns = 0
    while not looking.done():
        turns += 1
        await asyncio.sleep(0.005)
    let_go.set()
    assert turns >= 3, "the loop stood still"
    assert one.layer4.problem == "the kernel did not list its IPVS within 0.05 s"
