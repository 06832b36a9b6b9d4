"""A member dies, hangs, fills up or is taken out: senders notice as little as can be."""

from __future__ import annotations

import json
import time

import pytest
from lib.lab import Host
from lib.poll import wait_until
from pair.rig import archive, client, control, feeds, nodes
from pair.rig.mending import fault, kill_process, mend_member, unplug

pytestmark = pytest.mark.usefixtures("fault", "empty_archives")

PACS = nodes.address_of("pacs")


def is_out(node: Host, service: str, member: str) -> bool:
    return nodes.status(node, service, member).startswith("DOWN")


def is_in(node: Host, service: str, member: str) -> bool:
    return nodes.status(node, service, member) == "UP"


def store_until_stopped(files: list[str], calling: str = "CT1") -> client.Running:
    return client.Running("store_loop", PACS, "104", "PACS", calling, "0", *files)


def test_a_killed_process_is_out_in_under_a_second_and_nothing_is_lost() -> None:
    """Live traffic is the detector (`observe layer4`): the idle check pace would take 15 s."""
    files, node = archive.series(), nodes.active()
    with store_until_stopped(files, "CT1") as one, store_until_stopped(files, "CT2") as two:
        one.wait_good(6)
        two.wait_good(6)
        killed = kill_process("pacs-b")
        one.wait_good(len(files), since=killed + 1, within=60)
        two.wait_good(10, since=killed + 1, within=60)
    late = [line for line in one.lines + two.lines if line["began"] > killed + 1 and not line["ok"]]
    assert not late, f"sent to a dead archive a second after its death: {late}"
    assert max(client.longest_gap(sender.lines, since=killed) for sender in (one, two)) < 2
    assert is_out(node, "pacs", "pacs-b")
    mend_member("pacs-b")
    archive.assert_all_stored(files)
    wait_until(lambda: is_in(node, "pacs", "pacs-b"), within=20, what="pacs-b is back")
    answer = client.call("store_loop", PACS, "104", "PACS", "CT1", "1", *files)
    assert all(line["ok"] for line in answer)
    wait_until(lambda: all(is_in(Host(name), "pacs", "pacs-b") for name in ("lb1", "lb2")), within=30)


def test_a_dead_host_is_out_and_nothing_is_lost() -> None:
    """The plug is pulled: no reset, no refusal, only silence. Slower to see, and as harmless."""
    files, node = archive.series(), nodes.active()
    with store_until_stopped(files, "CT1") as one, store_until_stopped(files, "CT2") as two:
        one.wait_good(6)
        two.wait_good(6)
        killed = unplug("pacs-b")
        wait_until(lambda: is_out(node, "pacs", "pacs-b"), within=30, what="pacs-b is out")
        one.wait_good(len(files), since=time.time(), within=60)
    assert max(client.longest_gap(sender.lines, since=killed) for sender in (one, two)) < 15
    mend_member("pacs-b")
    archive.assert_all_stored(files)


def test_a_hung_archive_is_out_and_the_other_serves() -> None:
    """SIGSTOP: TCP still connects, nothing answers. Only a check that waits for DICOM sees it."""
    files, node = archive.series(), nodes.active()
    fault("pacs-a", "hang")
    with store_until_stopped(files) as sender:
        wait_until(lambda: is_out(node, "pacs", "pacs-a"), within=40, what="pacs-a is out")
        out = time.time()
        sender.wait_good(8, since=out, within=60)
    late = [line for line in sender.lines if line["began"] > out + 0.5 and not line["ok"]]
    assert not late, late
    chk = nodes.member_rows(node, "pacs", "pacs-a")[0]["last_chk"]
    assert chk, "HAProxy gives no reason"


def test_a_slow_archive_stays_in() -> None:
    """Slow is not dead: a store that takes a second each is waited for, and costs no member."""
    files, node = archive.series()[:2], nodes.active()
    for name in archive.PACS:
        fault(name, "slow", "1")
    lines = client.call("store_loop", PACS, "104", "PACS", "CT1", "1", *files)
    assert all(line["ok"] for line in lines), lines
    assert min(line["ended"] - line["began"] for line in lines) >= 1, "the archives were not slow"
    assert all(is_in(node, "pacs", name) for name in archive.PACS)
    archive.assert_all_stored(files)


def test_a_full_archive_is_told_apart_from_a_dead_one() -> None:
    """C-ECHO is fine and storing is not (A7xx): the check that tries to store says which it is."""
    fault("pacs-b", "full")
    node = nodes.active()
    words = ["/opt/rota/bin/rota", "check", "dicom", "--called", "PACS_B", "--json", "pacs-b:4242"]
    assert json.loads(node.check(*words))["verdict"] == "up", "C-ECHO alone does not see it"
    answer = node.run(*words, "--store")
    verdict = json.loads(answer.out)
    assert answer.code == 1
    assert (verdict["verdict"], verdict["reason"]) == ("down", "cannot-store"), verdict
    mend_member("pacs-b")
    assert json.loads(node.check(*words, "--store"))["verdict"] == "up"


def test_a_drained_member_gets_nothing_new_and_keeps_what_runs() -> None:
    files, node = archive.series()[:10], nodes.active()
    with client.Running("hold", PACS, "104", "PACS", "CT1") as running:
        wait_until(lambda: running.lines, within=15, what="the association")
        assert running.lines[0]["ok"], running.lines
        home = wait_until(lambda: busy(node), within=5, what="the member that has the association")
        control.rota(node, "drain", "pacs", home, "--reason", "patching")
        lines = client.call("store_loop", PACS, "104", "PACS", "CT2", "1", *files)
        assert all(line["ok"] for line in lines), lines
        assert archive.stored(home) == [], "a drained member got new work"
        assert running.tell(f"store {files[0]}")["ok"], "an association that ran before the drain was cut"
        assert [row["uid"] for row in archive.stored(home)] == list(archive.digests(files[:1]))
        assert running.tell("release")["ok"]
    control.rota(node, "ready", "pacs", home, "--reason", "patched")
    archive.clear()
    assert all(line["ok"] for line in client.call("store_loop", PACS, "104", "PACS", "CT1", "1", *files))
    assert archive.stored(home), "a member that is ready again gets no work"


def busy(node: Host) -> str:
    """The member of `pacs` that has a connection now."""
    rows = [row for name, row in nodes.servers(node).items() if name.split("/")[0] in nodes.backends(node, "pacs")]
    found = [row["svname"] for row in rows if row["svname"] in archive.PACS and int(row["scur"]) > 0]
    return found[0] if len(set(found)) == 1 else ""


def test_with_no_member_left_the_refusal_says_for_now() -> None:
    """A transient rejection makes a modality try again; a refused connection makes it alarm."""
    for name in archive.PACS:
        kill_process(name)
    node = nodes.active()

    def all_out() -> bool:
        client.dcmtk("echoscu", PACS, "104")
        return all(is_out(node, "pacs", name) for name in archive.PACS)

    wait_until(all_out, within=30, what="both archives are out")
    answer = client.dcmtk("echoscu", PACS, "104")
    assert not answer.ok
    said = answer.out + answer.err
    assert "Rejected Transient" in said, said
    assert "Local Limit Exceeded" in said, said


def test_with_no_member_left_the_browser_gets_a_page() -> None:
    service = nodes.SITE.services["viewer-offload"]
    for name in archive.PACS:
        kill_process(name)
    node = nodes.active("viewer-offload")
    url = f"https://viewer:{service.ports[0]}/app/explorer.html"
    words = ["--resolve", f"viewer:{service.ports[0]}:{service.addresses[0]}", "--write-out", "\n%{http_code}"]

    def all_out() -> bool:
        client.page(url, *words)
        return all(is_out(node, "viewer-offload", name) for name in archive.PACS)

    wait_until(all_out, within=40, what="both viewers are out")
    answer = client.page(url, *words)
    assert answer.ok, answer.err
    page, _, code = answer.out.rpartition("\n")
    assert code == "503"
    assert "Nothing is wrong with your workstation" in page, f"no sentence for people: {page[:300]}"


def test_a_feed_moves_once_and_does_not_move_back() -> None:
    """The active receiver dies: the next takes over, order holds, and the first one's return changes nothing."""
    with feeds.Feed(nodes.address_of("adt")) as feed:
        feed.wait_good(10)
        first = feed.receivers()[-1]
        killed = kill_process(first)
        feed.wait_good(10, since=killed)
        mend_member(first)
        node = nodes.active("adt")
        wait_until(lambda: is_in(node, "adt", first), within=30, what=f"{first} is back")
        # a new connection too: the one that is open would not move anyhow
        with feeds.Feed(nodes.address_of("adt")) as newcomer:
            newcomer.wait_good(5)
        feed.wait_good(5, since=time.time())
    second = next(name for name in feeds.RECEIVERS if name != first)
    assert feed.receivers() == [first, second]
    assert newcomer.receivers() == [second], "a new sender went back to the first receiver: two are active"
    feed.assert_in_order_and_acknowledged()
    newcomer.assert_in_order_and_acknowledged()
    assert client_gap(feed, killed) < 10


def client_gap(feed: feeds.Feed, since: float) -> float:
    return client.longest_gap(feed.lines, since=since)


def test_a_feed_whose_receiver_is_unplugged_moves_too() -> None:
    with feeds.Feed(nodes.address_of("adt")) as feed:
        feed.wait_good(5)
        first = feed.receivers()[-1]
        killed = unplug(first)
        feed.wait_good(10, since=killed, within=60)
    mend_member(first)
    second = next(name for name in feeds.RECEIVERS if name != first)
    assert feed.receivers() == [first, second]
    feed.assert_in_order_and_acknowledged()
