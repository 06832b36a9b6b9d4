"""What becomes of callers when a member is drained, halted, dead, back, or the last one: packets, not tables."""

from __future__ import annotations

import pytest
from lib.poll import wait_until
from vm.lib import callers
from vm.lib.callers import call, calls, members
from vm.lib.rig import SITE, Rig, rota, standings

V4, V6 = "192.0.2.100", "2001:db8:1::100"
STICKY, WEIGHTED, BACKED = (SITE.services[name].ports[0] for name in ("sticky", "weighted", "backed"))


def only(rig: Rig, wanted: set[str], address: str = V4, port: int = BACKED, *, times: int = 6) -> bool:
    """Whether exactly these members answer new callers; AssertionError says who did."""
    found = set(members(rig.client, address, port, times, within=3))
    assert found == wanted, f"answered: {found}"
    return True


@pytest.mark.parametrize("address", [V4, V6])
def test_callers_are_shared_out_and_seen(vms: Rig, address: str) -> None:
    with calls(vms.client, address, BACKED, 6) as held:
        assert sorted(one.member for one in held) == ["a"] * 3 + ["b"] * 3
        assert {one.caller for one in held} == {vms.client.address(6 if ":" in address else 4)}


def test_weights_decide_the_shares(vms: Rig) -> None:
    """Weights of 30 and 10: of 40 callers, 30 and 10."""
    assert members(vms.client, V4, WEIGHTED, 40) == {"a": 30, "b": 10}


@pytest.mark.parametrize("address", [V4, V6])
def test_a_caller_stays_with_its_member(vms: Rig, address: str) -> None:
    """The scheduler is round robin: without persistence the second call would reach the other one."""
    found = members(vms.client, address, STICKY, 6)
    assert len(found) == 1
    assert "-" not in found


def test_drain_sends_nothing_new_and_cuts_nothing(vms: Rig) -> None:
    with calls(vms.client, V4, BACKED, 4) as held:
        rota(vms.active(), "drain", "backed", "b", "--reason", "patching")
        wait_until(lambda: only(vms, {"a"}), within=60, what="only a gets new callers")
        assert [one.member for one in held if not one.alive()] == []
        rota(vms.active(), "ready", "backed", "b", "--reason", "patched")
        wait_until(lambda: only(vms, {"a", "b"}), within=60, what="b is back")
        assert [one.member for one in held if not one.alive()] == []


def test_drain_reaches_a_caller_that_sticks(vms: Rig) -> None:
    """Its memory of the member ends with the drain (expire_quiescent_template), or it would stay for ever."""
    with call(vms.client, V4, STICKY) as held:
        rota(vms.active(), "drain", "sticky", held.member, "--reason", "patching")
        other = "b" if held.member == "a" else "a"
        wait_until(lambda: only(vms, {other}, port=STICKY, times=2), within=60, what="it is sent to the other member")
        assert held.alive()


def test_halt_ends_what_runs(vms: Rig) -> None:
    """expire_nodest_conn: the caller is told at once, instead of sending into nothing until its own time-out."""
    with calls(vms.client, V4, BACKED, 4) as held:
        rota(vms.active(), "halt", "backed", "b", "--reason", "it stores rubbish")
        wait_until(lambda: only(vms, {"a"}), within=60, what="only a answers")
        fates = [(one.member, one.fate(within=3)) for one in held]
        assert sorted(fates) == [("a", "alive"), ("a", "alive"), ("b", "told"), ("b", "told")]


@pytest.mark.parametrize("address", [V4, V6])
def test_a_dead_member_gets_nobody_and_comes_back(vms: Rig, address: str) -> None:
    vms.peers["b"].unplug()
    wait_until(lambda: only(vms, {"a"}, address), within=60, what="the dead member is out")
    vms.peers["b"].plug()
    wait_until(lambda: only(vms, {"a", "b"}, address), within=60, what="it is back")


def test_when_all_are_dead_the_fallback_answers(vms: Rig) -> None:
    for name in ("a", "b"):
        vms.stop(name)
    # the brake holds the last state for a while, since it may be the network that is broken
    wait_until(lambda: only(vms, {"f"}), within=120, what="the fallback answers", every=1)
    vms.serve()
    wait_until(lambda: only(vms, {"a", "b"}), within=60, what="the members answer again")


def test_when_most_go_at_once_the_brake_holds(vms: Rig) -> None:
    """Checks of every member fail on both nodes, but callers reach them: IPVS keeps them."""
    for node in vms.nodes:
        node.check(
            "nft",
            "-f",
            "-",
            stdin=b"""table inet test {
                chain checks {
                    type filter hook output priority 0
                    ip daddr { 192.0.2.21, 192.0.2.22 } tcp dport 7003 reject with tcp reset
                    ip6 daddr { 2001:db8:1::21, 2001:db8:1::22 } tcp dport 7003 reject with tcp reset
                }
            }
""",
        )
    with calls(vms.client, V4, BACKED, 2) as held:
        wait_until(lambda: _down(vms) == 8, within=60, what="every check of the service fails on both nodes")
        assert only(vms, {"a", "b"}, times=10)
        assert all(one.alive() for one in held)


def _down(rig: Rig) -> int:
    return sum(verdict == "down" for node in rig.nodes for service, _, verdict in standings(node) if service == "backed")


def test_rotad_killed_changes_nothing(vms: Rig) -> None:
    """Also not for a member that was drained: what is written stays."""
    node = vms.active()
    rota(node, "drain", "backed", "b", "--reason", "patching")
    wait_until(lambda: only(vms, {"a"}), within=60, what="only a gets new callers")
    with calls(vms.client, V4, BACKED, 2) as held:
        node.check("systemctl", "kill", "--signal=KILL", "rota-control.service")
        assert only(vms, {"a"})
        node.check("systemctl", "stop", "rota-control.service")
        assert only(vms, {"a"}, times=10)
        assert all(one.alive() for one in held)
        assert callers.members(vms.client, V4, WEIGHTED, 8) == {"a": 6, "b": 2}


@pytest.mark.parametrize("address", [V4, V6])
def test_datagrams_are_carried(vms: Rig, address: str) -> None:
    """Syslog over UDP: each sender's datagram reaches a member, which answers from the service's address."""
    assert callers.datagrams(vms.client, address, 514, 6) == {"a": 3, "b": 3}
