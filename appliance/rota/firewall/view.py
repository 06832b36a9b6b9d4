"""The view of one node's packet filter: sections of finished lines, so that the template only loops.

nft(8) of nftables 1.1. What is open and why: docs/reference/firewall.md; the choices: docs/decisions/0009.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from itertools import product
from types import MappingProxyType

from rota.control.written import PEER_PORT, WEB_PORT
from rota.firewall.section import FirewallView, Section, block, ports, separated
from rota.firewall.sets import ADDRESS, ENDPOINT, FAMILIES, Sets, collect
from rota.haproxy.view import PEERS_PORT
from rota.model import Site, marks
from rota.model.fields import family
from rota.model.layer4 import sync

MANAGEMENT_PORTS: Mapping[str, str] = MappingProxyType({"ssh": "tcp/22", "web": f"tcp/{WEB_PORT}"})
# roles/base: net.ipv4.ip_local_port_range begins here
_OWN_CONNECTIONS = "16384-65535"
_IP = {4: "ip", 6: "ip6"}
_PORT = re.compile(r"(tcp|udp)/(\d{1,5})")

# RFC 4890, 4.4 and 4.3.1, for packets to the node itself: without these no path MTU and no neighbour is found.
_ICMP6 = "destination-unreachable, packet-too-big, time-exceeded, parameter-problem, echo-request, echo-reply"
_ICMP6_LINK = (
    "nd-router-solicit, nd-router-advert, nd-neighbor-solicit, nd-neighbor-advert, ind-neighbor-solicit, ind-neighbor-advert"
)
_ICMP6_GROUPS = "mld-listener-query, mld-listener-report, mld-listener-done, mld2-listener-report"
_ICMP4_ERRORS = "destination-unreachable, time-exceeded, parameter-problem"
_ICMP6_ERRORS = "destination-unreachable, packet-too-big, time-exceeded, parameter-problem"
_ICMP4 = f"{_ICMP4_ERRORS}, echo-request, echo-reply"


def view(
    site: Site, node: str, management_ports: Mapping[str, str] = MANAGEMENT_PORTS, peer_port: int = PEER_PORT
) -> FirewallView:
    """The packet filter of `node`.

    `management_ports` are what management networks reach, name → `tcp/22`; `peer_port` is where rotad listens for its
    peers. KeyError when the site has no such node, ValueError for a port that is none or without any.
    """
    if node not in site.site.nodes:
        raise KeyError(f"{node} is not a node of the site")
    opened = _opened(management_ports)
    sets = collect(site, node)
    sections = [
        *(_counter(name, comment) for name, comment in _COUNTERS.items()),
        *sets.sections(),
        *_untracked(sets),
        *_marks(site, node),
        _input(sets, opened, [*_peers(sets, peer_port), *_sync(site, node, sets)]),
        _forward(sets),
    ]
    return FirewallView(node, sections, site.site.management or [])


_COUNTERS = {
    "dropped-input": "packets to this node that nothing allowed",
    "dropped-forward": "packets through this node that nothing allowed",
}


def _counter(name: str, comment: str) -> Section:
    return Section(comment, block(f"counter {name}", []))


def _opened(management_ports: Mapping[str, str]) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for name, text in management_ports.items():
        match = _PORT.fullmatch(str(text))
        if match is None or not 1 <= int(match[2]) <= 65535:
            raise ValueError(f"{name}: {text!r} is not a port such as tcp/22 or udp/161")
        found.setdefault(match[1], []).append(int(match[2]))
    if "tcp" not in found:
        raise ValueError("no tcp port is open to management networks: nobody could reach the node")
    return found


def _chain(name: str, hook: str, priority: str, rules: Iterable[str], policy: str) -> list[str]:
    return block(f"chain {name}", [f"type filter hook {hook} priority {priority}; policy {policy};", *rules])


def _untracked(sets: Sets) -> list[Section]:
    """What the kernel must not follow: it may see one direction only, and the address may come from the other node."""
    arriving, leaving = [], []
    for version in FAMILIES:
        ip = _IP[version]
        if sets.has("addresses", version):
            arriving.append(f"{ip} daddr @addresses{version} notrack")
            leaving.append(f"{ip} saddr @addresses{version} notrack")
        if sets.has("replies", version):
            # answers to this node's own checks are followed: only what goes on to a client is not
            arriving.append(f"{ip} saddr . meta l4proto . th sport @replies{version} fib daddr type != local notrack")
    comment = "service traffic is judged packet by packet: after a failover, or under DR, its beginning was never seen"
    sections = []
    if arriving:
        sections.append(Section(comment, _chain("untracked-in", "prerouting", "raw", arriving, "accept")))
    if leaving:
        sections.append(Section("", _chain("untracked-out", "output", "raw", leaving, "accept")))
    return sections


def _marks(site: Site, node: str) -> list[Section]:
    """What IPVS knows as one service by its mark. Whatever of it comes in is marked, on the standby too."""
    names = site.services_of(node)
    elements: dict[int, list[str]] = {}
    for mark in marks(site):
        if mark.service in names:
            keys = product(mark.addresses, mark.protocols, mark.ports)
            elements.setdefault(mark.family, []).extend(f"{' . '.join(map(str, key))} : {mark.value:#x}" for key in keys)
    sections, rules = [], []
    for version, found in sorted(elements.items()):
        kind = f"type {ENDPOINT.format(ADDRESS[version])} : mark"
        lines = block(f"map marks{version}", [kind, *block("elements =", separated(found))])
        sections.append(Section(f"IPv{version}: services whose ports are one", lines))
        rules.append(f"meta mark set {_IP[version]} daddr . meta l4proto . th dport map @marks{version}")
    if rules:
        sections.append(Section("", _chain("marks", "prerouting", "mangle", rules, "accept")))
    return sections


def _sync(site: Site, node: str, sets: Sets) -> list[str]:
    """Connection sync: multicast, which a switch must be told to deliver (RFC 3376), and IPv6 sends from the link."""
    wanted = sync(site, node)
    if wanted is None:
        return []
    rules = ["# IPVS: connection sync from the other nodes, and the switch that asks who wants it"]
    rules += _lookups(sets, "peers", f"{{ip}} saddr @peers{{version}} udp dport {wanted.port} accept")
    if family(wanted.address) == 6:
        rules.append(f"ip6 saddr fe80::/10 ip6 daddr {wanted.address} udp dport {wanted.port} accept")
    return [*rules, "ip protocol igmp accept"]


def _input(sets: Sets, opened: dict[str, list[int]], nodes: list[str]) -> Section:
    rules = [
        'iifname "lo" accept',
        "# first of all, so that nothing below can lock the controller out",
        *_management(sets, opened),
        "# answers to this node's own connections",
        "ct state established,related accept",
        "# the services; no state is asked: after a failover a client must hear a reset, not silence",
        *_lookups(sets, "services", "{ip} daddr . meta l4proto . th dport @services{version} accept"),
        "# RFC 4890: errors, path MTU, echo; neighbours and groups of the link",
        f"icmp type {{ {_ICMP4} }} accept",
        f"icmpv6 type {{ {_ICMP6} }} accept",
        f"icmpv6 type {{ {_ICMP6_LINK} }} ip6 hoplimit 255 accept",
        f"ip6 hoplimit 1 icmpv6 type {{ {_ICMP6_GROUPS} }} accept",
        *nodes,
        "# an address of the node itself that comes by DHCP is renewed by broadcast or multicast",
        "udp sport 67 udp dport 68 accept",
        "ip6 saddr fe80::/10 udp sport 547 udp dport 546 accept",
        *_members(sets),
        *_rest("dropped-input"),
    ]
    return Section("packets to this node", _chain("input", "input", "filter", rules, "drop"))


def _lookups(sets: Sets, name: str, rule: str) -> list[str]:
    return [rule.format(ip=_IP[version], version=version) for version in FAMILIES if sets.has(name, version)]


def _management(sets: Sets, opened: dict[str, list[int]]) -> list[str]:
    rules = []
    for version in FAMILIES:
        ip = _IP[version]
        if sets.management is None:
            who = f"meta nfproto ipv{version}"
        elif sets.has("management", version):
            who = f"{ip} saddr @management{version}"
        else:
            continue
        # a node is managed through its own addresses: what listens on a service address is the service
        where = f" {ip} daddr != @addresses{version}" if sets.has("addresses", version) else ""
        rules += [f"{who}{where} {kind} dport {ports(numbers)} accept" for kind, numbers in opened.items()]
    return rules


def _peers(sets: Sets, peer_port: int) -> list[str]:
    rules = []
    for version in FAMILIES:
        if not sets.has("peers", version):
            continue
        who = f"{_IP[version]} saddr @peers{version}"
        rules += [
            f"# from the other nodes only, IPv{version}: VRRP (RFC 5798), HAProxy's tables, rotad",
            f"{who} meta l4proto 112 accept",
            f"{who} tcp dport {ports((PEERS_PORT, peer_port))} accept",
        ]
    return rules


def _members(sets: Sets) -> list[str]:
    """Rules taken into use on a node at work must not stall a member that is in the middle of an answer."""
    rule = "{ip} saddr @members{version} tcp flags & (syn | ack) == ack tcp dport " + _OWN_CONNECTIONS + " accept"
    rules = _lookups(sets, "members", rule)
    why = "# members' packets in the middle of a connection: the kernel knows its connections without conntrack's help"
    return [why, *rules] if rules else []


def _forward(sets: Sets) -> Section:
    rules = ["ct state established,related accept"]
    through = [
        *_lookups(sets, "replies", "{ip} saddr . meta l4proto . th sport @replies{version} accept"),
        *_lookups(sets, "gateways", "{ip} saddr @gateways{version} accept"),
    ]
    if through:
        rules += [
            "# answers of layer 4 members; and members whose gateway this node is: a PACS answers C-MOVE by calling",
            *through,
            f"icmp type {{ {_ICMP4_ERRORS} }} accept",
            f"icmpv6 type {{ {_ICMP6_ERRORS} }} accept",
        ]
    rules += _rest("dropped-forward")
    return Section("packets through this node", _chain("forward", "forward", "filter", rules, "drop"))


def _rest(counter: str) -> list[str]:
    return [
        "meta pkttype { broadcast, multicast } drop",
        # header fields only: the kernel's LOG has no payload
        f'limit rate 10/minute burst 20 packets log prefix "rota-firewall {counter}: " level info',
        f"counter name {counter} drop",
    ]
