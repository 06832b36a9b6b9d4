"""Debian 13's own daemons for the contract tests, without a container."""

from __future__ import annotations

import fcntl
import subprocess
from pathlib import Path

import pytest

TOP = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def daemon_root() -> Path:
    """A Debian 13 root with haproxy and keepalived; start them with `chroot`. Built once (half a minute), then kept in .lab/."""
    root = TOP / ".lab/daemons"
    root.parent.mkdir(exist_ok=True)
    with (root.parent / "daemons.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        subprocess.run([TOP / "tools/daemon-root", root], check=True, timeout=600)
    return root
