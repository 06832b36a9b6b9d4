"""What the operating system of a node is told of the model."""

from __future__ import annotations

import pytest
from rota import host
from rota.model import Site, parse


@pytest.fixture
def site() -> Site:
    service = {"profile": "tcp", "address": "198.51.100.100", "ports": [81, 80, 104]}
    found = parse(
        {
            "site": {
                "name": "test",
                "nodes": {
                    "lb1": {"addresses": ["198.51.100.11", "2001:db8:51::11"], "interfaces": {"server": "ens9"}},
                    "lb2": {"address": "198.51.100.12"},
                },
                "networks": {
                    "clinical": {"prefixes": ["198.51.100.0/24", "2001:db8:51::/64"], "interface": "eth0"},
                    "server": {"prefix": "203.0.113.0/24", "interface": "eth1"},
                },
            },
            "services": {
                "one": {**service, "members": {"a": {"address": "203.0.113.1"}, "lb1": {"address": "203.0.113.2"}}},
                "two": {**service, "address": "198.51.100.101", "members": {"b": {"address": "203.0.113.1"}}},
            },
        }
    ).site
    assert found is not None
    return found


def test_each_address_has_one_line_with_all_its_names(site: Site) -> None:
    """The first name is what a reverse look-up gives; a second line for an address would never be read."""
    assert host.hosts(site) == [
        "198.51.100.11 lb1",
        "2001:db8:51::11 lb1",
        "198.51.100.12 lb2",
        "203.0.113.1 one-a two-b",
        "203.0.113.2 one-lb1",
    ]


def test_interfaces_are_those_of_this_node(site: Site) -> None:
    assert host.view(site, "lb1").interfaces == ["eth0", "ens9"]
    assert host.view(site, "lb2").interfaces == ["eth0", "eth1"]


@pytest.mark.parametrize(
    ("ports", "text"),
    [(set(), "0"), ({104}, "104"), ({80, 81, 104}, "80-81,104"), ({1, 2, 3, 5, 7, 8}, "1-3,5,7-8")],
)
def test_ports_are_written_as_the_kernel_prints_them(ports: set[int], text: str) -> None:
    """Or every rollout would find a difference."""
    assert host.ranges(ports) == text


def test_an_unknown_node_is_refused(site: Site) -> None:
    with pytest.raises(KeyError, match="lb9"):
        host.view(site, "lb9")
