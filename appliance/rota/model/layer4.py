"""Layer 4 in the model: the kernel's IPVS, the same on all nodes of a site, and the marks of services that have one."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated
from zlib import crc32

from pydantic import BaseModel, ConfigDict, Field

from rota.model.fields import Duration, Name, family

if TYPE_CHECKING:
    from rota.model.schema import Service, Site

_TCP_LEAST = 15 * 60_000  # what the kernel has by itself


class Protocol(StrEnum):
    """What clients send to the ports of a service."""

    TCP = "tcp"
    UDP = "udp"
    BOTH = "both"

    @property
    def each(self) -> tuple[str, ...]:
        """The transport protocols one by one."""
        return ("tcp", "udp") if self is Protocol.BOTH else (self.value,)


class BalanceFlag(StrEnum):
    """How `sh` and `mh` choose (ipvsadm(8), scheduler flags)."""

    PORT = "port"  # the caller's port counts too: connections of one caller are spread
    FALLBACK = "fallback"  # past a member without weight to the next one, instead of refusing


class IpvsSync(BaseModel):
    """How the active node tells the others of its connections, so that they live on after a failover."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    enabled: bool | None = Field(None, description="Unset: where a group of several nodes has layer 4 services.")
    network: Name | None = Field(None, description="Network that carries it. Unset: that of the nodes' first addresses.")
    group: Name | None = Field(None, description="VRRP group whose active node tells. Unset: the one with layer 4 services.")
    id: Annotated[int, Field(strict=True, ge=0, le=255)] | None = Field(None, description="Unset: the group's VRRP id.")
    threshold: Annotated[int, Field(strict=True, ge=0, le=1_000)] = Field(
        0, description="Packets of a connection before the others are told of it; 0: at once."
    )
    period: Annotated[int, Field(strict=True, ge=0, le=100_000)] = Field(
        0, description="Told again after so many packets; 0: when the state of the connection changes, and by `refresh`."
    )
    refresh: Duration = Field(10_000, description="Told again after this time at the latest.")
    retries: Annotated[int, Field(strict=True, ge=0, le=7)] = Field(1, description="Each word is said so many times more.")


class IpvsTimeouts(BaseModel):
    """How long IPVS remembers a connection that is quiet."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    tcp: Duration | None = Field(
        None, description="Unset: the longest timeouts.client or .server of the layer 4 services, at least 15m."
    )
    tcp_fin: Duration = Field(2 * 60_000, description="After the end of a TCP connection.")
    udp: Duration = Field(5 * 60_000, description="Packets from one address and port go to one member for so long.")


class Ipvs(BaseModel):
    """The kernel's IPVS, the same on all nodes; nothing of it is used without layer 4 services."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    sync: IpvsSync = IpvsSync()
    timeouts: IpvsTimeouts = IpvsTimeouts()
    expire_nodest_conn: bool = Field(True, description="Cut connections of a member that is out; false: they hang.")
    expire_quiescent_template: bool = Field(True, description="Persistent callers leave a member that is drained.")
    sloppy_tcp: bool = Field(True, description="Go on with a connection whose beginning this node has not seen.")


@dataclass(frozen=True)
class Mark:
    """The firewall mark of one service and family: its packets carry it when they come to IPVS."""

    service: str
    family: int  # 4 or 6
    value: int
    addresses: tuple[str, ...]
    ports: tuple[int, ...]
    protocols: tuple[str, ...]  # "tcp", "udp"


# Marks 0x10000 to 0x1ffff are IPVS services'.
MARKS_FROM, MARKS = 0x10000, 0x10000


def marks(site: Site) -> list[Mark]:
    """The marks of all services whose ports are one, in model order: keepalived and the firewall must agree on them.

    A mark follows from the name of its service, so that it stays when other services come and go: another mark would be
    another virtual server, and callers would lose the member that they had.
    """
    found = []
    taken: set[int] = set()
    for name, service in site.services.items():
        if not service.ports_as_one or not service.mode.is_l4:
            continue
        for version in (4, 6):
            addresses = tuple(a for a in service.addresses if family(a) == version)
            if addresses:
                value = _free(crc32(f"{name}/{version}".encode()), taken)
                taken.add(value)
                found.append(Mark(name, version, value, addresses, tuple(service.ports), service.protocol.each))
    return found


def _free(wish: int, taken: set[int]) -> int:
    return next(v for n in range(MARKS) if (v := MARKS_FROM + (wish + n) % MARKS) not in taken)


@dataclass(frozen=True)
class Sync:
    """The connection sync of one node, with everything decided."""

    group: str
    network: str
    interface: str
    id: int
    address: str  # multicast
    port: int


def sync(site: Site, node: str) -> Sync | None:
    """How `node` takes part in the sync of connections; None: it does not."""
    wish = site.site.ipvs.sync
    groups = site.groups_of(node)
    with_layer4 = list(dict.fromkeys(s.group for s in site.services_of(node).values() if s.mode.is_l4))
    group = wish.group if wish.group in groups else next((g for g in with_layer4 if len(groups[g].nodes) > 1), None)
    if wish.enabled is False or group is None or not with_layer4 or len(groups[group].nodes) < 2:
        return None
    network = wish.network or site.site.network_of(site.site.nodes[node].addresses[0])
    if network is None:  # the model refuses such a site
        raise ValueError(f"the first address of {node} is in no network of the site")
    number = groups[group].id if wish.id is None else wish.id
    version = family(site.site.nodes[node].addresses[0])
    address = "224.0.0.81" if version == 4 else "ff02::81"
    return Sync(group, network, site.site.interface(node, network), number, address, 8848)


def tcp_timeout(site: Site) -> int:
    """Milliseconds for which IPVS remembers a quiet TCP connection."""
    services: list[Service] = [s for s in site.services.values() if s.mode.is_l4]
    longest = max((max(s.timeouts.client, s.timeouts.server) for s in services), default=0)
    return site.site.ipvs.timeouts.tcp or max(longest, _TCP_LEAST)
