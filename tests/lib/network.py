"""A network of its own for this process: its loopback shares no port with whatever else runs on the machine."""

from __future__ import annotations

import ctypes
import os
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

TOP = Path(__file__).resolve().parents[2]
_CLONE_NEWNET = 0x40000000  # linux/sched.h; os.unshare and os.setns came with Python 3.12 only
_libc = ctypes.CDLL(None, use_errno=True)
_outside: list[str] = []  # put before a command that has to leave the network


def _call(function: str, *arguments: int) -> None:
    if getattr(_libc, function)(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{function}: {os.strerror(number)}")


@contextmanager
def own_network() -> Iterator[None]:
    """Move the calling thread, and what it starts from now on, into a new network that has only a loopback.

    Two test runs at once, or the workers of one, then cannot take each other's ports, and nothing that a test sends can
    leave the machine. Needs root, as `chroot` does.
    """
    before = os.open(f"/proc/self/task/{threading.get_native_id()}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        _call("unshare", _CLONE_NEWNET)
        _outside[:] = ["nsenter", f"--net=/proc/{os.getpid()}/fd/{before}"]
        try:
            subprocess.run(["ip", "link", "set", "lo", "up"], check=True, timeout=10)
            yield
        finally:
            _outside.clear()
            _call("setns", before, _CLONE_NEWNET)
    finally:
        os.close(before)


def outside(*command: str | os.PathLike[str]) -> list[str | os.PathLike[str]]:
    """`command` as it has to be started to reach the network of the machine."""
    return [*_outside, *command]


def need(*packages: str) -> None:
    """Install the Debian packages that are missing on this machine."""
    subprocess.run(outside(TOP / "tools/host-packages", *packages), check=True, timeout=300)
