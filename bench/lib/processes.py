"""Programs under measurement: started in a namespace and a root, pinned to a core, ended by their own pid."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from bench.lib.network import inside

TICKS = os.sysconf("SC_CLK_TCK")


def argv(command: list[str], *, end: str | None = None, root: Path | None = None, core: int | None = None) -> list[str]:
    """`command` with what puts it in the namespace of `end`, in `root`, on `core`; each of them execs the next."""
    words = list(command)
    if root:
        words = ["chroot", str(root), *words]
    if core is not None:
        words = ["taskset", "--cpu-list", str(core), *words]
    return inside(end, words) if end else words


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """A small environment, so that nothing of the caller's changes a measurement."""
    return {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C", **(extra or {})}


@contextlib.contextmanager
def running(
    command: list[str],
    *,
    end: str | None = None,
    root: Path | None = None,
    core: int | None = None,
    env: Mapping[str, str] | None = None,
    log: Path | None = None,
) -> Iterator[subprocess.Popen[bytes]]:
    """Run `command` for as long as the block lasts."""
    with contextlib.ExitStack() as stack:
        out = stack.enter_context(log.open("ab")) if log else subprocess.DEVNULL
        process = subprocess.Popen(
            argv(command, end=end, root=root, core=core),
            env=environment(env),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
        )
        try:
            yield process
        finally:
            stop(process)


def stop(process: subprocess.Popen[bytes]) -> None:
    """End `process`: TERM, and after two seconds KILL."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(2)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(5)


def cpu_seconds(pid: int) -> float:
    """Processor time of `pid`, user and system, all threads, in seconds (resolution of /proc/PID/stat: 10 ms)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def cpu_tree_seconds(pid: int) -> float:
    """Processor time of `pid` and of its living children."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return cpu_seconds(pid) + sum(cpu_seconds(int(child)) for child in children)


def until(condition: Callable[[], bool], *, within: float, what: str, every: float = 0.05) -> None:
    """Poll `condition` until it holds; RuntimeError naming `what` after `within` seconds."""
    limit = time.monotonic() + within
    while not condition():
        if time.monotonic() > limit:
            raise RuntimeError(f"{what}: not after {within:g} s")
        time.sleep(every)


def listening(port: int, pid: int) -> bool:
    """Whether a TCP socket of the namespace of `pid` listens on `port` (read, not tried: a peer sees no connection)."""
    want = f":{port:04X}"
    for table in ("tcp", "tcp6"):
        with contextlib.suppress(FileNotFoundError):
            for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
                local, state = line.split()[1], line.split()[3]
                if state == "0A" and local.endswith(want):
                    return True
    return False


def ask(path: Path, command: str) -> str:
    """What HAProxy answers to `command` on its UNIX socket at `path`."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(5)
        client.connect(str(path))
        client.sendall(command.encode() + b"\n")
        return b"".join(iter(lambda: client.recv(65536), b"")).decode()
