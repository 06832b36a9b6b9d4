"""HAProxy and keepalived of the image: what the pair tier shows in containers holds on the image's own kernel, too."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from lib.poll import wait_until
from lib.series import Instance, make_series
from pydicom import dcmread
from vm.lib.callers import associated, send, store
from vm.lib.rig import SITE, Rig, rota

SERVICE = SITE.services["pacs-l7"]
ADDRESS, PORT = SERVICE.addresses[0], SERVICE.ports[0]


@pytest.fixture(scope="module")
def series(tmp_path_factory: pytest.TempPathFactory) -> list[Instance]:
    return make_series(tmp_path_factory.mktemp("series"), 2)


def reached(rig: Rig, series: Sequence[Instance], times: int = 4) -> set[str]:
    """Store the series in so many associations; the members that got it. AssertionError when anything was not stored."""
    for archive in rig.archives.values():
        archive.forget()
    for _ in range(times):
        assert store(rig.client, ADDRESS, PORT, series) == [0] * len(series)
    wanted = {one.sop_instance_uid: one.sha256 for one in series}
    found = {name for name, archive in rig.archives.items() if archive.stored}
    assert all(rig.archives[name].stored == wanted for name in found)
    return found


def test_drain_leaves_the_open_association_alone(vms: Rig, series: Sequence[Instance]) -> None:
    datasets = [dcmread(one.path) for one in series]
    with associated(vms.client, ADDRESS, PORT, datasets) as association:
        assert send(association, datasets[:1]) == [0]
        (held,) = (name for name, archive in vms.archives.items() if archive.stored)
        rota(vms.active(), "drain", "pacs-l7", held, "--reason", "patching")
        wait_until(lambda: held not in reached(vms, series, 2), within=60, what=f"{held} gets no new association")
        assert send(association, datasets) == [0] * len(datasets)
        assert held in {name for name, archive in vms.archives.items() if archive.stored}, "it had another member's answers"


def test_a_dead_member_costs_nobody_an_association(vms: Rig, series: Sequence[Instance]) -> None:
    """From the first one on, before any check has noticed: HAProxy tries the other member (redispatch)."""
    vms.stop("b")
    assert reached(vms, series) == {"a"}
    vms.serve()
    wait_until(lambda: reached(vms, series, 2) == {"a", "b"}, within=60, what="b gets associations again")


def test_the_other_node_serves_when_the_active_one_dies(vms: Rig, series: Sequence[Instance]) -> None:
    assert reached(vms, series, 2) == {"a", "b"}
    vms.lb1.kill()
    wait_until(lambda: ADDRESS in vms.lb2.addresses(), within=60, what="lb2 has taken over")
    assert reached(vms, series, 2) == {"a", "b"}
    assert vms.active("pacs-l7") is vms.lb2
