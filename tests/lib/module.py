"""One of the project's Ansible modules, run as Ansible runs it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any


def run_module(module: Path, arguments: dict[str, Any], *, check: bool = False, path: Path | None = None) -> dict[str, Any]:
    """Return what `module` answers; `check` is check mode, the programs in `path` come before the host's."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", module],
        input=json.dumps({"ANSIBLE_MODULE_ARGS": {**arguments, "_ansible_check_mode": check}}),
        env={**os.environ, "PATH": f"{path}:{os.environ['PATH']}" if path else os.environ["PATH"]},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer
