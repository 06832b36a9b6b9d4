"""Roles by the addresses that are really there, and what two nodes together hold."""

from __future__ import annotations

import socket
import struct
import subprocess
from collections.abc import Mapping

import pytest
from rota.control.netlink import addresses, parse_address
from rota.control.pair import PairWatch, holdings, judge
from rota.control.state import PairState, Role
from rota.model import Site, parse
from unit.control.clocks import Hands


def site(nodes: int = 2) -> Site:
    document = {
        "site": {
            "name": "test",
            "nodes": {f"lb{n}": {"address": f"203.0.113.1{n}"} for n in range(1, nodes + 1)},
            "networks": {"lan": {"prefixes": ["203.0.113.0/24", "2001:db8::/64"], "interface": "eth0"}},
        },
        "services": {
            "pacs": {
                "profile": "tcp", "addresses": ["203.0.113.100", "2001:db8::100"], "ports": [104],
                "members": {"a": {"address": "203.0.113.21"}, "b": {"address": "2001:db8::22"}},
            }
        },
    }  # fmt: skip
    result = parse(document)
    assert result.site, result.problems
    return result.site


@pytest.mark.parametrize(
    ("own", "peer", "state"),
    [
        (1, 0, PairState.OK),
        (0, 1, PairState.OK),
        (1, 1, PairState.SPLIT_BRAIN),
        (0, 0, PairState.NO_ACTIVE),
        (1, None, PairState.PEER_UNKNOWN),
        (0, None, PairState.PEER_UNKNOWN),
        (None, 1, PairState.PEER_UNKNOWN),
    ],
)
def test_how_a_pair_stands(own: int | None, peer: int | None, state: PairState) -> None:
    assert judge(own, {"lb2": peer}) is state


def test_a_node_alone() -> None:
    assert judge(1, {}) is PairState.ALONE
    assert judge(0, {}) is PairState.NO_ACTIVE


def test_holdings_count_the_service_addresses_only() -> None:
    assert holdings(site(), "lb1", {"203.0.113.11", "203.0.113.100", "192.0.2.1"}) == {"main": 1}


class Watch:
    """A watch of lb1 over the group `main`."""

    def __init__(self) -> None:
        self.hands = Hands()
        self.watch = PairWatch(self.hands.clock, settle=2.5)
        self.site = site()

    def see(self, own: int | None, peer: int | None, after: float = 0.5) -> list[tuple[str, str]]:
        self.hands.pass_(after)
        mine: Mapping[str, int] | None = None if own is None else {"main": own}
        theirs: Mapping[str, int] | None = None if peer is None else {"main": peer}
        return [(m.kind, m.after) for m in self.watch.update(self.site, "lb1", mine, {"lb2": theirs})]


def test_a_quick_move_is_told_as_a_change_of_role_and_nothing_else() -> None:
    w = Watch()
    assert w.see(2, 0) == []
    assert w.see(2, 2) == []  # the new one takes it before the old one lets go
    assert w.see(0, 2) == [("role", "standby")]
    assert w.see(0, 2, after=60) == []
    assert w.watch.state("main") is PairState.OK


@pytest.mark.parametrize(("held", "state"), [(2, "split-brain"), (0, "no-active")])
def test_what_lasts_is_told_once_and_so_is_its_end(held: int, state: str) -> None:
    w = Watch()
    w.see(2, 0)
    w.see(held, held)
    told = [move for _ in range(10) for move in w.see(held, held) if move[0] == "pair"]
    assert told == [("pair", state)]
    assert ("pair", "ok") in w.see(2, 0)


def test_an_unseen_peer_is_not_shown_as_ok() -> None:
    w = Watch()
    w.see(2, 0)
    w.see(2, None)
    assert w.see(2, None, after=3) == [("pair", "peer-unknown")]
    groups = w.watch.groups(w.site, "lb1", {"main": 2}, {"lb2": None})
    assert (groups[0].role, groups[0].holders, groups[0].state) == (Role.ACTIVE, ["lb1"], PairState.PEER_UNKNOWN)


def message(family: int, index: int, *attributes: tuple[int, bytes], flags: int = 0) -> bytes:
    body = struct.pack("=BBBBI", family, 24, flags, 0, index)
    for kind, value in attributes:
        body += struct.pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)
    return body


def test_the_address_of_a_message() -> None:
    four, six = socket.inet_pton(socket.AF_INET, "203.0.113.1"), socket.inet_pton(socket.AF_INET6, "2001:db8::1")
    other = socket.inet_pton(socket.AF_INET, "203.0.113.99")
    assert parse_address(message(socket.AF_INET, 2, (1, other), (2, four))) == "203.0.113.1"
    assert parse_address(message(socket.AF_INET6, 2, (1, six))) == "2001:db8::1"
    assert parse_address(message(socket.AF_INET, 1, (2, four))) is None  # lo: a worker's, not the active node's
    assert parse_address(message(socket.AF_INET6, 2, (1, six), flags=0x08)) is None  # a duplicate
    assert parse_address(message(99, 2, (1, six))) is None


def test_the_kernel_and_ip_agree() -> None:
    listed = subprocess.run(["ip", "-o", "address", "show"], capture_output=True, text=True, check=True).stdout
    words = [line.split() for line in listed.splitlines()]
    expected = {w[3].split("/")[0] for w in words if w[1] != "lo" and "dadfailed" not in w}
    assert addresses() == expected
