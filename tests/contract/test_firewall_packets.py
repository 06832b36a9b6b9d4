"""The table in force, seen by packets from every side: a client, a member, the peer, a manager; IPv4 and IPv6."""

from __future__ import annotations

import contextlib
import json
import select
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from contract.test_firewall import TWO, plain, render
from lib.poll import wait_until
from lib.segment import LISTEN, Segment

# one network for all: the rules of one test would be another one's
pytestmark = [pytest.mark.contract, pytest.mark.xdist_group("firewall-packets")]

OWN = ["198.51.100.11", "2001:db8:51::11"]
HOSTS = {
    "node": ["198.51.100.11/24", "2001:db8:51::11/64", "198.51.100.100/24", "2001:db8:51::100/64"],
    "peer": ["198.51.100.12/24", "2001:db8:51::12/64"],
    "member": ["198.51.100.21/24", "2001:db8:51::21/64"],
    "manager": ["198.51.100.51/24", "2001:db8:51::51/64"],
    "client": ["198.51.100.61/24", "2001:db8:51::61/64"],
}
PORTS = [22, 80, 81, 8404, 8406, 8407, 8410, 8443, 30000]
SERVICES = {"web": plain(), "four": plain(mode="l4-dr", ports=[81])}

# Hears what reaches a raw socket, which is behind the input hook: protocols and ICMP types, as often as asked for.
HEAR = """
import json, select, socket, sys
heard = []
sockets = {
    socket.socket(socket.AF_INET, socket.SOCK_RAW, 112): "vrrp4",
    socket.socket(socket.AF_INET6, socket.SOCK_RAW, 112): "vrrp6",
    socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP): "icmp4",
    socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6): "icmp6",
}
for port in (8848, 161):
    sock = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    sock.bind(("::", port))
    sockets[sock] = f"udp{port}"
print("ready", flush=True)
while True:
    for sock in select.select([*sockets, sys.stdin], [], [])[0]:
        if sock is sys.stdin:
            if not sys.stdin.readline():
                sys.exit()
            print(json.dumps(heard), flush=True)
            continue
        data, (source, *_) = sock.recvfrom(2048)
        name = sockets[sock]
        # a raw IPv4 socket shows the header too
        kind = data[20] if name == "icmp4" else data[0] if name == "icmp6" else None
        heard.append([name, source.removeprefix("::ffff:").partition("%")[0], kind])
"""
SAY = """
import json, socket, struct, sys
def total(data):
    words = sum(struct.unpack(f"!{len(data) // 2}H", data))
    words = (words >> 16) + (words & 0xFFFF)
    return ~(words + (words >> 16)) & 0xFFFF
four, six, kinds4, kinds6 = json.loads(sys.argv[1])
for family, address in ((socket.AF_INET, four), (socket.AF_INET6, six)):
    with socket.socket(family, socket.SOCK_RAW, 112) as sock:
        sock.sendto(bytes(8), (address, 0))
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        sock.sendto(b"?", (address, 8848))
        sock.sendto(b"?", (address, 161))
with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as sock:
    for kind in kinds4:
        head = struct.pack("!BBHI", kind, 0, 0, 0)
        sock.sendto(struct.pack("!BBHI", kind, 0, total(head), 0), (four, 0))
with socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6) as sock:
    for kind in kinds6:
        sock.sendto(struct.pack("!BBHI", kind, 0, 0, 0), (six, 0))
print("null")
"""


@pytest.fixture(scope="module")
def segment(daemon_root: Path) -> Iterator[Segment]:
    """Five hosts on a switch; the node listens on every port that is asked for, and has its rules."""
    with contextlib.ExitStack() as stack:
        built = Segment(stack, HOSTS)
        built.start("node", LISTEN, *map(str, PORTS))
        for address in (*OWN, *TWO):
            built.reaches("client", address, PORTS[0])
        load(built, daemon_root, SERVICES)
        yield built


def load(segment: Segment, root: Path, services: dict[str, Any], host: str = "node", **settings: Any) -> None:
    done = segment.run(host, "chroot", root, "nft", "-f", "-", text=render(services, settings, "lb1"))
    assert done.returncode == 0, done.stderr


def unload(segment: Segment, root: Path) -> None:
    done = segment.run("node", "chroot", root, "nft", "delete", "table", "inet", "rota")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("source", "own", "shared"),
    [
        ("client", [], [80, 81]),
        ("member", [], [80, 81]),
        ("peer", [8406, 8407], [80, 81, 8406, 8407]),
        ("manager", [22, 8443], [80, 81]),
    ],
)
def test_a_scan_sees_exactly_the_models_ports(segment: Segment, source: str, own: list[int], shared: list[int]) -> None:
    wanted = {**dict.fromkeys(OWN, own), **dict.fromkeys(TWO, shared)}
    assert segment.scan(source, [*OWN, *TWO], PORTS) == wanted


def test_the_twin_without_rules_sees_every_port(segment: Segment, daemon_root: Path) -> None:
    unload(segment, daemon_root)
    try:
        assert segment.scan("client", [*OWN, *TWO], PORTS) == dict.fromkeys([*OWN, *TWO], PORTS)
    finally:
        load(segment, daemon_root, SERVICES)


def test_unset_management_locks_nobody_out(segment: Segment, daemon_root: Path) -> None:
    load(segment, daemon_root, SERVICES, management=None)
    try:
        assert segment.scan("client", OWN, PORTS) == dict.fromkeys(OWN, [22, 8443])
    finally:
        load(segment, daemon_root, SERVICES)


def heard(segment: Segment, sources: list[str], kinds4: list[int], kinds6: list[int]) -> set[tuple[str, str, int | None]]:
    """What of all that the hosts `sources` said came through to the node: what, from which host, of which ICMP type."""
    ear = segment.start("node", HEAR)
    names = {address.split("/")[0]: name for name, addresses in HOSTS.items() for address in addresses}
    for source in sources:
        segment.python(source, SAY, json.dumps([*OWN, kinds4, kinds6]))

    def listen() -> list[Any]:
        assert ear.stdin is not None
        assert ear.stdout is not None
        ear.stdin.write("\n")
        ear.stdin.flush()
        found: list[Any] = json.loads(ear.stdout.readline())
        return found

    # the last that each says is an echo request, which everybody may
    last = wait_until(
        lambda: (said := listen()) and len({s for n, s, k in said if n == "icmp6" and k == 128}) == len(sources) and said,
        within=5,
    )
    ear.kill()
    return {(what, names[source], kind) for what, source, kind in last if source in names}


def test_only_the_peer_speaks_vrrp_and_connection_sync(segment: Segment) -> None:
    said = heard(segment, ["client", "member", "manager", "peer"], [8], [128])
    assert {(what, source) for what, source, _ in said if what[:4] in ("vrrp", "udp8")} == {
        ("vrrp4", "peer"),
        ("vrrp6", "peer"),
        ("udp8848", "peer"),
    }
    assert not [source for what, source, _ in said if what == "udp161"]


def test_icmp_as_rfc_4890_asks(segment: Segment) -> None:
    """Errors and echoes come through although service traffic is not followed; redirects and renumbering do not."""
    said = heard(segment, ["client"], [3, 11, 12, 5, 13, 8], [1, 2, 3, 4, 137, 138, 139, 128])
    assert {kind for what, _, kind in said if what == "icmp4"} == {3, 11, 12, 8}
    # 135 and 136 are the neighbours' own
    assert {kind for what, _, kind in said if what == "icmp6"} - {135, 136} == {1, 2, 3, 4, 128}


def test_neighbours_find_each_other_anew(segment: Segment) -> None:
    """IPv6 without neighbour discovery is no IPv6; both sides have forgotten."""
    for host in ("node", "client"):
        segment.ip(host, "-6", "neigh", "flush", "all")
    assert segment.scan("client", TWO[1:], [80]) == {TWO[1]: [80]}


MEMBER = """
import socket, sys
server = socket.create_server(("::", int(sys.argv[1])), family=socket.AF_INET6, dualstack_ipv6=True)
print("ready", flush=True)
talk, _ = server.accept()
for line in sys.stdin:
    talk.sendall(line.encode())
"""
READER = """
import socket, sys
sock = socket.create_connection((sys.argv[1], int(sys.argv[2])), 5)
print("ready", flush=True)
for line in sock.makefile():
    print(line, end="", flush=True)
"""


@pytest.mark.parametrize(("address", "port"), [("198.51.100.21", "7004"), ("2001:db8:51::21", "7006")])
def test_a_member_in_the_middle_of_its_answer_is_heard_when_the_rules_come(
    segment: Segment, daemon_root: Path, address: str, port: str
) -> None:
    """The first rollout of the rules on a node at work: conntrack has not seen the beginning, and the node is silent."""
    unload(segment, daemon_root)
    try:
        member = segment.start("member", MEMBER, port)
        reader = segment.start("node", READER, address, port)
    finally:
        load(segment, daemon_root, SERVICES)
    assert member.stdin is not None
    assert reader.stdout is not None
    member.stdin.write("the second half\n")
    member.stdin.flush()
    assert said_within(reader.stdout, 3) == "the second half\n"


CALLER = """
import socket, sys
sock = socket.create_connection((sys.argv[1], 80), 5)
print("ready", flush=True)
sys.stdin.readline()
sock.settimeout(4)
try:
    while sock.send(b"?") and not sock.recv(1):
        pass
except TimeoutError:
    print("silence", flush=True)
except OSError as error:
    print(type(error).__name__, flush=True)
"""
HOLD = """
import socket, sys
server = socket.create_server((sys.argv[1], 80), family=socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET)
print("ready", flush=True)
talk, _ = server.accept()
sys.stdin.readline()
"""


@pytest.mark.parametrize("address", ["198.51.100.101", "2001:db8:51::101"])
def test_after_a_failover_a_caller_hears_a_reset_and_not_silence(segment: Segment, daemon_root: Path, address: str) -> None:
    """The new node has never seen the beginning of the association: dropping it as invalid would stall the caller."""
    length = "64" if ":" in address else "24"
    service = {"web": plain(addresses=["198.51.100.101", "2001:db8:51::101"])}
    segment.give("peer", f"{address}/{length}")
    segment.start("peer", HOLD, address)
    caller = segment.start("client", CALLER, address)
    load(segment, daemon_root, service)
    try:
        segment.ip("peer", "address", "del", f"{address}/{length}", "dev", "eth0")
        segment.give("node", f"{address}/{length}")
        segment.ip("client", *(["-6"] if ":" in address else []), "neigh", "flush", "all")
        assert caller.stdin is not None
        assert caller.stdout is not None
        caller.stdin.write("\n")
        caller.stdin.flush()
        assert said_within(caller.stdout, 6) in ("ConnectionResetError\n", "BrokenPipeError\n")
    finally:
        segment.ip("node", "address", "del", f"{address}/{length}", "dev", "eth0")
        load(segment, daemon_root, SERVICES)


def said_within(stream: Any, seconds: float) -> str:
    """The next line of a program, or nothing when it takes too long."""
    return stream.readline() if select.select([stream], [], [], seconds)[0] else ""


def test_replacing_the_rules_leaves_no_moment_without(segment: Segment, daemon_root: Path) -> None:
    """Forty replacements, and a scanner that never stops: it must not find the port that is closed before and after."""
    text = render(SERVICES)
    knock = """
import json, select, socket, sys
found = tries = 0
print("ready", flush=True)
while True:
    if select.select([sys.stdin], [], [], 0)[0]:
        break
    sock = socket.socket()
    sock.settimeout(0.02)
    try:
        sock.connect((sys.argv[1], 30000))
        found += 1
    except OSError:
        pass
    tries += 1
    sock.close()
print(json.dumps([tries, found]), flush=True)
"""
    knocker = segment.start("client", knock, OWN[0])
    for _ in range(40):
        assert segment.run("node", "chroot", daemon_root, "nft", "-f", "-", text=text).returncode == 0
    assert knocker.stdin is not None
    assert knocker.stdout is not None
    knocker.stdin.write("\n")
    knocker.stdin.flush()
    tries, found = json.loads(said_within(knocker.stdout, 5))
    assert tries > 20
    assert found == 0


def test_a_broken_file_leaves_the_rules_as_they_are(segment: Segment, daemon_root: Path) -> None:
    listing = ("chroot", daemon_root, "nft", "-s", "list", "table", "inet", "rota")
    before = segment.run("node", *listing).stdout
    assert "services4" in before
    broken = render({}).replace("@management4 tcp", "@nobody4 tcp")
    done = segment.run("node", "chroot", daemon_root, "nft", "-f", "-", text=broken)
    assert done.returncode == 1
    assert segment.run("node", *listing).stdout == before
    assert segment.scan("client", TWO, [80]) == dict.fromkeys(TWO, [80])
