"""Bring the lab back to health, whatever a test did to it: what is fine is left alone."""

from __future__ import annotations

from lib.lab import NODES, Host, Member
from lib.poll import wait_until
from pair.rig import nodes

MEMBERS = {
    "pacs-a": (4242, 8042, 8443),
    "pacs-b": (4242, 8042, 8443),
    "hl7-a": (2575,),
    "hl7-b": (2575,),
    "xds-a": (8080,),
    "xds-b": (8080,),
}


def mend(*, within: float = 60) -> None:
    """Start what is off, undo every fault, make every member ready, and wait until the pair is steady."""
    for name in NODES:
        _mend_node(Host(name))
    for name, ports in MEMBERS.items():
        member = Member(name)
        if not member.is_up():
            member.start()
        member.mend_all(*ports)
    for name in NODES:
        _make_ready(Host(name))
    wait_until(nodes.steady, within=within, what="a steady pair", every=0.3)


def _mend_node(node: Host) -> None:
    if not node.is_up():
        node.start()
    for unit in ("haproxy", "keepalived"):
        node.run("systemctl", "kill", "--signal=CONT", f"{unit}.service")
        node.run("systemctl", "reset-failed", f"{unit}.service")
        node.systemctl("start", f"{unit}.service")


def _make_ready(node: Host) -> None:
    """Undo drains and halts."""
    for name, row in nodes.servers(node).items():
        if row["status"].startswith(("DRAIN", "MAINT")):
            nodes.runtime(node, f"set server {name} state ready")
