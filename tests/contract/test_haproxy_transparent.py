"""Mode l7-transparent in a network of its own: the member sees the caller's address, and its answers find their way back.

caller (203.0.113.2) — node (203.0.113.1, 198.51.100.1) — member (198.51.100.21, its gateway is the node); IPv6 likewise.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jinja2 import Environment
from lib import haproxy
from lib.network import need
from lib.poll import wait_until

pytestmark = pytest.mark.contract

TOOL = haproxy.ROLE / "files/haproxy.py"
# Answers each connection with the address that it sees.
MEMBER = """
import socket, sys
server = socket.create_server((sys.argv[1], 8080), family=socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET)
print("ready", flush=True)
while True:
    talk, address = server.accept()
    with talk:
        talk.settimeout(5)
        try:
            if talk.recv(1):
                talk.sendall(address[0].encode())
        except OSError:
            pass
"""
CALLER = """
import socket, sys
with socket.create_connection((sys.argv[1], 8080), 5) as sock:
    sock.settimeout(5)
    sock.sendall(b"?")
    print(sock.recv(100).decode())
"""


class Network:
    """Three network namespaces in a row; gone at the end."""

    def __init__(self, stack: contextlib.ExitStack) -> None:
        need("nftables", "iproute2")
        self.prefix = f"rota-{os.getpid()}"
        for name in ("caller", "node", "member"):
            self.host("netns", "add", self.space(name))
            stack.callback(self.host, "netns", "del", self.space(name))
            self.ip(name, "link", "set", "lo", "up")
        for other, four, six in (("caller", "203.0.113", "2001:db8:1"), ("member", "198.51.100", "2001:db8:2")):
            self.ip("node", "link", "add", other, "type", "veth", "peer", "name", "eth0", "netns", self.space(other))
            for space, link, last in (("node", other, "1"), (other, "eth0", "2" if other == "caller" else "21")):
                self.ip(space, "address", "add", f"{four}.{last}/24", "dev", link)
                self.ip(space, "address", "add", f"{six}::{last}/64", "dev", link, "nodad")
                self.ip(space, "link", "set", link, "up")
            self.ip(other, "route", "add", "default", "via", f"{four}.1")
            self.ip(other, "-6", "route", "add", "default", "via", f"{six}::1")
        for address in (["203.0.113.100/24"], ["2001:db8:1::100/64", "nodad"]):
            self.ip("node", "address", "add", *address, "dev", "caller")

    def space(self, name: str) -> str:
        return f"{self.prefix}-{name}"

    def host(self, *words: str) -> None:
        subprocess.run(["ip", *words], check=True, timeout=10)

    def ip(self, name: str, *words: str) -> None:
        self.host("-netns", self.space(name), *words)

    def inside(self, name: str, *words: str | Path) -> list[str | Path]:
        return ["ip", "netns", "exec", self.space(name), *words]


@pytest.fixture
def stack() -> Iterator[contextlib.ExitStack]:
    with contextlib.ExitStack() as held:
        yield held


def ask(network: Network, address: str) -> str:
    done = subprocess.run(
        network.inside("caller", sys.executable, "-c", CALLER, address),
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    return done.stdout.strip()


def node_of(network: Network, stack: contextlib.ExitStack, root: Path, mode: str) -> Any:
    for address in ("198.51.100.21", "2001:db8:2::21"):
        process = subprocess.Popen(network.inside("member", sys.executable, "-c", MEMBER, address), stdout=subprocess.PIPE)
        stack.callback(process.wait)
        stack.callback(process.kill)
        assert process.stdout is not None
        stack.callback(process.stdout.close)
        assert process.stdout.readline() == b"ready\n"
    service = {
        "profile": "tcp",
        "addresses": ["203.0.113.100", "2001:db8:1::100"],
        "port": 8080,
        "mode": mode,
        "members": {"four": {"address": "198.51.100.21"}, "six": {"address": "2001:db8:2::21"}},
    }
    document = haproxy.site({"tcp": service})
    document["site"]["networks"] = {
        "loopback": {"prefixes": ["127.0.0.0/8"], "interface": "lo"},
        "clinical": {"prefixes": ["203.0.113.0/24", "2001:db8:1::/64"], "interface": "caller"},
    }
    daemon = stack.enter_context(haproxy.prepared(root, document))
    template = Environment(trim_blocks=True, keep_trailing_newline=True, autoescape=False).from_string(  # noqa: S701
        (haproxy.ROLE / "templates/transparent.nft.j2").read_text()
    )
    shown = haproxy.view_of(document).as_dict()
    (daemon.folder / "transparent.nft").write_text(template.render(__haproxy_view=shown, ansible_managed="managed"))
    daemon.prefix = tuple(network.inside("node"))
    stack.callback(daemon.stop)
    daemon.start()
    for backend, name in (("tcp", "four"), ("tcp.v6" if mode == "l7-transparent" else "tcp", "six")):
        daemon.wait_for(backend, name, "UP")
    return daemon


def tool(network: Network, folder: Path, command: str) -> None:
    environment = {**os.environ, "ROTA_HAPROXY_HOME": str(folder)}
    subprocess.run(network.inside("node", sys.executable, TOOL, command), env=environment, timeout=30, check=True)


def test_members_see_the_caller(daemon_root: Path, stack: contextlib.ExitStack) -> None:
    network = Network(stack)
    daemon = node_of(network, stack, daemon_root, "l7-transparent")
    # without the rules the member's answer goes to the caller's address and is lost
    assert ask(network, "203.0.113.100") == ""
    tool(network, daemon.folder, "transparent-on")
    assert wait_until(lambda: ask(network, "203.0.113.100"), within=10) == "203.0.113.2"
    assert wait_until(lambda: ask(network, "2001:db8:1::100"), within=10) == "2001:db8:1::2"
    tool(network, daemon.folder, "transparent-on")  # twice is as good as once
    assert ask(network, "203.0.113.100") == "203.0.113.2"
    tool(network, daemon.folder, "transparent-off")
    left = subprocess.run(
        network.inside("node", "sh", "-c", "nft list ruleset; ip rule show priority 526; ip -6 rule show priority 526"),
        capture_output=True,
        text=True,
        timeout=10,
        check=True,
    )
    assert left.stdout.strip() == ""


def test_without_it_they_see_the_node(daemon_root: Path, stack: contextlib.ExitStack) -> None:
    """The twin: the same network, mode l7."""
    network = Network(stack)
    node_of(network, stack, daemon_root, "l7")
    assert {ask(network, "203.0.113.100") for _ in range(4)} <= {"198.51.100.1", "2001:db8:2::1"}
