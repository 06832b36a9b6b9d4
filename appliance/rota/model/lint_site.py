"""Contradictions of the site: its nodes, VRRP groups and networks, and services in them."""

from __future__ import annotations

from collections.abc import Iterator

from rota.model.fields import family, format_duration
from rota.model.problems import Problem, nearest
from rota.model.schema import Mode, Service, Settings

Found = Iterator[Problem]


def nodes(settings: Settings) -> Found:
    """Addresses and interfaces of the nodes."""
    owner: dict[str, str] = {}
    for name, node in settings.nodes.items():
        for index, address in enumerate(node.addresses):
            if address in owner:
                yield Problem(f"site.nodes.{name}.addresses[{index}]", f"{address} is already node {owner[address]}")
            owner.setdefault(address, name)
            if settings.network_of(address) is None:
                yield Problem(f"site.nodes.{name}.addresses[{index}]", f"{address} is outside every network of the site")
        for network in node.interfaces:
            if network not in settings.networks:
                yield Problem(
                    f"site.nodes.{name}.interfaces.{network}",
                    f"unknown network{nearest(network, settings.networks)}",
                )


def groups(settings: Settings) -> Found:
    """VRRP groups: their ids, nodes and adverts."""
    ids: dict[int, str] = {}
    for name, group in settings.vrrp.groups.items():
        path = f"site.vrrp.groups.{name}"
        if group.id in ids:
            yield Problem(f"{path}.id", f"{group.id} is already the VRRP id of group {ids[group.id]}")
        ids.setdefault(group.id, name)
        for index, node in enumerate(group.nodes):
            if node not in settings.nodes:
                yield Problem(
                    f"{path}.nodes[{index}]",
                    f"{node} is not a node of the site{nearest(node, settings.nodes)}",
                )
            elif node in group.nodes[:index]:
                yield Problem(f"{path}.nodes[{index}]", f"{node} is there twice")
        families = {family(settings.nodes[n].addresses[0]) for n in group.nodes if n in settings.nodes}
        if len(families) > 1:
            yield Problem(f"{path}.nodes", "have first addresses of both families: VRRP peers must share one")
    if not 50 <= settings.vrrp.advert_interval <= 10_000:
        yield Problem(
            "site.vrrp.advert_interval",
            f"{format_duration(settings.vrrp.advert_interval)} is not between 50ms and 10s",
        )
    if settings.vrrp.advert_interval % 10:
        yield Problem("site.vrrp.advert_interval", "VRRP counts in hundredths of a second: give a multiple of 10ms")


def networks(settings: Settings, all_services: dict[str, Service]) -> Found:
    """Whether services lie in the networks of the nodes, each address in one group."""
    carrier: dict[str, tuple[str, str]] = {}
    node_of = {address: name for name, node in settings.nodes.items() for address in node.addresses}
    for name, service in all_services.items():
        path = f"services.{name}"
        groups = settings.vrrp.groups
        if not service.group:
            yield Problem(f"{path}.group", f"is missing: the site has several VRRP groups ({', '.join(groups)})")
        elif service.group not in groups:
            yield Problem(f"{path}.group", f"unknown VRRP group {service.group}{nearest(service.group, groups)}")
        for index, address in enumerate(service.addresses):
            where = f"{path}.addresses[{index}]"
            if settings.network_of(address) is None:
                yield Problem(where, f"{address} is outside every node network ({_prefixes(settings)})")
            if address in node_of:
                yield Problem(
                    where,
                    f"{address} is the own address of node {node_of[address]}: a service needs one that can move",
                )
            other, group = carrier.setdefault(address, (name, service.group))
            if group != service.group:
                yield Problem(
                    where,
                    f"{address} is in VRRP group {group} already (service {other}): an address has one group",
                )
        if service.mode is Mode.L4_DR:
            for member, server in service.members.items():
                if settings.network_of(server.address) is None:
                    text = f"{server.address} is in no node network: direct routing needs members on the same layer 2"
                    yield Problem(f"{path}.members.{member}.address", text)


def _prefixes(settings: Settings) -> str:
    return ", ".join(p for network in settings.networks.values() for p in network.prefixes)
