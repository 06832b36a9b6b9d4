"""Models → the table → the real `nft -c` of Debian 13, for every mode and family that it can hold."""

from __future__ import annotations

import copy
import subprocess
from pathlib import Path
from typing import Any

import pytest
from jinja2 import Environment
from rota.firewall import view
from rota.model import parse

pytestmark = pytest.mark.contract

TEMPLATE = Path(__file__).parents[2] / "roles/firewall/templates/rota.nft.j2"
SITE: dict[str, Any] = {
    "name": "test",
    "nodes": {
        "lb1": {"addresses": ["198.51.100.11", "2001:db8:51::11"]},
        "lb2": {"addresses": ["198.51.100.12", "2001:db8:51::12"]},
    },
    "networks": {"clinical": {"prefixes": ["198.51.100.0/24", "2001:db8:51::/64"], "interface": "eth0"}},
    "management": ["198.51.100.51/32", "2001:db8:51::51/128"],
}
TWO = ["198.51.100.100", "2001:db8:51::100"]
MEMBERS = {"a": {"address": "198.51.100.21"}, "b": {"address": "2001:db8:51::21"}}


def plain(**more: Any) -> dict[str, Any]:
    return {"profile": "tcp", "addresses": TWO, "ports": [80], "members": copy.deepcopy(MEMBERS), **more}


def render(
    services: dict[str, Any], settings: dict[str, Any] | None = None, node: str = "lb1", ports: dict[str, str] | None = None
) -> str:
    """The text that the role writes for `node`."""
    result = parse({"site": {**SITE, **(settings or {})}, "services": services})
    assert result.site is not None, "\n".join(map(str, result.problems))
    shown = view(result.site, node, ports) if ports else view(result.site, node)
    template = Environment(trim_blocks=True, keep_trailing_newline=True, autoescape=False).from_string(TEMPLATE.read_text())  # noqa: S701
    return template.render(__firewall_view=shown.as_dict(), ansible_managed="managed")


def judge(root: Path, text: str) -> subprocess.CompletedProcess[str]:
    """What Debian 13's nft says of `text`, in a network of its own."""
    command = ["unshare", "--net", "chroot", str(root), "nft", "-c", "-f", "-"]
    return subprocess.run(command, input=text, capture_output=True, text=True, timeout=30, check=False)


FOUR = {"addresses": TWO[:1], "members": {"a": MEMBERS["a"]}}
CASES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "no-service": ({}, {}),
    "everybody-manages": ({"s": plain()}, {"management": None}),
    "overlapping-management": ({"s": plain()}, {"management": ["10.0.0.0/8", "10.1.0.0/16", "10.1.2.3/32"]}),
    "one-node": ({"s": plain()}, {"nodes": {"lb1": {"address": "198.51.100.11"}}}),
    "tier-of-five": ({"s": plain()}, {"nodes": {f"lb{n}": {"address": f"198.51.100.1{n}"} for n in range(1, 6)}}),
    "six-only": (
        {"s": plain(addresses=TWO[1:])},
        {
            "nodes": {"lb1": {"address": "2001:db8:51::11"}, "lb2": {"address": "2001:db8:51::12"}},
            "management": ["2001:db8::/32"],
        },
    ),
    "four-only": (
        {"s": plain(**FOUR)},
        {
            "nodes": {"lb1": {"address": "198.51.100.11"}, "lb2": {"address": "198.51.100.12"}},
            "management": ["10.0.0.0/8"],
        },
    ),
    "many-ports": ({"s": plain(ports=list(range(1, 1000)))}, {}),
    "many-services": ({f"s{n}": plain(**{**FOUR, "addresses": [f"198.51.100.{n}"]}) for n in range(100, 250)}, {}),
    "shared-address": ({"1": plain(), "2": plain(ports=[81])}, {}),
    "fallback": ({"s": plain(mode="l4-nat", fallback={"address": "198.51.100.30", "port": 81})}, {}),
    "nat-ports": (
        {"s": plain(mode="l4-nat", ports=[80, 81], members={"a": {**MEMBERS["a"], "port": 8080}, "b": MEMBERS["b"]})},
        {},
    ),
    "datagrams": ({"s": plain(profile="dns", protocol="both", ports=[53], mode="l4-nat", check={"port": 53})}, {}),
    "ports-as-one": ({"s": plain(ports=[80, 443], ports_as_one=True, persistence="source", mode="l4-dr")}, {}),
    "sync-six": (
        {"s": plain(mode="l4-dr", addresses=TWO[1:], members={"b": MEMBERS["b"]})},
        {"nodes": {"lb1": {"address": "2001:db8:51::11"}, "lb2": {"address": "2001:db8:51::12"}}},
    ),
    **{f"mode-{mode}": ({"s": plain(mode=mode)}, {}) for mode in ("l7", "l7-transparent", "l4-dr", "l4-nat")},
    "mode-l4-tun": ({"s": plain(mode="l4-tun", **FOUR)}, {}),
}


@pytest.mark.parametrize("node", ["lb1", "lb2"])
@pytest.mark.parametrize("case", CASES)
def test_nft_accepts(daemon_root: Path, case: str, node: str) -> None:
    services, settings = CASES[case]
    if node not in settings.get("nodes", SITE["nodes"]):
        node = "lb1"
    said = judge(daemon_root, render(services, settings, node))
    assert (said.returncode, said.stdout, said.stderr) == (0, "", "")


def test_other_ports_for_management(daemon_root: Path) -> None:
    text = render({"s": plain()}, ports={"ssh": "tcp/2222", "snmp": "udp/161", "metrics": "tcp/8410"})
    assert judge(daemon_root, text).returncode == 0


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("policy drop", "policy dorp", "syntax error"),
        ("198.51.100.100 . tcp . 80", "198.51.100.100 . tcp . 70000", "out of range"),
        ("@services4", "@service4", "No such file or directory"),
    ],
)
def test_a_broken_file_is_refused(daemon_root: Path, old: str, new: str, said: str) -> None:
    """The twin of all of the above: the parser that accepts them does refuse, and names the line."""
    refused = judge(daemon_root, render({"s": plain()}).replace(old, new))
    assert refused.returncode == 1
    assert said in refused.stderr
