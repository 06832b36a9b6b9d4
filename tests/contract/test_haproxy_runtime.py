"""The real haproxy at work: a member dies, a reload, a drain, a feed that changes members, tables shared by a pair."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from lib import haproxy
from lib.associate import association, echo
from lib.poll import wait_until
from peers import dicom, mllp
from peers.tcp import TcpPeer, free_port

pytestmark = pytest.mark.contract

HOST = "127.0.0.100"
FAST = {"interval": "1s", "fast_interval": "100ms", "down_interval": "200ms", "timeout": "900ms"}


@pytest.fixture
def stack() -> Iterator[contextlib.ExitStack]:
    with contextlib.ExitStack() as held:
        yield held


def pacs(peers: list[TcpPeer], **more: Any) -> dict[str, Any]:
    members = {
        f"pacs-{name}": {"address": "127.0.0.1", "port": peer.port, "called_ae": "PACS"}
        for name, peer in zip("abc", peers, strict=False)
    }
    return {"profile": "dicom", "address": HOST, "port": free_port(HOST), "members": members, **more}


@pytest.mark.clock
def test_a_member_killed_under_traffic_is_out_in_half_a_second(daemon_root: Path, stack: contextlib.ExitStack) -> None:
    """With the pace that the model gives when nobody says anything."""
    peers = [stack.enter_context(TcpPeer(dicom.Scp())) for _ in range(2)]
    service = pacs(peers)
    daemon = stack.enter_context(haproxy.running(daemon_root, haproxy.site({"pacs": service})))
    stop = threading.Event()
    answers: list[object] = []

    def traffic() -> None:
        while not stop.wait(0.02):
            answers.append(echo(service["port"]))

    threads = [threading.Thread(target=traffic) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        wait_until(lambda: len(answers) > 10, within=10)
        peers[0].__exit__(None, None, None)
        killed = time.monotonic()
        wait_until(lambda: daemon.stat("pacs", "pacs-a")["status"] == "DOWN", within=5, every=0.01)
        took = time.monotonic() - killed
        before = len(answers)
        wait_until(lambda: len(answers) > before + 10, within=10)
    finally:
        stop.set()
        for thread in threads:
            thread.join(20)
    assert took < 0.5
    # an association that it held when it died is cut; none that began later is
    assert set(answers[before + 3 :]) == {0}


def test_a_reload_keeps_associations_health_and_drains(daemon_root: Path, stack: contextlib.ExitStack) -> None:
    peers = [stack.enter_context(TcpPeer(dicom.Scp())) for _ in range(3)]
    # slow checks: what is known right after the reload is what was handed over
    service = pacs(peers, check={"interval": "1m", "fast_interval": "100ms", "timeout": "1s", "down_interval": "1m"})
    daemon = stack.enter_context(haproxy.running(daemon_root, haproxy.site({"pacs": service})))
    daemon.ask("set server pacs/pacs-a state drain")
    peers[1].__exit__(None, None, None)
    with contextlib.suppress(AssertionError):
        for _ in range(4):
            echo(service["port"])  # somebody notices that pacs-b is gone
    daemon.wait_for("pacs", "pacs-b", "DOWN")
    with association(service["port"]) as held:
        daemon.reload()
        assert daemon.stat("pacs", "pacs-a")["status"].startswith("DRAIN")
        assert daemon.stat("pacs", "pacs-b")["status"].startswith("DOWN")
        assert daemon.stat("pacs", "pacs-c")["status"].startswith("UP")
        assert held.echo() == 0
        assert echo(service["port"]) == 0
        daemon.reload()
        assert held.echo() == 0, "two reloads later"
        assert daemon.stat("pacs", "pacs-a")["status"].startswith("DRAIN")


def test_reloads_refuse_nobody(daemon_root: Path, stack: contextlib.ExitStack) -> None:
    peers = [stack.enter_context(TcpPeer(dicom.Scp())) for _ in range(2)]
    service = pacs(peers)
    daemon = stack.enter_context(haproxy.running(daemon_root, haproxy.site({"pacs": service})))
    stop = threading.Event()
    answers: list[object] = []

    def traffic() -> None:
        while not stop.is_set():
            answers.append(echo(service["port"]))

    thread = threading.Thread(target=traffic)
    thread.start()
    try:
        for _ in range(3):
            before = len(answers)
            daemon.reload()
            wait_until(lambda: len(answers) > before + 5, within=10)  # noqa: B023
    finally:
        stop.set()
        thread.join(20)
    assert set(answers) == {0}


def test_a_refused_configuration_leaves_the_old_one_at_work(daemon_root: Path, stack: contextlib.ExitStack) -> None:
    peers = [stack.enter_context(TcpPeer(dicom.Scp())) for _ in range(2)]
    service = pacs(peers)
    daemon = stack.enter_context(haproxy.running(daemon_root, haproxy.site({"pacs": service})))
    with association(service["port"]) as held:
        config = daemon.folder / "haproxy.cfg"
        config.write_text(config.read_text() + "\nnonsense\n")
        said = daemon.ask_master("reload")
        assert "Success=0" in said
        assert "nonsense" in said
        assert held.echo() == 0
        assert echo(service["port"]) == 0


class Feed:
    """A sender that keeps one connection until it is cut, as interface engines do."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.sock: socket.socket | None = None
        self.sent = 0

    def send(self) -> bool:
        """One message; whether it was acknowledged. A cut connection is opened anew for the next one."""
        try:
            if self.sock is None:
                self.sock = socket.create_connection((HOST, self.port), timeout=3)
            self.sent += 1
            self.sock.sendall(mllp.START + f"MSH|^~\\&|A|A|B|B|1||ADT^A01|M{self.sent}|P|2.5\r".encode() + mllp.END)
            answer = b""
            while not answer.endswith(mllp.END):
                piece = self.sock.recv(4096)
                if not piece:
                    raise ConnectionError
                answer += piece
        except OSError:
            self.close()
            return False
        return f"MSA|AA|M{self.sent}".encode() in answer

    def close(self) -> None:
        if self.sock is not None:
            self.sock.close()
            self.sock = None


def feed_service(peers: list[TcpPeer]) -> dict[str, Any]:
    members = {f"hl7-{name}": {"address": "127.0.0.1", "port": peer.port} for name, peer in zip("ab", peers, strict=True)}
    return {"profile": "hl7", "address": HOST, "port": free_port(HOST), "members": members, "check": {"kind": "tcp", **FAST}}


def test_a_feed_has_one_member_and_does_not_fall_back(daemon_root: Path, stack: contextlib.ExitStack) -> None:
    receivers = [mllp.Receiver(), mllp.Receiver()]
    peers = [stack.enter_context(TcpPeer(receiver)) for receiver in receivers]
    service = feed_service(peers)
    daemon = stack.enter_context(haproxy.running(daemon_root, haproxy.site({"adt": service})))
    long, short = Feed(service["port"]), Feed(service["port"])
    stack.callback(long.close)
    stack.callback(short.close)
    for _ in range(3):
        assert long.send()
        assert short.send()
        short.close()
    assert (len(receivers[0].messages), len(receivers[1].messages)) == (6, 0)

    # the primary is halted, as an operator would: the old feed is cut, so that the rest cannot overtake
    daemon.ask("set server adt/hl7-a state maint")
    wait_until(lambda: not long.send(), within=3)
    wait_until(long.send, within=3)
    assert short.send()
    short.close()
    after = len(receivers[0].messages)

    # and comes back: nobody moves, whether the connection is old or new
    daemon.ask("set server adt/hl7-a state ready")
    daemon.wait_for("adt", "hl7-a", "UP")
    for _ in range(3):
        assert long.send()
        assert short.send()
        short.close()
    assert len(receivers[0].messages) == after

    # over a reload too, from the first moment on
    daemon.reload()
    for _ in range(3):
        assert short.send()
        short.close()
    assert len(receivers[0].messages) == after

    # only the failure of the one in use brings the other one back
    daemon.ask("set server adt/hl7-b state maint")
    wait_until(short.send, within=3)
    assert len(receivers[0].messages) > after


def test_a_dead_receiver_hands_its_feed_over(daemon_root: Path, stack: contextlib.ExitStack) -> None:
    receivers = [mllp.Receiver(), mllp.Receiver()]
    peers = [stack.enter_context(TcpPeer(receiver)) for receiver in receivers]
    service = feed_service(peers)
    stack.enter_context(haproxy.running(daemon_root, haproxy.site({"adt": service})))
    feed = Feed(service["port"])
    stack.callback(feed.close)
    assert feed.send()
    peers[0].__exit__(None, None, None)
    wait_until(feed.send, within=5)
    assert receivers[1].messages


def test_the_other_node_sends_the_feed_to_the_same_member(daemon_root: Path, stack: contextlib.ExitStack) -> None:
    """After a failover of the node the feed must not jump back to the primary: the table is shared."""
    receivers = [mllp.Receiver(), mllp.Receiver()]
    peers = [stack.enter_context(TcpPeer(receiver)) for receiver in receivers]
    service = feed_service(peers)
    document = haproxy.site({"adt": service})
    one = stack.enter_context(haproxy.running(daemon_root, document))
    # the other node, with the address for itself: on one host both cannot listen on the same port
    two = stack.enter_context(haproxy.prepared(daemon_root, document, "lb2", haproxy_health_port=8414))
    config = two.folder / "haproxy.cfg"
    port = free_port("127.0.0.101")
    config.write_text(config.read_text().replace(f"bind {HOST}:{service['port']}", f"bind 127.0.0.101:{port}"))
    stack.callback(two.stop)
    two.start()
    one.ask("set server adt/hl7-a state maint")
    feed = Feed(service["port"])
    assert feed.send()
    feed.close()
    assert (len(receivers[0].messages), len(receivers[1].messages)) == (0, 1)

    def knows() -> bool:
        return "server_key=hl7-b" in two.ask("show table adt") or "server_id=2" in two.ask("show table adt")

    wait_until(knows, within=10)
    with socket.create_connection(("127.0.0.101", port), timeout=5) as sock:
        sock.sendall(mllp.START + b"MSH|^~\\&|A|A|B|B|1||ADT^A01|M9|P|2.5\r" + mllp.END)
        assert b"MSA|AA|M9" in sock.recv(4096)
    assert (len(receivers[0].messages), len(receivers[1].messages)) == (0, 2)


def test_health_of_the_node_itself(daemon_root: Path, stack: contextlib.ExitStack) -> None:
    stack.enter_context(haproxy.running(daemon_root, haproxy.site({}), haproxy_metrics=True))

    def get(path: str) -> bytes:
        with socket.create_connection(("127.0.0.1", 8404), timeout=5) as sock:
            sock.sendall(f"GET {path} HTTP/1.0\r\n\r\n".encode())
            data = b""
            while piece := sock.recv(65536):
                data += piece
        return data

    assert get("/healthz").startswith(b"HTTP/1.1 200")
    assert b"haproxy_process_uptime_seconds" in get("/metrics")
    assert get("/").startswith(b"HTTP/1.1 404")
