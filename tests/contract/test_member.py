"""What playbooks/member.yml makes of a real server, by packets on a network of its own; and that preflight sees it.

A frame for the service address, sent to the member's hardware address, is what IPVS sends in mode DR. Tunnels need
kernel modules that not every machine has: where they are missing, that is said, and the VM tier has the packets.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from lib.segment import LISTEN, Segment

pytestmark = pytest.mark.contract

TOP = Path(__file__).parents[2]
TOOL = TOP / "playbooks/files/member.py"
SERVICE = ("198.51.100.100", "2001:db8:51::100")
MEMBER = ("198.51.100.21", "2001:db8:51::21")
NODE = ("198.51.100.11", "2001:db8:51::11")
ARP = """
import asyncio, json, sys
from rota.preflight import network
print(json.dumps(sorted(asyncio.run(network.arp_answers(sys.argv[1], "eth0", wait=0.5)))))
"""
TAKES = """
import asyncio, json, sys
from rota.preflight import direct
service, own, hardware = sys.argv[1:4]
print(json.dumps(asyncio.run(direct.answers(service, int(sys.argv[4]), own, "eth0", hardware=hardware))))
"""
KEYS = ("all/arp_ignore", "all/arp_announce")


class Net(Segment):
    """A node and a member; the member listens on port 104 everywhere."""

    def __init__(self, stack: contextlib.ExitStack, state: Path) -> None:
        whole = {"node": NODE, "member": MEMBER}
        super().__init__(stack, {n: [f"{a[0]}/24", f"{a[1]}/64"] for n, a in whole.items()})
        self.state = state
        self.start("member", LISTEN, "104")
        shown = self.run("member", "ip", "-json", "link", "show", "eth0").stdout
        self.hardware = json.loads(shown)[0]["address"]

    def tool(self, *words: str | Path) -> subprocess.CompletedProcess[str]:
        return self.run("member", "env", f"STATE_DIRECTORY={self.state}", "python3", TOOL, *words)

    def on(self, **plan: list[str]) -> str:
        file = self.state / "plan.json"
        file.write_text(json.dumps({"direct": [], "tunnel": []} | plan))
        done = self.tool("on", file)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def arp(self) -> list[str]:
        """Who answers for the IPv4 service address."""
        answers: list[str] = self.python("node", ARP, SERVICE[0])
        return answers

    def takes(self, family: int, port: int = 104) -> bool:
        """Whether the member takes a packet for the service address, as preflight asks it."""
        answer: bool = self.python("node", TAKES, SERVICE[family], NODE[family], self.hardware, str(port))
        return answer

    def settings(self) -> list[str]:
        return [self.run("member", "cat", f"/proc/sys/net/ipv4/conf/{key}").stdout.strip() for key in KEYS]

    def held(self) -> list[str]:
        shown = json.loads(self.run("member", "ip", "-json", "address", "show", "dev", "lo").stdout)
        return [a["local"] for a in shown[0]["addr_info"] if a["local"] not in ("127.0.0.1", "::1")]


@pytest.fixture
def net(tmp_path: Path) -> Iterator[Net]:
    with contextlib.ExitStack() as stack:
        yield Net(stack, tmp_path)


def test_a_prepared_member_takes_packets_for_the_service_and_is_quiet_about_it(net: Net) -> None:
    assert [net.takes(0), net.takes(1)] == [False, False], "it must not before"
    assert net.on(direct=list(SERVICE)).splitlines() == [
        "net/ipv4/conf/all/arp_ignore = 1",
        "net/ipv4/conf/all/arp_announce = 2",
        f"{SERVICE[0]} on lo",
        f"{SERVICE[1]} on lo",
    ]
    assert net.arp() == []
    assert [net.takes(0), net.takes(1)] == [True, True]
    assert net.takes(0, port=105), "a refusal shows as well that the packet was taken"
    assert net.on(direct=list(SERVICE)) == "", "a second run changes nothing"


def test_the_address_alone_is_answered_for(net: Net) -> None:
    """The twin: without the settings the member would draw every caller to itself, past the node."""
    net.ip("member", "address", "add", f"{SERVICE[0]}/32", "dev", "lo")
    assert net.arp() == [net.hardware]


def test_connections_of_its_own_do_not_come_from_the_service_address(net: Net) -> None:
    net.on(direct=list(SERVICE))
    for family in (0, 1):
        route = json.loads(net.run("member", "ip", "-json", "route", "get", NODE[family]).stdout)[0]
        assert route["prefsrc"] == MEMBER[family]


def test_what_leaves_the_plan_leaves_the_member(net: Net) -> None:
    net.on(direct=list(SERVICE))
    assert net.on(direct=[SERVICE[1]]).splitlines() == [
        f"{SERVICE[0]} off lo",
        "net/ipv4/conf/all/arp_announce = 0",
        "net/ipv4/conf/all/arp_ignore = 0",
    ]
    assert net.held() == [SERVICE[1]]


def test_it_is_taken_back_whole(net: Net) -> None:
    net.run("member", "sh", "-c", "echo 1 > /proc/sys/net/ipv4/conf/all/arp_announce")
    net.on(direct=list(SERVICE))
    assert net.tool("off").returncode == 0
    assert net.held() == []
    assert net.settings() == ["0", "1"], "as they were before, not as a default would be"
    assert [net.takes(0), net.takes(1)] == [False, False]
    assert net.tool("off").stdout == ""


def test_after_a_reboot_it_is_so_again(net: Net) -> None:
    """A reboot forgets addresses and settings, and the file of what was done before stays."""
    net.on(direct=list(SERVICE))
    for address, prefix in zip(SERVICE, (32, 128), strict=True):
        net.ip("member", "address", "del", f"{address}/{prefix}", "dev", "lo")
    net.run("member", "sh", "-c", "for key in arp_ignore arp_announce; do echo 0 > /proc/sys/net/ipv4/conf/all/$key; done")
    net.on(direct=list(SERVICE))
    assert sorted(net.held()) == sorted(SERVICE)
    assert net.settings() == ["1", "2"]
    net.tool("off")
    assert net.settings() == ["0", "0"]


def test_a_kernel_without_tunnels_is_said_as_such_and_nothing_is_half_made(net: Net) -> None:
    (net.state / "plan.json").write_text(json.dumps({"direct": [], "tunnel": [SERVICE[0]]}))
    done = net.tool("on", net.state / "plan.json")
    if net.run("member", "ip", "link", "show", "tunl0").returncode:
        assert done.returncode == 1
        assert done.stderr == "tunl0: this kernel has no ipip, so mode l4-tun cannot work here: use l4-dr\n"
        assert net.settings() == ["0", "0"]
    else:
        assert done.returncode == 0, done.stderr
        assert f"{SERVICE[0]} on tunl0" in done.stdout
