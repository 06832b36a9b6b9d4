"""Layer 4 carries traffic: direct routing, NAT and tunnels, with real DICOM, over a real kernel's IPVS."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from lib.series import Instance, make_series
from vm.lib import callers
from vm.lib.capture import Capture
from vm.lib.rig import SITE, Rig

NEAR, BEHIND = ("a", "b"), ("na", "nb")
WAYS = {
    "dr4": ("pacs-dr", 4, NEAR), "dr6": ("pacs-dr", 6, NEAR), "nat4": ("pacs-nat", 4, BEHIND), "nat6": ("pacs-nat", 6, BEHIND),
    "tun4": ("pacs-tun", 4, NEAR), "tun6": ("pacs-tun", 6, NEAR), "l7": ("pacs-l7", 4, NEAR),
}  # fmt: skip


def address_of(service: str, family: int) -> str:
    return next(one for one in SITE.services[service].addresses if (":" in one) == (family == 6))


@pytest.fixture(scope="module")
def series(tmp_path_factory: pytest.TempPathFactory) -> list[Instance]:
    return make_series(tmp_path_factory.mktemp("series"), 3, times=2)


@pytest.mark.parametrize("way", WAYS)
def test_a_series_arrives_bit_for_bit(vms: Rig, series: Sequence[Instance], way: str) -> None:
    """Two associations, so that both members get one; the member sees the caller itself in every mode of layer 4."""
    service, family, names = WAYS[way]
    address = address_of(service, family)
    for _ in range(2):
        if family == 4:
            callers.dcmtk_store(vms.client, address, SITE.services[service].ports[0], series[0].path.parent)
        else:
            assert callers.store(vms.client, address, SITE.services[service].ports[0], series) == [0] * len(series)
    wanted = {one.sop_instance_uid: one.sha256 for one in series}
    for name in names:
        assert vms.archives[name].stored == wanted, f"{name} did not get what was sent"
        seen = vms.archives[name].callers
        if SITE.services[service].mode.is_l4:
            assert seen == [vms.client.address(family)]
        else:
            assert seen == [vms.active().address(family)]


@pytest.mark.parametrize(("service", "through"), [("pacs-dr", False), ("pacs-nat", True)])
def test_which_way_the_answers_take(vms: Rig, tmp_path: Path, service: str, through: bool) -> None:
    """In direct routing a member answers the caller itself; with NAT it cannot, every byte goes back through the node."""
    address = address_of(service, 4)
    capture = Capture(vms.network, "clinical", tmp_path / "answers.pcap", "tcp")
    statuses = callers.store(vms.client, address, SITE.services[service].ports[0], make_series(tmp_path / "series", 1))
    capture.stop()
    assert statuses == [0]
    node = vms.active().mac(0)
    answers = f"src host {address} and dst host {vms.client.address()}"
    from_node, from_others = (
        capture.count(f"{answers} and ether src {node}"),
        capture.count(f"{answers} and not ether src {node}"),
    )
    assert (from_node > 0, from_others > 0) == (through, not through), (from_node, from_others)
