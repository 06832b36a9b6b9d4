"""What `rota verify`, the last word of every rollout, says of layer 4 on a kernel that carries it."""

from __future__ import annotations

from rota.verify import worst
from vm.lib.rig import Rig

VERIFY = ("/opt/rota/current/bin/rota", "verify", "--json", "--wait=15")


def test_a_pair_that_is_well_is_found_well(vms: Rig) -> None:
    said = {node.name: node.run(*VERIFY, timeout=200).out for node in vms.nodes}
    rows = {f"{row.service} {row.address} {row.port}": row for row in worst(said)}
    assert {what: row.detail for what, row in rows.items() if row.verdict == "down"} == {}
    assert [what for what, row in rows.items() if row.verdict == "not asked"] == []
