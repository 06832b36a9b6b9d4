"""Who reaches what on a node, by packets from hosts of the lab; and that a mistake locks nobody out for good.

Ansible reaches a lab node without its network, so what counts here is whether the client's TCP gets through.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from lib.lab import Host
from lib.poll import wait_until
from lib.runbook import load, missing
from lib.validated import validated

TOP = Path(__file__).parents[3]
NODE, CLIENT, PEER, MEMBER = Host("m-firewall"), Host("client"), Host("hl7-b"), Host("pacs-a")
OWN = ("198.51.100.66", "2001:db8:51::66")
SERVICE = ("198.51.100.170", "2001:db8:51::170")
PORTS = (22, 104, 8406, 8407, 8443, 9999)
TOOL = "/usr/local/lib/rota/firewall"
HOME = "/etc/rota/firewall"
# Takes every connection on every address: whatever does not answer was stopped on its way.
WITNESS = f"""
import select, socket
held = [socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=50) for port in {PORTS}]
while True:
    for ready in select.select(held, [], [])[0]:
        ready.accept()[0].close()
"""
SCAN = """
import socket, sys, threading
open_ = []
def ask(port):
    try:
        socket.create_connection((sys.argv[1], port), 1.0).close()
        open_.append(port)
    except TimeoutError:
        pass
    except ConnectionRefusedError:
        open_.append(-port)
threads = [threading.Thread(target=ask, args=(int(p),)) for p in sys.argv[2:]]
[t.start() for t in threads]
[t.join() for t in threads]
print(*sorted(open_))
"""


def scan(source: Host, address: str) -> list[int]:
    """The ports of PORTS that answer; a refusal (negative) would mean that the witness is not there."""
    return [int(p) for p in source.check("python3", "-c", SCAN, address, *map(str, PORTS)).split()]


def converge(**variables: object) -> subprocess.CompletedProcess[str]:
    command = ["ansible-playbook", "-i", "inventories/lab/hosts.yml", "-i", "molecule/hosts.yml"]
    command += ["molecule/firewall/converge.yml", "-e", json.dumps(variables)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, cwd=TOP)


def journal() -> str:
    return NODE.check("journalctl", "-t", "rota-firewall", "--no-pager", "-o", "cat")


def stage_a_lock_out() -> None:
    """Rules as a mistake would make them: the management network is somebody else's."""
    text = (
        NODE.read(f"{HOME}/rules.nft").replace("198.51.100.51", "192.0.2.51").replace("2001:db8:51::51", "2001:db8:99::51")
    )
    assert "192.0.2.51" in text
    NODE.write(f"{HOME}/next.nft", text)


@pytest.fixture(autouse=True)
def witness() -> Iterator[None]:
    """A node that listens everywhere, with the service's addresses; afterwards its confirmed rules are in force."""
    if not NODE.active("witness"):
        NODE.run("systemctl", "reset-failed", "witness")
        NODE.check("systemd-run", "--quiet", "--unit=witness", "python3", "-c", WITNESS)
    for address in (["198.51.100.170/24"], ["2001:db8:51::170/64", "nodad"]):
        NODE.check("ip", "address", "replace", *address, "dev", "eth0")
    wait_until(lambda: NODE.run("bash", "-c", "</dev/tcp/127.0.0.1/9999").ok, within=10)
    yield
    NODE.run("cp", "-a", f"{HOME}/rules.nft", f"{HOME}/next.nft")
    NODE.check("systemctl", "reload-or-restart", "rota-firewall.service")


@pytest.mark.parametrize("address", OWN)
def test_each_side_reaches_what_it_may_on_the_node(address: str) -> None:
    assert scan(CLIENT, address) == [22, 8443]
    assert scan(PEER, address) == [8406, 8407]
    assert scan(MEMBER, address) == []


@pytest.mark.parametrize("address", SERVICE)
def test_everybody_reaches_the_service_and_nothing_else_on_its_address(address: str) -> None:
    for source in (CLIENT, PEER, MEMBER):
        assert scan(source, address) == [104] if source is not PEER else [104, 8406, 8407]


def test_the_twin_without_rules_everything_answers() -> None:
    """Else the tests above would be green on a node that is not there."""
    NODE.check("systemctl", "stop", "rota-firewall.service")
    assert scan(MEMBER, OWN[0]) == list(PORTS)
    assert scan(MEMBER, OWN[1]) == list(PORTS)


def test_a_service_is_counted_by_its_name() -> None:
    def packets() -> int:
        listed = json.loads(NODE.check("nft", "--json", "list", "set", "inet", "rota", "services4"))["nftables"]
        elements = [e["elem"] for entry in listed if "set" in entry for e in entry["set"]["elem"]]
        return next(int(e["counter"]["packets"]) for e in elements if e["comment"] == "pacs")

    before = packets()
    scan(CLIENT, SERVICE[0])
    assert packets() > before


def test_rules_that_nft_refuses_change_nothing() -> None:
    before = NODE.check("nft", "list", "table", "inet", "rota")
    NODE.write(f"{HOME}/next.nft", NODE.read(f"{HOME}/rules.nft").replace("policy drop", "policy dorp"))
    done = NODE.run(TOOL, "try")
    assert done.code == 1
    assert "nft refuses" in done.err
    assert NODE.check("nft", "list", "table", "inet", "rota") == before
    assert NODE.run("systemctl", "is-active", "rota-firewall-undo.timer").out.strip() != "active"
    assert NODE.run(TOOL, "confirm").code == 1


def test_a_lock_out_is_undone_by_the_node_and_the_journal_says_so() -> None:
    """The controller died, or cannot come back: nobody confirms."""
    stage_a_lock_out()
    assert NODE.check(TOOL, "try", "--undo-after=6").strip() == "tried"
    assert scan(CLIENT, OWN[0]) == []
    assert scan(CLIENT, OWN[1]) == []
    assert scan(MEMBER, SERVICE[0]) == [104], "callers of a service feel nothing of it"
    wait_until(lambda: scan(CLIENT, OWN[0]) == [22, 8443], within=20, what="the node puts the old rules back")
    assert scan(CLIENT, OWN[1]) == [22, 8443]
    assert "the old ones are back" in journal().splitlines()[-1]
    done = NODE.run(TOOL, "confirm")
    assert done.code == 1
    assert "the old rules are back" in done.err
    assert NODE.check(TOOL, "check").strip() == "differs"


def test_a_lock_out_does_not_survive_a_reboot() -> None:
    """Power lost between the step and its confirmation: a boot loads what was confirmed."""
    stage_a_lock_out()
    NODE.check(TOOL, "try", "--undo-after=3600")
    assert scan(CLIENT, OWN[0]) == []
    NODE.stop()
    NODE.start()
    assert NODE.active("rota-firewall")
    NODE.check("systemd-run", "--quiet", "--unit=witness", "python3", "-c", WITNESS)
    wait_until(lambda: scan(CLIENT, OWN[0]) == [22, 8443], within=20)
    assert NODE.failed_units() == []


def test_the_rules_are_there_before_the_network() -> None:
    shown = NODE.check("systemctl", "show", "--property=Before,WantedBy", "rota-firewall.service")
    assert "network-pre.target" in shown
    assert "WantedBy=sysinit.target" in shown


def test_a_rollout_confirms_over_a_new_connection_and_nothing_is_undone() -> None:
    more = ["198.51.100.51/32", "2001:db8:51::51/128", "198.51.100.21/32"]
    done = converge(scenario_management=more, firewall_undo_after=20)
    assert done.returncode == 0, done.stdout[-3000:]
    assert scan(MEMBER, OWN[0]) == [22, 8443]
    assert "confirmed" in journal().splitlines()[-1]
    assert NODE.run("systemctl", "is-active", "rota-firewall-undo.timer").out.strip() != "active"
    assert NODE.read(f"{HOME}/rules.nft") == NODE.read(f"{HOME}/next.nft")

    # the way back, and a rule that somebody added by hand: what a variable can add, removing it removes
    NODE.check("nft", "insert", "rule", "inet", "rota", "input", "tcp", "dport", "9999", "accept")
    assert 9999 in scan(MEMBER, OWN[0])
    done = converge()
    assert done.returncode == 0, done.stdout[-3000:]
    assert scan(MEMBER, OWN[0]) == []


def test_a_rule_that_somebody_added_by_hand_is_found() -> None:
    assert NODE.check(TOOL, "check").strip() == "unchanged"
    NODE.check("nft", "insert", "rule", "inet", "rota", "input", "tcp", "dport", "9999", "accept")
    assert NODE.check(TOOL, "check").strip() == "differs"


def test_a_controller_that_would_be_locked_out_is_told_before_anything_is_loaded() -> None:
    """The node's own view of where it is called from, as sshd gives it; through sudo too, which drops it."""
    session = ["env", "SSH_CONNECTION=203.0.113.9 4711 198.51.100.66 22", "sh", "-c"]
    refused = NODE.run(*session, f"env -u SSH_CONNECTION {TOOL} check 198.51.100.51/32 2001:db8:51::51/128; exit $?")
    assert refused.code == 1
    assert "this connection comes from 203.0.113.9, which is in no network of site.management" in refused.err
    told = NODE.run(*session, f"{TOOL} check 203.0.113.0/24")
    assert (told.code, told.out) == (0, "unchanged\n")


def test_validate_judges_and_changes_nothing() -> None:
    before = NODE.read(f"{HOME}/next.nft")
    done = validated("firewall", NODE.name)
    assert done.returncode == 0, done.stdout[-2000:]
    assert "changed=0" in done.stdout
    assert NODE.read(f"{HOME}/next.nft") == before


def test_the_runbook_is_true() -> None:
    """Its steps in their order, on this node whatever they name."""
    for step in load(TOP / "docs/runbooks/firewall-lock-out.md").steps:
        output = "".join(NODE.check("sh", "-c", command) for command in step.commands)
        assert missing(step.expected or [], output) is None, f"{step.title}: {output}"


def test_nothing_failed() -> None:
    assert NODE.failed_units() == []
