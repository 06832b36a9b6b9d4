"""What the rules look up: addresses and ports of the model, each once, in the model's order, with its name beside it.

A look-up costs the same for three services as for three hundred, and `nft list set` shows a counter for each element.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import product

from rota.firewall.section import Section, block, separated
from rota.model import Service, Site
from rota.model.fields import family
from rota.model.schema import Mode

FAMILIES = (4, 6)
ADDRESS = {4: "ipv4_addr", 6: "ipv6_addr"}
ENDPOINT = "{} . inet_proto . inet_service"

Endpoint = tuple[str, str, int]  # address, protocol, port


@dataclass(frozen=True)
class Sets:
    """The contents of every set, element → the name of whose it is."""

    management: dict[str, str] | None  # None: everybody
    addresses: dict[str, str] = field(default_factory=dict)
    services: dict[Endpoint, str] = field(default_factory=dict)
    peers: dict[str, str] = field(default_factory=dict)
    members: dict[str, str] = field(default_factory=dict)
    replies: dict[Endpoint, str] = field(default_factory=dict)
    gateways: dict[str, str] = field(default_factory=dict)

    def has(self, name: str, version: int) -> bool:
        """Whether the set `name` has an element of that family: a rule without would match nothing."""
        return any(family(_address(key)) == version for key in getattr(self, name) or {})

    def sections(self) -> list[Section]:
        """One set for each family that has elements."""
        found = []
        for name, comment in _COMMENTS.items():
            for version in FAMILIES:
                if self.has(name, version):
                    found.append(_section(name, version, getattr(self, name), comment))
        return found


_COMMENTS = {
    "management": "who may manage this node",
    "addresses": "the addresses that move between the nodes",
    "services": "what clients use; one counter each",
    "peers": "the other nodes",
    "members": "the servers that this node itself connects to",
    "replies": "what answers clients through this node, past its sockets",
    "gateways": "members whose gateway this node is",
}


def collect(site: Site, node: str) -> Sets:
    """The sets of `node`."""
    services = site.services_of(node)
    management = site.site.management
    sets = Sets(
        management=None if management is None else dict.fromkeys(management, ""),
        peers={a: peer for peer in site.peers_of(node) for a in site.site.nodes[peer].addresses},
    )
    for name, service in services.items():
        for address in service.addresses:
            sets.addresses.setdefault(address, name)
            for port, protocol in product(service.ports, service.protocol.each):
                sets.services.setdefault((address, protocol, port), name)
        for member, server in servers(service):
            sets.members.setdefault(server, f"{name}/{member}")
            if service.mode in (Mode.L4_NAT, Mode.L7_TRANSPARENT):
                sets.gateways.setdefault(server, f"{name}/{member}")
        for endpoint in _replies(service):
            sets.replies.setdefault(endpoint, name)
    return sets


def servers(service: Service) -> Iterator[tuple[str, str]]:
    """Name and address of every member, and of the fallback."""
    for name, member in service.members.items():
        yield name, member.address
    if service.fallback is not None and service.fallback.address is not None:
        yield "fallback", service.fallback.address


def _replies(service: Service) -> Iterator[Endpoint]:
    """Where answers to clients come from when IPVS forwards: NAT's members, else the service address itself."""
    if service.mode is Mode.L4_NAT:
        targets = [(member.address, member.port) for member in service.members.values()]
        if service.fallback is not None and service.fallback.address is not None:
            targets.append((service.fallback.address, service.fallback.port))
        for address, port in targets:
            for own, protocol in product(service.ports if port is None else [port], service.protocol.each):
                yield address, protocol, own
    elif service.mode.is_l4:
        for address in service.addresses:
            for own, protocol in product(service.ports, service.protocol.each):
                yield address, protocol, own


def _address(key: str | Endpoint) -> str:
    return key if isinstance(key, str) else key[0]


def _section(name: str, version: int, contents: dict[str, str] | dict[Endpoint, str], comment: str) -> Section:
    keys = [key for key in contents if family(_address(key)) == version]
    kind = ADDRESS[version] if isinstance(keys[0], str) else ENDPOINT.format(ADDRESS[version])
    lines = [f"type {kind}"]
    if name == "management":
        lines += ["flags interval", "auto-merge"]
    if name == "services":
        lines.append("counter")
    lines += block("elements =", separated([_element(_text(key), contents[key]) for key in keys]))  # type: ignore[index]
    return Section(f"IPv{version}: {comment}", block(f"set {name}{version}", lines))


def _text(key: str | Endpoint) -> str:
    return key if isinstance(key, str) else " . ".join(map(str, key))


def _element(text: str, name: str) -> str:
    return f'{text} comment "{name}"' if name else text
