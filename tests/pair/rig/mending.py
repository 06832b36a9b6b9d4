"""Bring the lab back to health, whatever a test did to it: what is fine is left alone."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from lib.lab import NODES, Host, Member
from lib.poll import wait_until
from pair.rig import control, nodes

MEMBERS = {
    "pacs-a": (4242, 8042, 8443),
    "pacs-b": (4242, 8042, 8443),
    "hl7-a": (2575,),
    "hl7-b": (2575,),
    "xds-a": (8080,),
    "xds-b": (8080,),
}


_MEND_NODE = """for unit in haproxy keepalived rota-control; do
  systemctl kill --signal=CONT $unit.service 2>/dev/null
  systemctl reset-failed $unit.service 2>/dev/null
  systemctl start $unit.service || exit 1
done"""


def mend(*, within: float = 60) -> None:
    """Start what is off, undo every fault, take operators' words back, and wait until the pair is steady."""
    with ThreadPoolExecutor(max_workers=4) as pool:
        for done in [pool.submit(_mend_node, Host(name)) for name in NODES]:
            done.result()
        for done in [pool.submit(_mend_member, Member(name), ports) for name, ports in MEMBERS.items()]:
            done.result()
    control.all_ready()
    wait_until(nodes.steady, within=within, what="a steady pair", every=0.3)


def _mend_member(member: Member, ports: tuple[int, ...]) -> None:
    if not member.is_up():
        member.start()
    member.mend_all(*ports)


def _mend_node(node: Host) -> None:
    if not node.is_up():
        node.start()
    node.check("sh", "-c", _MEND_NODE)
