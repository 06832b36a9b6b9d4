"""What becomes of open connections and of new ones when the active director goes, and what a new one remembers."""

from __future__ import annotations

from lib.poll import wait_until
from vm.lib.callers import calls, members
from vm.lib.rig import SITE, Rig, rota, standings, status

V4 = "192.0.2.100"
BACKED = SITE.services["backed"].ports[0]


def taken_over(rig: Rig) -> bool:
    """Whether lb2 alone holds the address, and answers."""
    assert rig.active() is rig.lb2
    assert "-" not in members(rig.client, V4, BACKED, 2, within=2)
    return True


def test_open_connections_survive_the_death_of_the_director(vms: Rig) -> None:
    """The standby knows them all: it was told as they were made (connection sync)."""
    with calls(vms.client, V4, BACKED, 6) as held:
        wait_until(lambda: _known(vms) >= 6, within=60, what="the standby knows the connections")
        vms.lb1.kill()
        wait_until(lambda: taken_over(vms), within=60, what="lb2 has taken over")
        assert [one.member for one in held if not one.alive(within=10)] == []


def test_without_sync_they_do_not(vms: Rig) -> None:
    """The control: what the test above sees is the sync, and not luck."""
    for node in vms.nodes:
        for state in ("master", "backup"):
            node.run("ipvsadm", "--stop-daemon", state)
    with calls(vms.client, V4, BACKED, 6) as held:
        vms.lb1.kill()
        wait_until(lambda: taken_over(vms), within=60, what="lb2 has taken over")
        assert [one.member for one in held if one.alive(within=3)] == []


def test_an_active_node_that_froze_lets_go(vms: Rig) -> None:
    """It comes back believing that it is active. Two holders is split brain, and nobody is there to see it but the callers."""
    vms.lb1.pause()
    wait_until(lambda: V4 in vms.lb2.addresses(), within=60, what="lb2 has taken over")
    vms.lb1.unpause()
    wait_until(lambda: vms.active().is_up(), within=60, what="one of the two has let go")
    assert "-" not in members(vms.client, V4, BACKED, 4, within=5)


def _known(rig: Rig) -> int:
    """Connections of the client that the standby's kernel knows."""
    return rig.lb2.check("ipvsadm", "-Lnc").count(f"{rig.client.address()}:")


def drained(rig: Rig, times: int = 6) -> bool:
    found = set(members(rig.client, V4, BACKED, times, within=3))
    assert found == {"a"}, f"answered: {found}"
    return True


def test_a_drained_member_stays_drained(vms: Rig) -> None:
    """Through a failover, a reload of everything, the death of the node that was told, and its reboot."""
    rota(vms.lb1, "drain", "backed", "b", "--reason", "patching")
    wait_until(lambda: drained(vms), within=60, what="only a gets new callers")
    rota(vms.lb1, "failover", "--reason", "kernel update")
    wait_until(lambda: taken_over(vms), within=60, what="lb2 has taken over")
    assert drained(vms)
    vms.lb2.systemctl("reload", "haproxy.service", "keepalived.service", "rota-control.service")
    for _ in range(5):
        assert drained(vms)
    vms.lb1.kill()
    assert drained(vms)
    vms.lb1.start()
    wait_until(lambda: drained_there(vms), within=180, what="the rebooted node knows of the drain", every=0.5)
    wait_until(lambda: well_again(vms), within=180, what="lb2 finds the rebooted node fit", every=0.5)
    rota(vms.lb2, "failover", "--reason", "back to where it was")
    wait_until(lambda: vms.active() is vms.lb1, within=60, what="lb1 has the address again")
    assert drained(vms)


def drained_there(rig: Rig) -> bool:
    assert rig.lb1.read("/run/rota/track/backed.b").strip() == "-1000"
    return True


def well_again(rig: Rig) -> bool:
    (peer,) = status(rig.lb2)["peers"]
    assert (peer["in_step"], peer["problem"]) == (True, None)
    assert {verdict for _, _, verdict in standings(rig.lb1)} == {"up"}
    return True
