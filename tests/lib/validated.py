"""A role's judgement of a site on a node of the lab, as `make validate` asks for it."""

from __future__ import annotations

import json
import subprocess
import tempfile
from pathlib import Path

TOP = Path(__file__).resolve().parents[2]


def validated(role: str, node: str) -> subprocess.CompletedProcess[str]:
    """Run `validate` of `role` in check mode, with the site of the role's scenario."""
    play = {
        "hosts": node,
        "gather_facts": False,
        "vars_files": [str(TOP / f"molecule/{role}/vars/site.yml")],
        "vars": {"rota_model": "{{ {'site': scenario_site, 'services': {}} | rota_parse }}"},
        "tasks": [{"ansible.builtin.include_role": {"name": role, "tasks_from": "validate"}}],
    }
    with tempfile.NamedTemporaryFile("w", dir=TOP / ".lab", prefix="validate-", suffix=".json") as playbook:
        json.dump([play], playbook)
        playbook.flush()
        command = [
            "ansible-playbook",
            "-i",
            "inventories/lab/hosts.yml",
            "-i",
            "molecule/hosts.yml",
            playbook.name,
            "--check",
        ]
        return subprocess.run(command, capture_output=True, text=True, timeout=100, check=False, cwd=TOP)
