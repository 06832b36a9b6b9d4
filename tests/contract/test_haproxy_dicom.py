"""DICOM through the real haproxy: who may come in, who is refused and how, who is sent where, and what is logged."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from lib import haproxy
from lib.associate import (
    CALLED_NOT_RECOGNISED,
    CALLING_NOT_RECOGNISED,
    LIMIT_EXCEEDED,
    association,
    dcmtk_echo,
    echo,
)
from lib.poll import wait_until
from peers import dicom
from peers.tcp import HTTP_PAGE, TcpPeer, free_port

pytestmark = pytest.mark.contract

HOST = "127.0.0.100"
CHECK = {"interval": "1s", "fast_interval": "100ms", "timeout": "900ms", "down_interval": "200ms"}


def calls(scp: dicom.Scp) -> list[tuple[str, str]]:
    """The associations that callers, not checks, opened."""
    return [call for call in scp.calls if call[1] != "ROTA"]


class Pair:
    """Two archives that take everybody, and the service in front of them."""

    def __init__(self, root: Path, stack: contextlib.ExitStack, **more: Any) -> None:
        self.a, self.b = dicom.Scp(), dicom.Scp()
        self.stack = stack
        self.peers = [stack.enter_context(TcpPeer(scp)) for scp in (self.a, self.b)]
        self.port = free_port(HOST)
        each = more.pop("each", {})
        members = {
            f"pacs-{name}": {"address": "127.0.0.1", "port": peer.port, "called_ae": f"PACS_{name.upper()}", **each}
            for name, peer in zip("ab", self.peers, strict=True)
        }
        timeouts = {"client": "5m", "server": "5m", "queue": "1s", "request": "1s", **more.pop("timeouts", {})}
        service = {"profile": "dicom", "address": HOST, "port": self.port, "members": members, "check": CHECK}
        self.services = {"pacs": {**service, "timeouts": timeouts, **more}}
        self.haproxy = stack.enter_context(haproxy.running(root, haproxy.site(self.services)))
        for name in members:
            self.haproxy.wait_for("pacs", name, "UP")

    def stop(self, index: int) -> None:
        """Member `index` dies."""
        peer = self.peers[index]
        peer.__exit__(None, None, None)


@pytest.fixture
def stack() -> Iterator[contextlib.ExitStack]:
    with contextlib.ExitStack() as held:
        yield held


def test_both_archives_serve(daemon_root: Path, stack: contextlib.ExitStack) -> None:
    """leastconn: a held association sends the next one to the other archive."""
    pair = Pair(daemon_root, stack)
    with association(pair.port), association(pair.port):
        assert (len(calls(pair.a)), len(calls(pair.b))) == (1, 1)
    assert echo(pair.port) == 0


def test_the_log_has_both_titles_and_the_member(daemon_root: Path, stack: contextlib.ExitStack) -> None:
    pair = Pair(daemon_root, stack)
    assert echo(pair.port, called="MY PACS", calling="CT 1") == 0
    line = pair.haproxy.log_line("kind=dicom", 'calling="CT 1"')
    for part in ("service=pacs", "client=127.0.0.1 ", 'called="MY PACS"', "verdict=accepted", "member=pacs-", "end=--"):
        assert part in line, line


def test_nothing_beyond_the_request_is_logged(daemon_root: Path, stack: contextlib.ExitStack) -> None:
    pair = Pair(daemon_root, stack)
    with association(pair.port) as held:
        held.abort()
    with socket.create_connection((HOST, pair.port)) as sock:
        sock.sendall(b"\x01\x00\x00\x00\x00\xcd\x00\x01\x00\x00" + b"PACS".ljust(16) + b"CT9".ljust(16) + bytes(32))
        sock.sendall(b"DOE^JANE" * 20)
    pair.haproxy.log_line("kind=dicom", 'calling="CT9"')
    assert "DOE" not in pair.haproxy.log


def test_no_control_character_reaches_the_log(daemon_root: Path, stack: contextlib.ExitStack) -> None:
    pair = Pair(daemon_root, stack)
    with socket.create_connection((HOST, pair.port)) as sock:
        titles = b'P\x1b[31m\r\nX"\\'.ljust(16) + b"\x07\xff CT".ljust(16, b"\0")
        sock.sendall(b"\x01\x00\x00\x00\x00\xcd\x00\x01\x00\x00" + titles + bytes(139))
    line = pair.haproxy.log_line("kind=dicom", "calling=")
    assert 'called="P?[31m??X\\"\\\\"' in line
    assert 'calling="?? CT"' in line
    assert line.isprintable()


@pytest.mark.parametrize("address", ["127.0.0.1", "127.0.0.7"])
def test_only_allowed_sources_may_call(daemon_root: Path, stack: contextlib.ExitStack, address: str) -> None:
    pair = Pair(daemon_root, stack, allow={"sources": ["127.0.0.7/32"]})
    wanted = 0 if address == "127.0.0.7" else CALLING_NOT_RECOGNISED
    assert echo(pair.port, source=address) == wanted
    pair.haproxy.log_line("kind=dicom", f"client={address} ", f"verdict={'accepted' if wanted == 0 else 'source-refused'}")


def test_only_allowed_titles_may_call(daemon_root: Path, stack: contextlib.ExitStack) -> None:
    pair = Pair(daemon_root, stack, allow={"calling_ae": ["CT 1", "MR"]})
    assert echo(pair.port, calling="CT 1") == 0
    assert echo(pair.port, calling="MR") == 0
    for stranger in ("CT", "CT 11", "mr"):
        assert echo(pair.port, calling=stranger) == CALLING_NOT_RECOGNISED, stranger
    code, said = dcmtk_echo(pair.port, calling="STRANGER")
    assert code != 0
    assert "Calling AE Title Not Recognized" in said
    line = pair.haproxy.log_line("kind=dicom", 'calling="STRANGER"')
    assert "verdict=calling-ae-refused" in line
    assert dcmtk_echo(pair.port, calling="MR")[0] == 0
    assert not [call for call in calls(pair.a) + calls(pair.b) if call[1] not in ("CT 1", "MR")]


def test_only_known_titles_are_called(daemon_root: Path, stack: contextlib.ExitStack) -> None:
    pair = Pair(daemon_root, stack, allow={"called_ae": ["PACS"]})
    assert echo(pair.port, called="PACS") == 0
    assert echo(pair.port, called="OTHER") == CALLED_NOT_RECOGNISED
    code, said = dcmtk_echo(pair.port, called="OTHER")
    assert code != 0
    assert "Called AE Title Not Recognized" in said
    pair.haproxy.log_line("kind=dicom", 'called="OTHER"', "verdict=called-ae-refused")


@pytest.mark.clock
def test_no_member_left_is_a_rejection_for_now(daemon_root: Path, stack: contextlib.ExitStack) -> None:
    pair = Pair(daemon_root, stack)
    pair.stop(0)
    pair.stop(1)
    for name in ("pacs-a", "pacs-b"):
        pair.haproxy.wait_for("pacs", name, "DOWN")
    begun = time.monotonic()
    assert echo(pair.port) == LIMIT_EXCEEDED
    assert time.monotonic() - begun < 1, "it is told at once"
    code, said = dcmtk_echo(pair.port)
    assert code != 0
    assert "Rejected Transient" in said
    assert "Local Limit Exceeded" in said
    pair.haproxy.log_line("kind=dicom", "verdict=no-member")


@pytest.mark.clock
def test_full_members_make_callers_wait_and_then_refuse(daemon_root: Path, stack: contextlib.ExitStack) -> None:
    pair = Pair(daemon_root, stack, each={"max_associations": 1})
    with association(pair.port), association(pair.port):
        begun = time.monotonic()
        assert echo(pair.port) == LIMIT_EXCEEDED
        assert 0.9 < time.monotonic() - begun < 3, "the queue time-out is 1 s"
        pair.haproxy.log_line("kind=dicom", "verdict=busy")
    wait_until(lambda: echo(pair.port) == 0, within=5)
    assert len(calls(pair.a)) + len(calls(pair.b)) == 3


def test_a_waiting_caller_is_served_when_another_leaves(daemon_root: Path, stack: contextlib.ExitStack) -> None:
    pair = Pair(daemon_root, stack, each={"max_associations": 1}, timeouts={"queue": "8s"})
    with association(pair.port) as first, association(pair.port), socket.create_connection((HOST, pair.port)) as waiting:
        waiting.sendall(b"\x01\x00\x00\x00\x00\x44\x00\x01\x00\x00" + b"PACS".ljust(16) + b"LATE".ljust(16) + bytes(32))
        waiting.settimeout(0.5)
        with pytest.raises(TimeoutError):
            waiting.recv(1)
        first.release()
        waiting.settimeout(5)
        assert waiting.recv(1) == b"\x02"


ROUTES = {"PACS_A": ["pacs-a"], "PACS_B": ["pacs-b"], "ANY PACS": ["pacs-a", "pacs-b"]}


def test_called_titles_are_routes(daemon_root: Path, stack: contextlib.ExitStack) -> None:
    pair = Pair(daemon_root, stack, routes=ROUTES)
    for _ in range(3):
        assert echo(pair.port, called="PACS_A") == 0
    assert echo(pair.port, called="PACS_B") == 0
    assert (calls(pair.a), calls(pair.b)) == ([("PACS_A", "CT1")] * 3, [("PACS_B", "CT1")])
    assert echo(pair.port, called="PACS_C") == CALLED_NOT_RECOGNISED
    with association(pair.port, called="ANY PACS"), association(pair.port, called="ANY PACS"):
        assert (len(calls(pair.a)), len(calls(pair.b))) == (4, 2)
    pair.haproxy.log_line("kind=dicom", 'called="PACS_B"', "member=pacs-b")


def test_a_route_never_leads_to_another_archive(daemon_root: Path, stack: contextlib.ExitStack) -> None:
    """From the first refused connection, before any check knows of it: a study in the wrong archive is worse than none."""
    pair = Pair(daemon_root, stack, routes=ROUTES)
    pair.stop(0)
    answers = {echo(pair.port, called="PACS_A") for _ in range(3)}
    assert answers <= {None, LIMIT_EXCEEDED}
    pair.haproxy.wait_for("pacs", "pacs-a", "DOWN")
    assert echo(pair.port, called="PACS_A") == LIMIT_EXCEEDED
    assert calls(pair.b) == []
    assert echo(pair.port, called="ANY PACS") == 0
    assert calls(pair.b) == [("ANY PACS", "CT1")]


def test_a_limit_holds_over_all_routes(daemon_root: Path, stack: contextlib.ExitStack) -> None:
    pair = Pair(daemon_root, stack, routes=ROUTES, each={"max_associations": 1})
    with association(pair.port, called="PACS_A"):
        assert echo(pair.port, called="PACS_A") == LIMIT_EXCEEDED
        with association(pair.port, called="ANY PACS"):
            assert echo(pair.port, called="ANY PACS") == LIMIT_EXCEEDED
    assert (len(calls(pair.a)), len(calls(pair.b))) == (1, 1)


def test_a_fault_of_our_own_code_refuses(daemon_root: Path, stack: contextlib.ExitStack) -> None:
    """An association that was not judged must not pass: it could reach the wrong archive."""
    pair = Pair(daemon_root, stack, routes=ROUTES)
    code = pair.haproxy.folder / "lua/rota.lua"
    code.write_text(code.read_text().replace("local backend =", "nothing() local backend ="))
    pair.haproxy.reload()
    assert echo(pair.port, called="PACS_A") == LIMIT_EXCEEDED
    pair.haproxy.log_line("kind=dicom", "verdict=fault")
    assert calls(pair.a) + calls(pair.b) == []


@pytest.mark.parametrize(
    "more",
    [{}, {"routes": {"PACS": ["pacs-a", "pacs-b"]}}, {"each": {"max_associations": 9}}],
    ids=["plain", "routes", "limits"],
)
def test_a_caller_keeps_its_archive(daemon_root: Path, stack: contextlib.ExitStack, more: dict[str, Any]) -> None:
    pair = Pair(daemon_root, stack, persistence="calling-ae", **more)
    for caller in ("CT1", "CT2"):
        with association(pair.port, calling=caller):  # leastconn alone would now prefer the other one
            for _ in range(3):
                assert echo(pair.port, calling=caller) == 0
    for caller in ("CT1", "CT2"):
        served = [scp for scp in (pair.a, pair.b) if ("PACS", caller) in scp.calls]
        assert len(served) == 1, caller


@pytest.mark.clock
@pytest.mark.parametrize("kind", ["calling-ae", "source"])
def test_a_caller_whose_archive_is_full_goes_to_another(daemon_root: Path, stack: contextlib.ExitStack, kind: str) -> None:
    """Better another archive now than a refusal after the queue."""
    pair = Pair(daemon_root, stack, persistence=kind, each={"max_associations": 1})
    with association(pair.port, calling="CT1"):
        begun = time.monotonic()
        assert echo(pair.port, calling="CT1") == 0
        assert time.monotonic() - begun < 0.9
    assert (len(calls(pair.a)), len(calls(pair.b))) == (1, 1)


def test_a_source_keeps_its_archive_on_a_route(daemon_root: Path, stack: contextlib.ExitStack) -> None:
    pair = Pair(daemon_root, stack, persistence="source", routes={"PACS": ["pacs-a", "pacs-b"]})
    with association(pair.port, source="127.0.0.7"):  # the fewest connections are now elsewhere
        for _ in range(3):
            assert echo(pair.port, source="127.0.0.7") == 0
        assert echo(pair.port, source="127.0.0.8") == 0
    assert sorted(len(calls(scp)) for scp in (pair.a, pair.b)) == [1, 4], "all of one source in one place"


def test_a_drained_member_gets_no_new_work(daemon_root: Path, stack: contextlib.ExitStack) -> None:
    pair = Pair(daemon_root, stack, routes=ROUTES)
    with association(pair.port, called="PACS_A") as running:
        pair.haproxy.ask("set server pacs/pacs-a state drain")
        assert echo(pair.port, called="PACS_A") == LIMIT_EXCEEDED
        assert echo(pair.port, called="ANY PACS") == 0
        assert running.echo() == 0, "running work goes on"
    assert len(calls(pair.a)) == 1


def test_the_fallback_server_comes_last(daemon_root: Path, stack: contextlib.ExitStack) -> None:
    spare = dicom.Scp()
    peer = stack.enter_context(TcpPeer(spare))
    pair = Pair(daemon_root, stack, fallback={"address": peer.host, "port": peer.port}, routes={"PACS": ["pacs-a"]})
    assert echo(pair.port) == 0
    assert calls(spare) == []
    pair.stop(0)
    pair.haproxy.wait_for("pacs", "pacs-a", "DOWN")
    assert echo(pair.port) == 0
    assert calls(spare) == [("PACS", "CT1")]


@pytest.mark.parametrize(
    ("first", "verdict"),
    [
        (b"GET / HTTP/1.1\r\nHost: pacs\r\n\r\n", "not-dicom"),
        (b"\x16\x03\x01\x02\x00\x01", "not-dicom"),
        (HTTP_PAGE, "not-dicom"),
        (b"\x04\x00\x00\x00\x00\x04abcd" + bytes(80), "not-dicom"),
        (b"\x01\x00\xff\xff\xff\xff\x00\x01" + bytes(80), "not-dicom"),
        (b"\x01\x00\x00\x00\x00\xcd\x00\x00" + bytes(80), "not-dicom"),
        (b"\x01\x00\x00\x00\x00\xcd\x00\x01", "no-request"),
        (b"", "no-request"),
    ],
)
def test_what_is_no_association_request_is_closed(
    daemon_root: Path, stack: contextlib.ExitStack, first: bytes, verdict: str
) -> None:
    pair = Pair(daemon_root, stack)
    with socket.create_connection((HOST, pair.port), timeout=5) as sock:
        sock.sendall(first)
        with contextlib.suppress(ConnectionResetError):
            assert sock.recv(100) == b""
    pair.haproxy.log_line("kind=dicom", f"verdict={verdict}")
    assert calls(pair.a) + calls(pair.b) == []


@pytest.mark.parametrize("gap", [0.0, 0.002, 0.3])
def test_a_rejection_reaches_a_caller_that_still_talks(daemon_root: Path, stack: contextlib.ExitStack, gap: float) -> None:
    """A reset that overtakes it would hide the reason: a long request comes in pieces, some after the rejection."""
    pair = Pair(daemon_root, stack, allow={"calling_ae": ["CT1"]})
    body = b"\x00\x01\x00\x00" + b"PACS".ljust(16) + b"STRANGER".ljust(16) + bytes(60_000)
    request = b"\x01\x00" + len(body).to_bytes(4, "big") + body
    with socket.create_connection((HOST, pair.port), timeout=5) as sock:
        for start in range(0, len(request), 15_000):
            sock.sendall(request[start : start + 15_000])
            time.sleep(gap)
        answer = b""
        while piece := sock.recv(100):  # ConnectionResetError fails the test
            answer += piece
    assert answer == dicom.reject(1, 1, 3)


def test_who_never_hangs_up_is_not_kept(daemon_root: Path, stack: contextlib.ExitStack) -> None:
    """A refused caller that keeps its end open holds no slot for ever."""
    pair = Pair(daemon_root, stack, allow={"calling_ae": ["CT1"]})
    config = pair.haproxy.folder / "haproxy.cfg"
    config.write_text(config.read_text().replace("timeout client-fin 30s", "timeout client-fin 1s"))
    pair.haproxy.reload()
    with socket.create_connection((HOST, pair.port), timeout=5) as sock:
        sock.sendall(b"\x01\x00\x00\x00\x00\xcd\x00\x01\x00\x00" + b"PACS".ljust(16) + b"STRANGER".ljust(16) + bytes(139))
        assert sock.recv(10) == dicom.reject(1, 1, 3)
        pair.haproxy.log_line("kind=dicom", 'calling="STRANGER"', within=4)
