"""Who holds the addresses, through the faults that one node can have. The pair scenario adds real traffic."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from lib.lab import Host
from lib.poll import wait_until
from lib.validated import validated

TOP = Path(__file__).parents[3]
LB1, LB2 = Host("m-keepalived-1"), Host("m-keepalived-2")
NODES = (LB1, LB2)
IMAGING = ("198.51.100.160", "2001:db8:51::160")
WEB = ("198.51.100.161", "2001:db8:51::161")
MORE = {"profile": "tcp", "group": "imaging", "address": "198.51.100.162", "port": 9000}
MORE["members"] = {"a": {"address": "198.51.100.21", "port": 4242}}


def holders(address: str) -> list[Host]:
    return [node for node in NODES if address in node.addresses()]


def holds(node: Host, *addresses: str) -> Callable[[], bool]:
    return lambda: all(holders(address) == [node] for address in addresses)


def move(node: Host, group: str) -> None:
    """Hand a group over, as roles/keepalived does."""
    node.check("/usr/local/lib/rota/vrrp", "hand-over", "2", group)


@pytest.fixture(autouse=True)
def home() -> Iterator[None]:
    """Every test begins with imaging on lb1 and web on lb2, and leaves two healthy nodes."""
    settle()
    yield
    for node in NODES:
        node.run("systemctl", "start", "haproxy.service", "keepalived.service")
    settle()


def settle() -> None:
    for addresses, group, node in ((IMAGING, "imaging", LB1), (WEB, "web", LB2)):
        wait_until(lambda wanted=addresses: len(holders(wanted[0])) == 1, within=20, what=f"one holder of {group}")
        if holders(addresses[0]) != [node]:
            move(holders(addresses[0])[0], group)
        wait_until(holds(node, *addresses), within=10, what=f"{group} on {node.name}")


def test_both_families_of_a_group_are_on_one_node():
    assert holds(LB1, *IMAGING)()
    assert holds(LB2, *WEB)()


def test_an_address_has_the_prefix_of_its_network_and_is_no_source():
    """IPv6: a deprecated address is never picked for the node's own connections, which would move away with it."""
    shown = json.loads(LB1.check("ip", "-json", "address", "show", "dev", "eth0"))[0]["addr_info"]
    found = {entry["local"]: entry for entry in shown}
    assert found[IMAGING[0]]["prefixlen"] == 24
    assert found[IMAGING[1]]["prefixlen"] == 64
    assert found[IMAGING[1]]["deprecated"]
    for destination, own in (("198.51.100.21", "198.51.100.63"), ("2001:db8:51::21", "2001:db8:51::63")):
        assert json.loads(LB1.check("ip", "-json", "route", "get", destination))[0]["prefsrc"] == own


def test_a_stop_hands_over_at_once_and_the_return_takes_nothing_back():
    LB1.systemctl("stop", "keepalived.service")
    wait_until(holds(LB2, *IMAGING, *WEB), within=3)
    LB1.systemctl("start", "keepalived.service")
    # as long as it would take to take over: start delay, three adverts and some
    end = time.monotonic() + 3
    while time.monotonic() < end:
        assert holders(IMAGING[0]) == [LB2]


def test_a_killed_haproxy_hands_over_and_comes_back_as_standby():
    LB1.systemctl("kill", "--signal=KILL", "--kill-whom=main", "haproxy.service")
    wait_until(holds(LB2, *IMAGING), within=5)
    wait_until(lambda: LB1.active("haproxy.service"), within=10, what="haproxy is back")
    assert holds(LB2, *IMAGING)()


def test_a_stopped_haproxy_is_not_fit():
    LB1.systemctl("stop", "haproxy.service")
    wait_until(holds(LB2, *IMAGING), within=5)
    assert LB1.read("/run/rota/track/haproxy").strip() != "0"


def test_a_hung_haproxy_hands_over():
    """Its processes live and its port takes connections, but it answers nobody."""

    def returned() -> int:
        return LB1.journal("keepalived.service", lines=1000).count("now returning 0")

    before = returned()
    LB1.systemctl("kill", "--signal=STOP", "haproxy.service")
    try:
        wait_until(holds(LB2, *IMAGING), within=20)
    finally:
        LB1.systemctl("kill", "--signal=CONT", "haproxy.service")
    # keepalived has to hear from it again before it is fit to take a group back
    wait_until(lambda: returned() > before, within=20, what="keepalived hears haproxy again")


def test_a_reload_moves_nothing():
    LB1.systemctl("reload", "keepalived.service")
    end = time.monotonic() + 2
    while time.monotonic() < end:
        assert holders(IMAGING[0]) == [LB1]


def test_a_dead_keepalived_comes_back():
    LB1.systemctl("kill", "--signal=KILL", "--kill-whom=main", "keepalived.service")
    wait_until(lambda: LB1.active("keepalived.service"), within=10)
    wait_until(lambda: len(holders(IMAGING[0])) == 1, within=10)


def test_changes_of_role_are_in_the_journal():
    move(LB1, "imaging")
    wait_until(holds(LB2, *IMAGING), within=5)
    wait_until(
        lambda: "INSTANCE imaging MASTER" in LB2.check("journalctl", "-t", "rota-vrrp", "-n", "20", "--no-pager"), within=5
    )


def test_scripts_do_not_run_as_root():
    assert "haproxy-health" not in LB1.run("journalctl", "-u", "keepalived.service", "-p", "warning", "-n", "5").out
    assert "keepalived_script" in LB1.check("id", "keepalived_script")
    assert "enable_script_security" in LB1.read("/etc/keepalived/keepalived.conf")


def converge(only: str | None = None, **variables: object) -> subprocess.CompletedProcess[str]:
    """Apply the role once more, without those that it stands on: they have nothing new to do."""
    command = ["ansible-playbook", "-i", "inventories/lab/hosts.yml", "-i", "molecule/hosts.yml"]
    command += ["molecule/keepalived/converge.yml", "--skip-tags", "before", "-e", json.dumps(variables)]
    command += ["--limit", only] if only else []
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, cwd=TOP)


def test_one_holder_while_only_the_standby_knows_a_new_service():
    done = converge(only=LB2.name, scenario_more={"more": MORE})
    assert done.returncode == 0, done.stdout[-3000:]
    assert holds(LB1, *IMAGING)()
    assert holders("198.51.100.162") == []
    assert converge(scenario_more={"more": MORE}).returncode == 0
    wait_until(holds(LB1, "198.51.100.162", *IMAGING), within=10)
    assert converge().returncode == 0
    wait_until(lambda: holders("198.51.100.162") == [], within=10)
    assert holds(LB1, *IMAGING)()


def test_a_file_that_keepalived_refuses_changes_nothing():
    """An interface that this node does not have: keepalived itself says so, and the old file stays."""
    before = LB1.read("/etc/keepalived/keepalived.conf")
    networks = {"clinical": {"prefixes": ["198.51.100.0/24", "2001:db8:51::/64"], "interface": "eth9"}}
    done = converge(only=LB1.name, scenario_networks=networks)
    assert done.returncode != 0
    assert "eth9" in done.stdout
    assert "nothing was replaced" in done.stdout
    assert LB1.read("/etc/keepalived/keepalived.conf") == before
    assert LB1.active("keepalived.service")
    assert holds(LB1, *IMAGING)()


def test_validate_judges_and_changes_nothing():
    before = LB1.read("/etc/keepalived/keepalived.conf")
    done = validated("keepalived", LB1.name)
    assert done.returncode == 0, done.stdout[-2000:]
    assert "changed=0" in done.stdout
    assert LB1.read("/etc/keepalived/keepalived.conf") == before


def test_nothing_failed():
    for node in NODES:
        assert node.failed_units() == []
