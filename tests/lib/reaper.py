"""Cleans up when the tests are over, however they ended: `reaper` is told what there is, and removes it when its input ends.

It is a process of its own, in a session of its own, so that neither ctrl-C nor the death of the tests reaches it. It kills
by process id only: what it was told, and what runs in the namespaces that it was told.
Lines: `pid N`, `namespace NAME`, `folder PATH`.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any


class Reaper:
    """The tests' end: tell it before the thing exists, and it will be gone in the end."""

    def __init__(self) -> None:
        command = [sys.executable, str(Path(__file__).resolve())]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, text=True, start_new_session=True)
        self._children: list[subprocess.Popen[Any]] = []

    def mind(self, process: subprocess.Popen[Any]) -> None:
        """Take note of a process of ours."""
        self._children.append(process)
        self.tell("pid", process.pid)

    def tell(self, kind: str, name: str | int) -> None:
        """Take note of one thing."""
        assert self._process.stdin
        self._process.stdin.write(f"{kind} {name}\n")
        self._process.stdin.flush()

    def finish(self) -> None:
        """Remove everything now, and wait until it is gone."""
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait(timeout=60)
        for child in self._children:
            child.wait(timeout=10)


def in_namespace(name: str) -> list[int]:
    """Return the process ids in a network namespace."""
    done = subprocess.run(["ip", "netns", "pids", name], capture_output=True, text=True, check=False)
    return [int(word) for word in done.stdout.split()]


def kill(pids: list[int]) -> None:
    """End processes for sure, and wait until they are gone or zombies (5 s at most)."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    end = time.monotonic() + 5
    while any(_runs(pid) for pid in pids) and time.monotonic() < end:
        time.sleep(0.02)


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def main() -> None:
    """Read what there is until the end, then remove it."""
    told = [line.rstrip("\n").partition(" ")[::2] for line in sys.stdin]
    for kind, name in told:
        if kind == "pid":
            kill([int(name)])
    for kind, name in reversed(told):
        if kind == "namespace":
            kill(in_namespace(name))
            subprocess.run(["ip", "netns", "delete", name], capture_output=True, check=False)
        elif kind == "folder":
            shutil.rmtree(name, ignore_errors=True)


if __name__ == "__main__":
    main()
