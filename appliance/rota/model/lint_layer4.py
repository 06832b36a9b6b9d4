"""What contradicts at layer 4: the rules of IPVS, and keys that only it can follow."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from rota.model.fields import family, format_duration
from rota.model.layer4 import Protocol
from rota.model.problems import Problem, nearest
from rota.model.schema import Balance, Mode, PersistenceKind, Service, Settings, TlsMode

Found = Iterator[Problem]

_LONGEST = 31 * 86_400_000  # keepalived's limit for lvs_timeouts


def _mode(path: str, service: Service) -> Found:
    if service.balance.is_l4 != service.mode.is_l4:
        layer = 4 if service.mode.is_l4 else 7
        yield Problem(f"{path}.balance", f"{service.balance} does not exist at layer {layer} (mode {service.mode})")
    if service.mode.is_l4:
        yield from _only_layer7(path, service)


def _only_layer7(path: str, service: Service) -> Found:
    if service.tls.mode not in (TlsMode.NONE, TlsMode.PASS_THROUGH):
        yield Problem(f"{path}.tls.mode", f"{service.tls.mode} needs layer 7: {service.mode} forwards packets unread")
    for name, member in service.members.items():
        if member.max_associations is not None:
            yield Problem(
                f"{path}.members.{name}.max_associations",
                f"needs layer 7: {service.mode} cannot hold callers back",
            )
        if member.backup:
            yield Problem(
                f"{path}.members.{name}.backup",
                f"needs layer 7: with {service.mode} name a fallback instead",
            )


def _ports(path: str, service: Service) -> Found:
    """Who may translate ports: NAT only, and not where the mark of a packet is all that IPVS looks at."""
    if not service.mode.is_l4:
        return
    direct = service.mode in (Mode.L4_DR, Mode.L4_TUN)
    wanted = ", ".join(map(str, service.ports))
    why = f"{service.mode} cannot translate ports" if direct else "ports_as_one cannot translate ports"
    if not direct and not service.ports_as_one:
        return
    places = [(f"{path}.members.{name}.port", member.port) for name, member in service.members.items()]
    places.append((f"{path}.fallback.port", service.fallback.port if service.fallback else None))
    for place, port in places:
        if port is not None and [port] != service.ports:
            yield Problem(place, f"{port} differs from the service's port {wanted}: {why}")


def _protocol(path: str, service: Service) -> Found:
    if service.protocol is not Protocol.TCP:
        if not service.profile.may_use_udp:
            yield Problem(
                f"{path}.protocol",
                f"{service.protocol} contradicts profile {service.profile}, which is TCP only (use udp, syslog, dns)",
            )
        elif not service.mode.is_l4:
            yield Problem(f"{path}.protocol", f"{service.protocol} needs mode l4-dr, l4-nat or l4-tun: HAProxy has no UDP")
    if service.protocol is Protocol.UDP and service.check.port is None:
        ports = ", ".join(map(str, service.ports))
        yield Problem(
            f"{path}.check.port",
            f"is missing: checks speak TCP, and nobody need answer there on UDP port {ports}. "
            "Name a TCP port that the member's server answers on (for syslog or DNS often the same one)",
        )
    if service.one_packet and service.protocol is not Protocol.UDP:
        yield Problem(f"{path}.one_packet", f"needs protocol udp: {service.protocol} has connections, which must stay whole")
    if service.one_packet and service.persistence.kind is PersistenceKind.SOURCE:
        yield Problem(f"{path}.one_packet", "contradicts persistence, which keeps a caller on one member")


def _as_one(path: str, service: Service) -> Found:
    if not service.ports_as_one:
        return
    if not service.mode.is_l4:
        yield Problem(f"{path}.ports_as_one", f"needs layer 4: in mode {service.mode} persistence covers all ports")
        return
    if len(service.ports) * len(service.protocol.each) < 2:
        yield Problem(f"{path}.ports_as_one", f"has no meaning for a single port ({service.ports[0]})")
    if service.persistence.kind is PersistenceKind.NONE and service.balance not in (Balance.SH, Balance.MH):
        yield Problem(
            f"{path}.ports_as_one",
            f"has little use without persistence: {service.balance} sends a caller's ports to different members",
            warning=True,
        )


def _balance(path: str, service: Service) -> Found:
    if service.balance_flags and service.balance not in (Balance.SH, Balance.MH):
        flags = ", ".join(service.balance_flags)
        yield Problem(f"{path}.balance_flags", f"{flags} are known to balance sh and mh only, not to {service.balance}")
    for flag in sorted({f for f in service.balance_flags if service.balance_flags.count(f) > 1}):
        yield Problem(f"{path}.balance_flags", f"{flag} is there twice")
    weights = {member.weight for member in service.members.values() if member.weight}
    if service.balance in (Balance.RR, Balance.LC) and len(weights) > 1:
        weighted = "wrr" if service.balance is Balance.RR else "wlc"
        yield Problem(
            f"{path}.balance", f"{service.balance} does not look at the members' weights: use {weighted}", warning=True
        )
    mask = service.persistence.prefix_v4 != 32 or service.persistence.prefix_v6 != 128
    if mask and service.persistence.kind is not PersistenceKind.SOURCE:
        key = "prefix_v4" if service.persistence.prefix_v4 != 32 else "prefix_v6"
        yield Problem(f"{path}.persistence.{key}", f"needs kind source: {service.persistence.kind} looks at no address")


def _families(path: str, service: Service) -> Found:
    if service.mode is Mode.L7:
        return
    families = {family(a) for a in service.addresses}
    cannot = {
        Mode.L7_TRANSPARENT: "a member must see callers of its own family",
        Mode.L4_TUN: "connections that cross families cannot be synchronised",
    }
    why = cannot.get(service.mode, "IPVS does not translate")
    for name, member in service.members.items():
        if family(member.address) not in families:
            text = f"{member.address} is IPv{family(member.address)}, but no address of the service is: {why}"
            yield Problem(f"{path}.members.{name}.address", text)
    if len(families) > 1 and {family(m.address) for m in service.members.values()} != families:
        yield Problem(f"{path}.addresses", f"are of both families, but the members are not: {service.mode} cannot cross")
    fallback = service.fallback
    if service.mode.is_l4 and fallback and fallback.address and family(fallback.address) not in families:
        text = f"{fallback.address} is IPv{family(fallback.address)}, but no address of the service is: {why}"
        yield Problem(f"{path}.fallback.address", text)


rules: tuple[Callable[[str, Service], Found], ...] = (_mode, _ports, _protocol, _as_one, _balance, _families)


def settings(site: Settings, services: dict[str, Service]) -> Found:
    """Problems of the site's own part on IPVS."""
    path = "site.ipvs"
    sync, groups = site.ipvs.sync, site.vrrp.groups
    with_layer4 = list(dict.fromkeys(s.group for s in services.values() if s.mode.is_l4 and s.group in groups))
    if sync.network is not None and sync.network not in site.networks:
        text = f"{sync.network} is not a network of the site{nearest(sync.network, site.networks)}"
        yield Problem(f"{path}.sync.network", text)
    if sync.group is not None and sync.group not in groups:
        yield Problem(f"{path}.sync.group", f"unknown VRRP group {sync.group}{nearest(sync.group, groups)}")
    if sync.threshold and sync.threshold >= max(sync.period, 1):
        text = f"{sync.threshold} must be below sync.period ({sync.period}), the packets of one round"
        yield Problem(f"{path}.sync.threshold", text)
    if sync.enabled and not any(len(group.nodes) > 1 for group in groups.values()):
        yield Problem(f"{path}.sync.enabled", "needs a group of several nodes: there is nobody to tell")
    several = [g for g in with_layer4 if len(groups[g].nodes) > 1]
    if len(several) > 1 and sync.enabled is not False:
        told = sync.group or several[0]
        rest = ", ".join(g for g in several if g != told)
        yield Problem(
            f"{path}.sync.group",
            f"the kernel follows one group: connections of {told} live through a failover, those of {rest} do not",
            warning=True,
        )
    for key in ("tcp", "tcp_fin", "udp"):
        value = getattr(site.ipvs.timeouts, key)
        if value is not None and not 1_000 <= value <= _LONGEST:
            yield Problem(f"{path}.timeouts.{key}", f"{format_duration(value)} is less than 1s, the least that IPVS counts")
    tcp = site.ipvs.timeouts.tcp
    for name, service in services.items():
        longest = max(service.timeouts.client, service.timeouts.server)
        if service.mode.is_l4 and tcp is not None and tcp < longest and service.protocol is not Protocol.UDP:
            yield Problem(
                f"{path}.timeouts.tcp",
                f"{format_duration(tcp)} is shorter than the time-outs of service {name} ({format_duration(longest)}): "
                "its quiet connections would be forgotten, and cut",
            )
