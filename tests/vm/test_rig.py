"""The rig itself: what every other scenario takes for granted."""

from __future__ import annotations

from vm.lib.machine import Machine
from vm.lib.rig import STEADY, Rig

GONE_BY = 20  # seconds


def uptime(node: Machine) -> float:
    return float(node.read("/proc/uptime").split()[0])


def test_a_restored_machine_has_forgotten_the_time_between(vms: Rig) -> None:
    """Its clock goes back with it. One that leaps makes every timer late, and both nodes then held the addresses."""
    before = uptime(vms.lb1)
    vms.lb1.check("sleep", str(GONE_BY))
    vms.lb1.restore(STEADY)
    vms.lb1.wake()
    assert uptime(vms.lb1) < before + GONE_BY
