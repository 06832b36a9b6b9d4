"""Who may manage the nodes: what locks everybody out is refused, what lets everybody in is said."""

from __future__ import annotations

from typing import Any

import pytest
from rota import model

SITE: dict[str, Any] = {
    "name": "st-marys",
    "nodes": {"lb1": {"address": "198.51.100.11"}, "lb2": {"address": "198.51.100.12"}},
    "networks": {"clinical": {"prefixes": ["198.51.100.0/24", "2001:db8:51::/64"], "interface": "eth0"}},
}
SIX = {"lb1": {"address": "2001:db8:51::11"}, "lb2": {"address": "2001:db8:51::12"}}


def lines(management: Any, **more: Any) -> list[str]:
    return [str(p) for p in model.parse({"site": {**SITE, "management": management, **more}, "services": {}}).problems]


def test_unset_lets_everybody_in_and_says_so() -> None:
    result = model.parse({"site": SITE, "services": {}})
    assert result.site is not None
    assert result.site.site.management is None
    assert [str(p) for p in result.problems] == [
        "site.management: warning: is missing: SSH and the web pages of the nodes answer everybody who can reach them"
    ]
    again = model.parse(model.dump(result.site))
    assert again.site == result.site


def test_what_is_written_is_kept_in_its_order() -> None:
    wanted = ["203.0.113.0/24", "2001:db8:9::/64", "192.0.2.7/32"]
    result = model.parse({"site": {**SITE, "management": wanted}, "services": {}})
    assert result.problems == []
    assert result.site is not None
    assert result.site.site.management == wanted


@pytest.mark.parametrize(
    ("management", "more", "line"),
    [
        ([], {}, "site.management: is empty: nobody could reach the nodes (leave it out to let everybody in)"),
        (
            ["192.0.2.0/24", "192.0.2.0/24"],
            {},
            "site.management[1]: 192.0.2.0/24 is there twice",
        ),
        (["0.0.0.0/0"], {}, "site.management[0]: warning: 0.0.0.0/0 is every address of IPv4"),
        (["224.0.0.0/8"], {}, "site.management[0]: 224.0.0.0/8 is a network that no connection comes from"),
        (["127.0.0.0/8"], {}, "site.management[0]: 127.0.0.0/8 is a network that no connection comes from"),
        (
            ["192.0.2.9/24"],
            {},
            "site.management[0]: 192.0.2.9/24 is an address inside a network: the network is 192.0.2.0/24",
        ),
        (
            ["198.51.100.11/32"],
            {},
            "site.management: holds nothing but 198.51.100.11, which is node lb1: the controller is elsewhere",
        ),
        (
            ["192.0.2.0/24"],
            {"nodes": {"lb1": SIX["lb1"], "lb2": {"addresses": ["2001:db8:51::12", "198.51.100.12"]}}},
            "site.management: has no IPv6 network, but node lb1 has no other address: nobody could reach it",
        ),
    ],
)
def test_exactly_one_line(management: Any, more: dict[str, Any], line: str) -> None:
    assert lines(management, **more) == [line]
