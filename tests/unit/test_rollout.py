"""What a rollout decides before and between nodes."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from rota import rollout
from rota.model import Site, parse

DOCUMENT: dict[str, Any] = {
    "site": {
        "name": "test",
        "nodes": {"lb1": {"address": "198.51.100.11"}, "lb2": {"address": "198.51.100.12"}},
        "networks": {"clinical": {"prefix": "198.51.100.0/24", "interface": "eth0"}},
        "vrrp": {"groups": {"imaging": {"id": 51, "nodes": ["lb1", "lb2"]}, "web": {"id": 52, "nodes": ["lb2", "lb1"]}}},
    },
    "services": {
        name: {
            "profile": "tcp",
            "group": group,
            "address": address,
            "port": 80,
            "members": {"a": {"address": "198.51.100.21"}},
        }
        for name, group, address in (("one", "imaging", "198.51.100.100"), ("two", "web", "198.51.100.101"))
    },
}
BARE = "eth0 UP 198.51.100.1{}/24 fe80::1/64"
NODES = ["lb1", "lb2"]


@pytest.fixture
def site() -> Site:
    found = parse(DOCUMENT).site
    assert found is not None
    return found


def seen(**held: str) -> dict[str, str]:
    return {node: f"{BARE.format(node[-1])} {held.get(node, '')}" for node in NODES}


def test_a_sound_site_has_a_model(tmp_path: Path) -> None:
    judged = rollout.judge(DOCUMENT, NODES, tmp_path)
    assert judged.errors == []
    assert list(judged.model["services"]) == ["one", "two"]


@pytest.mark.parametrize(
    ("inventory", "line"),
    [
        (["lb1"], "site.nodes.lb2: is not a host of the inventory's group rota_nodes"),
        ([*NODES, "lb3"], "site.nodes: has no lb3, but the inventory's group rota_nodes has"),
    ],
)
def test_nodes_and_inventory_must_agree(tmp_path: Path, inventory: list[str], line: str) -> None:
    judged = rollout.judge(DOCUMENT, inventory, tmp_path)
    assert judged.errors == [line]
    assert judged.model == {}


def test_files_that_the_model_names_must_be_there(tmp_path: Path) -> None:
    document = deepcopy(DOCUMENT)
    document["services"]["two"] |= {
        "profile": "viewer",
        "tls": {"mode": "offload", "certificate": "tls/web.pem"},
        "fallback": {"page": "sorry.html"},
    }
    assert rollout.judge(document, NODES, tmp_path).errors == [
        f"services.two.tls.certificate: there is no file tls/web.pem in {tmp_path}",
        f"services.two.fallback.page: there is no file sorry.html in {tmp_path}",
    ]
    (tmp_path / "tls").mkdir()
    (tmp_path / "tls/web.pem").touch()
    (tmp_path / "sorry.html").touch()
    assert rollout.judge(document, NODES, tmp_path).errors == []


def test_problems_of_the_model_are_lines() -> None:
    judged = rollout.judge({"site": None, "services": None}, [], Path())
    assert judged.errors == ["site: is missing", "services: is missing"]


def test_one_holder_each_is_no_fault(site: Site) -> None:
    held = rollout.holders(site, seen(lb1="198.51.100.100/24", lb2="198.51.100.101/24"))
    assert held.groups == {"imaging": ["lb1"], "web": ["lb2"]}
    assert held.faults == []
    assert rollout.misplaced(site, held) == {}


def test_nobody_and_both_are_faults(site: Site) -> None:
    held = rollout.holders(site, seen(lb1="198.51.100.100/24", lb2="198.51.100.100/24"))
    assert held.faults == [
        "no node holds the addresses of group web",
        "198.51.100.100 is on lb1 and lb2: split brain",
        "group imaging is spread over lb1 and lb2",
    ]


def test_a_node_that_does_not_answer_holds_nothing(site: Site) -> None:
    held = rollout.holders(site, {"lb2": "eth0 UP 198.51.100.100/24 198.51.100.101/24"})
    assert held.groups == {"imaging": ["lb2"], "web": ["lb2"]}
    assert rollout.misplaced(site, held) == {"lb2": ["imaging"]}


def test_a_new_address_that_nobody_holds_yet_is_no_fault(site: Site) -> None:
    """While only one node knows a service, its address is nowhere; its group still has one holder."""
    extended = deepcopy(DOCUMENT)
    extended["services"]["new"] = {**DOCUMENT["services"]["one"], "address": "198.51.100.102"}
    known = parse(extended).site
    assert known is not None
    held = rollout.holders(known, seen(lb1="198.51.100.100/24", lb2="198.51.100.101/24"))
    assert held.faults == []
    assert held.orphans == ["198.51.100.102"]


def test_the_standby_comes_first(site: Site) -> None:
    active = rollout.holders(site, seen(lb1="198.51.100.100/24 198.51.100.101/24"))
    assert rollout.order(site, active) == ["lb2", "lb1"]
    assert rollout.order(site, rollout.holders(site, seen())) == ["lb1", "lb2"]


def test_an_address_that_changed_its_group_is_a_conflict_before_a_rollout(site: Site) -> None:
    """Both groups of the new model would begin on two nodes; nobody on duty yet is no conflict."""
    assert rollout.holders(site, seen()).conflicts == []
    moved = deepcopy(DOCUMENT)
    moved["services"]["two"]["group"] = "imaging"
    known = parse(moved).site
    assert known is not None
    held = rollout.holders(known, seen(lb1="198.51.100.100/24", lb2="198.51.100.101/24"))
    assert held.conflicts == ["group imaging is spread over lb1 and lb2"]


def test_an_absolute_file_name_is_looked_for_where_the_roles_do(tmp_path: Path) -> None:
    (tmp_path / "web.pem").touch()
    document = deepcopy(DOCUMENT)
    document["services"]["two"] |= {
        "profile": "viewer",
        "tls": {"mode": "offload", "certificate": str(tmp_path / "web.pem")},
    }
    assert rollout.judge(document, NODES, tmp_path).errors != []
