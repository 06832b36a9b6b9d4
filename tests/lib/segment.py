"""Hosts on one layer 2 network, as network namespaces of this machine with no way out; gone at the end."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from lib.poll import wait_until

TOP = Path(__file__).resolve().parents[2]

# Takes every connection and keeps nothing: whatever does not answer was stopped on its way.
LISTEN = """
import select, socket, sys
def tcp(port): return socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=50)
held = [tcp(int(port)) for port in sys.argv[1:]]
print("ready", flush=True)
while True:
    for ready in select.select(held, [], [])[0]:
        ready.accept()[0].close()
"""
SCAN = """
import json, socket, sys, threading
found = {}
def ask(address, port):
    try:
        socket.create_connection((address, port), 1.0).close()
        found[address].append(port)
    except TimeoutError:
        pass
    except OSError as error:
        found[address].append(f"{port}: {error.strerror}")
targets, ports = json.loads(sys.argv[1])
found = {address: [] for address in targets}
threads = [threading.Thread(target=ask, args=(a, p)) for a in targets for p in ports]
[t.start() for t in threads]
[t.join() for t in threads]
print(json.dumps({address: sorted(ports, key=lambda p: (isinstance(p, str), p)) for address, ports in found.items()}))
"""


class Segment:
    """A switch with hosts; each has the addresses that it is given, on `eth0`."""

    def __init__(self, stack: contextlib.ExitStack, hosts: Mapping[str, Iterable[str]]) -> None:
        self._stack, self._prefix = stack, f"rota-{os.getpid()}"
        self._add("switch")
        self.ip("switch", "link", "add", "bridge", "type", "bridge", "forward_delay", "0", "mcast_snooping", "0")
        self.ip("switch", "link", "set", "bridge", "up")
        for name, addresses in hosts.items():
            self._add(name)
            self.ip("switch", "link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", self.space(name))
            self.ip("switch", "link", "set", name, "master", "bridge", "up")
            self.ip(name, "link", "set", "eth0", "up")
            self.give(name, *addresses)

    def _add(self, name: str) -> None:
        subprocess.run(["ip", "netns", "add", self.space(name)], check=True, timeout=10)
        self._stack.callback(subprocess.run, ["ip", "netns", "del", self.space(name)], check=True, timeout=10)
        self.ip(name, "link", "set", "lo", "up")

    def space(self, name: str) -> str:
        """The namespace of a host."""
        return f"{self._prefix}-{name}"

    def ip(self, name: str, *words: str) -> None:
        """Run ip(8) on a host."""
        subprocess.run(["ip", "-netns", self.space(name), *words], check=True, timeout=10, capture_output=True)

    def give(self, name: str, *addresses: str) -> None:
        """Give a host addresses, with their prefix lengths."""
        for address in addresses:
            self.ip(name, "address", "add", address, "dev", "eth0", *(["nodad"] if ":" in address else []))

    def inside(self, name: str, *words: str | Path) -> list[str]:
        """The command that runs `words` on a host."""
        return ["ip", "netns", "exec", self.space(name), *map(str, words)]

    def run(self, name: str, *words: str | Path, text: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run a command on a host to its end, whatever that is."""
        return subprocess.run(self.inside(name, *words), input=text, capture_output=True, text=True, timeout=30, check=False)

    def python(self, name: str, program: str, *words: str) -> Any:
        """Run a program on a host; what it printed as JSON."""
        done = self.run(name, sys.executable, "-c", program, *words)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def start(self, name: str, program: str, *words: str) -> subprocess.Popen[str]:
        """Start a program on a host and wait for its first line; ended with the segment."""
        command = self.inside(name, sys.executable, "-c", program, *words)
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._stack.callback(_end, process)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        return process

    def scan(self, name: str, targets: Iterable[str], ports: Iterable[int]) -> dict[str, list[Any]]:
        """Target → the ports that a TCP connection from host `name` opens; with words, those that refuse."""
        found: dict[str, list[Any]] = self.python(name, SCAN, json.dumps([list(targets), list(ports)]))
        return found

    def reaches(self, name: str, address: str, port: int, within: float = 5) -> None:
        """Wait until a host can open a TCP connection."""
        wait_until(
            lambda: self.scan(name, [address], [port]) == {address: [port]}, within=within, what=f"{name} to {address}"
        )


def _end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()
