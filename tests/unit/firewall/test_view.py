"""The packet filter of a model: what is open, to whom, and that nothing else is. Packets: tests/contract/test_firewall*.py."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from rota.firewall import FirewallView, view
from rota.model import marks, parse

SITE: dict[str, Any] = {
    "name": "test",
    "nodes": {
        "lb1": {"addresses": ["198.51.100.11", "2001:db8:51::11"]},
        "lb2": {"addresses": ["198.51.100.12", "2001:db8:51::12"]},
    },
    "networks": {"clinical": {"prefixes": ["198.51.100.0/24", "2001:db8:51::/64"], "interface": "eth0"}},
    "management": ["192.0.2.0/24", "2001:db8:99::/64"],
}
TWO = ["198.51.100.100", "2001:db8:51::100"]
MEMBERS = {"a": {"address": "198.51.100.21", "called_ae": "A"}, "b": {"address": "2001:db8:51::21", "called_ae": "B"}}


def pacs(**more: Any) -> dict[str, Any]:
    return {"profile": "dicom", "addresses": TWO, "members": copy.deepcopy(MEMBERS), **more}


def shown(services: dict[str, Any], node: str = "lb1", ports: dict[str, str] | None = None, **settings: Any) -> FirewallView:
    result = parse({"site": {**SITE, **settings}, "services": services})
    assert result.site is not None, "\n".join(map(str, result.problems))
    return view(result.site, node, ports) if ports else view(result.site, node)


def named(found: FirewallView, kind: str, name: str) -> list[str]:
    """The lines of one object, without indentation, comments and its frame; empty when there is none."""
    for section in found.sections:
        if section.lines[0] == f"{kind} {name} {{":
            return [line.strip() for line in section.lines[1:-1] if not line.strip().startswith("#")]
    return []


def elements(found: FirewallView, name: str) -> list[str]:
    lines = named(found, "set", name)
    return [line.rstrip(",") for line in lines[lines.index("elements = {") + 1 : -1]] if lines else []


def names(found: FirewallView) -> list[str]:
    return [section.lines[0].split()[1] for section in found.sections if section.lines[0].startswith("set")]


def test_nothing_is_open_by_default_and_what_came_first_stays_first() -> None:
    found = shown({"pacs": pacs()})
    for chain in ("input", "forward"):
        rules = named(found, "chain", chain)
        assert rules[0] == f"type filter hook {chain} priority filter; policy drop;"
        assert rules[-1] == f"counter name dropped-{chain} drop"
    order = named(found, "chain", "input")
    management = order.index("ip saddr @management4 ip daddr != @addresses4 tcp dport { 22, 8443 } accept")
    assert management < order.index("ct state established,related accept")


def test_services_stand_in_the_models_order_with_their_names() -> None:
    found = shown({"z": pacs(ports=[11112, 104]), "a": pacs(addresses=["198.51.100.101"], members={"a": MEMBERS["a"]})})
    assert elements(found, "services4") == [
        '198.51.100.100 . tcp . 11112 comment "z"',
        '198.51.100.100 . tcp . 104 comment "z"',
        '198.51.100.101 . tcp . 104 comment "a"',
    ]
    assert elements(found, "services6") == [
        '2001:db8:51::100 . tcp . 11112 comment "z"',
        '2001:db8:51::100 . tcp . 104 comment "z"',
    ]


def test_a_node_opens_only_what_it_may_have_to_serve() -> None:
    groups = {"one": {"id": 51, "nodes": ["lb1"]}, "two": {"id": 52, "nodes": ["lb2"]}}
    services = {
        "mine": pacs(group="one"),
        "theirs": pacs(group="two", addresses=["198.51.100.101"], members={"a": MEMBERS["a"]}),
    }
    found = shown(services, vrrp={"groups": groups})
    assert elements(found, "addresses4") == ['198.51.100.100 comment "mine"']
    assert elements(found, "peers4") == []
    assert not any("8406" in rule or "112" in rule for rule in named(found, "chain", "input"))


def test_marks_are_those_that_keepalived_asks_for() -> None:
    one = {"profile": "tcp", "addresses": TWO, "ports": [80, 443], "ports_as_one": True, "persistence": "source"}
    members = {"a": {"address": "198.51.100.21"}, "b": {"address": "2001:db8:51::21"}}
    settings = {"site": SITE, "services": {"web": {**one, "members": members, "mode": "l4-dr"}, "pacs": pacs(port=104)}}
    result = parse({**settings, "services": {**settings["services"], "pacs": pacs(addresses=["198.51.100.101"])}})
    assert result.site is not None, "\n".join(map(str, result.problems))
    four, six = marks(result.site)
    found = view(result.site, "lb1")
    lines = named(found, "map", "marks4")
    assert [line.rstrip(",") for line in lines[2:-1]] == [
        f"198.51.100.100 . tcp . 80 : {four.value:#x}",
        f"198.51.100.100 . tcp . 443 : {four.value:#x}",
    ]
    assert f"2001:db8:51::100 . tcp . 443 : {six.value:#x}" in named(found, "map", "marks6")
    assert named(found, "chain", "marks")[1:] == [
        "meta mark set ip daddr . meta l4proto . th dport map @marks4",
        "meta mark set ip6 daddr . meta l4proto . th dport map @marks6",
    ]
    assert named(shown({"pacs": pacs()}), "chain", "marks") == []


def test_datagrams_have_their_own_elements() -> None:
    members = {"a": {"address": "198.51.100.21"}}
    dns = {"profile": "dns", "addresses": TWO[:1], "members": members, "mode": "l4-nat", "protocol": "both"}
    found = shown({"dns": {**dns, "check": {"port": 53}}})
    assert elements(found, "services4") == [
        '198.51.100.100 . tcp . 53 comment "dns"',
        '198.51.100.100 . udp . 53 comment "dns"',
    ]
    assert '198.51.100.21 . udp . 53 comment "dns"' in elements(found, "replies4")


@pytest.mark.parametrize(("node", "peer"), [("lb1", "12"), ("lb2", "11")])
def test_only_peers_reach_what_nodes_say_to_each_other(node: str, peer: str) -> None:
    found = shown({"pacs": pacs()}, node)
    other = "lb2" if node == "lb1" else "lb1"
    assert elements(found, "peers4") == [f'198.51.100.{peer} comment "{other}"']
    assert elements(found, "peers6") == [f'2001:db8:51::{peer} comment "{other}"']
    rules = named(found, "chain", "input")
    for ip, version in (("ip", 4), ("ip6", 6)):
        assert f"{ip} saddr @peers{version} meta l4proto 112 accept" in rules
        assert f"{ip} saddr @peers{version} tcp dport {{ 8406, 8407 }} accept" in rules
    assert all("@peers" in rule for rule in rules if "8406" in rule or "8407" in rule or " 112 " in rule)


def test_connection_sync_is_open_with_layer_4_only() -> None:
    four = {"profile": "tcp", "addresses": ["198.51.100.110"], "port": 80, "members": {"a": {"address": "198.51.100.21"}}}
    rules = named(shown({"web": {**four, "mode": "l4-dr"}}), "chain", "input")
    assert "ip saddr @peers4 udp dport 8848 accept" in rules
    assert "ip protocol igmp accept" in rules
    assert not any("8848" in rule or "igmp" in rule for rule in named(shown({"web": four}), "chain", "input"))


def test_management_reaches_the_nodes_own_addresses_only() -> None:
    found = shown({"pacs": pacs()}, ports={"ssh": "tcp/2222", "metrics": "tcp/8410", "snmp": "udp/161"})
    assert elements(found, "management4") == ["192.0.2.0/24"]
    assert elements(found, "management6") == ["2001:db8:99::/64"]
    rules = named(found, "chain", "input")
    assert "ip saddr @management4 ip daddr != @addresses4 tcp dport { 2222, 8410 } accept" in rules
    assert "ip6 saddr @management6 ip6 daddr != @addresses6 udp dport { 161 } accept" in rules


def test_without_management_networks_everybody_is_let_in() -> None:
    rules = named(shown({"pacs": pacs()}, management=None), "chain", "input")
    assert "meta nfproto ipv4 ip daddr != @addresses4 tcp dport { 22, 8443 } accept" in rules
    assert "meta nfproto ipv6 ip6 daddr != @addresses6 tcp dport { 22, 8443 } accept" in rules


def test_management_of_one_family_opens_no_other() -> None:
    rules = named(shown({"pacs": pacs()}, management=["192.0.2.0/24"]), "chain", "input")
    assert not any("management6" in rule or ("nfproto ipv6" in rule and "dport" in rule) for rule in rules)


@pytest.mark.parametrize(
    ("ports", "said"),
    [
        ({"ssh": "22"}, "ssh: '22' is not a port such as tcp/22 or udp/161"),
        ({"ssh": "tcp/70000"}, "ssh: 'tcp/70000' is not a port"),
        ({"ssh": "tcp/0"}, "ssh: 'tcp/0' is not a port"),
        ({"snmp": "udp/161"}, "no tcp port is open to management networks: nobody could reach the node"),
    ],
)
def test_ports_that_are_none_are_refused(ports: dict[str, str], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        shown({"pacs": pacs()}, ports=ports)


def test_service_traffic_is_not_followed() -> None:
    found = shown({"pacs": pacs()})
    assert named(found, "chain", "untracked-in")[1:] == ["ip daddr @addresses4 notrack", "ip6 daddr @addresses6 notrack"]
    assert named(found, "chain", "untracked-out")[1:] == ["ip saddr @addresses4 notrack", "ip6 saddr @addresses6 notrack"]
    assert not any("invalid" in rule for rule in named(found, "chain", "input"))


def test_icmp_that_networks_need() -> None:
    """RFC 4890 4.4: without packet-too-big no path MTU, without neighbour discovery no IPv6 at all."""
    rules = "\n".join(named(shown({}), "chain", "input"))
    for kind in ("packet-too-big", "nd-neighbor-solicit", "nd-neighbor-advert", "nd-router-advert", "mld-listener-query"):
        assert kind in rules
    assert "redirect" not in rules


def forwarded(mode: str, **more: Any) -> FirewallView:
    members = {"a": {"address": "198.51.100.21"}, "b": {"address": "2001:db8:51::21"}}
    if mode == "l4-nat":
        members["a"]["port"] = 8080  # type: ignore[assignment]
    return shown({"web": {"profile": "tcp", "addresses": TWO, "ports": [80, 81], "members": members, "mode": mode, **more}})


def test_layer_7_forwards_nothing() -> None:
    rules = named(forwarded("l7"), "chain", "forward")
    assert [rule for rule in rules if rule.endswith("accept")] == ["ct state established,related accept"]


def test_nat_lets_members_answer_through_the_node() -> None:
    found = forwarded("l4-nat", fallback={"address": "198.51.100.30", "port": 82})
    assert elements(found, "replies4") == [
        '198.51.100.21 . tcp . 8080 comment "web"',
        '198.51.100.30 . tcp . 82 comment "web"',
    ]
    assert elements(found, "replies6") == [
        '2001:db8:51::21 . tcp . 80 comment "web"',
        '2001:db8:51::21 . tcp . 81 comment "web"',
    ]
    assert elements(found, "gateways4") == ['198.51.100.21 comment "web/a"', '198.51.100.30 comment "web/fallback"']
    rules = named(found, "chain", "forward")
    assert "ip saddr . meta l4proto . th sport @replies4 accept" in rules
    assert "ip6 saddr @gateways6 accept" in rules
    untracked = named(found, "chain", "untracked-in")
    assert "ip saddr . meta l4proto . th sport @replies4 fib daddr type != local notrack" in untracked


def test_direct_routing_answers_come_from_the_service_address() -> None:
    found = shown({"web": {**pacs(mode="l4-dr"), "balance": "wlc"}})
    assert elements(found, "replies4") == ['198.51.100.100 . tcp . 104 comment "web"']
    assert elements(found, "gateways4") == []


def test_transparent_members_may_use_the_node_as_their_gateway() -> None:
    found = forwarded("l7-transparent")
    assert elements(found, "gateways4") == ['198.51.100.21 comment "web/a"']
    assert elements(found, "replies4") == []


def test_members_finish_what_they_were_saying_when_the_rules_come() -> None:
    rules = named(shown({"pacs": pacs()}), "chain", "input")
    assert "ip saddr @members4 tcp flags & (syn | ack) == ack tcp dport 16384-65535 accept" in rules
    assert "ip6 saddr @members6 tcp flags & (syn | ack) == ack tcp dport 16384-65535 accept" in rules


def test_an_address_shared_by_services_stands_once() -> None:
    """nft refuses an element that is there twice with another comment."""
    found = shown({"one": pacs(), "two": pacs(ports=[11112])})
    assert elements(found, "addresses4") == ['198.51.100.100 comment "one"']
    assert elements(found, "members4") == ['198.51.100.21 comment "one/a"']


def test_a_site_without_services_is_closed_but_for_management() -> None:
    found = shown({})
    assert names(found) == ["management4", "management6", "peers4", "peers6"]
    assert "ip saddr @management4 tcp dport { 22, 8443 } accept" in named(found, "chain", "input")


def test_an_unknown_node_is_an_error() -> None:
    with pytest.raises(KeyError, match="lb9"):
        shown({}, "lb9")
