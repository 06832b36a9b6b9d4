"""What a rollout must know: whether the site may be rolled out at all, and which node holds which address."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rota.model import Site, dump, parse


@dataclass(frozen=True)
class Judgement:
    """Problems, one per line, and the normalised model when there is no error."""

    errors: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    model: dict[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Plain types, as a playbook wants them."""
        return asdict(self)


def judge(document: Any, inventory: Iterable[str], folder: Path) -> Judgement:
    """Judge what the inventory in `folder` says; `inventory` are the hosts that shall be the site's nodes."""
    result = parse(document)
    errors = [str(problem) for problem in result.problems if not problem.warning]
    warnings = [str(problem) for problem in result.problems if problem.warning]
    if result.site is not None:
        errors += [*_nodes(result.site, list(inventory)), *_files(result.site, folder)]
    return Judgement(errors, warnings, dump(result.site) if result.site and not errors else {})


def _nodes(site: Site, inventory: list[str]) -> list[str]:
    """The model's nodes and the inventory's are the same, or one would be configured for a peer that never comes."""
    unknown = [
        f"site.nodes.{n}: is not a host of the inventory's group rota_nodes" for n in site.site.nodes if n not in inventory
    ]
    forgotten = [
        f"site.nodes: has no {n}, but the inventory's group rota_nodes has" for n in inventory if n not in site.site.nodes
    ]
    return unknown + forgotten


def _files(site: Site, folder: Path) -> list[str]:
    """Every file that the model names is there: a missing certificate must not show on the second node only."""
    found = []
    for name, service in site.services.items():
        named = {
            f"tls.{key}": getattr(service.tls, key)
            for key in ("certificate", "client_ca", "member_ca", "member_certificate")
        }
        named["fallback.page"] = service.fallback.page if service.fallback else None
        for key, value in named.items():
            # joined as the roles do: an absolute name is looked for below the folder, too
            if value is not None and not Path(f"{folder}/{value}").is_file():
                found.append(f"services.{name}.{key}: there is no file {value} in {folder}")
    return found


@dataclass(frozen=True)
class Holders:
    """Who holds what: group → nodes that hold any of its addresses, address → nodes that hold it."""

    groups: dict[str, list[str]]
    addresses: dict[str, list[str]]

    @property
    def faults(self) -> list[str]:
        """What is wrong right now: nobody, or more than one, one line each."""
        return [
            f"no node holds the addresses of group {g}" for g, nodes in self.groups.items() if not nodes
        ] + self.conflicts

    @property
    def conflicts(self) -> list[str]:
        """Where more than one node is on duty: split brain, or an address that the model moved to another group."""
        both = [f"{a} is on {' and '.join(n)}: split brain" for a, n in self.addresses.items() if len(n) > 1]
        return both + [f"group {g} is spread over {' and '.join(n)}" for g, n in self.groups.items() if len(n) > 1]

    @property
    def orphans(self) -> list[str]:
        """Addresses that nobody holds: to be expected while only one node knows a new service."""
        return [address for address, nodes in self.addresses.items() if not nodes]

    def as_dict(self) -> dict[str, Any]:
        """Plain types, as a playbook wants them."""
        return {**asdict(self), "faults": self.faults, "conflicts": self.conflicts, "orphans": self.orphans}


def holders(site: Site, seen: dict[str, str]) -> Holders:
    """Who holds what, from each node's `ip -brief address`; a node without an answer is left out."""
    held = {node: {word.split("/")[0] for word in text.split()} for node, text in seen.items()}
    addresses = {}
    groups = {}
    for name, group in site.site.vrrp.groups.items():
        wanted = site.addresses_of(name)
        for address in wanted:
            addresses[address] = [node for node in group.nodes if address in held.get(node, set())]
        if wanted:
            groups[name] = [node for node in group.nodes if held.get(node, set()).intersection(wanted)]
    return Holders(groups, addresses)


def order(site: Site, held: Holders) -> list[str]:
    """Nodes in the order in which a rollout visits them: those that hold nothing first, the model's order within."""
    busy = {node for nodes in held.addresses.values() for node in nodes}
    return sorted(site.site.nodes, key=lambda node: node in busy)


def misplaced(site: Site, held: Holders) -> dict[str, list[str]]:
    """Groups that are not on their preferred node: holder → groups to hand over."""
    moves: dict[str, list[str]] = {}
    for name, nodes in held.groups.items():
        preferred = site.site.vrrp.groups[name].nodes[0]
        if len(nodes) == 1 and nodes[0] != preferred:
            moves.setdefault(nodes[0], []).append(name)
    return moves
