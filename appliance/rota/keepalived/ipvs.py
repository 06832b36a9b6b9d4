"""Layer 4 services: the `virtual_server` blocks that keepalived loads into the kernel's IPVS."""

from __future__ import annotations

from math import ceil

from rota.keepalived.section import Section, block
from rota.model import Service, Site
from rota.model.fields import family
from rota.model.schema import Mode, PersistenceKind

TRACK = "/run/rota/track"
_KINDS = {Mode.L4_DR: "DR", Mode.L4_NAT: "NAT", Mode.L4_TUN: "TUN"}


def virtual_servers(site: Site, node: str) -> list[Section]:
    """One section for each address and port of each layer 4 service of `node`, in model order."""
    return [
        _virtual_server(name, service, address, port)
        for name, service in site.services_of(node).items()
        if service.mode.is_l4
        for address in service.addresses
        for port in service.ports
    ]


def _virtual_server(name: str, service: Service, address: str, port: int) -> Section:
    lines = [
        f"lb_algo {service.balance}",
        f"lb_kind {_KINDS[service.mode]}",
        "protocol TCP",
    ]
    if service.persistence.kind is PersistenceKind.SOURCE:
        lines.append(f"persistence_timeout {ceil(service.persistence.timeout / 1000)}")
    fallback = service.fallback
    if fallback and fallback.address and family(fallback.address) == family(address):
        lines.append(f"sorry_server {fallback.address} {fallback.port or port}")
    for member_name, member in service.members.items():
        if family(member.address) == family(address):
            # Not inhibit_on_failure: on reload it would give a dead member full weight for some milliseconds.
            check = block("FILE_CHECK", [f"track_file {_track(name, member_name)}", "weight 1"])
            server = [f"weight {member.weight}", *check]
            lines += block(f"real_server {member.address} {member.port or port}", server)
    return Section(f"Service {name}, mode {service.mode}", block(f"virtual_server {address} {port}", lines))


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
