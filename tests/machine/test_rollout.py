"""A machine of the fresh image becomes a site's node by the ordinary rollout, over SSH; a second one finds nothing to do."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from machine.rig import ADDRESS, GATEWAY, MAC, Machine, key, seed

TOP = Path(__file__).resolve().parents[2]
SITE = Path(__file__).with_name("site")
# An emulated processor compiles for seconds what Ansible sends for each task.
WITHIN = 2400


@pytest.fixture(scope="module")
def node(machines: Callable[[str], Machine], folder: Path) -> Machine:
    """BIOS, told by a NoCloud seed who it is, and nothing of a site."""
    public = key(folder).with_suffix(".pub").read_text().strip()
    network = f"version: 2\nethernets: {{leg: {{match: {{macaddress: '{MAC}'}}, addresses: [{ADDRESS}/24], routes: [{{to: default, via: {GATEWAY}}}]}}}}\n"
    user = f"#cloud-config\nhostname: lb1\nssh_authorized_keys: ['{public}']\n"
    disk = seed(folder, {"user-data": user, "meta-data": "instance-id: lb1\n", "network-config": network})
    machine = machines("node")
    machine.power_on(
        "bios", ["-drive", f"file={disk},format=raw,if=virtio,readonly=on"], archives=["10.0.2.21", "10.0.2.22"]
    )
    machine.wait_booted()
    return machine


@pytest.fixture(scope="module")
def site(node: Machine, folder: Path) -> Path:
    """The inventory, with the name that the interface has there."""
    place = folder / "site"
    shutil.copytree(SITE, place)
    interface = node.check(f"ip -brief address | grep -F {ADDRESS}/ | cut -d' ' -f1")
    written = place / "group_vars/all/site.yml"
    written.write_text(written.read_text().replace("interface: eth0", f"interface: {interface}"))
    return place


def roll_out(node: Machine, site: Path) -> dict[str, int]:
    """Run playbooks/site.yml; what the recap counts for the node. AssertionError with Ansible's words when it fails."""
    with tempfile.TemporaryDirectory(prefix="rota-", dir="/tmp") as sockets:  # noqa: S108 (made by mkdtemp)
        ssh = ["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR"]
        ssh += ["-o", f"ControlPath={sockets}/%C"]
        told = {
            "ansible_host": "127.0.0.1",
            "ansible_port": node.port,
            "ansible_user": "root",
            "ansible_ssh_private_key_file": str(node.key),
            "ansible_ssh_common_args": " ".join(ssh),
            "ansible_ssh_timeout": 30,
            "rota_ca_dir": str(site / "authority"),
            "rota_web_ca_dir": str(site / "web-authority"),
            "rota_wheelhouse": str(TOP / "dist/wheelhouse/rota-wheelhouse.tar"),
        }
        env = {**os.environ, "ANSIBLE_CONFIG": str(TOP / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1"}
        words = [TOP / ".venv/bin/ansible-playbook", "-i", site, "-e", json.dumps(told), TOP / "playbooks/site.yml"]
        done = subprocess.run([str(word) for word in words], cwd=TOP, env=env, capture_output=True, text=True, check=False,
                              timeout=WITHIN)  # fmt: skip
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    recap = done.stdout.rpartition("PLAY RECAP")[2]
    return {name: int(count) for name, count in re.findall(r"(\w+)=(\d+)", recap)}


@pytest.mark.timeout(2 * WITHIN)
def test_a_rollout_makes_it_a_node_and_a_second_one_changes_nothing(node: Machine, site: Path) -> None:
    assert roll_out(node, site)["changed"] > 0
    held = node.check("ip -brief address")
    assert "10.0.2.100/" in held
    assert "10.0.2.101/" in held
    assert "10.0.2.22:" in node.check("ipvsadm -Ln")
    assert "archive" in node.check("env SUDO_USER=anna /opt/rota/current/bin/rota status --json || true")
    assert "policy drop" in node.check("nft list chain inet rota input")
    assert roll_out(node, site)["changed"] == 0
    assert node.check("systemctl --failed --no-legend --plain") == ""
