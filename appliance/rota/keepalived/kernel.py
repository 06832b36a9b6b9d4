"""What the kernel of one node needs for layer 4: modules and settings. Role `ipvs` brings it there."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from math import ceil

from rota.model import Service, Site
from rota.model.fields import family
from rota.model.schema import Mode

_GATEWAY = (Mode.L4_NAT, Mode.L7_TRANSPARENT)  # members answer through the node
_AHEAD = {4: "net.ipv4.ip_forward", 6: "net.ipv6.conf.all.forwarding"}


@dataclass(frozen=True)
class KernelView:
    """For role `ipvs`: modules to load, settings in the order in which they are written, services that need them."""

    modules: list[str]
    settings: dict[str, str]
    services: list[str]

    def as_dict(self) -> dict[str, object]:
        """Plain types, as a template wants them."""
        return asdict(self)


def view(site: Site, node: str) -> KernelView:
    """The kernel side of `node`; KeyError when the site has no such node."""
    if node not in site.site.nodes:
        raise KeyError(f"{node} is not a node of the site")
    services = site.services_of(node)
    layer4 = {name: service for name, service in services.items() if service.mode.is_l4}
    schedulers = dict.fromkeys(f"ip_vs_{service.balance}" for service in layer4.values())
    modules = ["ip_vs", *schedulers] if layer4 else []
    settings = _forwarding(site, node, list(services.values())) | (_ipvs(site) if layer4 else {})
    return KernelView(modules, settings, list(layer4))


def _forwarding(site: Site, node: str, services: list[Service]) -> dict[str, str]:
    """A node passes packets on only where members answer through it; IPVS itself needs no forwarding for DR and TUN."""
    behind = {family(m.address) for s in services if s.mode in _GATEWAY for m in s.members.values()}
    settings = {key: str(int(version in behind)) for version, key in _AHEAD.items()}
    if 4 in behind:
        # a redirect would send a member's answers past the node, and the caller would not know their address
        interfaces = dict.fromkeys(site.site.interface(node, network) for network in site.site.networks)
        for name in ("all", "default", *interfaces):
            # with slashes, because an interface may have a dot in its name (sysctl.d(5))
            settings[f"net/ipv4/conf/{name}/send_redirects"] = "0"
    return settings


def _ipvs(site: Site) -> dict[str, str]:
    """Settings of IPVS (docs.kernel.org/networking/ipvs-sysctl.html)."""
    wish = site.site.ipvs
    return {
        "net.ipv4.vs.expire_nodest_conn": str(int(wish.expire_nodest_conn)),
        "net.ipv4.vs.expire_quiescent_template": str(int(wish.expire_quiescent_template)),
        "net.ipv4.vs.sloppy_tcp": str(int(wish.sloppy_tcp)),
        # a port that a caller uses again is a new connection, and waits for nothing
        "net.ipv4.vs.conn_reuse_mode": "1",
        # a standby goes on with what still comes to it, until callers know where the address has gone
        "net.ipv4.vs.backup_only": "0",
        "net.ipv4.vs.sync_threshold": f"{wish.sync.threshold} {wish.sync.period}",
        "net.ipv4.vs.sync_refresh_period": str(ceil(wish.sync.refresh / 1000)),
        "net.ipv4.vs.sync_retries": str(wish.sync.retries),
    }
