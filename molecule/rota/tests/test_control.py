"""rotad on a node that has nothing else: who may ask it, who may read its keys, and settings that it refuses."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
import testinfra
from lib.inspected import inspected
from lib.lab import Host
from lib.poll import wait_until

NODE = Host("m-rota")
TOP = Path(__file__).parents[3]


@pytest.fixture
def host() -> testinfra.host.Host:
    return inspected(NODE)


def apply(**variables: object) -> subprocess.CompletedProcess[str]:
    """Converge again with other variables."""
    command = ["ansible-playbook", "-i", "inventories/lab/hosts.yml", "-i", "molecule/hosts.yml"]
    command += ["molecule/rota/converge.yml", "-e", json.dumps(variables)]
    return subprocess.run(command, capture_output=True, text=True, timeout=200, check=False, cwd=TOP)


def test_it_runs_and_says_what_it_misses(host):
    """Without HAProxy nothing is known, and nothing that is unknown is shown as up."""
    assert host.service("rota-control").is_running
    assert host.service("rota-control").is_enabled
    said = json.loads(NODE.run("rota", "status", "--json").out)
    assert said["haproxy_problem"]
    assert {m["verdict"] for s in said["services"] for m in s["members"]} == {"unknown"}


@pytest.mark.parametrize(
    ("group", "reads", "acts"), [("rota-viewers", True, False), ("rota-operators", True, True), ("nogroup", False, False)]
)
def test_who_may_ask_and_act(group, reads, acts):
    """By the group of the process, as the kernel says it."""
    person = ["setpriv", "--reuid=nobody", f"--regid={group}", "--clear-groups", "--"]
    assert NODE.run(*person, "rota", "status", "--json").out.startswith("{") == reads
    done = NODE.run(*person, "rota", "drain", "pacs", "pacs-b", "--reason", "may I?", "--force")
    assert done.ok == acts, done
    if acts:
        NODE.check(*person, "rota", "ready", "pacs", "pacs-b", "--reason", "thank you")


def test_its_keys_are_roots(host):
    for path in ("/etc/rota/control/node.key", "/var/lib/rota/control", "/etc/rota/credentials"):
        assert host.file(path).mode & 0o077 == 0, path
        assert host.file(path).user == "root"
    assert host.user("rota-check").shell == "/usr/sbin/nologin"


def test_it_comes_back_by_itself():
    before = NODE.check("systemctl", "show", "--value", "--property=MainPID", "rota-control")
    NODE.systemctl("kill", "--signal=KILL", "rota-control")
    after = lambda: NODE.check("systemctl", "show", "--value", "--property=MainPID", "rota-control")  # noqa: E731
    wait_until(lambda: after() not in (before, "0\n") and NODE.active("rota-control"), within=20)


def test_settings_that_it_refuses_change_nothing():
    """The running one goes on with what it has; the rollout stops and says which key is wrong."""
    before = (
        NODE.read("/etc/rota/rotad.toml"),
        NODE.check("systemctl", "show", "--value", "--property=MainPID", "rota-control"),
    )
    done = apply(rota_control={"pace": {"follow": "never"}})
    assert done.returncode != 0
    assert "pace.follow" in done.stdout, done.stdout
    after = (
        NODE.read("/etc/rota/rotad.toml"),
        NODE.check("systemctl", "show", "--value", "--property=MainPID", "rota-control"),
    )
    assert after == before


def test_a_setting_comes_and_goes(host):
    assert apply(rota_control={"journal": {"days": 7}}).returncode == 0
    assert host.file("/etc/rota/rotad.toml").contains("days = 7")
    assert apply().returncode == 0
    assert host.file("/etc/rota/rotad.toml").contains("days = 400")
    assert host.service("rota-control").is_running
