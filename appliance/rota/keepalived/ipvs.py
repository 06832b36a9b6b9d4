"""Layer 4 services: the `virtual_server` blocks that keepalived loads into the kernel's IPVS."""

from __future__ import annotations

from math import ceil

from rota.keepalived.section import Section, block, seconds
from rota.model import Service, Site
from rota.model.fields import family
from rota.model.schema import Mode, PersistenceKind

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
    check = service.check
    lines = [
        f"lb_algo {service.balance}",
        f"lb_kind {_KINDS[service.mode]}",
        "protocol TCP",
        f"delay_loop {seconds(check.interval)}",
        # none at all is the default of a MISC_CHECK, and `retry 0` is refused
        *([f"retry {check.fall - 1}"] if check.fall > 1 else []),
        f"delay_before_retry {seconds(check.fast_interval)}",
    ]
    if service.persistence.kind is PersistenceKind.SOURCE:
        lines.append(f"persistence_timeout {ceil(service.persistence.timeout / 1000)}")
    fallback = service.fallback
    if fallback and fallback.address and family(fallback.address) == family(address):
        lines.append(f"sorry_server {fallback.address} {fallback.port or port}")
    for member_name, member in service.members.items():
        if family(member.address) == family(address):
            # Not inhibit_on_failure: on reload it would give a dead member full weight for some milliseconds.
            server = [f"weight {member.weight}", *_misc_check(name, member_name, check.timeout)]
            lines += block(f"real_server {member.address} {member.port or port}", server)
    return Section(f"Service {name}, mode {service.mode}", block(f"virtual_server {address} {port}", lines))


def _misc_check(service: str, member: str, timeout: int) -> list[str]:
    """Asks the member as the model says. The command reads the model itself, so no AE title needs quoting here."""
    lines = [
        f'misc_path "/opt/rota/bin/rota check member {service} {member}"',
        # the command has a deadline of its own; this one is for a command that hangs
        f"misc_timeout {ceil(timeout / 1000) + 2}",
    ]
    return block("MISC_CHECK", lines)
