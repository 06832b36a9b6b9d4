"""What the operating system of a node must know of the model: names, interfaces, ports."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from rota.model import Site


@dataclass(frozen=True)
class HostView:
    """For role `base`: lines for `/etc/hosts`, interfaces in use, ports that no outgoing connection may take."""

    hosts: list[str]
    interfaces: list[str]
    reserved_ports: str

    def as_dict(self) -> dict[str, object]:
        """Plain types, as a template wants them."""
        return asdict(self)


def view(site: Site, node: str) -> HostView:
    """The host side of `node`; KeyError when the site has no such node."""
    if node not in site.site.nodes:
        raise KeyError(f"{node} is not a node of the site")
    interfaces = dict.fromkeys(site.site.interface(node, network) for network in site.site.networks)
    ports = {port for service in site.services.values() for port in service.ports}
    return HostView(hosts(site), list(interfaces), ranges(ports))


def ranges(ports: set[int]) -> str:
    """Ports in the form in which the kernel prints them again: {80, 81, 104} → `80-81,104`; none: `0`."""
    found: list[tuple[int, int]] = []
    for port in sorted(ports) or [0]:
        if found and found[-1][1] == port - 1:
            found[-1] = (found[-1][0], port)
        else:
            found.append((port, port))
    return ",".join(str(low) if low == high else f"{low}-{high}" for low, high in found)


def hosts(site: Site) -> list[str]:
    """A line for each address of a node or a member, its names behind it.

    DCMTK asks for the name of every caller and waits 15 s for each answer that does not come; checks and runbooks read
    better with names, too. The first name of a line is what a reverse look-up gives.
    """
    names: dict[str, list[str]] = {}
    for name, node in site.site.nodes.items():
        for address in node.addresses:
            names.setdefault(address, []).append(name)
    for service_name, service in site.services.items():
        for member_name, member in service.members.items():
            names.setdefault(member.address, []).append(f"{service_name}-{member_name}")
    return [" ".join((address, *dict.fromkeys(found))) for address, found in names.items()]
