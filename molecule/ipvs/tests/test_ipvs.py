"""What the node's kernel is brought to. A kernel without ip_vs refuses layer 4 aloud; the real thing is in the VM tier."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from lib.lab import Host

TOP = Path(__file__).parents[3]
NODE = Host("m-ipvs")
SETTINGS = "/etc/sysctl.d/61-rota-ipvs.conf"
MODULES = "/etc/modules-load.d/rota-ipvs.conf"


def converge(**variables: object) -> subprocess.CompletedProcess[str]:
    command = ["ansible-playbook", "-i", "inventories/lab/hosts.yml", "-i", "molecule/hosts.yml"]
    command += ["molecule/ipvs/converge.yml", "-e", json.dumps(variables)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, cwd=TOP)


def kernel(key: str) -> str:
    return NODE.read(f"/proc/sys/{key}").strip()


def test_a_node_without_layer_4_forwards_nothing_and_loads_nothing():
    assert (kernel("net/ipv4/ip_forward"), kernel("net/ipv6/conf/all/forwarding")) == ("0", "0")
    assert not NODE.run("test", "-e", MODULES).ok


def test_a_node_forwards_only_while_members_answer_through_it():
    assert converge(scenario_with="transparent").returncode == 0
    assert (kernel("net/ipv4/ip_forward"), kernel("net/ipv6/conf/all/forwarding")) == ("1", "0")
    assert {kernel(f"net/ipv4/conf/{name}/send_redirects") for name in ("all", "default", "eth0")} == {"0"}
    assert converge(scenario_with="nothing").returncode == 0
    assert kernel("net/ipv4/ip_forward") == "0"


def test_what_somebody_set_by_hand_is_found_and_put_back():
    NODE.check("sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward")
    done = converge(scenario_with="nothing")
    assert "changed=1" in done.stdout
    assert kernel("net/ipv4/ip_forward") == "0"


def test_layer_4_is_set_up_or_refused_aloud():
    """A container has its host's kernel. What that kernel lacks is named, with the remedy, before anything is written."""
    before = NODE.read(SETTINGS)
    there = NODE.run("sh", "-c", "modprobe -q ip_vs && modprobe -q ip_vs_mh || test -e /sys/module/ip_vs_mh").ok
    done = converge(scenario_with="layer4")
    if there:
        assert done.returncode == 0, done.stdout[-3000:]
        assert "ip_vs_mh" in NODE.read(MODULES)
        assert (kernel("net/ipv4/vs/expire_nodest_conn"), kernel("net/ipv4/vs/sync_threshold")) == ("1", "0\t0")
        assert kernel("net/ipv4/ip_forward") == "1"
        assert converge(scenario_with="nothing").returncode == 0
        assert not NODE.run("test", "-e", MODULES).ok
        return
    assert done.returncode != 0
    said = " ".join(done.stdout.split())
    assert "lb1: this kernel has no ip_vs, ip_vs_mh, which the layer 4 services need (four)." in said
    assert "modprobe ip_vs" in said
    assert NODE.read(SETTINGS) == before
    assert not NODE.run("test", "-e", MODULES).ok


def test_nothing_failed():
    assert NODE.failed_units() == []
