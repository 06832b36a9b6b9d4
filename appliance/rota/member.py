"""What a real server must hold so that packets for a service address, sent on to it by IPVS, are its own."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from ipaddress import ip_address

from rota.model import Site
from rota.model.fields import family
from rota.model.schema import Mode


@dataclass(frozen=True)
class Plan:
    """Service addresses for one host: those on its loopback interface, and those at the end of a tunnel."""

    direct: list[str] = field(default_factory=list)
    tunnel: list[str] = field(default_factory=list)
    services: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, list[str]]:
        """Plain types, as a template wants them."""
        return asdict(self)


def plan(site: Site, own: list[str]) -> Plan:
    """The plan for the host whose own addresses are `own`: it is a member, or a fallback, wherever one of them is named."""
    mine = {str(ip_address(address)) for address in own}
    found = Plan()
    for name, service in site.services.items():
        if service.mode not in (Mode.L4_DR, Mode.L4_TUN):
            continue
        servers = [member.address for member in service.members.values()]
        if service.fallback is not None and service.fallback.address is not None:
            servers.append(service.fallback.address)
        families = {family(address) for address in servers if address in mine}
        for address in service.addresses:
            place = found.direct if service.mode is Mode.L4_DR else found.tunnel
            if family(address) in families and address not in place:
                place.append(address)
        if families:
            found.services.append(name)
    return found
