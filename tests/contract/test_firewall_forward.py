"""Packets through the node: transparent services, layer 4 members' answers, members that call out themselves."""

from __future__ import annotations

import contextlib
import json
import select
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from contract import test_haproxy_transparent as transparent
from contract.test_firewall import render
from contract.test_haproxy_transparent import Network, stack
from lib.poll import wait_until

# one network for all but the first
pytestmark = [pytest.mark.contract, pytest.mark.xdist_group("firewall-forward")]
__all__ = ["stack"]

SETTINGS: dict[str, Any] = {
    "nodes": {"lb1": {"addresses": ["203.0.113.1", "2001:db8:1::1"]}},
    "networks": {
        "clinical": {"prefixes": ["203.0.113.0/24", "2001:db8:1::/64"], "interface": "caller"},
        "server": {"prefixes": ["198.51.100.0/24", "2001:db8:2::/64"], "interface": "member"},
    },
    "management": ["192.0.2.0/24", "2001:db8:99::/64"],
}
MEMBERS = {"four": {"address": "198.51.100.21"}, "six": {"address": "2001:db8:2::21"}}
# Answers every datagram.
EAR = """
import json, socket, sys
sock = socket.socket(socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET, socket.SOCK_DGRAM)
sock.bind((sys.argv[1], int(sys.argv[2])))
print("ready", flush=True)
while True:
    data, source = sock.recvfrom(100)
    sock.sendto(b"answer to " + data, source)
"""
# Says where each TCP packet comes from that reaches this host, with the port.
SNIFF = """
import json, select, socket
four = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_TCP)
six = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_TCP)
print("ready", flush=True)
while True:
    for sock in select.select([four, six], [], [])[0]:
        data, source = sock.recvfrom(2048)
        data = data[20:] if sock is four else data
        print(json.dumps([source[0], int.from_bytes(data[:2], "big")]), flush=True)
"""
KNOCK = """
import socket, sys
source, port, target = sys.argv[1:]
sock = socket.socket(socket.AF_INET6 if ":" in source else socket.AF_INET)
sock.bind((source, int(port)))
sock.settimeout(0.2)
try:
    sock.connect((target, 104))
except OSError:
    pass
"""
SEND = """
import json, socket, sys
source, port, target, target_port, text = sys.argv[1:]
sock = socket.socket(socket.AF_INET6 if ":" in source else socket.AF_INET, socket.SOCK_DGRAM)
sock.bind((source, int(port)))
sock.settimeout(0.4)
sock.sendto(text.encode(), (target, int(target_port)))
try:
    print(json.dumps(sock.recv(100).decode()))
except OSError:
    print(json.dumps(None))
"""


def service(mode: str, **more: Any) -> dict[str, Any]:
    addresses = ["203.0.113.100", "2001:db8:1::100"]
    return {"profile": "tcp", "addresses": addresses, "port": 8080, "mode": mode, "members": MEMBERS, **more}


def load(network: Network, root: Path, services: dict[str, Any]) -> None:
    command = network.inside("node", "chroot", root, "nft", "-f", "-")
    done = subprocess.run(command, input=render(services, SETTINGS), text=True, capture_output=True, timeout=20, check=False)
    assert done.returncode == 0, done.stderr


def test_transparent_members_see_the_caller_through_the_rules(daemon_root: Path, stack: contextlib.ExitStack) -> None:
    network = Network(stack)
    daemon = transparent.node_of(network, stack, daemon_root, "l7-transparent")
    transparent.tool(network, daemon.folder, "transparent-on")
    load(network, daemon_root, {"tcp": service("l7-transparent")})
    asked = {"203.0.113.100": "203.0.113.2", "2001:db8:1::100": "2001:db8:1::2"}
    for address, seen in asked.items():
        assert wait_until(lambda a=address: transparent.ask(network, a), within=10) == seen  # type: ignore[misc]
    # the checks go on as well: they come from the node's own address
    assert daemon.stat("tcp", "four")["status"].startswith("UP")


class Way:
    """caller — node — member, with the node forwarding."""

    def __init__(self, stack: contextlib.ExitStack) -> None:
        self.network, self.stack = Network(stack), stack
        for key in ("net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"):
            self.run("node", "sysctl", "-qw", f"{key}=1")

    def run(self, name: str, *words: str) -> str:
        done = subprocess.run(self.network.inside(name, *words), capture_output=True, text=True, timeout=20, check=True)
        return done.stdout

    def start(self, name: str, program: str, *words: str) -> Any:
        """Start a program on a host and wait until it is ready; what it prints then."""
        command = self.network.inside(name, sys.executable, "-c", program, *words)
        process = subprocess.Popen(command, stdout=subprocess.PIPE, bufsize=0)
        self.stack.callback(process.wait)
        self.stack.callback(process.kill)
        assert process.stdout is not None
        self.stack.callback(process.stdout.close)
        assert process.stdout.readline() == b"ready\n"
        return process.stdout

    def send(self, name: str, source: tuple[str, int], target: tuple[str, int]) -> str | None:
        """What comes back of a datagram; None when nothing does."""
        words = [source[0], str(source[1]), target[0], str(target[1]), "word"]
        found: str | None = json.loads(self.run(name, sys.executable, "-c", SEND, *words))
        return found


CALLER = {4: "203.0.113.2", 6: "2001:db8:1::2"}
MEMBER = {4: "198.51.100.21", 6: "2001:db8:2::21"}
SERVICE = {4: "203.0.113.100", 6: "2001:db8:1::100"}


@pytest.fixture(scope="module")
def open_way() -> Iterator[Way]:
    """Callers and members who answer each other, with no rules in between."""
    with contextlib.ExitStack() as stack:
        made = Way(stack)
        for version in (4, 6):
            made.start("caller", EAR, CALLER[version], "104")
            made.start("member", EAR, MEMBER[version], "104")
        yield made


@pytest.fixture
def way(open_way: Way, daemon_root: Path) -> Iterator[Way]:
    """A way that forwards everything, both ways and families: the twin of every test below."""
    wait_until(lambda: called_in(open_way) == called_out(open_way) == ["answer to word", "answer to word"], within=10)
    yield open_way
    open_way.run("node", "chroot", str(daemon_root), "nft", "delete", "table", "inet", "rota")


def called_in(way: Way) -> list[str | None]:
    """What a caller hears of a member's own address, IPv4 and IPv6."""
    return [way.send("caller", (CALLER[version], 0), (MEMBER[version], 104)) for version in (4, 6)]


def called_out(way: Way) -> list[str | None]:
    """What a member hears that calls the caller."""
    return [way.send("member", (MEMBER[version], 0), (CALLER[version], 104)) for version in (4, 6)]


@pytest.mark.parametrize("mode", ["l4-nat", "l7-transparent"])
def test_members_call_out_through_their_gateway_and_nobody_calls_in(way: Way, daemon_root: Path, mode: str) -> None:
    """A PACS answers C-MOVE by a connection of its own; a workstation that knows its real address shall not reach it."""
    load(way.network, daemon_root, {"s": service(mode)})
    assert called_in(way) == [None, None]
    assert called_out(way) == ["answer to word", "answer to word"]


def test_other_hosts_are_not_forwarded(way: Way, daemon_root: Path) -> None:
    others = {"a": {"address": "198.51.100.99"}, "b": {"address": "2001:db8:2::99"}}
    load(way.network, daemon_root, {"s": service("l4-nat", members=others)})
    assert called_in(way) == called_out(way) == [None, None]


def test_layer_7_forwards_nobody(way: Way, daemon_root: Path) -> None:
    load(way.network, daemon_root, {"s": service("l7")})
    assert called_in(way) == called_out(way) == [None, None]


def test_at_last_answers_of_direct_routing_pass_a_node_that_is_the_members_gateway(way: Way, daemon_root: Path) -> None:
    """The standby may be it: the answer has the service's address, which the standby does not hold."""
    for address, length in ((SERVICE[4], "24"), (SERVICE[6], "64")):
        way.network.ip("node", "address", "del", f"{address}/{length}", "dev", "caller")
        way.network.ip("member", "address", "add", address, "dev", "lo")
    sniffer = way.start("caller", SNIFF)
    load(way.network, daemon_root, {"s": service("l4-dr")})
    for port in (8081, 8080):  # the one that may comes last: when it was heard, the other one was lost
        for version in (4, 6):
            way.run("member", sys.executable, "-c", KNOCK, SERVICE[version], str(port), CALLER[version])
    heard: set[tuple[str, int]] = set()
    while len(heard) < 2 and select.select([sniffer], [], [], 3)[0]:
        heard.add(tuple(json.loads(sniffer.readline())))
    assert heard == {(SERVICE[4], 8080), (SERVICE[6], 8080)}
