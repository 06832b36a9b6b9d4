"""Run the site's playbooks as an operator does, on the lab's inventory or on an edited copy of it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pair.rig import nodes

# As deep below the repository as the original, so that its relative file names still hold.
COPY = nodes.REPOSITORY / ".lab" / "rollout"
_RECAP = re.compile(
    r"^(?P<host>\S+)\s+: ok=(?P<ok>\d+)\s+changed=(?P<changed>\d+)\s+unreachable=(?P<lost>\d+)\s+failed=(?P<failed>\d+)",
    re.M,
)
_TOUCHED = re.compile(r"^(?:ok|changed|failed|fatal): \[(lb\d)\b", re.M)


@dataclass(frozen=True)
class Run:
    """One run of a playbook."""

    code: int
    out: str
    seconds: float

    @property
    def changed(self) -> dict[str, int]:
        """Host → how many tasks changed something."""
        return {found["host"]: int(found["changed"]) for found in _RECAP.finditer(self.out)}

    @property
    def order(self) -> list[str]:
        """The nodes, in the order in which they were rolled out; what the controller works out before does not count."""
        assert "\x1b" not in self.out, "colours in the output: nothing can be read from it"
        plays = self.out.split("\nPLAY [")[1:]
        rolled = "".join(play for play in plays if play.startswith("Roll out"))
        return list(dict.fromkeys(_TOUCHED.findall(rolled)))


def play(playbook: str, *words: str, inventory: Path = nodes.INVENTORY, timeout: float = 240) -> Run:
    """Run `playbooks/<playbook>.yml`; never raises for what it came to."""
    argv = [f"{sys.prefix}/bin/ansible-playbook", f"playbooks/{playbook}.yml", "-i", str(inventory / "hosts.yml"), *words]
    began = time.monotonic()
    # Molecule asks for colours, and what is read here would be hidden between them.
    plain = {**os.environ, "ANSIBLE_NOCOLOR": "1", "ANSIBLE_FORCE_COLOR": "0"}
    done = subprocess.run(
        argv, cwd=nodes.REPOSITORY, capture_output=True, text=True, timeout=timeout, check=False, env=plain
    )
    return Run(done.returncode, done.stdout + done.stderr, time.monotonic() - began)


def edited(services: dict[str, dict[str, Any]], files: dict[str, str] | None = None) -> Path:
    """Return a copy of the lab's inventory with more, or other, services, and with extra files."""
    shutil.rmtree(COPY, ignore_errors=True)
    shutil.copytree(nodes.INVENTORY, COPY)
    file = COPY / "group_vars" / "all" / "services.yml"
    document = yaml.safe_load(file.read_text())
    document["services"].update(services)
    file.write_text(yaml.safe_dump(document, sort_keys=False))
    for name, text in (files or {}).items():
        (COPY / name).write_text(text)
    return COPY


def written(service: str) -> dict[str, Any]:
    """Return a service as the lab's inventory has it."""
    document = yaml.safe_load((nodes.INVENTORY / "group_vars" / "all" / "services.yml").read_text())
    found: dict[str, Any] = document["services"][service]
    return found
