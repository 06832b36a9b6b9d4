"""rotad and a real HAProxy: what an operator said holds, whatever dies."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from contract.rotad_node import Bench, Haproxy, Member, Rotad, service, site, until

pytestmark = pytest.mark.contract


@pytest.fixture
def bench(daemon_root: Path, tmp_path: Path) -> Iterator[Bench]:
    with ExitStack() as stack:
        yield Bench(daemon_root, tmp_path, stack)


@pytest.fixture
def one(bench: Bench) -> tuple[Rotad, Haproxy, Member, Member]:
    """One node with one service of two members, and rotad."""
    a, b = bench.member("pacs-a"), bench.member("pacs-b")
    haproxy = bench.haproxy("lb1", {"pacs": [a, b]})
    rotad = bench.rotad("lb1", haproxy, site({"pacs": service(1, ["pacs-a", "pacs-b"])}, nodes=("lb1",)))
    rotad.start()
    return rotad, haproxy, a, b


def hammer(haproxy: Haproxy, seconds: float, answers: list[str]) -> threading.Thread:
    """Call again and again, as fast as it goes."""

    def run() -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if got := haproxy.call("pacs", timeout=0.5):
                answers.append(got[0])
                got[1].close()

    thread = threading.Thread(target=run)
    thread.start()
    return thread


def test_a_drain_takes_new_work_away_and_cuts_nobody(one: tuple[Rotad, Haproxy, Member, Member]) -> None:
    rotad, haproxy, a, b = one
    got = haproxy.call("pacs")
    assert got
    name, link = got
    rotad.intend("drain", name)
    other = {"pacs-a": "pacs-b", "pacs-b": "pacs-a"}[name]
    # the caller is in the stick table: only a cleared row sends it elsewhere
    for _ in range(5):
        again = haproxy.call("pacs")
        assert again
        assert again[0] == other
        again[1].close()
    until(lambda: rotad.member("pacs", name)["associations"] == 1, within=7)
    link.settimeout(0.3)
    with pytest.raises(TimeoutError):
        link.recv(1)  # still open


def test_a_halt_cuts_at_once_and_says_who_was_cut(one: tuple[Rotad, Haproxy, Member, Member]) -> None:
    rotad, haproxy, *_ = one
    got = haproxy.call("pacs")
    assert got
    name, link = got
    rotad.intend("halt", name)
    link.settimeout(2)
    assert link.recv(1) == b""
    cut = rotad.events(kind="failover", member=name, after="cut")
    assert [e["before"] for e in cut] == [f"- 127.0.0.1:{link.getsockname()[1]}"]
    assert rotad.member("pacs", name)["verdict"] == "unknown"
    rotad.intend("ready", name)
    until(lambda: rotad.member("pacs", name)["in_use"])


def test_a_killed_haproxy_comes_back_drained(one: tuple[Rotad, Haproxy, Member, Member]) -> None:
    rotad, haproxy, a, b = one
    rotad.intend("drain", "pacs-a")
    before = a.callers
    answers: list[str] = []
    for _ in range(3):
        haproxy.kill()
        thread = hammer(haproxy, 1.0, answers)
        haproxy.start()
        thread.join()
    assert len(answers) > 20
    assert set(answers) == {"pacs-b"}
    assert a.callers == before


def test_a_reload_keeps_the_drain_and_the_running_work(one: tuple[Rotad, Haproxy, Member, Member]) -> None:
    rotad, haproxy, *_ = one
    got = haproxy.call("pacs")
    assert got
    name, link = got
    rotad.intend("drain", name)
    answers: list[str] = []
    for _ in range(3):
        thread = hammer(haproxy, 1.0, answers)
        haproxy.reload()
        thread.join()
    assert len(answers) > 20
    assert name not in answers
    until(lambda: rotad.events(kind="haproxy", after="reloaded"), within=7)
    assert rotad.events(kind="haproxy", after="down") == []
    assert rotad.events(kind="verdict", before="up") == []


def test_a_haproxy_that_starts_while_rotad_is_dead_is_drained(one: tuple[Rotad, Haproxy, Member, Member]) -> None:
    rotad, haproxy, a, _ = one
    rotad.intend("halt", "pacs-a")
    rotad.kill()
    haproxy.kill()
    haproxy.start()
    assert haproxy.admin("pacs", "pacs-a") & 1
    rotad.start()
    assert rotad.member("pacs", "pacs-a")["intent"]["state"] == "halt"
    rotad.intend("ready", "pacs-a")
    assert haproxy.admin("pacs", "pacs-a") == 0


@pytest.mark.clock
def test_intents_survive_a_killed_rotad_and_a_word_at_the_socket(one: tuple[Rotad, Haproxy, Member, Member]) -> None:
    rotad, haproxy, *_ = one
    rotad.intend("drain", "pacs-b")
    rotad.kill()
    haproxy.ask("set server pacs/pacs-b state ready")
    rotad.start()
    until(lambda: haproxy.admin("pacs", "pacs-b") == 8)
    haproxy.ask("set server pacs/pacs-b state ready")
    until(lambda: haproxy.admin("pacs", "pacs-b") == 8, within=1)


def test_an_intent_made_while_haproxy_is_gone_holds_from_its_start(one: tuple[Rotad, Haproxy, Member, Member]) -> None:
    rotad, haproxy, a, _ = one
    haproxy.kill()
    until(lambda: "haproxy-silent" in rotad.alarms())
    rotad.intend("drain", "pacs-a")
    until(lambda: " 8 100 " in next(line for line in haproxy.state.read_text().splitlines() if " pacs-a " in line))
    before = a.callers
    answers: list[str] = []
    thread = hammer(haproxy, 1.0, answers)
    haproxy.start()
    thread.join()
    assert set(answers) == {"pacs-b"}
    assert a.callers == before
    until(lambda: "haproxy-silent" not in rotad.alarms())


def test_lost_intents_do_not_undrain(one: tuple[Rotad, Haproxy, Member, Member]) -> None:
    rotad, haproxy, *_ = one
    rotad.intend("drain", "pacs-a")
    assert rotad.stop() == 0
    (rotad.folder / "state/intents.json").write_text("[{")
    rotad.start()
    intent = rotad.member("pacs", "pacs-a")["intent"]
    assert (intent["state"], intent["counter"]) == ("drain", 0)
    assert haproxy.admin("pacs", "pacs-a") == 8
    assert list((rotad.folder / "state").glob("intents.json.damaged-*"))
    assert "damage:intents" in rotad.alarms()


def test_until_returns_the_member_by_itself_and_says_so(one: tuple[Rotad, Haproxy, Member, Member]) -> None:
    rotad, haproxy, *_ = one
    soon = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 2))
    rotad.intend("drain", "pacs-a", until=soon)
    assert haproxy.admin("pacs", "pacs-a") == 8
    until(lambda: haproxy.admin("pacs", "pacs-a") == 0, within=5)
    over = until(lambda: rotad.events(kind="intent", member="pacs-a", after="ready"))
    assert over[0]["person"] == "rotad"
    assert over[0]["reason"] == "the time given for drain is over"


def test_the_last_serving_member_needs_force(one: tuple[Rotad, Haproxy, Member, Member]) -> None:
    rotad, haproxy, *_ = one
    rotad.intend("drain", "pacs-a")
    body = {"member": "pacs-b", "service": "pacs", "state": "drain", "reason": "test"}
    status, problem = rotad.request("POST", "/v1/intents", body)
    assert (status, problem["code"]) == (409, "last-member")
    assert "pacs-b is the last serving member of pacs" in problem["title"]
    assert haproxy.admin("pacs", "pacs-b") == 0
    status, _ = rotad.request("POST", "/v1/intents", {**body, "force": True})
    assert status == 200
    assert "service-down:pacs" in rotad.alarms()


def test_a_verdict_is_journalled_with_its_reason(one: tuple[Rotad, Haproxy, Member, Member]) -> None:
    rotad, _, a, _ = one
    until(lambda: rotad.member("pacs", "pacs-a")["verdict"] == "up")
    a.down()
    event = until(lambda: rotad.events(kind="verdict", member="pacs-a", after="down"))[0]
    assert event["before"] == "up"
    assert "refused" in event["reason"].lower()
    assert "member-down:pacs/pacs-a" in rotad.alarms()
    a.up()
    until(lambda: "member-down:pacs/pacs-a" not in rotad.alarms())


ASSOCIATION = """
  tcp-request inspect-delay 5s
  tcp-request content set-var-fmt(txn.assoc) "%[src]:%[src_port] %[req.payload(26,16)]|%[req.payload(10,16)]" if { req.len ge 42 }
  tcp-request content track-sc0 var(txn.assoc) table rota.associations if { req.len ge 42 }
  tcp-request content accept if { req.len ge 42 }
"""


def test_who_is_connected_has_ae_titles_member_and_bytes(bench: Bench) -> None:
    haproxy = bench.haproxy("lb1", {"pacs": [bench.member("pacs-a"), bench.member("pacs-b")]}, extra=ASSOCIATION)
    rotad = bench.rotad("lb1", haproxy, site({"pacs": service(1, ["pacs-a", "pacs-b"])}, nodes=("lb1",)))
    rotad.start()
    request = b"\x01\x00\x00\x00\x00\x44\x00\x01\x00\x00" + b"PACS_A".ljust(16) + b"CT 1".ljust(16) + bytes(32)
    with socket.create_connection(("127.0.0.1", haproxy.ports["pacs"])) as link:
        link.sendall(request)
        member = link.recv(20).decode()
        (found,) = until(lambda: [a for a in rotad.get("/v1/associations?service=pacs") if a["calling_ae"]])
        expected = {
            "service": "pacs", "member": member, "caller": f"127.0.0.1:{link.getsockname()[1]}", "calling_ae": "CT 1",
            "called_ae": "PACS_A", "bytes_in": len(request), "bytes_out": len(member), "node": "lb1",
        }  # fmt: skip
        assert {key: found[key] for key in expected} == expected
        assert found["age_s"] < 10
    status, problem = rotad.request("GET", "/v1/associations?service=none")
    assert (status, problem["code"]) == (404, "unknown-service")


def test_an_old_process_is_asked_for_its_associations_and_is_halted_too(bench: Bench) -> None:
    """After a reload the running work is in the old process: it counts, has its titles, and a halt cuts it as well."""
    members = [bench.member("pacs-a"), bench.member("pacs-b")]
    haproxy = bench.haproxy("lb1", {"pacs": members}, extra=ASSOCIATION, master=True)
    rotad = bench.rotad("lb1", haproxy, site({"pacs": service(1, ["pacs-a", "pacs-b"])}, nodes=("lb1",)))
    rotad.start()
    request = b"\x01\x00\x00\x00\x00\x44\x00\x01\x00\x00" + b"PACS_A".ljust(16) + b"CT 1".ljust(16) + bytes(32)
    with socket.create_connection(("127.0.0.1", haproxy.ports["pacs"])) as link:
        link.sendall(request)
        member = link.recv(20).decode()
        until(lambda: rotad.get("/v1/associations"))
        haproxy.reload()
        found = until(lambda: rotad.get("/v1/associations?service=pacs"))
        assert [(a["member"], a["calling_ae"], a["called_ae"]) for a in found] == [(member, "CT 1", "PACS_A")]
        rotad.intend("halt", member)
        link.settimeout(5)
        assert link.recv(20) == b""
    until(lambda: rotad.get("/v1/associations") == [])
