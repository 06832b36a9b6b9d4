"""Planned failover with two real keepalived, HAProxy and rotad, each in a network of its own, joined by a cable."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from contract.rotad_node import TOP
from contract.test_keepalived import SITE
from contract.test_keepalived_pair import FAST, FIRST, PACS, SIX, Node, holders, install_vrrp, join, roles, settle, stays
from lib.poll import wait_until
from peers.pki import Authority
from rota.model import dump, parse

pytestmark = pytest.mark.contract
HAPROXY = """global
    stats socket /run/admin.sock level admin
defaults
    mode http
    timeout client 5s
    timeout server 5s
    timeout connect 5s
frontend health
    bind 127.0.0.1:8404
    monitor-uri /healthz
backend pacs
"""


class Full(Node):
    """A node with rotad beside HAProxy and keepalived."""

    authority: Authority
    rotad: subprocess.Popen[bytes] | None = None

    def start(self, services: dict[str, Any]) -> None:
        result = parse({"site": FAST, "services": services})
        assert result.site, result.problems
        servers = "".join(f"    server {m} 127.0.0.1:9\n" for m in services["pacs"]["members"])
        self.write("tmp/haproxy.cfg", HAPROXY + servers)
        self._start(self.inside("chroot", str(self.root), "haproxy", "-db", "-f", "/tmp/haproxy.cfg"))  # noqa: S108
        self.write("run/rota/track/haproxy", "0\n")
        self.configure(services)
        self.start_keepalived()
        run = self.root / "run"
        pair = self.authority.issue(self.name)
        self.write("run/site.json", json.dumps(dump(result.site)))
        self.write(
            "run/rotad.toml",
            f'node = "{self.name}"\nsite = "{run}/site.json"\nstate_directory = "{run}/state"\nrun_directory = "{run}/rota"\n'
            f'haproxy_socket = "{run}/admin.sock"\nhaproxy_state = "{run}/server-state"\nkeepalived_pid = "{run}/keepalived.pid"\n'
            f'[peer]\nlisten = "{SITE["nodes"][self.name]["addresses"][0]}"\nport = 8407\nca = "{self.authority.cert}"\n'
            f'certificate = "{pair.cert}"\nkey = "{pair.key}"\n[journal]\ndays = 3\nmebibytes = 9\n',
        )
        self.start_rotad()

    def start_rotad(self) -> None:
        command = ["env", f"PYTHONPATH={TOP / 'appliance'}", sys.executable, "-m", "rota.control.daemon"]
        self.rotad = self._start(self.inside(*command, "--config", f"{self.root}/run/rotad.toml"))

    def kill_rotad(self) -> None:
        assert self.rotad is not None
        self.rotad.kill()
        self.rotad.wait(5)

    def request(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """A request on rotad's socket, through the node's own view of the files."""
        data = json.dumps(body).encode() if body is not None else b""
        answer = self.run(
            "curl", "-s", "-m", "30", "-w", "\n%{http_code}", "--unix-socket", f"{self.root}/run/rota/rotad.sock", "-X", method,
            "-H", "Content-Type: application/json", *(["-d", data.decode()] if data else []), f"http://rotad{path}",
        )  # fmt: skip
        text, _, status = answer.rpartition("\n")
        return int(status), json.loads(text)

    def get(self, path: str) -> Any:
        status, answer = self.request("GET", path)
        assert status == 200, answer
        return answer

    def group(self) -> dict[str, Any]:
        return dict(self.get("/v1/status")["groups"][0])

    def alarms(self) -> set[str]:
        return {alarm["key"] for alarm in self.get("/v1/alarms")}

    def fail_over(self, **more: Any) -> tuple[int, Any]:
        return self.request("POST", "/v1/failover", {"reason": "a new kernel", **more})

    def track(self) -> str:
        return self.read("run/rota/track/group-main").strip()

    def role_file(self) -> str:
        return self.read("run/rota/track/role-main").strip()


def ready(node: Full) -> bool:
    with suppress(subprocess.CalledProcessError, OSError, ValueError):
        status = node.get("/v1/status")
        return bool(status["peers"][0]["in_step"] and status["groups"][0]["state"] == "ok")
    return False


@pytest.fixture
def pair(daemon_root: Path, tmp_path: Path) -> Iterator[tuple[Full, Full]]:
    authority = Authority(tmp_path / "ca")
    install_vrrp(daemon_root)
    with ExitStack() as stack:
        nodes = Full("lb1", daemon_root, tmp_path, stack), Full("lb2", daemon_root, tmp_path, stack)
        join(*nodes)
        for node in nodes:
            node.authority = authority
        for node in nodes:
            node.start(PACS)
        wait_until(lambda: all(ready(node) for node in nodes), within=30, what="both nodes are in step")
        yield nodes


Roles = tuple[Full, Full]


def active_and_standby(pair: Roles) -> Roles:
    active, standby = roles(pair)
    assert isinstance(active, Full)
    assert isinstance(standby, Full)
    return active, standby


@pytest.mark.parametrize("where", ["active", "standby"])
def test_a_failover_moves_every_address_and_stays(pair: Roles, where: str) -> None:
    active, standby = active_and_standby(pair)
    status, groups = (active if where == "active" else standby).fail_over()
    assert (status, groups) == (200, ["main"])
    settle(pair, standby, FIRST, SIX)
    assert active.track() == "0"  # free to take over again
    stays(pair, standby, FIRST, seconds=2)
    wait_until(lambda: (standby.group()["role"], active.group()["role"]) == ("active", "standby"), within=5)
    for node in pair:
        events = wait_until(lambda n=node: [e for e in n.get("/v1/events") if e["kind"] == "failover"], within=5)
        assert [(e["member"], e["before"], e["after"], e["reason"]) for e in events] == [
            ("main", active.name, standby.name, "a new kernel")
        ]
    # and the node that handed over does take over when the other one dies
    standby.kill_keepalived()
    wait_until(lambda: FIRST in active.addresses(), within=5)


def test_a_peer_that_is_unfit_gets_nothing_and_why_is_said(pair: Roles) -> None:
    active, standby = active_and_standby(pair)

    def refused(why: str) -> bool:
        status, problem = active.fail_over()
        assert holders(pair, FIRST) == [active.name]
        return (status, problem["code"]) == (409, "peer-unfit") and why in problem["title"]

    standby.write("run/rota/track/haproxy", "-1\n")
    wait_until(lambda: refused("its HAProxy is marked as not serving"), within=5)
    standby.write("run/rota/track/haproxy", "0\n")
    standby.write("run/rota/track/group-main", "1\n")
    wait_until(lambda: refused("keeps it from the group"), within=5)
    wait_until(lambda: "group-held:main" in standby.alarms(), within=15)
    standby.write("run/rota/track/group-main", "0\n")
    standby.stop_keepalived()
    wait_until(lambda: refused("its keepalived does not run"), within=5)
    standby.kill_rotad()
    wait_until(lambda: refused("lb2" if active.name == "lb1" else "lb1"), within=10)
    assert active.track() in ("", "0")


def test_a_peer_that_says_late_that_it_holds_is_waited_for(pair: Roles) -> None:
    active, standby = active_and_standby(pair)
    assert standby.rotad is not None
    standby.rotad.send_signal(signal.SIGSTOP)
    goes_on = threading.Timer(9, standby.rotad.send_signal, [signal.SIGCONT])
    goes_on.start()
    try:
        assert active.fail_over(force=True) == (200, ["main"])
    finally:
        goes_on.join()
    assert holders(pair, FIRST) == [standby.name]


def test_a_peer_that_took_over_and_cannot_say_so_is_not_called_idle(pair: Roles) -> None:
    active, standby = active_and_standby(pair)
    standby.kill_rotad()
    status, problem = active.fail_over(force=True)
    assert (status, problem["code"]) == (409, "move-failed")
    assert f"{active.name} has let group main go" in problem["title"]
    assert holders(pair, FIRST) == [standby.name]


def test_a_forced_move_that_fails_is_taken_back(pair: Roles) -> None:
    active, standby = active_and_standby(pair)
    standby.stop_keepalived()
    status, problem = active.fail_over(force=True)
    assert (status, problem["code"]) == (409, "move-failed")
    assert active.track() == "0"
    settle(pair, active, FIRST, SIX)


def test_a_rotad_that_died_during_a_move_is_tidied_up_by_its_next_start(pair: Roles) -> None:
    active, standby = active_and_standby(pair)
    standby.kill_rotad()
    standby.write("run/rota/handing-over-main", f"{active.name}\n")
    standby.write("run/rota/track/group-main", "1\n")
    standby.start_rotad()
    wait_until(lambda: standby.track() == "0", within=30)
    assert standby.read("run/rota/handing-over-main") == ""
    # and it puts right what keepalived's script could not; one alone is wrong without harm
    for node, right, wrong in ((active, "0", "1"), (standby, "1", "0")):
        node.write("run/rota/track/role-main", f"{wrong}\n")
        wait_until(lambda node=node, right=right: node.role_file() == right, within=5)
    assert holders(pair, FIRST) == [active.name]


def test_split_brain_and_no_active_node_are_alarms_on_both(pair: Roles) -> None:
    """Adverts are lost, rotad's own traffic is not: both hold the addresses, and both know it."""
    active, standby = active_and_standby(pair)
    for node in pair:
        node.run(
            "nft",
            "add table ip t; add chain ip t i { type filter hook input priority 0; }; add rule ip t i ip protocol 112 drop",
        )
    wait_until(lambda: len(holders(pair, FIRST)) == 2, within=10)
    for node in pair:
        wait_until(lambda n=node: "split-brain:main" in n.alarms(), within=10)
        assert (node.group()["state"], sorted(node.group()["holders"])) == ("split-brain", ["lb1", "lb2"])
    for node in pair:
        node.run("nft", "delete table ip t")
    for node in pair:
        wait_until(lambda n=node: "split-brain:main" not in n.alarms(), within=10)
        node.stop_keepalived()
    for node in pair:
        wait_until(lambda n=node: "no-active:main" in n.alarms(), within=10)
        assert (node.group()["state"], node.group()["role"]) == ("no-active", "standby")


@pytest.mark.clock
def test_how_long_nobody_holds_the_address(pair: Roles, record_property: Any) -> None:
    """keepalived says so before it adds the address: a few milliseconds, far below what a sender notices (RFC 6298: 1 s)."""
    active, standby = active_and_standby(pair)
    gaps: list[float] = []
    for source, target in ((active, standby), (standby, active)) * 2:
        log = f"tmp/moves-{len(gaps)}"
        with ExitStack() as stack:
            for node in (source, target):
                command = ["sh", "-c", f"exec ip -tshort -o monitor address >{node.root}/{log}"]
                process = stack.enter_context(subprocess.Popen(node.inside(*command)))
                stack.callback(process.terminate)
            for node in (source, target):
                # it listens as soon as it reports an address of no meaning
                wait_until(lambda n=node, log=log: probed(n, log), within=10)
            assert source.fail_over()[0] == 200
            left = moment(source.read(log), deleted=True)
            came = moment(target.read(log), deleted=False)
        gaps.append(came - left)
    record_property("gap_s", gaps)
    print("gap:", [f"{gap * 1000:.0f} ms" for gap in gaps])
    assert max(gaps) < 0.25


def probed(node: Full, log: str) -> bool:
    """Add and remove an address, and tell whether the monitor wrote that down."""
    node.run("ip", "address", "add", "203.0.113.1/32", "dev", "lo")
    node.run("ip", "address", "del", "203.0.113.1/32", "dev", "lo")
    return "203.0.113.1/32" in node.read(log)


def moment(text: str, *, deleted: bool) -> float:
    """When FIRST came or went, in seconds, from `ip -tshort monitor`."""
    for line in text.splitlines():
        stamp, _, rest = line.strip("[").partition("]")
        if f" {FIRST}/" in rest and rest.strip().startswith("Deleted") == deleted:
            return datetime.fromisoformat(stamp).timestamp()
    raise AssertionError(f"{FIRST} did not move: {text}")
