"""Which service addresses a real server must hold."""

from __future__ import annotations

from typing import Any

from rota import model
from rota.member import Plan, plan

SITE: dict[str, Any] = {
    "name": "test",
    "nodes": {"lb1": {"address": "198.51.100.11"}},
    "networks": {"clinical": {"prefixes": ["198.51.100.0/24", "2001:db8:51::/64"], "interface": "eth0"}},
}


def one(mode: str, *addresses: str, **more: Any) -> dict[str, Any]:
    members = {"a": {"address": "198.51.100.21"}, "b": {"address": "2001:db8:51::22"}}
    return {"profile": "tcp", "port": 104, "mode": mode, "addresses": list(addresses), "members": members, **more}


SERVICES = {
    "dr": one("l4-dr", "198.51.100.100", "2001:db8:51::100", fallback={"address": "198.51.100.30"}),
    "tun": one("l4-tun", "198.51.100.101", "2001:db8:51::101"),
    "nat": one("l4-nat", "198.51.100.102", "2001:db8:51::102"),
    "same": {**one("l4-dr", "198.51.100.100", "2001:db8:51::100"), "port": 105},
}


def of(*own: str) -> Plan:
    parsed = model.parse({"site": SITE, "services": SERVICES})
    assert parsed.site is not None, parsed.problems
    return plan(parsed.site, list(own))


def test_a_member_holds_the_addresses_of_its_own_family() -> None:
    assert of("192.0.2.1", "198.51.100.21") == Plan(["198.51.100.100"], ["198.51.100.101"], ["dr", "tun", "same"])
    assert of("2001:DB8:51:0::22").direct == ["2001:db8:51::100"], "however it is spelled"


def test_a_fallback_is_sent_packets_too() -> None:
    assert of("198.51.100.30") == Plan(["198.51.100.100"], [], ["dr"])


def test_a_stranger_holds_nothing() -> None:
    assert of("198.51.100.99") == Plan()
