"""The networks of the tier: bridges in a namespace that has no way out, and servers and clients as namespaces on them."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from ipaddress import ip_interface
from pathlib import Path

from lib.lab import CommandFailed, Result
from lib.reaper import Reaper

PREFIX = f"rota-vm-{os.getpid()}"


def must(*argv: str, stdin: str | None = None) -> str:
    """Run a program of this host; CommandFailed with what it said unless it ends with 0."""
    done = subprocess.run(argv, capture_output=True, text=True, check=False, input=stdin)
    if done.returncode:
        raise CommandFailed(f"{' '.join(argv)}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


def _make_namespace(name: str, reaper: Reaper) -> None:
    reaper.tell("namespace", name)
    must("ip", "netns", "add", name)
    must("ip", "-n", name, "link", "set", "lo", "up")
    # An address is usable at once, and nobody asks for routers: no scenario is about autoconfiguration.
    settings = ["net.ipv6.conf.all.accept_dad=0", "net.ipv6.conf.default.accept_dad=0", "net.ipv6.conf.default.accept_ra=0"]
    must("ip", "netns", "exec", name, "sysctl", "-q", "-w", *settings)


@dataclass
class Network:
    """All bridges, in one namespace; QEMU runs in it."""

    names: Sequence[str]
    reaper: Reaper
    namespace: str = PREFIX

    def __post_init__(self) -> None:
        _make_namespace(self.namespace, self.reaper)
        for name in self.names:
            must("ip", "-n", self.namespace, "link", "add", name, "type", "bridge", "mcast_snooping", "0")
            must("ip", "-n", self.namespace, "link", "set", name, "up")

    def inside(self, *argv: str) -> list[str]:
        """The command that runs `argv` beside the bridges."""
        return ["ip", "netns", "exec", self.namespace, *argv]

    def tap(self, name: str, bridge: str) -> str:
        """Make the plug of a machine; return its interface's name."""
        must("ip", "-n", self.namespace, "tuntap", "add", name, "mode", "tap")
        must("ip", "-n", self.namespace, "link", "set", name, "master", bridge, "up")
        return name

    def link(self, port: str, state: str) -> None:
        """Take a plug out (`down`) or put it in (`up`)."""
        must("ip", "-n", self.namespace, "link", "set", port, state)


@dataclass
class Peer:
    """A server or a client: a namespace with one leg on a bridge, and real MAC addresses and ARP."""

    network: Network
    name: str
    bridge: str
    addresses: Sequence[str]
    routes: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.namespace = f"{self.network.namespace}-{self.name}"
        _make_namespace(self.namespace, self.network.reaper)
        core = ["ip", "-n", self.network.namespace]
        must(*core, "link", "add", self.port, "type", "veth", "peer", "name", "eth0", "netns", self.namespace)
        must(*core, "link", "set", self.port, "master", self.bridge, "up")
        self.ip("link", "set", "eth0", "up")
        for address in self.addresses:
            self.ip("address", "add", address, "dev", "eth0", *(["nodad"] if ":" in address else []))
        for target, via in self.routes.items():
            self.ip("route", "replace", target, "via", via)

    @property
    def port(self) -> str:
        """Its plug on the bridge."""
        return f"p-{self.name}"[:15]

    def address(self, family: int = 4) -> str:
        """Its own address."""
        found = [ip_interface(one).ip for one in self.addresses]
        return str(next(one for one in found if one.version == family))

    def ip(self, *words: str) -> str:
        """Run `ip` on its interfaces and routes."""
        return must("ip", "-n", self.namespace, *words)

    def sysctl(self, *settings: str) -> None:
        """Set kernel settings of its namespace."""
        self.check("sysctl", "-q", "-w", *settings)

    def inside(self, *argv: str) -> list[str]:
        """The command that runs `argv` there."""
        return ["ip", "netns", "exec", self.namespace, *argv]

    def run(self, *argv: str, timeout: float = 60, stdin: bytes | None = None) -> Result:
        """Run `argv` there and return what came of it; 124 when it took too long."""
        try:
            done = subprocess.run(self.inside(*argv), capture_output=True, check=False, timeout=timeout, input=stdin)
        except subprocess.TimeoutExpired as late:
            return Result(124, (late.stdout or b"").decode(errors="replace"), f"not done after {timeout:g} s")
        return Result(done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace"))

    def check(self, *argv: str, timeout: float = 60, stdin: bytes | None = None) -> str:
        """Run `argv`, insist on exit code 0, and return what it printed."""
        result = self.run(*argv, timeout=timeout, stdin=stdin)
        if not result.ok:
            raise CommandFailed(f"{self.name}: {' '.join(argv)}: exit {result.code}: {result.err or result.out}")
        return result.out

    def start(self, *argv: str, log: Path | None = None) -> subprocess.Popen[str]:
        """Start `argv` there; it is gone with the namespace at the latest. Its words go to `log`, else to its stdout."""
        output = log.open("w") if log else subprocess.PIPE
        process = subprocess.Popen(
            self.inside(*argv), stdin=subprocess.PIPE, stdout=output, stderr=subprocess.STDOUT, text=True, bufsize=1
        )
        self.network.reaper.mind(process)
        return process

    def unplug(self) -> None:
        """Take its cable out: it is dead to the network."""
        self.network.link(self.port, "down")

    def plug(self) -> None:
        """Put the cable back."""
        self.network.link(self.port, "up")
