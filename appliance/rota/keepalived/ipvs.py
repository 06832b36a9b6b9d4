"""Layer 4 services: the `virtual_server` blocks that keepalived loads into the kernel's IPVS (keepalived.conf(5))."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_network
from itertools import product
from math import ceil
from typing import NamedTuple

from rota.keepalived.section import Section, block
from rota.model import Mark, Service, Site, marks
from rota.model.fields import family
from rota.model.layer4 import Sync, sync, tcp_timeout
from rota.model.schema import Mode, PersistenceKind

__all__ = [
    "Destination",
    "Mark",
    "Sync",
    "Virtual",
    "destinations",
    "global_lines",
    "marks",
    "sync",
    "track_files",
    "virtual_servers",
    "virtuals",
]

TRACK = "/run/rota/track"
_KINDS = {Mode.L4_DR: "DR", Mode.L4_NAT: "NAT", Mode.L4_TUN: "TUN"}


class Virtual(NamedTuple):
    """One virtual server as the kernel knows it: by its mark, or by protocol, address and port."""

    family: int
    mark: int  # 0: none
    protocol: str  # "tcp", "udp"; with a mark: empty
    address: str
    port: int  # 0: whatever the caller used

    @property
    def head(self) -> str:
        """What stands behind `virtual_server`."""
        return f"fwmark {self.mark}" if self.mark else f"{self.address} {self.port}"


class Destination(NamedTuple):
    """Where a virtual server sends to."""

    address: str
    port: int


def virtual_servers(site: Site, node: str) -> list[Section]:
    """The virtual servers of each layer 4 service of `node`, in model order: one for each address, port and protocol.

    A service whose ports are one has one for each family instead: the firewall marks its packets (`marks`).
    """
    return [
        Section(f"Service {name}, mode {service.mode}", _lines(name, service, virtual))
        for name, service, virtual in virtuals(site, node)
    ]


def destinations(site: Site, node: str) -> dict[tuple[str, str], list[tuple[Virtual, Destination]]]:
    """Where the kernel of `node` has each layer 4 member, by service and member: in which virtual servers, and as what."""
    found: dict[tuple[str, str], list[tuple[Virtual, Destination]]] = {}
    for name, service, virtual in virtuals(site, node):
        for member, destination in _destinations(service, virtual).items():
            found.setdefault((name, member), []).append((virtual, destination))
    return found


def virtuals(site: Site, node: str) -> Iterator[tuple[str, Service, Virtual]]:
    """Each virtual server of `node` with the service that it is for, in model order."""
    marked: dict[str, list[Mark]] = {}
    for mark in marks(site):
        marked.setdefault(mark.service, []).append(mark)
    for name, service in site.services_of(node).items():
        if name in marked:
            for mark in marked[name]:
                yield name, service, Virtual(mark.family, mark.value, "", "", 0)
        elif service.mode.is_l4:
            for address, port, protocol in product(service.addresses, service.ports, service.protocol.each):
                yield name, service, Virtual(family(address), 0, protocol, address, port)


def _destinations(service: Service, virtual: Virtual) -> dict[str, Destination]:
    return {
        name: Destination(member.address, 0 if virtual.mark else member.port or virtual.port)
        for name, member in service.members.items()
        if family(member.address) == virtual.family
    }


def _lines(name: str, service: Service, virtual: Virtual) -> list[str]:
    lines = [f"lb_algo {service.balance}", f"lb_kind {_KINDS[service.mode]}"]
    lines += [f"{service.balance}-{flag}" for flag in service.balance_flags]
    if virtual.protocol:
        lines.append(f"protocol {virtual.protocol.upper()}")
    elif virtual.family == 6:
        lines.append("ip_family inet6")
    if service.one_packet:
        lines.append("ops")
    lines += _persistence(service, virtual)
    fallback = service.fallback
    if fallback and fallback.address and family(fallback.address) == virtual.family:
        lines.append(f"sorry_server {fallback.address} {fallback.port or virtual.port}")
    for member, where in _destinations(service, virtual).items():
        # Not inhibit_on_failure: on reload it would give a dead member full weight for some milliseconds.
        check = block("FILE_CHECK", [f"track_file {_track(name, member)}", "weight 1"])
        server = [f"weight {service.members[member].weight}", *check]
        lines += block(f"real_server {where.address} {where.port}", server)
    return block(f"virtual_server {virtual.head}", lines)


def _persistence(service: Service, virtual: Virtual) -> list[str]:
    persistence = service.persistence
    if persistence.kind is not PersistenceKind.SOURCE:
        return []
    lines = [f"persistence_timeout {ceil(persistence.timeout / 1000)}"]
    if virtual.family == 6 and persistence.prefix_v6 != 128:
        lines.append(f"persistence_granularity {persistence.prefix_v6}")
    if virtual.family == 4 and persistence.prefix_v4 != 32:
        mask = ip_network(f"0.0.0.0/{persistence.prefix_v4}").netmask
        lines.append(f"persistence_granularity {mask}")
    return lines


def _track(service: str, member: str) -> str:
    return f"{service}.{member}"


def track_files(site: Site, node: str) -> list[Section]:
    """The files in which rotad says how each layer 4 member stands: one prober, HAProxy, for both layers."""
    sections = []
    for name, service in site.services_of(node).items():
        if service.mode.is_l4:
            lines: list[str] = []
            for member in service.members:
                # no word yet: up, so that a start makes no dip
                body = [f"file {TRACK}/{_track(name, member)}", "weight 1", "init_file 0"]
                lines += block(f"track_file {_track(name, member)}", body)
            comment = f"rotad's word on the members of {name}: 0 = up, -1000 = no new work, -2147483648 = out"
            sections.append(Section(comment, lines))
    return sections


def global_lines(site: Site, node: str) -> list[str]:
    """Statements of `global_defs` for a node that has layer 4 services."""
    wish = site.site.ipvs.timeouts
    lengths = {"tcp": tcp_timeout(site), "tcpfin": wish.tcp_fin, "udp": wish.udp}
    words = " ".join(f"{name} {ceil(length / 1000)}" for name, length in lengths.items())
    lines = ["checker_priority -5", f"lvs_timeouts {words}"]
    if told := sync(site, node):
        group = "" if told.address == "224.0.0.81" else f" group {told.address}"
        lines.append(f"lvs_sync_daemon {told.interface} {told.group} id {told.id} port {told.port}{group}")
    return lines
