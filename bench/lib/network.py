"""A client, a node and a server in network namespaces of their own, joined by veth pairs, with no route out.

    client 198.18.0.2 ── 198.18.0.1 node 198.18.1.1 ── 198.18.1.2 server
    client 198.18.2.2 ──────────── direct ──────────── 198.18.2.1 server

198.18.0.0/15 is set aside for benchmarks (RFC 2544). Nothing of this is visible on the host, and all of it goes away
with the namespaces, on failure too.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator

CLIENT, NODE, SERVER = "client", "node", "server"
NODE_TO_CLIENT = "198.18.0.1"
NODE_TO_SERVER = "198.18.1.1"
SERVICE = "198.18.0.100"  # on the node's front link
BEHIND_NODE = "198.18.1.2"
DIRECT = "198.18.2.1"

# (name of link, (end, address), (end, address)); every prefix is a /24
LINKS = (
    ("front", (CLIENT, "198.18.0.2"), (NODE, NODE_TO_CLIENT)),
    ("back", (NODE, NODE_TO_SERVER), (SERVER, BEHIND_NODE)),
    ("direct", (CLIENT, "198.18.2.2"), (SERVER, DIRECT)),
)
HOSTS = "".join(f"{address} {end}-{link}\n" for link, *ends in LINKS for end, address in ends)


def namespace(end: str) -> str:
    """Name of the namespace of `end`; the pid keeps two runs apart."""
    return f"rota-bench-{os.getpid()}-{end}"


def inside(end: str, argv: list[str]) -> list[str]:
    """`argv`, started in the namespace of `end`."""
    return ["ip", "netns", "exec", namespace(end), *argv]


def _ip(*words: str, check: bool = True) -> None:
    done = subprocess.run(["ip", *words], capture_output=True, text=True, timeout=20)
    if check and done.returncode:
        raise RuntimeError(f"ip {' '.join(words)}: {done.stderr.strip()}")


def add_address(end: str, link: str, address: str) -> None:
    """Give `end` one more address."""
    _ip("-n", namespace(end), "address", "add", f"{address}/32", "dev", link)


def remove_address(end: str, link: str, address: str) -> None:
    """Take it away again: from then on nobody answers there, not even with a refusal."""
    _ip("-n", namespace(end), "address", "delete", f"{address}/32", "dev", link)


def route_to_server(prefix: str) -> None:
    """Have the node reach `prefix` by way of the server."""
    _ip("-n", namespace(NODE), "route", "add", prefix, "via", BEHIND_NODE, "quickack", "1")


@contextlib.contextmanager
def network() -> Iterator[None]:
    """Make the namespaces and links, and remove them afterwards."""
    ends = (CLIENT, NODE, SERVER)
    try:
        for end in ends:
            _ip("netns", "add", namespace(end))
            _ip("-n", namespace(end), "link", "set", "lo", "up")
            # a new namespace takes this over from the host; a router would answer for an address that is not there
            _ip("netns", "exec", namespace(end), "sysctl", "-qw", "net.ipv4.ip_forward=0")
        for link, (one, one_address), (two, two_address) in LINKS:
            _ip(
                *("-n", namespace(one), "link", "add", link, "type", "veth"),
                *("peer", "name", link, "netns", namespace(two)),
            )
            for end, address in ((one, one_address), (two, two_address)):
                _ip("-n", namespace(end), "address", "add", f"{address}/24", "dev", link)
                _ip("-n", namespace(end), "link", "set", link, "up")
        add_address(NODE, "front", SERVICE)
        yield
    finally:
        for end in ends:
            _ip("netns", "delete", namespace(end), check=False)


def quickack(end: str, on: bool = True) -> None:
    """Have the kernel of `end` acknowledge at once on all its links, as a Rota node does."""
    for link, *pair in LINKS:
        for there, address in pair:
            if there == end:
                prefix = address.rpartition(".")[0] + ".0/24"
                _ip(
                    *("-n", namespace(end), "route", "replace", prefix, "dev", link, "proto", "kernel", "scope", "link"),
                    *("src", address, "quickack", "1" if on else "0"),
                )
