"""A rollout over a running pair: traffic goes on, mistakes stop early, and what was added can be taken away."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from lib.lab import NODES, Host, Member
from lib.poll import wait_until
from pair.rig import archive, client, nodes, rollout
from pair.rig.watch import HolderWatch

pytestmark = pytest.mark.usefixtures("fault")

PACS = nodes.address_of("pacs")
ADDRESSES = [address for addresses in nodes.groups().values() for address in addresses]
EXTRA = "198.51.100.110"
CONFIGURED = ("/etc/haproxy/haproxy.cfg", "/etc/keepalived/keepalived.conf", "/etc/rota/site.json")
# A no-change run should take 45 s on a quiet machine (bench/ measures it); this one shares its cores with traffic.
NO_CHANGE = 120


def fingerprints() -> dict[str, str]:
    """What the nodes are configured with, and which processes run it."""
    result = {}
    for name in NODES:
        node = Host(name)
        pids = [node.run("systemctl", "show", "--property=MainPID", unit).out for unit in ("haproxy", "keepalived")]
        result[name] = node.check("sha256sum", *CONFIGURED) + "".join(pids)
    return result


def test_a_run_that_changes_nothing_is_short_and_is_not_felt(record_property: Callable[[str, object], None]) -> None:
    before = fingerprints()
    with client.Running("knock", PACS, "104", "PACS", "CT1") as knocks:
        run = rollout.play("site")
    assert run.code == 0, run.out[-3000:]
    assert {name: run.changed[name] for name in NODES} == dict.fromkeys(NODES, 0), run.out
    assert [line for line in knocks.lines if not line["ok"]] == []
    assert fingerprints() == before
    record_property("seconds", round(run.seconds, 1))
    print(f"a run without a change: {run.seconds:.1f} s")
    assert run.seconds < NO_CHANGE


def test_a_wrong_inventory_touches_no_node() -> None:
    """Every mistake is named, in one run, before any node is asked anything."""
    service = rollout.written("pacs")
    service["members"]["pacs-b"]["port"] = 70000
    service["profil"] = "dicom"
    before = fingerprints()
    run = rollout.play("site", inventory=rollout.edited({"pacs": service}))
    assert run.code != 0
    assert "services.pacs.members.pacs-b.port: 70000 is not a port (1–65535)" in run.out, run.out
    assert "services.pacs.profil" in run.out, "only the first mistake is named"
    assert run.order == [], f"touched: {run.order}"
    assert fingerprints() == before


@pytest.mark.parametrize("playbook", ["site", "validate"])
def test_what_haproxy_refuses_never_replaces_what_runs(playbook: str) -> None:
    """The model cannot see that a certificate is no certificate; HAProxy can, and the second node is never reached."""
    service = rollout.written("viewer-offload")
    service["tls"]["certificate"] = "broken.pem"
    broken = "-----BEGIN CERTIFICATE-----\nbm90IGEgY2VydGlmaWNhdGU=\n-----END CERTIFICATE-----\n"
    inventory = rollout.edited({"viewer-offload": service}, {"broken.pem": broken})
    before = fingerprints()
    words = ["--check"] if playbook == "validate" else []
    with HolderWatch(ADDRESSES) as watch, client.Running("knock", PACS, "104", "PACS", "CT1") as knocks:
        run = rollout.play(playbook, *words, inventory=inventory)
    assert run.code != 0, "a broken certificate was accepted"
    assert "broken.pem" in run.out or "viewer-offload" in run.out, run.out[-3000:]
    if playbook == "site":
        assert len(run.order) == 1, f"the second node was reached: {run.order}"
    assert fingerprints() == before
    assert [line for line in knocks.lines if not line["ok"]] == []
    assert not watch.changes(), "an address moved"


def test_validate_is_green_under_check() -> None:
    run = rollout.play("validate", "--check")
    assert run.code == 0, run.out[-3000:]
    assert set(run.order) == set(NODES) or "lb1" in run.out


@pytest.mark.usefixtures("empty_archives")
def test_a_service_is_added_and_taken_away_again_with_nothing_felt() -> None:
    """The new one is transparent: the archive sees the modality's own address, as its AE table wants. Standby first; no
    address ever has two holders; afterwards the address is gone from both nodes."""
    seen = {
        "profile": "dicom",
        "group": nodes.SITE.services["pacs"].group,
        "mode": "l7-transparent",
        "address": EXTRA,
        "port": 104,
        "members": {"pacs-a": {"address": "198.51.100.21", "port": 4242, "called_ae": "PACS_A"}},
    }
    first, last = nodes.standby().name, nodes.active().name
    inventory = rollout.edited({"pacs-seen": seen})
    try:
        with HolderWatch([*ADDRESSES, EXTRA]) as watch, client.Running("knock", PACS, "104", "PACS", "CT1") as knocks:
            run = rollout.play("site", inventory=inventory)
            assert run.code == 0, run.out[-3000:]
            wait_until(lambda: nodes.held_once(EXTRA), within=10)
        assert run.order == [first, last], "the active node was changed before the standby"
        assert [line for line in knocks.lines if not line["ok"]] == []
        assert not watch.overlaps(), watch.overlaps()
        assert nodes.active().name == last, "the rollout moved the role"
        assert_seen_as_itself()
    finally:
        run = rollout.play("site")
    assert run.code == 0, run.out[-3000:]
    wait_until(lambda: not any(EXTRA in Host(name).addresses() for name in NODES), within=10)
    for name in NODES:
        assert "pacs-seen" not in Host(name).check("cat", *CONFIGURED)


def assert_seen_as_itself() -> None:
    """Store through the transparent service; the archive's way back leads through the node that holds the address."""
    client_address, member = "198.51.100.51", Member("pacs-a")
    way = ("198.51.100.51/32", "via", nodes.SITE.site.nodes[nodes.active().name].addresses[0])
    member.check("ip", "route", "replace", *way)
    try:
        file = archive.series()[0]
        answer = client.dcmtk("storescu", EXTRA, "104", file)
        assert answer.ok, answer.err
        assert [row["remote"] for row in archive.stored("pacs-a")] == [client_address]
        archive.clear("pacs-a")
        answer = client.dcmtk("storescu", nodes.address_of("pacs-ae"), "11112", "-aec", "PACS_A", "-aet", "CT1", file)
        rows = archive.stored("pacs-a")
        assert [row["remote"] for row in rows] != [client_address], "the twin that is not transparent shows a node"
    finally:
        member.run("ip", "route", "del", *way)


def test_steady_after_everything() -> None:
    """The last word: nothing that the tests did has left a mark."""
    assert nodes.steady()
    for name in NODES:
        assert Host(name).failed_units() == []
    files = archive.series()
    archive.clear()
    lines = client.call("store_loop", PACS, "104", "PACS", "CT1", "1", *files)
    assert all(line["ok"] for line in lines)
    archive.assert_all_stored(files)
