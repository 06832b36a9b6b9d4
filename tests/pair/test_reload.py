"""A reload is normal: associations live on, new ones are served, and what HAProxy knew it still knows."""

from __future__ import annotations

import time

import pytest
from lib.lab import NODES, Host
from lib.poll import wait_until
from pair.rig import archive, client, control, nodes
from pair.rig.mending import kill_process

pytestmark = pytest.mark.usefixtures("fault", "empty_archives")

PACS = nodes.address_of("pacs")


def workers(node: Host) -> set[str]:
    """Return the process ids of HAProxy on `node`."""
    return set(node.run("pgrep", "-x", "haproxy").out.split())


def reload(node: Host) -> None:
    """Reload HAProxy and wait until a new process answers."""
    before = workers(node)
    node.systemctl("reload", "haproxy")
    wait_until(lambda: workers(node) - before, within=10, what="a new HAProxy process")


def test_an_association_lives_through_reloads_in_the_middle_of_a_study() -> None:
    files, node = archive.series(), nodes.active()
    with (
        client.Running("knock", PACS, "104", "PACS", "CT2") as knocks,
        client.Running("hold", PACS, "104", "PACS", "CT1") as study,
    ):
        wait_until(lambda: study.lines, within=15, what="the association")
        assert study.lines[0]["ok"], study.lines
        knocks.wait_good(10)
        began = time.time()
        third = len(files) // 3
        for part in (files[:third], files[third : 2 * third], files[2 * third :]):
            assert all(study.tell(f"store {file}")["ok"] for file in part), study.lines[-1]
            reload(node)
        assert study.tell("big 8")["ok"], "a large image after three reloads"
        assert study.tell("echo")["ok"]
        assert study.tell("release")["ok"]
        knocks.wait_good(10, since=time.time())
    assert [line for line in knocks.lines if line["began"] > began and not line["ok"]] == [], "a reload was felt"
    sent = archive.digests(files)
    kept = {row["uid"]: row["sha256"] for row in archive.stored()}
    assert {uid: kept.get(uid) for uid in sent} == sent
    assert nodes.active().name == node.name, "a reload moved the role"


def test_drain_and_health_survive_a_reload() -> None:
    """Without the saved state a drained member would get new work, and a dead one too until its checks have failed."""
    node = nodes.active()
    control.rota(node, "drain", "pacs", "pacs-a", "--reason", "patching")
    kill_process("hl7-b")
    wait_until(lambda: nodes.status(node, "adt", "hl7-b").startswith("DOWN"), within=40, what="hl7-b is out")
    began = time.time()
    reload(node)
    assert nodes.status(node, "pacs", "pacs-a").startswith("DRAIN")
    assert nodes.status(node, "adt", "hl7-b").startswith("DOWN"), "a dead member came back by a reload"
    said = node.check("journalctl", "--no-pager", "-u", "haproxy", f"--since=@{began:.3f}")
    assert "adt/hl7-b is DOWN, reason" not in said, (
        "the new process took a dead member for alive until its own check said otherwise"
    )
    files = archive.series()[:6]
    assert all(line["ok"] for line in client.call("store_loop", PACS, "104", "PACS", "CT1", "1", *files))
    archive.assert_all_stored(files, "pacs-b")
    assert archive.stored("pacs-a") == []


def test_a_reload_of_keepalived_moves_nothing() -> None:
    node = nodes.active()
    with client.Running("knock", PACS, "104", "PACS", "CT1") as knocks:
        knocks.wait_good(10)
        began = time.time()
        for name in NODES:
            Host(name).systemctl("reload", "keepalived")
        knocks.wait_good(60, since=began, within=20)
    assert nodes.active().name == node.name
    assert [line for line in knocks.lines if line["began"] > began and not line["ok"]] == []
