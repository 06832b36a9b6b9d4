"""Who may manage the nodes: what would lock everybody out, and what lets everybody in."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address, ip_network

from rota.model.fields import family
from rota.model.problems import Problem
from rota.model.schema import Settings

EMPTY = "is empty: nobody could reach the nodes (leave it out to let everybody in)"
_PATH = "site.management"


def management(settings: Settings) -> Iterator[Problem]:
    """Problems of `site.management`."""
    networks = settings.management
    if networks is None:
        text = "is missing: SSH and the web pages of the nodes answer everybody who can reach them"
        yield Problem(_PATH, text, warning=True)
        return
    if not networks:
        return
    for index, network in enumerate(networks):
        if network in networks[:index]:
            yield Problem(f"{_PATH}[{index}]", f"{network} is there twice")
        elif ip_network(network).prefixlen == 0:
            yield Problem(f"{_PATH}[{index}]", f"{network} is every address of IPv{family(network)}", warning=True)
        elif ip_network(network).is_multicast or ip_network(network).is_loopback:
            yield Problem(f"{_PATH}[{index}]", f"{network} is a network that no connection comes from")
    families = {family(network) for network in networks}
    for name, node in settings.nodes.items():
        if families.isdisjoint(family(address) for address in node.addresses):
            wanted = family(node.addresses[0])
            yield Problem(_PATH, f"has no IPv{wanted} network, but node {name} has no other address: nobody could reach it")
    for name, node in settings.nodes.items():
        for address in node.addresses:
            if _is_only(address, networks):
                yield Problem(_PATH, f"holds nothing but {address}, which is node {name}: the controller is elsewhere")


def _is_only(address: str, networks: list[str]) -> bool:
    """Whether the networks come to that one address."""
    return all(ip_network(n).num_addresses == 1 and ip_network(n)[0] == ip_address(address) for n in networks)
