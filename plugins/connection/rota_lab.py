"""Ansible connection into the lab's containers, with pipelining, as a node gets it over SSH.

The connection of `containers.podman` has none: five podman calls for a task instead of one, over a second each time.
"""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

from ansible.errors import AnsibleConnectionFailure, AnsibleError
from ansible.plugins.connection import ConnectionBase, ensure_connect

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "roles/lab/files"))

import lab_enter  # noqa: E402 (found through the line above)

DOCUMENTATION = """
name: rota_lab
short_description: Run tasks in the containers of the lab, with pipelining
description: [Runs each command in the namespaces of the container. Always root.]
author: ["Rota"]
options:
  remote_addr:
    description: Name of the container.
    default: inventory_hostname
    vars: [{name: inventory_hostname}, {name: ansible_host}]
"""


class Connection(ConnectionBase):
    """One container."""

    transport = "rota_lab"
    has_pipelining = True

    def _connect(self) -> Connection:
        self._connected = True
        return self

    def _run(self, command: list[str], data: bytes | None) -> tuple[int, bytes, bytes]:
        try:
            words = lab_enter.entering(self.get_option("remote_addr"))
        except lab_enter.NotRunning as problem:
            raise AnsibleConnectionFailure(str(problem)) from None
        # what Ansible was asked to run
        done = subprocess.run([*words, *command], input=data or b"", capture_output=True, check=False)  # noqa: S603
        return done.returncode, done.stdout, done.stderr

    @ensure_connect
    def exec_command(self, cmd: str, in_data: bytes | None = None, sudoable: bool = True) -> tuple[int, bytes, bytes]:
        """Run `cmd`; returns exit status, output and errors."""
        super().exec_command(cmd, in_data=in_data, sudoable=sudoable)
        return self._run(shlex.split(cmd), in_data)

    @ensure_connect
    def put_file(self, in_path: str, out_path: str) -> None:
        """Copy a file of the controller into the container."""
        super().put_file(in_path, out_path)
        code, _, err = self._run(["dd", f"of={out_path}", "bs=64K", "status=none"], Path(in_path).read_bytes())
        if code:
            raise AnsibleError(f"cannot write {out_path}: {err.decode(errors='replace').strip()}")

    @ensure_connect
    def fetch_file(self, in_path: str, out_path: str) -> None:
        """Copy a file of the container to the controller."""
        super().fetch_file(in_path, out_path)
        code, out, err = self._run(["cat", in_path], None)
        if code:
            raise AnsibleError(f"cannot read {in_path}: {err.decode(errors='replace').strip()}")
        Path(out_path).write_bytes(out)

    def reset(self) -> None:
        """Each command is a connection of its own already."""

    def close(self) -> None:
        """Nothing is held open."""
        self._connected = False
