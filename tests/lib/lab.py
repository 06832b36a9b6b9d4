"""The lab's hosts as tests see them: run a program in one, break it, mend it, look at its addresses.

Everything is an argv list, run in the host's namespaces or through `podman`; nothing here goes over the lab's own network, so a fault of
the network never hides in the tool that measures it.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from lib.poll import wait_until

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "roles/lab/files"))

import lab_enter  # noqa: E402 (found through the line above)

PREFIX = "rota-lab-"
NODES = ("lb1", "lb2")
NOT_RUNNING = 125  # what podman says of a host that is off (podman-exec(1))


class CommandFailed(AssertionError):
    """A program in a lab host ended with another code than 0."""


def _podman(words: Sequence[str], *, timeout: float, stdin: bytes | None = None) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(["podman", *words], capture_output=True, timeout=timeout, input=stdin, check=False)


@dataclass(frozen=True)
class Result:
    """What a program in a lab host came to."""

    code: int
    out: str
    err: str

    @property
    def ok(self) -> bool:
        """Whether it ended with 0."""
        return self.code == 0


@dataclass(frozen=True)
class Host:
    """One lab host, by its inventory name."""

    name: str

    @property
    def container(self) -> str:
        """Name of its container."""
        return PREFIX + self.name

    def inside(self, *argv: str) -> list[str]:
        """Return the words that run `argv` as root in the host. Raises NotRunning when it is off."""
        return [*lab_enter.entering(self.container), *argv]

    def run(self, *argv: str, timeout: float = 60, stdin: bytes | None = None) -> Result:
        """Run `argv` as root and return what came of it, whatever the exit code."""
        try:
            done = subprocess.run(self.inside(*argv), capture_output=True, timeout=timeout, input=stdin or b"", check=False)
        except lab_enter.NotRunning as problem:
            return Result(NOT_RUNNING, "", str(problem))
        code = done.returncode if done.returncode >= 0 else 128 - done.returncode  # as a shell names a signal
        return Result(code, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace"))

    def check(self, *argv: str, timeout: float = 60, stdin: bytes | None = None) -> str:
        """Run `argv`, insist on exit code 0, and return what it printed."""
        result = self.run(*argv, timeout=timeout, stdin=stdin)
        if not result.ok:
            raise CommandFailed(f"{self.name}: {' '.join(argv)}: exit {result.code}: {result.err or result.out}")
        return result.out

    def start_process(self, *argv: str, stdout: int | IO[bytes] = subprocess.PIPE) -> subprocess.Popen[bytes]:
        """Start `argv` and return at once; stderr goes where stdout goes."""
        return subprocess.Popen(self.inside(*argv), stdin=subprocess.DEVNULL, stdout=stdout, stderr=subprocess.STDOUT)

    def read(self, path: str) -> str:
        """Return the text of a file."""
        return self.check("cat", path)

    def read_bytes(self, path: str) -> bytes:
        """Return the bytes of a file."""
        done = subprocess.run(self.inside("cat", path), capture_output=True, timeout=120, check=False)
        if done.returncode:
            raise CommandFailed(f"{self.name}: {path}: {done.stderr.decode().strip()}")
        return done.stdout

    def write(self, path: str, text: str) -> None:
        """Replace a file (not atomically: for tests' own files)."""
        self.check("tee", path, stdin=text.encode())

    def addresses(self) -> set[str]:
        """Return every address on its interfaces; an empty set if it is down."""
        result = self.run("ip", "-json", "address", "show", timeout=20)
        if not result.ok:
            return set()
        return {info["local"] for link in json.loads(result.out) for info in link["addr_info"]}

    def active(self, unit: str) -> bool:
        """Tell whether systemd holds `unit` active."""
        return self.run("systemctl", "is-active", "--quiet", unit, timeout=20).ok

    def systemctl(self, *words: str) -> None:
        """Run systemctl and insist on success."""
        self.check("systemctl", *words)

    def journal(self, *units: str, lines: int = 200) -> str:
        """Return the end of the journal, of some units or of all."""
        chosen = [word for unit in units for word in ("-u", unit)]
        return self.run("journalctl", "--no-pager", "-n", str(lines), *chosen).out

    def is_up(self) -> bool:
        """Tell whether the host runs."""
        done = _podman(["container", "inspect", "--format={{.State.Running}}", self.container], timeout=20)
        return done.stdout.strip() == b"true"

    def kill(self) -> None:
        """Pull the plug: no process of it gets to say good-bye."""
        self._must("kill", "--signal=KILL", self.container)
        wait_until(lambda: not self.is_up(), within=10, what=f"{self.name} is dead")

    def stop(self) -> None:
        """Shut it down in order."""
        self._must("stop", "--time=20", self.container)

    def start(self, *, within: float = 60) -> None:
        """Boot it (nothing happens if it runs) and wait until systemd says `running` or `degraded`."""
        self._must("start", self.container)
        wait_until(self.booted, within=within, what=f"{self.name} has booted")

    def booted(self) -> bool:
        """Tell whether systemd has finished its start, well or with failed units."""
        return self.run("systemctl", "is-system-running").out.strip() in ("running", "degraded")

    def failed_units(self) -> list[str]:
        """Return the units that failed."""
        out = self.run("systemctl", "--failed", "--plain", "--no-legend").out
        return [line.split()[0] for line in out.splitlines() if line.strip()]

    def pause(self) -> None:
        """Freeze every process: connections stay open and nothing answers."""
        self._must("pause", self.container)

    def unpause(self) -> None:
        """Let the processes run again."""
        self._must("unpause", self.container)

    def cut(self) -> None:
        """Let the network lose every packet from and to it; its own link stays up, so it notices nothing."""
        self._bridge_port("bridge", "link", "set", "dev", "{port}", "state", "0")

    def mend(self) -> None:
        """Undo `cut` and `unplug`."""
        self._bridge_port("ip", "link", "set", "dev", "{port}", "up")
        self._bridge_port("bridge", "link", "set", "dev", "{port}", "state", "3")

    def unplug(self) -> None:
        """Take its cable out: its own link goes down too."""
        self._bridge_port("ip", "link", "set", "dev", "{port}", "down")

    def _bridge_port(self, *words: str) -> None:
        """Run `words` on this machine with the name of the host's port on the lab bridge for `{port}`."""
        index = json.loads(self.check("ip", "-json", "link", "show", "eth0"))[0]["link_index"]
        links = json.loads(subprocess.run(["ip", "-json", "link", "show"], capture_output=True, check=True).stdout)
        port = next(link["ifname"] for link in links if link["ifindex"] == index)
        subprocess.run([word.format(port=port) for word in words], check=True, capture_output=True)

    def _must(self, *words: str) -> None:
        done = _podman(words, timeout=60)
        if done.returncode:
            raise CommandFailed(f"{self.name}: podman {words[0]}: {done.stderr.decode().strip()}")


@dataclass(frozen=True)
class Member(Host):
    """A server behind the nodes; its faults are switched by `lab-member`."""

    def fault(self, *words: str) -> None:
        """Switch a fault on: `full`, `reject`, `silent`, `slow`, SECONDS or `hang`."""
        self.check("lab-member", *words)

    def mend_all(self, *ports: int) -> None:
        """End every fault and wait until the server listens again."""
        self.check("lab-member", "normal")
        self.check("lab-ready", *map(str, ports))

    def records(self, kind: str) -> list[dict[str, Any]]:
        """Return what an HL7 or XDS server wrote down, in order (`kind` is hl7 or xds)."""
        result = self.run("cat", f"/var/lib/rota-lab/{kind}.jsonl")
        return [json.loads(line) for line in result.out.splitlines()]

    def forget(self, kind: str) -> None:
        """Empty the record."""
        self.check("truncate", "--size=0", f"/var/lib/rota-lab/{kind}.jsonl")


def holders(address: str, nodes: Iterable[str] = NODES) -> list[str]:
    """Return the nodes that have `address` on an interface: more than one is split brain, none an outage."""
    return [name for name in nodes if address in Host(name).addresses()]
