"""Two real keepalived, each in a network of its own, joined by a cable: who holds the addresses, and when."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from contract.test_keepalived import SITE, TEMPLATE, render, service, site
from lib.poll import wait_until

pytestmark = pytest.mark.contract

FIRST, SECOND, SIX = "198.51.100.100", "198.51.100.101", "2001:db8:51::100"
PACS = {"pacs": {**service(), "addresses": [FIRST, SIX]}}
PACS["pacs"].pop("address")
MORE = {**PACS, "more": service(address=SECOND)}
HAPROXY = """defaults
    mode http
    timeout client 5s
frontend health
    bind 127.0.0.1:8404
    monitor-uri /healthz
"""
# Its own network and its own /run and /tmp: two nodes on one machine. The shell lives on as what holds them open.
HOLD = """
mount -t tmpfs tmpfs "$0/run" && mount -t tmpfs tmpfs "$0/tmp" && mkdir -p "$0/run/rota/track"
ip link set lo up
echo ready
exec cat
"""


class Node:
    """One node: a network namespace with haproxy's health answer and keepalived in the Debian 13 root."""

    def __init__(self, name: str, root: Path, logs: Path, stack: ExitStack) -> None:
        self.name, self.root, self._stack = name, root, stack
        self.log = logs / f"{name}.log"
        self._log = stack.enter_context(self.log.open("wb"))
        command = ["unshare", "--net", "--mount", "sh", "-c", HOLD, str(root)]
        self.holder = self._start(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self.holder.stdout is not None
        assert self.holder.stdout.readline() == b"ready\n"
        self.keepalived: subprocess.Popen[bytes] | None = None
        self.haproxy: subprocess.Popen[bytes] | None = None

    def _start(self, command: list[str], **how: Any) -> subprocess.Popen[bytes]:
        how = {"stdout": self._log, "stderr": subprocess.STDOUT, **how}
        process = self._stack.enter_context(subprocess.Popen(command, **how))
        self._stack.callback(process.terminate)
        return process

    def inside(self, *command: str) -> list[str]:
        return ["nsenter", "--net", "--mount", f"--target={self.holder.pid}", *command]

    def run(self, *command: str, text: str | None = None) -> str:
        done = subprocess.run(self.inside(*command), input=text, capture_output=True, text=True, timeout=20, check=True)
        return done.stdout

    def write(self, path: str, text: str) -> None:
        # in one step, as a unit does it: keepalived must not read half a file
        self.run("sh", "-c", 'cat >"$0.new" && mv "$0.new" "$0"', f"{self.root}/{path}", text=text)

    def read(self, path: str) -> str:
        """The text of a file, or nothing while there is none."""
        return self.run("sh", "-c", 'cat "$0" 2>/dev/null || :', f"{self.root}/{path}")

    def start(self, services: dict[str, Any]) -> None:
        self.write("tmp/haproxy.cfg", HAPROXY)
        self.haproxy = self._start(self.inside("chroot", str(self.root), "haproxy", "-db", "-f", "/tmp/haproxy.cfg"))  # noqa: S108
        self.write("run/rota/track/haproxy", "0\n")
        self.configure(services)
        self.start_keepalived()

    def start_keepalived(self) -> None:
        command = ["chroot", str(self.root), "keepalived", "-n", "-l", "-D", "-f", "/tmp/keepalived.conf"]  # noqa: S108
        self.keepalived = self._start(self.inside(*command))

    def configure(self, services: dict[str, Any], settings: dict[str, Any] | None = None) -> None:
        self.write("tmp/keepalived.conf", render(services, settings or FAST, self.name))

    def reload(self, services: dict[str, Any]) -> None:
        self.configure(services)
        assert self.keepalived is not None
        self.keepalived.send_signal(signal.SIGHUP)

    def stop_keepalived(self) -> None:
        assert self.keepalived is not None
        self.keepalived.terminate()
        self.keepalived.wait(10)

    def kill_keepalived(self) -> None:
        """Parent and children at once, and without a word."""
        assert self.keepalived is not None
        children = Path(f"/proc/{self.keepalived.pid}/task/{self.keepalived.pid}/children").read_text().split()
        for pid in (self.keepalived.pid, *map(int, children)):
            os.kill(pid, signal.SIGKILL)

    def addresses(self) -> set[str]:
        links = json.loads(self.run("ip", "-json", "address", "show", "dev", "eth0"))
        return {a["local"] for a in links[0]["addr_info"]} if links else set()


FAST = site(vrrp={"start_delay": "100ms"})


def install_vrrp(root: Path) -> None:
    """What role keepalived installs: the script that keeps the groups' track files in step with the role."""
    path = root / "usr/local/lib/rota/vrrp"
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".vrrp.{os.getpid()}")
    shutil.copy(TEMPLATE.parents[1] / "files/vrrp.sh", unfinished)
    unfinished.replace(path)


def join(one: Node, two: Node) -> None:
    """A cable between two nodes, and their own addresses on it."""
    one.run("ip", "link", "add", "eth0", "type", "veth", "peer", "name", "eth0", "netns", str(two.holder.pid))
    for node in (one, two):
        node.run("ip", "link", "set", "eth0", "up")
        for address in SITE["nodes"][node.name]["addresses"]:
            length = 64 if ":" in address else 24
            node.run("ip", "address", "add", f"{address}/{length}", "dev", "eth0", *(["nodad"] if length == 64 else []))


@pytest.fixture
def pair(daemon_root: Path, tmp_path: Path) -> Iterator[tuple[Node, Node]]:
    """lb1 is active and lb2 stands by: two that start at once may both hold the address until they have heard each other."""
    install_vrrp(daemon_root)
    with ExitStack() as stack:
        nodes = Node("lb1", daemon_root, tmp_path, stack), Node("lb2", daemon_root, tmp_path, stack)
        one, two = nodes
        join(one, two)
        one.start(PACS)
        wait_until(lambda: FIRST in one.addresses() and words(one) == ("0", "0"), within=20, what="lb1 holds the address")
        two.start(PACS)
        wait_until(lambda: "(main) master set to" in two.log.read_text(), within=20, what="lb2 hears lb1")
        yield nodes


def holders(pair: tuple[Node, Node], address: str) -> list[str]:
    return [node.name for node in pair if address in node.addresses()]


def roles(pair: tuple[Node, Node]) -> tuple[Node, Node]:
    """The active node and the standby, as soon as there is exactly one holder."""
    wait_until(lambda: len(holders(pair, FIRST)) == 1, within=10)
    return pair if FIRST in pair[0].addresses() else (pair[1], pair[0])


def settle(pair: tuple[Node, Node], node: Node, *addresses: str) -> None:
    wait_until(lambda: all(holders(pair, a) == [node.name] for a in addresses), within=10)


def stays(pair: tuple[Node, Node], node: Node, address: str, *, seconds: float) -> None:
    """Two holders is split brain, none is an outage; either must be seen if it happens at any time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        assert holders(pair, address) == [node.name]


def test_one_holder_for_both_families(pair: tuple[Node, Node]) -> None:
    active, _ = pair
    settle(pair, active, FIRST, SIX)


def test_one_holder_while_the_nodes_know_different_services(pair: tuple[Node, Node]) -> None:
    """A rollout changes one node first, the standby: it must go on believing the active one's adverts."""
    active, standby = pair
    standby.reload(MORE)
    stays(pair, active, FIRST, seconds=2)
    assert holders(pair, SECOND) == []
    active.reload(MORE)
    settle(pair, active, FIRST, SECOND, SIX)


def test_one_holder_while_the_first_address_goes(pair: tuple[Node, Node]) -> None:
    """The advertised address differs then, which this keepalived reports and does not hold against its peer."""
    active, standby = pair
    standby.reload({"more": MORE["more"]})
    stays(pair, active, FIRST, seconds=2)
    assert holders(pair, SECOND) == []
    active.reload({"more": MORE["more"]})
    settle(pair, active, SECOND)
    assert holders(pair, FIRST) == []


def test_a_reload_keeps_the_address(pair: tuple[Node, Node]) -> None:
    active, _ = pair
    active.reload(MORE)
    stays(pair, active, FIRST, seconds=1)
    settle(pair, active, FIRST, SECOND)


def test_stop_hands_over_and_the_return_takes_nothing_back(pair: tuple[Node, Node]) -> None:
    active, standby = pair
    active.stop_keepalived()
    settle(pair, standby, FIRST, SIX)
    active.start_keepalived()
    stays(pair, standby, FIRST, seconds=3)


def test_a_stopped_haproxy_hands_over(pair: tuple[Node, Node]) -> None:
    active, standby = pair
    active.write("run/rota/track/haproxy", "-1\n")
    settle(pair, standby, FIRST, SIX)
    active.write("run/rota/track/haproxy", "0\n")
    stays(pair, standby, FIRST, seconds=2)


def test_a_hung_haproxy_hands_over(pair: tuple[Node, Node]) -> None:
    """Its process lives and its port takes connections, so that only the script that waits for an answer sees it."""
    active, standby = pair
    assert active.haproxy is not None
    active.haproxy.send_signal(signal.SIGSTOP)
    try:
        wait_until(lambda: holders(pair, FIRST) == [standby.name], within=30)
    finally:
        active.haproxy.send_signal(signal.SIGCONT)
    stays(pair, standby, FIRST, seconds=2)


def test_no_holder_without_a_haproxy(pair: tuple[Node, Node]) -> None:
    """A missing word of HAProxy is no reason to hold an address."""
    for node in pair:
        node.stop_keepalived()
        node.run("rm", "-f", f"{node.root}/run/rota/track/haproxy")
        node.start_keepalived()
    wait_until(lambda: all(node.read("run/rota/track/haproxy") == "-1\n" for node in pair), within=5)
    end = time.monotonic() + 2
    while time.monotonic() < end:
        assert holders(pair, FIRST) == []
    pair[1].write("run/rota/track/haproxy", "0\n")
    settle(pair, pair[1], FIRST)


def test_an_operator_moves_a_group(pair: tuple[Node, Node]) -> None:
    """The new one takes over before the old one lets go; nothing moves back when the word is taken back."""
    active, standby = pair
    active.write("run/rota/track/group-main", "1\n")
    settle(pair, standby, FIRST, SIX)
    wait_until(lambda: (words(active), words(standby)) == (("1", "1"), ("0", "0")), within=3)
    active.write("run/rota/track/group-main", "0\n")
    stays(pair, standby, FIRST, seconds=2)


def words(node: Node) -> tuple[str, str]:
    """Role and operator's word in the group's track files."""
    role, word = (node.read(f"run/rota/track/{name}-main").strip() for name in ("role", "group"))
    return role, word


def hand_over(node: Node) -> int:
    """What the unit runs before it stops keepalived; its exit status."""
    command = node.inside("chroot", str(node.root), "/usr/local/lib/rota/vrrp", "hand-over", "2")
    return subprocess.run(command, capture_output=True, timeout=20, check=False).returncode


def test_a_stop_with_a_hand_over_first(pair: tuple[Node, Node]) -> None:
    active, standby = pair
    wait_until(lambda: words(active) == ("0", "0"), within=3)
    assert hand_over(active) == 0
    assert (holders(pair, FIRST), words(active), words(standby)) == ([standby.name], ("1", "0"), ("0", "0"))


def test_a_hand_over_that_nobody_takes_leaves_the_holder_alone(pair: tuple[Node, Node]) -> None:
    active, standby = pair
    standby.stop_keepalived()
    wait_until(lambda: words(active) == ("0", "0"), within=3)
    assert hand_over(active) == 1
    assert (holders(pair, FIRST), words(active)) == ([active.name], ("0", "0"))


@pytest.mark.clock  # "at the same time" is within the start delay
def test_the_order_of_the_group_decides_who_begins(pair: tuple[Node, Node]) -> None:
    """Not for ever: only among nodes that start at the same time and find nobody on duty."""
    for node in pair:
        node.stop_keepalived()
        node.configure(PACS, site(vrrp={"start_delay": "2s"}))
    for node in reversed(pair):
        node.start_keepalived()
    settle(pair, pair[0], FIRST)


@pytest.mark.parametrize("how", ["reload", "start"])
def test_a_node_that_comes_back_takes_nothing(pair: tuple[Node, Node], how: str) -> None:
    """Whatever its files say: a crash leaves those of a holder behind. No rotad is there to put them right."""
    first, second = pair
    first.kill_keepalived()
    wait_until(lambda: FIRST in second.addresses() and words(second) == ("0", "0"), within=5)
    first.start_keepalived()
    settle(pair, second, FIRST)
    if how == "reload":
        first.reload(PACS)
    stays(pair, second, FIRST, seconds=2)
    assert words(first) == ("1", "0")


def test_a_lost_role_file_moves_nothing(pair: tuple[Node, Node]) -> None:
    """No file reads as 0, the rank of a holder: an equal preempts nobody."""
    active, standby = pair
    for node in (standby, active):
        node.run("rm", "-f", f"{node.root}/run/rota/track/role-main", f"{node.root}/run/rota/track/group-main")
        stays(pair, active, FIRST, seconds=1.5)


def test_a_killed_keepalived_is_replaced(pair: tuple[Node, Node]) -> None:
    """Nothing says goodbye; the dead one's address stays where it was, as on a node that hangs."""
    active, standby = pair
    active.kill_keepalived()
    wait_until(lambda: FIRST in standby.addresses(), within=5)


def test_adverts_name_one_address(pair: tuple[Node, Node]) -> None:
    """The peer's own counters say so: nothing is wrong with their list while the services differ."""
    active, standby = pair
    standby.reload(MORE)
    stays(pair, active, FIRST, seconds=1)
    assert standby.keepalived is not None
    standby.keepalived.send_signal(signal.SIGUSR2)
    wait_until(lambda: "Address List" in standby.read("tmp/keepalived.stats"), within=5)
    text = standby.read("tmp/keepalived.stats")
    assert "Address List: 0\n" in text
    assert "Advertisements:\n    Received: 0\n" not in text
