"""Debian 13's own daemons for the contract tests, without a container."""

from __future__ import annotations

import fcntl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from lib.network import TOP, outside, own_network


@pytest.fixture(scope="session", autouse=True)
def network() -> Iterator[None]:
    """Each worker has a loopback of its own, so what runs beside it takes none of its ports."""
    with own_network():
        yield


@pytest.fixture(scope="session")
def daemon_root() -> Path:
    """A Debian 13 root with haproxy and keepalived, for `chroot`. Built once (half a minute), then kept in .lab/."""
    root = TOP / ".lab/daemons"
    root.parent.mkdir(exist_ok=True)
    with (root.parent / "daemons.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        subprocess.run(outside(TOP / "tools/daemon-root", root), check=True, timeout=600)
    return root
