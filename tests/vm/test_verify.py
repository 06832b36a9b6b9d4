"""`rota verify` on the nodes themselves, as every rollout ends with it: layer 4 services are asked where they can be."""

from __future__ import annotations

from rota.verify import worst
from vm.lib.rig import Rig

VERIFY = ("/opt/rota/current/bin/rota", "verify", "--json", "--wait=15")


def test_a_pair_that_is_well_is_found_well(vms: Rig) -> None:
    """IPVS sends a caller of the node's own elsewhere than others: which node can ask what is seen on a real kernel only."""
    said = {node.name: node.run(*VERIFY, timeout=200).out for node in vms.nodes}
    rows = {f"{row.service} {row.address} {row.port}": row for row in worst(said)}
    assert {what: row.detail for what, row in rows.items() if row.verdict == "down"} == {}
    assert {row.service for row in rows.values() if row.verdict == "not asked"} == {"syslog"}
