"""The whole of it: the pair, three servers, clients, and how they begin each scenario."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import rota.model
from vm.lib.machine import Disk, Machine
from vm.lib.network import Network, Peer
from vm.lib.servers import Archive, Who
from vm.lib.tunnel import TunnelEnd

from lib.poll import wait_until
from lib.reaper import Reaper

SITE_FOLDER = Path(__file__).parents[1] / "site"
BRIDGES = ("clinical", "servers", "management")
WHO_PORTS = (7001, 7002, 7003)
STEADY = "steady"
Value = TypeVar("Value")


def site() -> rota.model.Site:
    """The model of the pair, read as an operator's tool reads it."""
    result = rota.model.load(SITE_FOLDER)
    assert result.site is not None, "\n".join(map(str, result.problems))
    return result.site


SITE = site()


def both(*work: Callable[[], Value]) -> list[Value]:
    """Do things at the same time; the first failure is raised."""
    with ThreadPoolExecutor(len(work)) as pool:
        return [future.result() for future in [pool.submit(one) for one in work]]


def make_direct(peer: Peer, addresses: list[str]) -> None:
    """Prepare a server for direct routing: it has the service addresses, and tells nobody (arp_ignore of ip-sysctl)."""
    peer.sysctl("net.ipv4.conf.all.arp_ignore=1", "net.ipv4.conf.all.arp_announce=2")
    for address in addresses:
        peer.ip("address", "add", address, "dev", "lo", *(["nodad"] if ":" in address else []))


def _addresses(mode: str, *, network: str = "clinical") -> list[str]:
    found = [a for service in SITE.services.values() if service.mode.value == mode for a in service.addresses]
    return [a for a in dict.fromkeys(found) if SITE.site.network_of(a) == network]


@dataclass
class Rig:
    """Everything that there is, by name. `lb1` is active at the beginning of each scenario."""

    folder: Path
    lb1: Machine
    lb2: Machine
    network: Network
    client: Peer
    peers: dict[str, Peer]
    who: dict[str, Who] = field(default_factory=dict)
    archives: dict[str, Archive] = field(default_factory=dict)

    @property
    def nodes(self) -> tuple[Machine, Machine]:
        """Both machines."""
        return self.lb1, self.lb2

    def active(self, service: str = "pacs-dr") -> Machine:
        """The one node that holds the service's address; AssertionError while none or both do."""
        address = SITE.services[service].addresses[0]
        found = [node for node in self.nodes if node.is_up() and address in node.addresses()]
        assert len(found) == 1, f"{address} is on {[node.name for node in found]}"
        return found[0]

    def serve(self) -> None:
        """Start whatever server does not run."""
        for name, peer in self.peers.items():
            if name == "admin":
                continue
            if name not in self.who:
                self.who[name] = Who(peer, WHO_PORTS, (514,))
            if name not in self.archives:
                self.archives[name] = Archive(peer)

    def stop(self, name: str) -> None:
        """End the servers of a member: its address lives, and refuses."""
        self.who.pop(name).stop()
        self.archives.pop(name).stop()

    def boot(self) -> None:
        """Boot both machines, wait until all is well with lb1 active, and keep that state."""
        self.serve()
        both(*(node.start for node in self.nodes))
        assert {node.name: node.failed_units() for node in self.nodes} == {"lb1": [], "lb2": []}
        wait_until(self._one_is_active, within=120, what="one active node", every=0.5)
        if self.active() is not self.lb1:
            rota(self.lb2, "failover", "--reason", "lb1 is the one that scenarios break")
        wait_until(self.is_steady, within=180, what="a steady pair", every=0.5)
        both(*(partial(node.keep, STEADY) for node in self.nodes))

    def _one_is_active(self) -> bool:
        return self.active().is_up()

    def begin(self) -> None:
        """Bring everything back to how the scenarios begin."""
        for peer in (*self.peers.values(), self.client):
            peer.plug()
        self.serve()
        for archive in self.archives.values():
            archive.forget()
        both(*(partial(node.restore, STEADY) for node in self.nodes))
        for peer in (*self.peers.values(), self.client):
            peer.ip("neigh", "flush", "all")
        both(*(node.wake for node in self.nodes))
        wait_until(self.is_steady, within=60, what="a steady pair after the restore", every=0.3)

    def is_steady(self) -> bool:
        """Tell whether lb1 holds the addresses and every member is up everywhere; AssertionError says what is missing."""
        assert self.active() is self.lb1
        for node in self.nodes:
            away = {(s, m): v for s, m, v in standings(node) if v != "up"}
            assert not away, f"{node.name}: {away}"
        return True


def rota(node: Machine, *words: str, timeout: float = 60) -> str:
    """Run the command as an operator who has become root; insist on success."""
    return node.check("env", "SUDO_USER=anna", "/opt/rota/current/bin/rota", *words, timeout=timeout)


def status(node: Machine) -> dict[str, Any]:
    """What `rota status` says there."""
    told: dict[str, Any] = json.loads(rota(node, "status", "--json"))
    return told


def standings(node: Machine) -> list[tuple[str, str, str]]:
    """Service, member and what HAProxy there thinks of it."""
    lines = node.check("sh", "-c", "echo show servers state | socat -t5 - UNIX-CONNECT:/run/haproxy/admin.sock").splitlines()
    rows = [line.split() for line in lines if line and line[0].isdigit() and len(line.split()) > 6]
    return [(row[1], row[3], "up" if row[5] == "2" else "down") for row in rows]


def ipvs(node: Machine) -> str:
    """The kernel's table, as ipvsadm prints it."""
    return node.check("ipvsadm", "-Ln")


def build(folder: Path, disks: dict[str, Disk], reaper: Reaper) -> Rig:
    """Lay the cables; nothing runs yet."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    network = Network(BRIDGES, reaper)
    machines = []
    for number, (name, node) in enumerate(SITE.site.nodes.items(), start=1):
        legs = {
            bridge: [
                f"{a}/{64 if ':' in a else 24 if bridge == 'servers' else 25}"
                for a in node.addresses
                if SITE.site.network_of(a) == bridge
            ]
            for bridge in BRIDGES
        }
        legs["management"] = [f"192.0.2.{130 + number}/25"]
        machines.append(Machine(name, number, folder / name, disks[name], network, legs))
    peers = {}
    for number, name in enumerate(("a", "b", "f"), start=21):
        peers[name] = Peer(network, name, "clinical", [f"192.0.2.{number}/25", f"2001:db8:1::{number}/64"])
        make_direct(peers[name], _addresses("l4-dr"))
    for name in ("a", "b"):
        make_direct(peers[name], _addresses("l4-tun"))
        TunnelEnd(peers[name])
    for number, name in enumerate(("na", "nb"), start=21):
        routes = {"default": "198.51.100.1", "::/0": "2001:db8:2::1"}
        peers[name] = Peer(network, name, "servers", [f"198.51.100.{number}/24", f"2001:db8:2::{number}/64"], routes)
    peers["admin"] = Peer(network, "admin", "management", ["192.0.2.201/25"])
    client = Peer(network, "client", "clinical", ["192.0.2.51/25", "2001:db8:1::51/64"])
    return Rig(folder, machines[0], machines[1], network, client, peers)
