"""What the model says of layer 4: each contradiction is one line that names the element."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from rota import model
from rota.keepalived import ipvs, kernel, view
from rota.model.layer4 import MARKS, MARKS_FROM, marks, sync, tcp_timeout

SITE: dict[str, Any] = {
    "name": "st-marys",
    "nodes": {"lb1": {"address": "198.51.100.11"}, "lb2": {"address": "198.51.100.12"}},
    "management": ["198.51.100.0/24"],
    "networks": {"clinical": {"prefixes": ["198.51.100.0/24", "2001:db8:51::/64"], "interface": "eth0"}},
}
MEMBERS = {"a": {"address": "198.51.100.21"}, "b": {"address": "198.51.100.22"}}
SIX = {"a": {"address": "2001:db8:51::21"}, "b": {"address": "2001:db8:51::22"}}


def l4(**more: Any) -> dict[str, Any]:
    base = {"profile": "tcp", "address": "198.51.100.100", "port": 104, "mode": "l4-dr", "members": copy.deepcopy(MEMBERS)}
    return {key: value for key, value in {**base, **more}.items() if value is not None}


def log(**more: Any) -> dict[str, Any]:
    return l4(**{"profile": "syslog", "port": None, "check": {"port": 22}, **more})


def lines(services: dict[str, Any], **settings: Any) -> list[str]:
    return [str(p) for p in model.parse({"site": {**SITE, **settings}, "services": services}).problems]


def good(services: dict[str, Any], **settings: Any) -> model.Site:
    result = model.parse({"site": {**SITE, **settings}, "services": services})
    assert result.site is not None, result.problems
    return result.site


TWO = {"port": None, "ports": [104, 11112]}
ONE_LINE: dict[str, tuple[dict[str, Any], str]] = {
    "UDP at layer 7": (
        log(mode="l7", balance="leastconn"),
        "protocol: udp needs mode l4-dr, l4-nat or l4-tun: HAProxy has no UDP",
    ),
    "UDP in a TCP profile": (
        l4(profile="rest", protocol="udp", check={"kind": "http", "port": 80}),
        "protocol: udp contradicts profile rest, which is TCP only (use udp, syslog, dns)",
    ),
    "UDP without a port to ask": (
        log(check="tcp"),
        "check.port: is missing: checks speak TCP, and nobody need answer there on UDP port 514. "
        "Name a TCP port that the member's server answers on (for syslog or DNS often the same one)",
    ),
    "protocol that is none": (log(protocol="sctp"), "protocol: sctp is not one of tcp, udp, both"),
    "one packet of TCP": (
        l4(profile="dns", port=53, one_packet=True),
        "one_packet: needs protocol udp: both has connections, which must stay whole",
    ),
    "one packet and persistence": (
        log(one_packet=True, persistence="source"),
        "one_packet: contradicts persistence, which keeps a caller on one member",
    ),
    "port translation under DR": (
        l4(members={**MEMBERS, "b": {"address": "198.51.100.22", "port": 11112}}),
        "members.b.port: 11112 differs from the service's port 104: l4-dr cannot translate ports",
    ),
    "port translation under TUN": (
        l4(mode="l4-tun", members={**MEMBERS, "b": {"address": "198.51.100.22", "port": 11112}}),
        "members.b.port: 11112 differs from the service's port 104: l4-tun cannot translate ports",
    ),
    "port translation of the fallback": (
        l4(fallback={"address": "198.51.100.30", "port": 81}),
        "fallback.port: 81 differs from the service's port 104: l4-dr cannot translate ports",
    ),
    "port translation of a mark": (
        l4(
            mode="l4-nat",
            **TWO,
            ports_as_one=True,
            persistence="source",
            members={"b": {"address": "198.51.100.22", "port": 1}},
        ),
        "members.b.port: 1 differs from the service's port 104, 11112: ports_as_one cannot translate ports",
    ),
    "one port as one": (l4(ports_as_one=True, persistence="source"), "ports_as_one: has no meaning for a single port (104)"),
    "ports as one at layer 7": (
        l4(mode="l7", **TWO, ports_as_one=True),
        "ports_as_one: needs layer 4: in mode l7 persistence covers all ports",
    ),
    "ports as one without persistence": (
        l4(**TWO, ports_as_one=True),
        "ports_as_one: warning: has little use without persistence: wlc sends a caller's ports to different members",
    ),
    "mask without source persistence": (
        l4(persistence={"prefix_v4": 24}),
        "persistence.prefix_v4: needs kind source: none looks at no address",
    ),
    "IPv6 mask without source persistence": (
        l4(persistence={"prefix_v6": 64}),
        "persistence.prefix_v6: needs kind source: none looks at no address",
    ),
    "mask too long": (
        l4(persistence={"kind": "source", "prefix_v4": 33}),
        "persistence.prefix_v4: 33 is above 32, the most allowed",
    ),
    "flags of another scheduler": (
        l4(balance="wrr", balance_flags=["port"]),
        "balance_flags: port are known to balance sh and mh only, not to wrr",
    ),
    "a flag twice": (l4(balance="mh", balance_flags=["port", "port"]), "balance_flags: port is there twice"),
    "weights that nobody reads": (
        l4(balance="rr", members={**MEMBERS, "b": {"address": "198.51.100.22", "weight": 5}}),
        "balance: warning: rr does not look at the members' weights: use wrr",
    ),
    "IPv6 tunnel with an IPv4 member": (
        l4(mode="l4-tun", address="2001:db8:51::100", members={**SIX, "b": {"address": "198.51.100.22"}}),
        "members.b.address: 198.51.100.22 is IPv4, but no address of the service is: "
        "connections that cross families cannot be synchronised",
    ),
    "fallback of another family": (
        l4(fallback={"address": "2001:db8:51::30"}),
        "fallback.address: 2001:db8:51::30 is IPv6, but no address of the service is: IPVS does not translate",
    ),
}


@pytest.mark.parametrize(("service", "line"), ONE_LINE.values(), ids=ONE_LINE)
def test_exactly_one_line(service: dict[str, Any], line: str) -> None:
    assert lines({"s": service}) == [f"services.s.{line}"]


SITE_LINES: dict[str, tuple[dict[str, Any], str]] = {
    "unknown network": (
        {"sync": {"network": "clinic"}},
        "sync.network: clinic is not a network of the site (did you mean clinical?)",
    ),
    "unknown group": ({"sync": {"group": "mian"}}, "sync.group: unknown VRRP group mian (did you mean main?)"),
    "id": ({"sync": {"id": 256}}, "sync.id: 256 is above 255, the most allowed"),
    "threshold": ({"sync": {"threshold": 3}}, "sync.threshold: 3 must be below sync.period (0), the packets of one round"),
    "too short to count": (
        {"timeouts": {"udp": "500ms"}},
        "timeouts.udp: 500ms is less than 1s, the least that IPVS counts",
    ),
    "quiet connections": (
        {"timeouts": {"tcp": "30m"}},
        "timeouts.tcp: 30m is shorter than the time-outs of service s (1h): its quiet connections would be forgotten, and cut",
    ),
    "unknown key": ({"expire_nodest": True}, "expire_nodest: unknown key (did you mean expire_nodest_conn?)"),
}


@pytest.mark.parametrize(("ipvs", "line"), SITE_LINES.values(), ids=SITE_LINES)
def test_exactly_one_line_of_the_site(ipvs: dict[str, Any], line: str) -> None:
    assert lines({"s": l4()}, ipvs=ipvs) == [f"site.ipvs.{line}"]


def test_sync_needs_somebody_to_tell() -> None:
    alone = {"lb1": {"address": "198.51.100.11"}}
    assert lines({"s": l4()}, ipvs={"sync": {"enabled": True}}, nodes=alone) == [
        "site.ipvs.sync.enabled: needs a group of several nodes: there is nobody to tell"
    ]


GROUPS = {"groups": {"main": {"id": 51, "nodes": ["lb1", "lb2"]}, "web": {"id": 52, "nodes": ["lb2", "lb1"]}}}


def test_sync_of_two_groups_says_whose_connections_end() -> None:
    two = {"a": l4(group="main"), "b": l4(group="web", address="198.51.100.101")}
    assert lines(two, vrrp=GROUPS) == [
        "site.ipvs.sync.group: warning: the kernel follows one group: connections of main live through a failover, those of web do not"
    ]
    assert lines(two, vrrp=GROUPS, ipvs={"sync": {"enabled": False}}) == []


def test_tcp_and_udp_of_one_address_and_port_are_two_services() -> None:
    tcp = l4(port=514)
    assert lines({"s": log(), "t": tcp}) == []
    assert lines({"s": log(protocol="both"), "t": tcp}) == [
        "services.t.ports: 198.51.100.100 port 514 is already taken by service s"
    ]


@pytest.mark.parametrize("family", ["four", "six"])
@pytest.mark.parametrize("mode", ["l4-dr", "l4-nat", "l4-tun"])
def test_every_mode_carries_both_families(mode: str, family: str) -> None:
    six = {"address": "2001:db8:51::100", "members": SIX} if family == "six" else {}
    (section,) = ipvs.virtual_servers(good({"s": l4(mode=mode, **six)}), "lb1")
    address = "2001:db8:51::100" if six else "198.51.100.100"
    assert section.lines[0] == f"virtual_server {address} 104 {{"
    assert f"    lb_kind {mode.removeprefix('l4-').upper()}" in section.lines


def one(**more: Any) -> dict[str, Any]:
    return l4(**TWO, ports_as_one=True, persistence="source", **more)


BOTH = {"address": None, "addresses": ["198.51.100.100", "2001:db8:51::100"], "members": {"a": MEMBERS["a"], "b": SIX["b"]}}


def test_a_mark_stays_when_other_services_come_and_go() -> None:
    """Another mark is another virtual server: callers would lose the member that they had."""
    few = marks(good({"pacs": one(**BOTH)}))
    many = marks(
        good({"new": one(address="198.51.100.101"), "pacs": one(**BOTH), "plain": l4(port=2762, address="198.51.100.102")})
    )
    assert [m for m in many if m.service == "pacs"] == few
    assert [(m.family, m.addresses, m.ports, m.protocols) for m in few] == [
        (4, ("198.51.100.100",), (104, 11112), ("tcp",)),
        (6, ("2001:db8:51::100",), (104, 11112), ("tcp",)),
    ]


def test_no_two_services_share_a_mark() -> None:
    services = {f"s{n}": one(address=f"198.51.100.{n}") for n in range(100, 250)}
    services |= {f"t{n}": {**one(address=f"198.51.100.{n}"), "ports": [1, 2]} for n in range(100, 250)}
    values = [m.value for m in marks(good(services))]
    assert len(set(values)) == len(values) == 300
    assert all(MARKS_FROM <= value < MARKS_FROM + MARKS for value in values)


def test_marks_that_would_collide_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rota.model.layer4.crc32", lambda _: MARKS - 1)
    found = [m.value for m in marks(good({"s": one(**BOTH), "t": one(address="198.51.100.101")}))]
    assert found == [MARKS_FROM + MARKS - 1, MARKS_FROM, MARKS_FROM + 1]


def test_keepalived_balances_the_mark_that_the_firewall_sets() -> None:
    site = good({"pacs": one(**BOTH)})
    four, six = marks(site)
    heads = [section.lines[0] for section in ipvs.virtual_servers(site, "lb1")]
    assert heads == [f"virtual_server fwmark {four.value} {{", f"virtual_server fwmark {six.value} {{"]
    text = "\n".join(ipvs.virtual_servers(site, "lb2")[1].lines)
    assert "ip_family inet6" in text
    assert "real_server 2001:db8:51::22 0 {" in text
    assert "198.51.100.21" not in text


def test_udp_and_tcp_have_a_virtual_server_each_and_follow_the_same_file() -> None:
    sections = ipvs.virtual_servers(good({"s": l4(profile="dns", port=53)}), "lb1")
    assert [next(w for w in s.lines if "protocol" in w).strip() for s in sections] == ["protocol TCP", "protocol UDP"]
    assert all("            track_file s.b" in s.lines for s in sections)


def test_a_mask_is_written_as_each_family_reads_it() -> None:
    persistence = {"kind": "source", "timeout": "90500ms", "prefix_v4": 24, "prefix_v6": 56}
    four, six = ipvs.virtual_servers(good({"s": l4(persistence=persistence, **BOTH)}), "lb1")
    assert "    persistence_timeout 91" in four.lines
    assert "    persistence_granularity 255.255.255.0" in four.lines
    assert "    persistence_granularity 56" in six.lines


def test_connections_are_synchronised_by_default_where_a_pair_has_layer_4() -> None:
    site = good({"s": l4()})
    assert "lvs_sync_daemon eth0 main id 51 port 8848" in ipvs.global_lines(site, "lb2")
    assert sync(good({"s": l4(mode="l7")}), "lb1") is None
    assert sync(good({"s": l4()}, ipvs={"sync": {"enabled": False}}), "lb1") is None
    assert sync(good({"s": l4()}, nodes={"lb1": {"address": "198.51.100.11"}}), "lb1") is None


def test_sync_follows_the_group_that_has_layer_4() -> None:
    services = {"a": l4(group="main", mode="l7"), "b": l4(group="web", address="198.51.100.101")}
    told = sync(good(services, vrrp=GROUPS), "lb1")
    assert told is not None
    assert (told.group, told.id) == ("web", 52)


def test_a_quiet_association_is_remembered_as_long_as_its_service_says() -> None:
    assert tcp_timeout(good({"s": l4(timeouts={"client": "2h"})})) == 7_200_000
    assert tcp_timeout(good({"s": l4(profile="rest", check="tcp")})) == 900_000
    assert tcp_timeout(good({"s": l4()}, ipvs={"timeouts": {"tcp": "2d"}})) == 172_800_000


def test_a_node_without_layer_4_forwards_nothing_and_loads_nothing() -> None:
    seen = kernel.view(good({"s": l4(mode="l7")}), "lb1")
    assert seen.modules == seen.services == []
    assert seen.settings == {"net.ipv4.ip_forward": "0", "net.ipv6.conf.all.forwarding": "0"}


def test_the_kernel_gets_the_schedulers_and_the_settings_of_the_model() -> None:
    services = {"s": l4(balance="mh"), "t": l4(address="198.51.100.101", balance="rr"), "u": l4(port=105, balance="mh")}
    seen = kernel.view(good(services, ipvs={"expire_nodest_conn": False, "sync": {"threshold": 3, "period": 50}}), "lb1")
    assert seen.modules == ["ip_vs", "ip_vs_mh", "ip_vs_rr"]
    assert seen.services == ["s", "t", "u"]
    assert seen.settings["net.ipv4.vs.expire_nodest_conn"] == "0"
    assert seen.settings["net.ipv4.vs.expire_quiescent_template"] == "1"
    assert seen.settings["net.ipv4.vs.sync_threshold"] == "3 50"
    assert seen.settings["net.ipv4.ip_forward"] == "0"


@pytest.mark.parametrize(("mode", "balance"), [("l4-nat", "wlc"), ("l7-transparent", "leastconn")])
def test_the_kernel_forwards_where_members_answer_through_the_node(mode: str, balance: str) -> None:
    four = kernel.view(good({"s": l4(mode=mode, balance=balance)}), "lb1").settings
    assert (four["net.ipv4.ip_forward"], four["net.ipv6.conf.all.forwarding"]) == ("1", "0")
    assert four["net/ipv4/conf/eth0/send_redirects"] == "0"
    six = kernel.view(good({"s": l4(mode=mode, balance=balance, address="2001:db8:51::100", members=SIX)}), "lb1").settings
    assert (six["net.ipv4.ip_forward"], six["net.ipv6.conf.all.forwarding"]) == ("0", "1")


def test_what_parse_writes_it_reads_again() -> None:
    site = good({"s": one(**BOTH), "l": log(one_packet=True)}, ipvs={"sync": {"id": 7}, "timeouts": {"udp": "1m"}})
    again = model.parse(model.dump(site))
    assert again.site == site
    assert view(site, "lb1") == view(again.site, "lb1")
