"""The view of one node's keepalived: sections of finished lines, so that the template only loops.

keepalived.conf(5) of keepalived 2.3; why there is one instance per group: docs/decisions/0002; how a group moves: 0004.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from ipaddress import ip_network
from math import ceil

from rota.keepalived.ipvs import global_lines, track_files, virtual_servers
from rota.keepalived.section import Section, block, seconds
from rota.model import Site
from rota.model.fields import family
from rota.model.schema import Group

__all__ = ["KeepalivedView", "Section", "view"]

# haproxy.service writes 0 after its start and -1 after its stop, however it ended.
TRACK_HAPROXY = "/run/rota/track/haproxy"
_TRACK_ROLE = "/run/rota/track/role-{}"
_TRACK_GROUP = "/run/rota/track/group-{}"
# keeps them in step with the role (roles/keepalived/files/vrrp.sh)
_VRRP = "/usr/local/lib/rota/vrrp"

# The same for every holder: nobody preempts an equal. 255 is an address's owner.
_HOLDS = 254
# What a node has while it does not hold a group: falls along the group's order.
_HIGHEST = 250
_STEP = 50


@dataclass(frozen=True)
class KeepalivedView:
    """What keepalived on `node` needs: the configuration in sections, and what the role must look after."""

    node: str
    sections: list[Section]
    groups: list[str] = field(default_factory=list)
    addresses: dict[str, list[str]] = field(default_factory=dict)
    needs_ipvs: bool = False
    l4_services: list[str] = field(default_factory=list)
    hand_over_seconds: int = 2  # a move takes three adverts and a little

    def as_dict(self) -> dict[str, object]:
        """Plain types, as a template wants them."""
        return asdict(self)


def view(site: Site, node: str) -> KeepalivedView:
    """The keepalived of `node`; KeyError when the site has no such node."""
    if node not in site.site.nodes:
        raise KeyError(f"{node} is not a node of the site")
    groups = site.groups_of(node)
    servers = virtual_servers(site, node)
    sections = [
        _globals(site, node, checks=bool(servers)),
        _track_haproxy(),
        _health(),
        *(section for name, group in groups.items() for section in _track_group(name, group, node)),
        *(_instance(site, node, name, group) for name, group in groups.items()),
        *track_files(site, node),
        *servers,
    ]
    addresses = {name: site.addresses_of(name) for name in groups}
    l4_services = [name for name, service in site.services_of(node).items() if service.mode.is_l4]
    seconds_for_a_move = ceil(site.site.vrrp.advert_interval * 4 / 1000) + 1
    return KeepalivedView(node, sections, list(groups), addresses, bool(servers), l4_services, seconds_for_a_move)


def _globals(site: Site, node: str, *, checks: bool) -> Section:
    delay = seconds(site.site.vrrp.start_delay)
    lines = [
        f"router_id {node}",
        "enable_script_security",
        "script_user keepalived_script",
        "vrrp_version 3",
        f"vrrp_startup_delay {delay}",
        # a busy HAProxy must not keep the adverts waiting: a late one looks like a dead node
        "vrrp_priority -15",
        # … and when one is late all the same, in steps before everything else (realtime, RR)
        "max_auto_priority 20",
        "min_auto_priority_delay 100000",
        # realtime without blocking for longer than this is killed by the kernel; the default of 10 ms is reached by a node
        # that sets addresses while it is busy (keepalived issue 2312), and the addresses are without a holder meanwhile
        "vrrp_rlimit_rttime 1000000",
        "vrrp_garp_master_delay 1",
        "vrrp_garp_master_repeat 3",
        "vrrp_garp_master_refresh 30",
        "vrrp_garp_lower_prio_repeat 2",
        # addresses on a second interface need their own refresh, or a switch forgets where they live
        "vrrp_garp_extra_if all 60",
    ]
    if checks:
        lines += global_lines(site, node)
    return Section("", block("global_defs", lines))


def _track_haproxy() -> Section:
    lines = [
        f"file {TRACK_HAPROXY}",
        "weight 0",
        # no word from haproxy yet: not fit to hold an address
        "init_file -1",
    ]
    return Section("HAProxy's own word: 0 = it serves, anything else = it does not", block("track_file haproxy", lines))


def _track_group(name: str, group: Group, node: str) -> list[Section]:
    # Not nopreempt: a priority says nothing then. Every holder is above everybody else, and no start takes anything away.
    role = [f"file {_TRACK_ROLE.format(name)}", f"weight {_priority(group, node) - _HOLDS}", "init_file 1 overwrite"]
    # one more, and keepalived takes it for a fault: let go at once
    word = [f"file {_TRACK_GROUP.format(name)}", f"weight {1 - _HOLDS}", "init_file 0 overwrite"]
    return [
        Section(f"Role in group {name}: 0 = holds it, 1 = takes it from nobody", block(f"track_file role-{name}", role)),
        Section(f"An operator's word on group {name}: 1 hands it over", block(f"track_file group-{name}", word)),
    ]


def _health() -> Section:
    lines = [
        'script "/usr/bin/curl -fsS -m 2 -o /dev/null http://127.0.0.1:8404/healthz"',
        "interval 3",
        "timeout 3",
        # a loaded node may miss one; three in a row is a hung HAProxy
        "fall 3",
        "rise 1",
    ]
    return Section("Finds a HAProxy that lives but answers nobody", block("vrrp_script haproxy-health", lines))


def _instance(site: Site, node: str, name: str, group: Group) -> Section:
    own = site.site.nodes[node].addresses[0]
    own_family = family(own)
    addresses = site.addresses_of(name)
    # Adverts list only this one. While a rollout changes the services the two nodes know different addresses, and an
    # advert with another list is reported (RFC 5798 7.1 would let a receiver drop it, and then both hold everything).
    advertised = next((a for a in addresses if family(a) == own_family), None)
    excluded = [a for a in addresses if a != advertised]
    peers = [site.site.nodes[other].addresses[0] for other in group.nodes if other != node]
    lines = [
        "state BACKUP",
        f"interface {_interface(site, node, own)}",
        f"virtual_router_id {group.id}",
        f"priority {_HOLDS}",
        f"advert_int {seconds(site.site.vrrp.advert_interval)}",
    ]
    if peers:
        lines += [f"unicast_src_ip {own}", "check_unicast_src", *block("unicast_peer", peers)]
    others = dict.fromkeys(_interface(site, node, a) for a in addresses)
    tracked = [interface for interface in others if interface != _interface(site, node, own)]
    if tracked:
        lines += block("track_interface", tracked)
    lines += block("track_file", ["haproxy", f"role-{name}", f"group-{name}"])
    lines += block("track_script", ["haproxy-health"])
    # removing one address must not take those along that the kernel keeps as its secondaries
    lines.append("promote_secondaries")
    if advertised:
        lines += block("virtual_ipaddress", [_address(site, node, advertised)])
    else:
        lines.append("no_virtual_ipaddress")
    if excluded:
        lines += block("virtual_ipaddress_excluded", [_address(site, node, a) for a in excluded])
    lines.append(f'notify "{_VRRP} role" root')
    return Section("", block(f"vrrp_instance {name}", lines))


def _priority(group: Group, node: str) -> int:
    """Of a node without the group. Falls along its order; the spread decides who is first when several could be."""
    step = min(_STEP, (_HIGHEST - 1) // len(group.nodes))
    return _HIGHEST - step * group.nodes.index(node)


def _interface(site: Site, node: str, address: str) -> str:
    network = site.site.network_of(address)
    if network is None:  # the model refuses such a site
        raise ValueError(f"{address} is in no network of the site")
    return site.site.interface(node, network)


def _address(site: Site, node: str, address: str) -> str:
    """An address as keepalived adds it: prefix of its network, interface of this node in it.

    IPv6 service addresses are marked deprecated (RFC 4862 5.5.4), or the kernel may pick one as the source of the
    node's own connections, which would then move away with it. IPv4 secondaries are never picked.
    """
    network = site.site.networks[site.site.network_of(address) or ""]
    lengths = [
        ip_network(prefix).prefixlen
        for prefix in network.prefixes
        if family(prefix) == family(address) and ip_network(f"{address}").subnet_of(ip_network(prefix))  # type: ignore[arg-type]
    ]
    line = f"{address}/{max(lengths)} dev {_interface(site, node, address)}"
    return line if family(address) == 4 else f"{line} preferred_lft 0"
