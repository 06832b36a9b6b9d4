"""Two rotad processes over mutual TLS: what one is told, both do; and what becomes of it when one is cut off, hung or mad."""

from __future__ import annotations

import json
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from contract.rotad_node import Bench, Rotad, service, site, until
from peers.pki import Authority, Pair
from rota.control.gate import EACH

pytestmark = pytest.mark.contract
SERVICES = {"pacs": service(1, ["pacs-a", "pacs-b"])}


@pytest.fixture
def bench(daemon_root: Path, tmp_path: Path) -> Iterator[Bench]:
    with ExitStack() as stack:
        yield Bench(daemon_root, tmp_path, stack)


def node(bench: Bench, name: str, document: dict[str, Any] | None = None, **more: Any) -> Rotad:
    members = [bench.member("pacs-a"), bench.member("pacs-b")]
    haproxy = bench.haproxy(name, {"pacs": members})
    return bench.rotad(name, haproxy, document or site(SERVICES), **more)


def in_step(rotad: Rotad) -> bool:
    return all(peer["in_step"] for peer in rotad.get("/v1/status")["peers"])


@pytest.fixture
def pair(bench: Bench) -> tuple[Rotad, Rotad]:
    one, two = node(bench, "lb1"), node(bench, "lb2")
    one.start()
    two.start()
    until(lambda: in_step(one) and in_step(two), within=10)
    return one, two


def admin(rotad: Rotad, member: str) -> int:
    return rotad.haproxy.admin("pacs", member)


@pytest.mark.clock
@pytest.mark.parametrize("via", [0, 1])
def test_an_intent_reaches_both_haproxys_at_once(pair: tuple[Rotad, Rotad], via: int) -> None:
    took = []
    for state, flag in (("drain", 8), ("ready", 0), ("halt", 1), ("ready", 0)):
        began = time.monotonic()
        pair[via].intend(state, "pacs-a")
        assert [admin(r, "pacs-a") for r in pair] == [flag, flag]
        took.append(time.monotonic() - began)
    assert min(took) < 0.5
    assert [r.member("pacs", "pacs-a")["intent"]["state"] for r in pair] == ["ready", "ready"]


def test_events_are_in_both_journals_once(pair: tuple[Rotad, Rotad]) -> None:
    pair[0].intend("drain", "pacs-a", reason="a new kernel")
    for rotad in pair:
        (event,) = until(lambda r=rotad: r.events(kind="intent"))
        assert (event["node"], event["reason"], event["after"]) == ("lb1", "a new kernel", "drain")
    started = until(lambda: len(pair[1].events(kind="rotad", after="started")) == 2 and pair[1].events(kind="rotad"))
    assert {e["node"] for e in started} == {"lb1", "lb2"}


def test_what_was_said_while_the_peer_was_dead_reaches_it(pair: tuple[Rotad, Rotad]) -> None:
    one, two = pair
    two.kill()
    until(lambda: "peer-unreachable:lb2" in one.alarms(), within=10)
    one.intend("drain", "pacs-a")
    two.start()
    until(lambda: admin(two, "pacs-a") == 8, within=5)
    until(lambda: "peer-unreachable:lb2" not in one.alarms())


def test_both_sides_of_a_cut_agree_afterwards(pair: tuple[Rotad, Rotad]) -> None:
    """Each is told something else while neither hears the other; the one said more often is the later one."""
    one, two = pair
    one.signal(signal.SIGSTOP)
    until(lambda: "peer-unreachable:lb1" in two.alarms(), within=10)
    two.intend("drain", "pacs-a")
    two.intend("halt", "pacs-a", force=True)
    two.intend("drain", "pacs-b", force=True)
    one.signal(signal.SIGCONT)
    one.intend("drain", "pacs-a", force=True)
    until(lambda: in_step(one) and in_step(two), within=10)
    assert [admin(r, "pacs-a") for r in pair] in ([1, 1], [8, 8])
    assert [admin(r, "pacs-b") for r in pair] == [8, 8]
    states = [[m["intent"] for m in r.get("/v1/status")["services"][0]["members"]] for r in pair]
    assert states[0] == states[1]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_a_dead_or_hung_rotad_is_an_alarm_on_the_other_within_ten_seconds(
    pair: tuple[Rotad, Rotad], number: signal.Signals
) -> None:
    one, two = pair
    got = two.haproxy.call("pacs")
    assert got
    began = time.monotonic()
    two.signal(number)
    until(lambda: "peer-unreachable:lb2" in one.alarms(), within=10)
    assert time.monotonic() - began < 10
    peer = one.get("/v1/status")["peers"][0]
    assert (peer["reachable"], peer["in_step"]) == (False, False)
    # no traffic change: the open connection lives, a new one is served
    got[1].settimeout(0.2)
    with pytest.raises(TimeoutError):
        got[1].recv(1)
    assert two.haproxy.call("pacs")


def test_two_operators_at_once_cannot_drain_the_last_two(pair: tuple[Rotad, Rotad]) -> None:
    for _ in range(5):
        answers: list[tuple[int, Any]] = []

        def ask(rotad: Rotad, member: str, answers: list[tuple[int, Any]] = answers) -> None:
            body = {"member": member, "service": "pacs", "state": "drain", "reason": "patching"}
            answers.append(rotad.request("POST", "/v1/intents", body))

        threads = [threading.Thread(target=ask, args=(r, m)) for r, m in zip(pair, ("pacs-a", "pacs-b"), strict=True)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(status for status, _ in answers) == [200, 409]
        assert [answer["code"] for status, answer in answers if status == 409] == ["last-member"]
        assert sum(admin(pair[0], m) for m in ("pacs-a", "pacs-b")) == 8
        for member in ("pacs-a", "pacs-b"):
            pair[0].intend("ready", member)


def test_who_is_connected_through_both_nodes(pair: tuple[Rotad, Rotad]) -> None:
    for rotad in pair:
        assert rotad.haproxy.call("pacs")
    found = pair[0].get("/v1/associations?service=pacs")
    assert sorted(a["node"] for a in found) == ["lb1", "lb2"]
    assert all(a["caller"].startswith("127.0.0.1:") for a in found)


def test_a_peer_with_another_model_is_said_and_still_hears_intents(bench: Bench) -> None:
    one = node(bench, "lb1")
    more = {"pacs": service(1, ["pacs-a", "pacs-b", "pacs-c"])}
    two = node(bench, "lb2", site(more))
    one.start()
    two.start()
    until(lambda: all(p["reachable"] for r in (one, two) for p in r.get("/v1/status")["peers"]), within=10)
    peer = one.get("/v1/status")["peers"][0]
    assert (peer["in_step"], peer["problem"]) == (False, "lb2 has another site model")
    two.intend("drain", "pacs-a")
    assert [admin(r, "pacs-a") for r in (one, two)] == [8, 8]
    # and a rollout to the other node ends it
    one.document = site(more)
    (one.folder / "site.json").write_text(json.dumps(one.document))
    one.signal(signal.SIGHUP)
    until(lambda: in_step(one) and in_step(two))


def test_a_model_that_cannot_be_read_leaves_the_old_one(pair: tuple[Rotad, Rotad]) -> None:
    one, _ = pair
    before = one.get("/v1/status")["model_hash"]
    (one.folder / "site.json").write_text('{"site": ')
    one.signal(signal.SIGHUP)
    until(lambda: "model" in one.alarms())
    assert one.get("/v1/status")["model_hash"] == before
    (one.folder / "site.json").write_text(json.dumps(one.document))
    one.signal(signal.SIGHUP)
    until(lambda: "model" not in one.alarms())


def test_an_expired_certificate_is_named(bench: Bench) -> None:
    one, two = node(bench, "lb1"), node(bench, "lb2", certificate_days=-1)
    one.start()
    two.start()
    for rotad in (one, two):
        until(lambda r=rotad: "expired" in (r.get("/v1/status")["peers"][0]["problem"] or ""), within=10)
    assert "peer-certificate" in two.alarms()
    # renewed, and nobody was restarted but the one that got a new file
    assert two.stop() == 0
    assert datetime.fromisoformat(one.get("/v1/status")["certificate_ends"]) > datetime.now(UTC)
    two.certificate_days = 90
    two.start()
    until(lambda: in_step(one) and in_step(two), within=10)
    assert datetime.fromisoformat(two.get("/v1/status")["certificate_ends"]) > datetime.now(UTC) + timedelta(days=80)


def client(pair: Pair | None, ca: Path) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(ca))
    context.check_hostname = False
    if pair is not None:
        context.load_cert_chain(pair.cert, pair.key)
    return context


def talk(port: int, context: ssl.SSLContext, data: bytes) -> bytes:
    """Say `data` and read to the end; nothing when the handshake or the reading fails."""
    got = b""
    with (
        suppress(OSError),
        socket.create_connection(("127.0.0.1", port), timeout=8) as plain,
        context.wrap_socket(plain, server_hostname="lb1") as link,
    ):
        link.sendall(data)
        while part := link.recv(65536):
            got += part
    return got


def post(path: str, body: bytes) -> bytes:
    return f"POST {path} HTTP/1.1\r\nHost: lb1\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


def test_strangers_get_nowhere(bench: Bench, tmp_path: Path) -> None:
    """No certificate, one of another CA, one of ours that names no peer, one that speaks for somebody else."""
    one = node(bench, "lb1")
    one.start()
    port, ca = bench.ports["lb1"], bench.authority.cert
    hello = {"node": "lb2", "version": "0", "model_hash": "0", "digest": "0", "held": {}, "unfit": {}}
    message = post("/peer/v1/exchange", json.dumps({"hello": hello}).encode())
    assert talk(port, client(None, ca), message) == b""
    other = Authority(tmp_path / "other", "Other CA").issue("lb2")
    assert talk(port, client(other, ca), message) == b""
    for name in ("lb3", "lb1"):
        answer = talk(port, client(bench.authority.issue(name), ca), message)
        assert b" 403 " in answer.split(b"\r\n")[0]
        assert b"is no peer of this node" in answer
    lb2 = client(bench.authority.issue("lb2"), ca)
    false = post("/peer/v1/exchange", json.dumps({"hello": {**hello, "node": "lb9"}}).encode())
    assert b"lb2 speaks as lb9" in talk(port, lb2, false)
    assert b" 200 " in talk(port, lb2, message).split(b"\r\n")[0]


GARBAGE = [b"", b"{", b"[]", b"null", b'{"hello": 1}', b"\x00" * 1000, b'{"hello": ' + b"[" * 50_000, b'{"intents": [1]}']


def test_garbage_and_floods_at_the_peer_port_are_refused_and_survived(pair: tuple[Rotad, Rotad], bench: Bench) -> None:
    one, two = pair
    port, ca = bench.ports["lb1"], bench.authority.cert
    lb2 = client(bench.authority.issue("lb2"), ca)
    for path in ("exchange", "intents", "failover"):
        for body in GARBAGE:
            assert b" 400 " in talk(port, lb2, post(f"/peer/v1/{path}", body)).split(b"\r\n")[0]
    assert (
        b" 413 "
        in talk(
            port, lb2, b"POST /peer/v1/exchange HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999\r\n\r\n" + b"x" * 9_000_000
        )[:40]
    )
    assert b" 404 " in talk(port, lb2, post("/nowhere", b""))[:40]
    # from elsewhere, and never say a word
    half = [socket.create_connection(("127.0.0.1", port), source_address=("127.0.0.9", 0)) for _ in range(200)]
    for raw in (b"\x16\x03\x01", b"GET / HTTP/1.1\r\n\r\n", bytes(range(256)) * 40):
        with socket.create_connection(("127.0.0.1", port)) as link:
            link.sendall(raw)
    two.intend("drain", "pacs-b")
    assert [admin(r, "pacs-b") for r in pair] == [8, 8]
    assert in_step(one)
    for link in half:
        link.close()


STRANGER = """
import itertools, select, socket, sys
held = []
for number in itertools.count(1):
    try:
        link = socket.create_connection(("127.0.0.1", int(sys.argv[1])), 2, source_address=("127.0.0.9", 0))
        link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, bytes([1, 0, 0, 0, 0, 0, 0, 0]))
        held.append(link)
    except OSError:
        pass
    if len(held) > 400:
        held.pop(0).close()
    if number % 100 == 0:
        print(number, flush=True)
"""


def test_a_flood_that_goes_on_at_the_peer_port_stops_no_peer(pair: tuple[Rotad, Rotad], bench: Bench) -> None:
    """Connections that say nothing, as fast as they are taken: few are kept, and rotad has time for everything else."""
    one, two = pair
    assert one.process is not None
    files = Path(f"/proc/{one.process.pid}/fd")
    before = len(list(files.iterdir()))
    argv = [sys.executable, "-c", STRANGER, str(bench.ports["lb1"])]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as flood:
        try:
            assert flood.stdout is not None
            while int(flood.stdout.readline()) < 1000:
                pass
            took = []
            for state, flag in (("drain", 8), ("ready", 0)) * 5:
                began = time.monotonic()
                two.intend(state, "pacs-b")
                assert [admin(r, "pacs-b") for r in pair] == [flag, flag]
                took.append(time.monotonic() - began)
                assert len(list(files.iterdir())) < before + EACH + 20
            assert int(flood.stdout.readline()) > 1000  # it goes on
            assert in_step(one)
            assert in_step(two)
        finally:
            flood.kill()
    print(f"an act took {min(took):.3f}..{max(took):.3f} s")
    assert max(took) < 3
    assert one.events(kind="peer", after="unreachable") == []


@pytest.mark.clock
def test_a_half_open_peer_costs_one_deadline(bench: Bench) -> None:
    """It accepts and says nothing, for ever: acts on this node go on."""
    with socket.create_server(("127.0.0.1", bench.ports["lb2"])):  # the kernel accepts, nobody reads
        one = node(bench, "lb1")
        one.start()
        began = time.monotonic()
        one.intend("drain", "pacs-a")
        assert time.monotonic() - began < 1.5
        assert admin(one, "pacs-a") == 8
        until(lambda: "peer-unreachable:lb2" in one.alarms(), within=10)
        assert "lb2 does not answer within 2 s" in one.get("/v1/status")["peers"][0]["problem"]


def test_sigterm_ends_cleanly_and_a_second_rotad_is_refused(pair: tuple[Rotad, Rotad]) -> None:
    from contract.rotad_node import TOP

    one, two = pair
    command = [sys.executable, "-m", "rota.control.daemon", "--config", str(one.folder / "rotad.toml")]
    second = subprocess.run(
        command, env={"PYTHONPATH": str(TOP / "appliance")}, capture_output=True, text=True, timeout=20, check=False
    )
    assert (second.returncode, second.stderr) == (1, f"rotad: {one.folder}/state: another rotad works here\n")
    assert one.stop() == 0
    assert "Traceback" not in one.log()
    assert until(lambda: two.events(kind="peer", member="lb1", after="unreachable"), within=10)
    one.start()
    (event,) = [e for e in one.events(kind="rotad", node="lb1", after="started") if e["before"]]
    assert one.events(kind="rotad", node="lb1", after="stopped")
    assert event["before"] <= event["at"]
