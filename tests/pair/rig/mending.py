"""Break things in the lab, and bring it back to health: only what was broken is looked at again."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

from lib.lab import NODES, Host, Member
from lib.poll import wait_until
from pair.rig import control, nodes

PORTS = {"pacs": (4242, 8042, 8443), "hl7-": (2575,), "xds-": (8080,)}
UNITS = {"pacs": "orthanc.service", "hl7-": "rota-lab-hl7.service", "xds-": "rota-lab-xds.service"}
_MEND_NODE = """for unit in haproxy keepalived rota-control; do
  systemctl kill --signal=CONT $unit.service 2>/dev/null
  systemctl reset-failed $unit.service 2>/dev/null
  systemctl start $unit.service || exit 1
done"""
_broken: set[str] = set()


def kill_process(member: str) -> float:
    """Kill a server's process, not its host; return when (seconds since 1970)."""
    _broken.add(member)
    began = time.time()
    Member(member).check("systemctl", "kill", "--signal=KILL", UNITS[member[:4]])
    return began


def fault(member: str, *words: str) -> None:
    """Switch a fault of `lab-member` on."""
    _broken.add(member)
    Member(member).fault(*words)


def unplug(member: str) -> float:
    """Pull the plug of a server's host; return when (seconds since 1970)."""
    _broken.add(member)
    began = time.time()
    Member(member).kill()
    return began


def mend_member(name: str) -> None:
    """Bring one server back, and wait until it listens."""
    member = Member(name)
    if not member.is_up():
        member.start()
    member.mend_all(*PORTS[name[:4]])
    _broken.discard(name)


def mend(*, within: float = 60) -> None:
    """Start what is off, undo every fault, take operators' words back, and wait until the pair is steady."""
    with ThreadPoolExecutor(max_workers=4) as pool:
        list(pool.map(_mend_node, NODES))
        list(pool.map(mend_member, sorted(_broken)))
    control.all_ready()
    for seen in nodes.snapshots():
        for name, row in seen.servers.items():
            if row["status"].startswith("DOWN"):
                # it listens again: the next check would say so, seconds later
                nodes.runtime(Host(seen.name), f"set server {name} health up")
    wait_until(nodes.steady, within=within, what="a steady pair", every=0.3)


def _mend_node(name: str) -> None:
    node = Host(name)
    if not node.is_up():
        node.start()
    node.check("sh", "-c", _MEND_NODE)
