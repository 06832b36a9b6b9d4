"""Both rotads see the same pair, say who is connected, hand over on purpose, and are missed when they are gone."""

from __future__ import annotations

import json
import subprocess
import sys
import time

import pytest
from lib.lab import NODES, Host
from lib.poll import wait_until
from pair.rig import client, control, nodes

PACS = nodes.address_of("pacs")


@pytest.mark.parametrize("name", NODES)
def test_status_is_what_is(name: str, steady: None) -> None:
    """Every service up, every group where the interfaces say, and the peer in step."""
    wait_until(control.in_step, within=20, what="both rotads in step", every=0.3)
    said = control.status(Host(name))
    assert {s["name"]: s["verdict"] for s in said["services"]} == dict.fromkeys(nodes.SITE.services, "up")
    holders = nodes.one_holder_each()
    assert {g["name"]: g["holders"] for g in said["groups"]} == {group: [node] for group, node in holders.items()}
    assert {g["name"]: g["role"] for g in said["groups"]} == {
        group: "active" if node == name else "standby" for group, node in holders.items()
    }
    assert said["haproxy_problem"] is None
    assert [a["text"] for a in said["alarms"]] == []
    shown = Host(name).run("rota", "status")
    assert shown.ok, shown
    assert all(service in shown.out for service in nodes.SITE.services)


@pytest.mark.parametrize("name", NODES)
def test_who_is_connected(name: str, steady: None) -> None:
    """Either node tells of both; an association has its AE titles, an HL7 feed has none."""
    with client.Running("hold", PACS, "104", "PACS", "CT1") as study:
        wait_until(lambda: study.lines, within=15, what="the association")
        said = wait_until(lambda: json.loads(control.rota(Host(name), "who", "pacs", "--json")), within=5)
        assert [(a["calling_ae"], a["called_ae"], a["node"]) for a in said] == [("CT1", "PACS", nodes.active().name)]
        assert said[0]["caller"].startswith("198.51.100.51:")
        assert study.tell("release")["ok"]
    wait_until(lambda: json.loads(control.rota(Host(name), "who", "pacs", "--json")) == [], within=5)


@pytest.mark.usefixtures("fault")
def test_a_planned_failover_asked_of_the_standby() -> None:
    """The active one does it; nothing goes back by itself; a drain stays; both journals know."""
    old, new = nodes.active(), nodes.standby()
    control.rota(old, "drain", "pacs", "pacs-b", "--reason", "patching")
    with client.Running("knock", PACS, "104", "PACS", "CT1") as knocks:
        knocks.wait_good(10)
        began = time.time()
        control.rota(new, "failover", "--group", "imaging", "--reason", "kernel update")
        assert nodes.one_holder_each()["imaging"] == new.name
        knocks.wait_good(20, since=time.time())
    gap = client.longest_gap(knocks.lines, since=began)
    print(f"longest time without a new association: {gap:.2f} s")
    assert gap < 1.5
    assert control.drained()
    assert nodes.one_holder_each()["imaging"] == new.name
    for name in NODES:
        told = wait_until(lambda n=name: control.events(Host(n), kind="failover", member="imaging"), within=5)  # type: ignore[misc]
        assert (told[-1]["before"], told[-1]["after"], told[-1]["person"]) == (old.name, new.name, control.OPERATOR)
    control.rota(old, "failover", "--group", "imaging", "--reason", "and back")
    assert nodes.one_holder_each()["imaging"] == old.name


@pytest.mark.usefixtures("fault")
def test_no_failover_to_a_peer_that_is_not_fit() -> None:
    old, new = nodes.active(), nodes.standby()
    new.systemctl("stop", "haproxy")
    wait_until(lambda: control.status(new)["haproxy_problem"], within=5)
    said = wait_until(lambda: refused(old), within=5)
    assert "HAProxy" in said
    assert new.name in said
    assert nodes.active().name == old.name


def refused(node: Host) -> str:
    """What an operator reads who asks for a failover that must not be; AssertionError if it is done."""
    said = node.run("rota", "failover", "--group", "imaging", "--reason", "kernel update")
    assert said.code == 1, f"exit {said.code}: {said.out}"
    return said.err + said.out


@pytest.mark.usefixtures("fault")
def test_a_rotad_that_hangs_is_missed_and_replaced() -> None:
    """Its peer raises an alarm within 10 s, the watchdog ends it, and traffic never knows."""
    node, peer = nodes.active(), nodes.standby()
    before = control.main_pid(node)
    with client.Running("knock", PACS, "104", "PACS", "CT1") as knocks:
        knocks.wait_good(5)
        began = time.time()
        node.systemctl("kill", "--signal=STOP", "--kill-whom=main", control.UNIT)
        alarm = f"peer-unreachable:{node.name}"
        wait_until(lambda: alarm in control.alarms(peer), within=10, what="an alarm on the peer", every=0.3)
        print(f"alarm after {time.time() - began:.1f} s")
        control.restarted(node, before, within=40)
        wait_until(control.in_step, within=20, what="both in step again", every=0.3)
        assert alarm not in control.alarms(peer)
    assert [line for line in knocks.lines if line["began"] > began and not line["ok"]] == []


def test_the_failover_playbook() -> None:
    """As an operator at the controller does it; refused without a reason, before any node is asked."""
    before = nodes.one_holder_each()
    assert playbook().returncode != 0
    assert nodes.one_holder_each() == before
    done = playbook("-e", "rota_failover_reason='kernel update'", "-e", "rota_failover_group=web")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr
    after = nodes.one_holder_each()
    assert after["web"] != before["web"]
    assert after["imaging"] == before["imaging"]
    control.rota(Host("lb1"), "failover", "--group", "web", "--reason", "and back")


def playbook(*words: str) -> subprocess.CompletedProcess[str]:
    """Run the playbook for a planned failover."""
    command = [f"{sys.prefix}/bin/ansible-playbook", "playbooks/failover.yml", *words]
    return subprocess.run(command, cwd=nodes.REPOSITORY, capture_output=True, text=True, timeout=180, check=False)
