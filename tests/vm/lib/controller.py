"""The controller: Ansible in the namespace of a peer, over SSH, as a site's operator runs it."""

from __future__ import annotations

import json
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from vm.lib.machine import Machine
from vm.lib.network import Peer, must
from vm.lib.rig import SITE_FOLDER

from lib.lab import Result

TOP = Path(__file__).parents[3]
KEYS = "/root/.ssh/authorized_keys"


def key_for(node: Machine, folder: Path) -> Path:
    """Make a key pair and let it in as root, which first boot does on a real node."""
    key = folder / "id"
    must("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "controller", "-f", str(key))
    node.check("sh", "-c", f"umask 77; mkdir -p /root/.ssh; cat >{KEYS}", stdin=key.with_suffix(".pub").read_bytes())
    return key


def play(peer: Peer, node: Machine, address: str, key: Path, playbook: Path, **variables: Any) -> Result:
    """Run a playbook against `node`, reached at `address`; 124 when it took more than ten minutes."""
    # the path of a UNIX socket has 107 characters at most (unix(7)), and OpenSSH's own name takes 58 of them
    with tempfile.TemporaryDirectory(prefix="rota-", dir="/tmp") as sockets:  # noqa: S108 (made by mkdtemp)
        return _play(peer, node, address, key, playbook, sockets, variables)


def _play(
    peer: Peer, node: Machine, address: str, key: Path, playbook: Path, sockets: str, variables: dict[str, Any]
) -> Result:
    ssh = ["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR"]
    ssh += ["-o", f"ControlPath={sockets}/%C"]
    told = {
        "ansible_host": address,
        "ansible_user": "root",
        "ansible_ssh_private_key_file": str(key),
        "ansible_ssh_common_args": " ".join(ssh),
        "ansible_host_key_checking": False,
        "ansible_ssh_timeout": 30,  # an emulated machine takes seconds to shake hands
        **variables,
    }
    words = [
        f"{TOP}/.venv/bin/ansible-playbook",
        "-i",
        str(SITE_FOLDER),
        "-l",
        node.name,
        "-e",
        json.dumps(told),
        str(playbook),
    ]
    env = {
        "ANSIBLE_CONFIG": f"{TOP}/ansible.cfg",
        "ANSIBLE_NOCOLOR": "1",
        "PATH": f"{TOP}/.venv/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    }
    env |= {"HOME": str(key.parent), "LC_ALL": "C.UTF-8"}
    try:
        done = subprocess.run(
            peer.inside(*words), cwd=TOP, env=env, capture_output=True, text=True, check=False, timeout=600
        )
    except subprocess.TimeoutExpired as late:
        return Result(124, (late.stdout or b"").decode(), "not done after 600 s")
    return Result(done.returncode, done.stdout, done.stderr)
