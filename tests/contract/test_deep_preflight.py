"""`rota preflight` in network namespaces of its own: a router in between, a path that is too narrow, a loud member."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from contract.rotad_node import Bench, service, site

pytestmark = pytest.mark.contract

TOP = Path(__file__).resolve().parents[2]
Run = Callable[..., "subprocess.CompletedProcess[str]"]
SERVER = """
import socket, sys
listener = socket.create_server(("0.0.0.0", 104))
print("ready", flush=True)
while True:
    listener.accept()[0].close()
"""


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, timeout=10)


class Net:
    """Namespace `node` with 203.0.113.1, and `member` with 203.0.113.2 and the service address on its loopback."""

    def __init__(self, stack: ExitStack) -> None:
        self.node, self.member = (f"rota-{os.getpid()}-{name}" for name in ("n", "m"))
        for name in (self.node, self.member):
            ip("netns", "add", name)
            stack.callback(ip, "netns", "del", name)
        ip("-n", self.node, "link", "add", "eth0", "type", "veth", "peer", "name", "eth0", "netns", self.member)
        for name, address in ((self.node, "203.0.113.1/24"), (self.member, "203.0.113.2/24")):
            ip("-n", name, "addr", "add", address, "dev", "eth0")
            for link in ("lo", "eth0"):
                ip("-n", name, "link", "set", link, "up")
        ip("-n", self.member, "addr", "add", "203.0.113.100/32", "dev", "lo")
        ip("-n", self.node, "route", "add", "198.51.100.0/24", "via", "203.0.113.2")
        ip("-n", self.member, "addr", "add", "198.51.100.2/32", "dev", "lo")
        self.quiet(True)
        server = self.started(self.member, [sys.executable, "-c", SERVER])
        stack.callback(server.wait, 5)
        stack.callback(server.kill)
        assert server.stdout is not None
        assert server.stdout.readline() == "ready\n"
        stack.callback(server.stdout.close)

    def started(self, name: str, argv: list[str]) -> subprocess.Popen[str]:
        return subprocess.Popen(["ip", "netns", "exec", name, *argv], stdout=subprocess.PIPE, text=True)

    def quiet(self, yes: bool) -> None:
        settings = [f"net.ipv4.conf.all.arp_ignore={int(yes)}", f"net.ipv4.conf.all.arp_announce={2 * yes}"]
        argv = ["ip", "netns", "exec", self.member, "sysctl", "-qw", *settings]
        subprocess.run(argv, check=True, capture_output=True, timeout=10)

    def mtu(self, size: int) -> None:
        ip("-n", self.member, "link", "set", "eth0", "mtu", str(size))


@pytest.fixture
def net() -> Iterator[Net]:
    with ExitStack() as stack:
        yield Net(stack)


def preflight(
    net: Net, folder: Path, *more: str, address: str = "203.0.113.2", **service: Any
) -> subprocess.CompletedProcess[str]:
    prefixes = ["203.0.113.0/24", "198.51.100.0/24"]
    written = {
        "profile": "tcp", "address": "203.0.113.100", "port": 104, "mode": "l4-dr", "members": {"a": {"address": address}}, **service,
    }  # fmt: skip
    document = {
        "site": {
            "name": "test",
            "nodes": {"lb1": {"address": "203.0.113.1"}},
            "networks": {"lan": {"prefixes": prefixes, "interface": "eth0"}},
        },
        "services": {"pacs": written},
    }
    (folder / "site.json").write_text(json.dumps(document))
    argv = [sys.executable, "-m", "rota.cli", "preflight", "--site", str(folder / "site.json"), "--node", "lb1", *more]
    env = {**os.environ, "PYTHONPATH": str(TOP / "appliance")}
    command = ["ip", "netns", "exec", net.node, *argv]
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=60)


def found(done: subprocess.CompletedProcess[str]) -> dict[str, tuple[str, str]]:
    [row] = json.loads(done.stdout)["rows"]
    return {f["subject"]: (f["level"], f["text"]) for f in row["findings"]}


def test_a_sound_member_on_the_same_layer_2(net: Net, tmp_path: Path) -> None:
    done = preflight(net, tmp_path, "--json")
    seen = found(done)
    assert done.returncode == 0, done
    assert {s: seen[s][0] for s in ("reach", "check", "source", "mtu", "layer2")} == dict.fromkeys(
        ("reach", "check", "source", "mtu", "layer2"), "ok"
    ), seen
    assert seen["layer2"][1].endswith(", quiet, takes packets for the service address")
    assert seen["mtu"][1] == "1500 bytes pass in one packet"
    assert "each caller's own address, checks from 203.0.113.1" in seen["source"][1]


def test_a_member_that_answers_for_the_service_address_blocks(net: Net, tmp_path: Path) -> None:
    net.quiet(False)
    done = preflight(net, tmp_path, "--json")
    assert done.returncode == 1
    assert found(done)["layer2"] == (
        "block",
        "answers ARP for 203.0.113.100: set arp_ignore=1 and arp_announce=2 there",
    )


def test_a_member_without_the_service_address_blocks(net: Net, tmp_path: Path) -> None:
    """It is up and quiet, and every caller of the service would wait for nothing."""
    ip("-n", net.member, "addr", "del", "203.0.113.100/32", "dev", "lo")
    done = preflight(net, tmp_path, "--json")
    assert done.returncode == 1
    level, text = found(done)["layer2"]
    assert level == "block"
    assert text.endswith(
        ", quiet, but takes no packets for 203.0.113.100: it needs the address on lo (playbooks/member.yml)"
    )


def test_a_member_of_a_udp_service_is_asked_by_the_port_of_its_check(net: Net, tmp_path: Path) -> None:
    done = preflight(net, tmp_path, "--json", profile="syslog", port=514, check={"port": 104})
    assert found(done)["reach"][0] == "ok"
    assert found(done)["layer2"][0] == "unknown"


def test_a_member_behind_a_router_cannot_be_served_by_dr(net: Net, tmp_path: Path) -> None:
    done = preflight(net, tmp_path, "--json", address="198.51.100.2")
    assert done.returncode == 1
    assert found(done)["layer2"] == ("block", "behind the router 203.0.113.2: direct routing needs the same layer 2")
    done = preflight(net, tmp_path, "--json", address="198.51.100.2", mode="l4-nat")
    assert done.returncode == 0, done
    assert "layer2" not in found(done)


def test_a_narrow_path_is_measured(net: Net, tmp_path: Path) -> None:
    net.mtu(1400)
    level, text = found(preflight(net, tmp_path, "--json"))["mtu"]
    assert level == "warn"
    size = int(text.split()[2])
    assert 1392 <= size <= 1400, text


def test_for_people_and_for_vendors(net: Net, tmp_path: Path) -> None:
    done = preflight(net, tmp_path, "--csv", str(tmp_path / "allow.csv"))
    assert done.returncode == 0, done
    assert "Seen from lb1" in done.stdout
    assert "For the vendors' allow-lists" in done.stdout
    lines = (tmp_path / "allow.csv").read_text().splitlines()
    assert lines[1:] == [
        "pacs,a,203.0.113.2,104,203.0.113.1,lb1,,,health checks",
        "pacs,a,203.0.113.2,104,each caller's own,,,,all work",
    ]
    done = preflight(net, tmp_path, "nothing")
    assert (done.returncode, done.stderr) == (1, "rota: there is no service 'nothing'; there are: pacs\n")


def test_each_node_looks_for_itself(daemon_root: Path, tmp_path: Path) -> None:
    """One command, both nodes' ways to the member; a node that cannot be asked is not passed over."""
    with ExitStack() as stack:
        bench = Bench(daemon_root, tmp_path, stack)
        member = bench.member("a")
        document = site({"pacs": service(1, ["a"])})
        # on loopback, so that nothing leaves this machine
        document["services"]["pacs"]["members"]["a"] = {"address": "127.0.0.1", "port": member.port}
        rotads = [bench.rotad(name, bench.haproxy(name, {"pacs": [member]}), document) for name in ("lb1", "lb2")]
        for rotad in rotads:
            rotad.start()

        def run(*more: str) -> tuple[int, dict[str, Any]]:
            folder = rotads[0].folder
            argv = [sys.executable, "-m", "rota.cli", "preflight", "--json", "--site", str(folder / "site.json")]
            argv += ["--config", str(folder / "rotad.toml"), *more]
            env = {**os.environ, "PYTHONPATH": str(TOP / "appliance")}
            done = subprocess.run(argv, env=env, capture_output=True, text=True, timeout=60)
            return done.returncode, json.loads(done.stdout)

        code, both = run()
        assert (code, both["unasked"]) == (0, {}), both
        assert [(r["node"], r["findings"][0]["level"]) for r in both["rows"]] == [("lb1", "ok"), ("lb2", "ok")]
        rotads[1].kill()
        code, one = run()
        assert (code, list(one["unasked"]), [r["node"] for r in one["rows"]]) == (1, ["lb2"], ["lb1"])
        assert run("--here")[0] == 0
