"""Models → keepalived.conf → the real `keepalived -t` of Debian 13, for every profile, mode and option that it sees."""

from __future__ import annotations

import copy
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from jinja2 import Environment
from rota.keepalived import view
from rota.model import parse

pytestmark = pytest.mark.contract

TEMPLATE = Path(__file__).parents[2] / "roles/keepalived/templates/keepalived.conf.j2"
TLS = {"mode": "offload", "certificate": "tls/web.pem"}
SITE: dict[str, Any] = {
    "name": "test",
    "nodes": {
        "lb1": {"addresses": ["198.51.100.11", "2001:db8:51::11"]},
        "lb2": {"addresses": ["198.51.100.12", "2001:db8:51::12"]},
    },
    "networks": {"clinical": {"prefixes": ["198.51.100.0/24", "2001:db8:51::/64"], "interface": "eth0"}},
}
MEMBERS = {"a": {"address": "198.51.100.21", "called_ae": "A"}, "b": {"address": "198.51.100.22", "called_ae": "B $1 'x\"{"}}


def service(**more: Any) -> dict[str, Any]:
    return {"profile": "dicom", "address": "198.51.100.100", "members": copy.deepcopy(MEMBERS), **more}


def plain(**more: Any) -> dict[str, Any]:
    members = {name: {"address": member["address"], "port": 8080} for name, member in MEMBERS.items()}
    return {"profile": "tcp", "address": "198.51.100.110", "port": 8080, "members": members, **more}


def site(**more: Any) -> dict[str, Any]:
    return {**copy.deepcopy(SITE), **more}


def render(services: dict[str, Any], settings: dict[str, Any] | None = None, node: str = "lb1") -> str:
    result = parse({"site": settings or SITE, "services": services})
    assert result.site is not None, "\n".join(map(str, result.problems))
    template = Environment(trim_blocks=True, keep_trailing_newline=True, autoescape=False).from_string(TEMPLATE.read_text())  # noqa: S701
    return template.render(__keepalived_view=view(result.site, node).as_dict(), ansible_managed="managed")


def judge(root: Path, text: str) -> subprocess.CompletedProcess[str]:
    """What keepalived says of `text` in a network of its own with the interfaces eth0 and eth1."""
    for folder in ("run/rota/track", "opt/rota/bin"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    stand_in(root / "opt/rota/bin/rota")
    file = root / f"tmp/keepalived-{os.getpid()}.conf"  # others test at the same time
    file.write_text(text)
    script = 'ip link add eth0 type veth peer name eth1; exec chroot "$0" keepalived -t -f "/tmp/$1"'
    command = ["unshare", "--net", "sh", "-c", script, root, file.name]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    finally:
        file.unlink()


def stand_in(command: Path) -> None:
    """A program at `command`; in one step, as other tests judge with it at the same time."""
    new = command.with_name(f".{command.name}-{os.getpid()}")
    new.write_text("#!/bin/sh\n")
    new.chmod(0o755)
    new.rename(command)


L4 = {"address": "198.51.100.120", "profile": "tcp", "port": 104, "check": "tcp"}
SIX = {"a": {"address": "2001:db8:51::21", "called_ae": "A"}}
WEB = {"a": {"address": "198.51.100.21", "port": 8080}}
BOTH = {
    "address": None,
    "addresses": ["198.51.100.100", "2001:db8:51::100"],
    "members": {"a": {"address": "198.51.100.21", "called_ae": "A"}, "a6": {"address": "2001:db8:51::21", "called_ae": "A"}},
}
NETWORK = {"kind": "source", "timeout": "1h", "prefix_v4": 24, "prefix_v6": 56}
AS_ONE = {"port": None, "ports": [104, 11112], "ports_as_one": True}
NAMES = {"a": {"address": "198.51.100.21"}, "b": {"address": "198.51.100.22"}}


def logs(**more: Any) -> dict[str, Any]:
    return {**plain(profile="syslog", check={"kind": "tcp", "port": 6514}), "port": 514, "members": NAMES, **more}


CASES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "no-service": ({}, {}),
    "one": ({"pacs": service()}, {}),
    "two-families": ({"pacs": {**service(), "addresses": ["198.51.100.100", "2001:db8:51::100"], "address": None}}, {}),
    "six-only-service": ({"pacs": {**service(address="2001:db8:51::100"), "members": SIX}}, {}),
    "six-only-nodes": (
        {"pacs": service(address="2001:db8:51::100")},
        {"nodes": {"lb1": {"address": "2001:db8:51::11"}, "lb2": {"address": "2001:db8:51::12"}}},
    ),
    "six-nodes-four-service": (
        {"pacs": service()},
        {"nodes": {"lb1": {"address": "2001:db8:51::11"}, "lb2": {"address": "2001:db8:51::12"}}},
    ),
    "one-node": ({"pacs": service()}, {"nodes": {"lb1": {"address": "198.51.100.11"}}}),
    "second-network": (
        {"pacs": service(), "web": plain(address="203.0.113.9")},
        {
            "networks": {
                "clinical": SITE["networks"]["clinical"],
                "server": {"prefixes": ["203.0.113.0/28"], "interface": "eth1"},
            }
        },
    ),
    "two-groups": (
        {"pacs": service(group="main"), "web": plain(group="web")},
        {"vrrp": {"groups": {"main": {"id": 51, "nodes": ["lb1", "lb2"]}, "web": {"id": 52, "nodes": ["lb2", "lb1"]}}}},
    ),
    "slow-adverts": ({"pacs": service()}, {"vrrp": {"advert_interval": "1s", "start_delay": "10s"}}),
    "tier-of-five": (
        {"pacs": service()},
        {"nodes": {f"lb{n}": {"address": f"198.51.100.1{n}"} for n in range(1, 6)}},
    ),
    "many-addresses": ({f"s{n}": plain(address=f"198.51.100.{n}") for n in range(100, 250)}, {}),
    "profile-dicom-tls": ({"s": service(profile="dicom-tls")}, {}),
    "profile-hl7": ({"s": plain(profile="hl7", port=2575)}, {}),
    "profile-hl7-tls": ({"s": plain(profile="hl7-tls", port=2575)}, {}),
    "profile-xds-registry": ({"s": plain(profile="xds-registry")}, {}),
    "profile-xds-repository": ({"s": plain(profile="xds-repository")}, {}),
    "profile-xds-imaging": ({"s": plain(profile="xds-imaging")}, {}),
    "profile-dicomweb": ({"s": plain(profile="dicomweb")}, {}),
    "profile-viewer": ({"s": plain(profile="viewer", tls=TLS)}, {}),
    "profile-rest": ({"s": plain(profile="rest")}, {}),
    "profile-database": ({"s": plain(profile="database", port=5432)}, {}),
    "mode-transparent": ({"s": service(mode="l7-transparent")}, {}),
    "mode-dr": ({"s": service(mode="l4-dr")}, {}),
    "mode-nat": ({"s": plain(mode="l4-nat", port=80)}, {}),
    "mode-tun": ({"s": service(mode="l4-tun")}, {}),
    "dr-six": ({"s": {**service(mode="l4-dr", address="2001:db8:51::100"), "members": SIX}}, {}),
    "nat-ports": ({"s": {**plain(mode="l4-nat"), "port": None, "ports": [80, 8081]}}, {}),
    "persistence-source": ({"s": service(mode="l4-dr", persistence={"kind": "source", "timeout": "90500ms"})}, {}),
    "fallback": ({"s": service(mode="l4-dr", fallback={"address": "198.51.100.30"})}, {}),
    "fallback-port": ({"s": service(mode="l4-nat", fallback={"address": "198.51.100.30", "port": 81})}, {}),
    "check-pace": (
        {"s": service(mode="l4-dr", check={"interval": "2500ms", "fast_interval": "250ms", "timeout": "1s", "fall": 1})},
        {},
    ),
    "tun-six": ({"s": {**service(mode="l4-tun", address="2001:db8:51::100"), "members": SIX}}, {}),
    "nat-six": ({"s": {**service(mode="l4-nat", address="2001:db8:51::100"), "members": SIX}}, {}),
    "dr-both-families": ({"s": {**service(mode="l4-dr"), **BOTH}}, {}),
    "persistence-mask": ({"s": {**service(mode="l4-dr", persistence=NETWORK), **BOTH}}, {}),
    "udp": ({"s": plain(profile="udp", port=8080, check={"kind": "tcp", "port": 22})}, {}),
    "udp-six": (
        {
            "s": {
                **plain(profile="udp", address="2001:db8:51::100", port=8080, check={"kind": "tcp", "port": 22}),
                "members": SIX,
            }
        },
        {},
    ),
    "udp-one-packet": ({"s": logs(one_packet=True)}, {}),
    "udp-nat-port": (
        {"s": logs(mode="l4-nat", members={"a": {"address": "198.51.100.21", "port": 5514}})},
        {},
    ),
    "udp-and-tcp": ({"s": {**plain(profile="dns"), "port": 53, "members": NAMES}}, {}),
    "one-mark": ({"s": {**service(mode="l4-dr", persistence="source", **AS_ONE), **BOTH}}, {}),
    "one-mark-nat": (
        {"s": service(mode="l4-nat", persistence="source", fallback={"address": "198.51.100.30"}, **AS_ONE)},
        {},
    ),
    "one-mark-tun": ({"s": {**service(mode="l4-tun", persistence=NETWORK, **AS_ONE), **BOTH}}, {}),
    "one-mark-udp-and-tcp": (
        {"s": {**plain(profile="dns", ports_as_one=True, balance="sh"), "port": 53, "members": NAMES}},
        {},
    ),
    "one-mark-one-packet": ({"s": logs(one_packet=True, ports_as_one=True, ports=[514, 1514], port=None)}, {}),
    "fallback-six": ({"s": {**service(mode="l4-dr", fallback={"address": "2001:db8:51::30"}), **BOTH}}, {}),
    "timeouts": (
        {"s": service(mode="l4-dr")},
        {"ipvs": {"timeouts": {"tcp": "2d", "tcp_fin": "30s", "udp": "1500ms"}}},
    ),
    "no-sync": ({"s": service(mode="l4-dr")}, {"ipvs": {"sync": {"enabled": False}}}),
    "sync-id": ({"s": service(mode="l4-dr")}, {"ipvs": {"sync": {"id": 0, "threshold": 3, "period": 50, "retries": 7}}}),
    "sync-network": (
        {"s": service(mode="l4-dr")},
        {
            "networks": {
                "clinical": SITE["networks"]["clinical"],
                "cross": {"prefixes": ["203.0.113.0/28"], "interface": "eth1"},
            },
            "ipvs": {"sync": {"network": "cross"}},
        },
    ),
    "sync-six-only-nodes": (
        {"s": {**service(mode="l4-dr", address="2001:db8:51::100"), "members": SIX}},
        {"nodes": {"lb1": {"address": "2001:db8:51::11"}, "lb2": {"address": "2001:db8:51::12"}}},
    ),
    "sync-two-groups": (
        {"pacs": service(group="main"), "web": plain(group="web", mode="l4-dr")},
        {"vrrp": {"groups": {"main": {"id": 51, "nodes": ["lb1", "lb2"]}, "web": {"id": 52, "nodes": ["lb2", "lb1"]}}}},
    ),
    **{
        f"flags-{name}": ({"s": service(mode="l4-dr", balance=name, balance_flags=["port", "fallback"])}, {})
        for name in ("sh", "mh")
    },
    **{
        f"balance-{name}": ({"s": service(mode="l4-dr", balance=name)}, {})
        for name in ("wlc", "lc", "rr", "wrr", "sh", "mh")
    },
    "weights": (
        {
            "s": {
                **service(mode="l4-dr"),
                "members": {"a": {**MEMBERS["a"], "weight": 0}, "b": {**MEMBERS["b"], "weight": 256}},
            }
        },
        {},
    ),
}


def _clean(services: dict[str, Any]) -> dict[str, Any]:
    return {name: {k: v for k, v in one.items() if v is not None} for name, one in services.items()}


@pytest.mark.parametrize("node", ["lb1", "lb2"])
@pytest.mark.parametrize("case", CASES)
def test_keepalived_accepts(daemon_root: Path, case: str, node: str) -> None:
    services, more = CASES[case]
    settings = site(**more)
    if node not in settings["nodes"]:
        node = "lb1"
    said = judge(daemon_root, render(_clean(services), settings, node))
    assert (said.returncode, said.stderr.strip()) == (0, "")


def test_a_broken_file_is_refused(daemon_root: Path) -> None:
    """The twin of all of the above: the parser that accepts them does refuse."""
    text = render({"pacs": service()}).replace("advert_int 0.2", "advert_int soon")
    said = judge(daemon_root, text)
    assert said.returncode != 0
    assert "Advert interval (soon) not valid" in said.stderr


def test_a_missing_interface_is_refused(daemon_root: Path) -> None:
    said = judge(daemon_root, render({"pacs": service()}).replace("eth0", "eth9"))
    assert said.returncode != 0
    assert "eth9" in said.stderr
