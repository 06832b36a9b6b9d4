"""What a node answers to whom: exactly what the model says; and nobody is locked out for good."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from lib.lab import Result
from lib.poll import wait_until
from vm.lib import controller, scan
from vm.lib.network import Peer
from vm.lib.rig import SITE, Rig

# every port of the model, everything that listens on a node, and the ports that one tries first
COMMON = (*range(1, 1025), 2575, 3306, 4242, 5432, 8042, 8080, 8404, 8407, 8443, 8848, 9100, 10443, 11112)
TOOL = "/usr/local/lib/rota/firewall"
PLAYBOOK = Path(controller.__file__).with_name("firewall.yml")


def listening(rig: Rig) -> set[int]:
    """TCP ports at which something listens on lb1."""
    return {int(line.split()[3].rpartition(":")[2]) for line in rig.lb1.check("ss", "-Hltn").splitlines()}


def of_services(address: str) -> set[int]:
    """TCP ports that the model opens at a service address."""
    return {
        port
        for one in SITE.services.values()
        if address in one.addresses and "tcp" in one.protocol.each
        for port in one.ports
    }


def opened(rig: Rig, peer: Peer, address: str) -> set[int]:
    """Ports that answer at all: what is open, and what says no instead of nothing."""
    return {
        port
        for port, said in scan.tcp(peer, address, {*COMMON, *of_services(address), *listening(rig)}).items()
        if said != "silent"
    }


@pytest.mark.parametrize("family", [4, 6])
def test_a_caller_reaches_the_services_and_nothing_else(vms: Rig, family: int) -> None:
    for service in ("pacs-dr", "pacs-l7"):
        address = next(a for a in SITE.services[service].addresses if (":" in a) == (family == 6))
        assert opened(vms, vms.client, address) == of_services(address)
    assert opened(vms, vms.client, vms.lb1.address(family)) == set()


def test_a_member_reaches_no_more_than_a_caller(vms: Rig) -> None:
    assert opened(vms, vms.peers["na"], vms.lb1.address(4, 1)) == set()
    assert opened(vms, vms.peers["na"], "198.51.100.1") <= of_services("198.51.100.1")


def test_management_reaches_ssh_and_the_web_pages(vms: Rig) -> None:
    """Nothing serves the pages here: that they are let in is seen by the refusal."""
    found = opened(vms, vms.peers["admin"], vms.lb1.address(4, 2))
    assert found == {22, 8443}


def test_rules_that_nobody_confirms_are_undone(vms: Rig) -> None:
    """Somebody loads rules that let management in no more, and hears nothing after that."""
    node, admin = vms.lb1, vms.peers["admin"]
    rules = node.read("/etc/rota/firewall/next.nft")
    assert "192.0.2.128/25" in rules
    node.write("/etc/rota/firewall/next.nft", rules.replace("192.0.2.128/25", "192.0.2.240/28"))
    address = node.address(4, 2)
    assert scan.tcp(admin, address, [22]) == {22: "open"}
    began = time.monotonic()
    node.check(TOOL, "try", "--undo-after=60")
    assert scan.tcp(admin, address, [22]) == {22: "silent"}
    wait_until(lambda: scan.tcp(admin, address, [22], within=1) == {22: "open"}, within=120, what="the old rules are back")
    assert time.monotonic() - began > 50, "the time to confirm was cut short"


def roll_out(rig: Rig, folder: Path, ports: dict[str, str], undo_after: int) -> Result:
    """Role firewall from a controller among the administrators, over SSH."""
    key = controller.key_for(rig.lb1, folder)
    variables = {"firewall_management_ports": ports, "firewall_undo_after": undo_after}
    return controller.play(rig.peers["admin"], rig.lb1, rig.lb1.address(4, 2), key, PLAYBOOK, **variables)


def test_a_rollout_over_ssh_confirms_its_rules(vms: Rig, tmp_path: Path) -> None:
    """One more port for the administrators: there at once, and still there when the time to confirm is long over."""
    admin, address = vms.peers["admin"], vms.lb1.address(4, 2)
    assert scan.tcp(admin, address, [8410]) == {8410: "silent"}
    done = roll_out(vms, tmp_path, {"ssh": "tcp/22", "web": "tcp/8443", "metrics": "tcp/8410"}, 60)
    assert done.ok, done.out + done.err
    began = time.monotonic()
    assert scan.tcp(admin, address, [8410]) != {8410: "silent"}
    assert vms.lb1.read("/etc/rota/firewall/rules.nft") == vms.lb1.read("/etc/rota/firewall/next.nft")
    wait_until(lambda: time.monotonic() - began > 65, within=70, what="the time to confirm is over")
    assert scan.tcp(admin, address, [22, 8410]) == {22: "open", 8410: "closed"}


def test_a_rollout_that_locks_its_controller_out_is_undone(vms: Rig, tmp_path: Path) -> None:
    """The inventory names a port that SSH does not have: the rollout says so, and the node lets its controller in again."""
    admin, address = vms.peers["admin"], vms.lb1.address(4, 2)
    before = vms.lb1.read("/etc/rota/firewall/rules.nft")
    done = roll_out(vms, tmp_path, {"ssh": "tcp/2222", "web": "tcp/8443"}, 60)
    assert not done.ok
    assert "was not reached over a new connection" in done.out
    wait_until(lambda: scan.tcp(admin, address, [22], within=1) == {22: "open"}, within=120, what="the old rules are back")
    assert vms.lb1.read("/etc/rota/firewall/rules.nft") == before
