"""What rotad needs of HAProxy: drains that outlive a crash and a reboot without it, and who is associated."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from lib import haproxy
from lib.associate import association
from lib.poll import wait_until
from peers import dicom
from peers.tcp import TcpPeer, free_port
from rota.control.sessions import TABLE, parse_sessions, parse_titles, with_titles

pytestmark = pytest.mark.contract

HOST = "127.0.0.100"
HELPER = haproxy.ROLE / "files/haproxy.py"


@pytest.fixture
def stack() -> Iterator[contextlib.ExitStack]:
    with contextlib.ExitStack() as held:
        yield held


@pytest.fixture
def members(stack: contextlib.ExitStack) -> list[TcpPeer]:
    return [stack.enter_context(TcpPeer(dicom.Scp())) for _ in range(3)]


def site(members: list[TcpPeer], port: int) -> dict[str, object]:
    named = {
        f"pacs-{name}": {"address": "127.0.0.1", "port": peer.port, "called_ae": "PACS"}
        for name, peer in zip("abc", members, strict=True)
    }
    # slow checks: what is known after a start is what was handed over
    check = {"interval": "1m", "fast_interval": "100ms", "timeout": "1s", "down_interval": "1m"}
    return haproxy.site({"pacs": {"profile": "dicom", "address": HOST, "port": port, "members": named, "check": check}})


def helper(command: str, daemon: haproxy.Haproxy, **environment: str) -> None:
    """Run the unit's helper as the unit does."""
    places = {"ROTA_HAPROXY_RUN": str(daemon.folder), "ROTA_HAPROXY_COPY": str(daemon.folder / "copy")}
    subprocess.run([sys.executable, HELPER, command], env={**os.environ, **places, **environment}, timeout=30, check=True)


def crash(daemon: haproxy.Haproxy) -> None:
    """Kill master and worker; nobody says good-bye."""
    assert daemon.process is not None
    for line in subprocess.run(["pgrep", "-P", str(daemon.process.pid)], capture_output=True, text=True).stdout.split():
        os.kill(int(line), signal.SIGKILL)
    daemon.process.kill()
    daemon.process.wait(10)


def standing(daemon: haproxy.Haproxy) -> dict[str, str]:
    return {name: daemon.stat("pacs", name)["status"] for name in ("pacs-a", "pacs-b", "pacs-c")}


def drained_and_dead(daemon: haproxy.Haproxy, members: list[TcpPeer]) -> str:
    """pacs-a drained by a person, pacs-b down by its check; the state that rotad keeps of it."""
    daemon.ask("set server pacs/pacs-a state drain")
    daemon.ask("set server pacs/pacs-b health down")
    wait_until(lambda: standing(daemon)["pacs-b"].startswith("DOWN"), within=5)
    return daemon.ask("show servers state")


def test_after_a_crash_drains_hold_and_health_is_asked_anew(
    daemon_root: Path, stack: contextlib.ExitStack, members: list[TcpPeer]
) -> None:
    """The state of before the crash may call down who is up, but whom an operator drained is drained."""
    daemon = stack.enter_context(haproxy.running(daemon_root, site(members, free_port(HOST))))
    (daemon.folder / "haproxy/server-state").write_text(drained_and_dead(daemon, members))
    crash(daemon)
    helper("forget", daemon, SERVICE_RESULT="signal")
    helper("prepare", daemon)
    daemon.start()
    assert standing(daemon) == {"pacs-a": "DRAIN", "pacs-b": "UP", "pacs-c": "UP"}


def test_after_a_stop_in_order_everything_holds(
    daemon_root: Path, stack: contextlib.ExitStack, members: list[TcpPeer]
) -> None:
    """The twin: what was saved a moment ago is true, health too."""
    daemon = stack.enter_context(haproxy.running(daemon_root, site(members, free_port(HOST))))
    (daemon.folder / "haproxy/server-state").write_text(drained_and_dead(daemon, members))
    crash(daemon)
    helper("forget", daemon, SERVICE_RESULT="success")
    helper("prepare", daemon)
    daemon.start()
    assert standing(daemon) == {"pacs-a": "DRAIN", "pacs-b": "DOWN", "pacs-c": "UP"}


@pytest.mark.parametrize("copy", [True, False])
def test_after_a_reboot_drains_come_from_the_disk(
    copy: bool, daemon_root: Path, stack: contextlib.ExitStack, members: list[TcpPeer]
) -> None:
    """/run is empty then, and rotad may be dead: its copy is enough, and without one HAProxy starts all the same."""
    daemon = stack.enter_context(haproxy.running(daemon_root, site(members, free_port(HOST))))
    text = drained_and_dead(daemon, members)
    if copy:
        (daemon.folder / "copy").write_text(text)
    crash(daemon)
    (daemon.folder / "haproxy/server-state").unlink()
    helper("prepare", daemon)
    daemon.start()
    assert standing(daemon) == {"pacs-a": "DRAIN" if copy else "UP", "pacs-b": "UP", "pacs-c": "UP"}


def test_a_damaged_state_stops_no_start(daemon_root: Path, stack: contextlib.ExitStack, members: list[TcpPeer]) -> None:
    daemon = stack.enter_context(haproxy.running(daemon_root, site(members, free_port(HOST))))
    crash(daemon)
    (daemon.folder / "haproxy/server-state").unlink()
    (daemon.folder / "copy").write_bytes(b"1\n# be_id\n" + bytes(range(256)) + b" a b c" * 40)
    helper("prepare", daemon)
    daemon.start()
    assert standing(daemon)["pacs-c"] == "UP"


def test_associations_can_be_named_while_they_live(
    daemon_root: Path, stack: contextlib.ExitStack, members: list[TcpPeer]
) -> None:
    port = free_port(HOST)
    daemon = stack.enter_context(haproxy.running(daemon_root, site(members, port)))

    def who() -> set[tuple[str | None, str | None, str | None]]:
        titles = parse_titles(daemon.ask(f"show table {TABLE}"))
        found = [with_titles(s, titles.get(s.caller)) for s in parse_sessions(daemon.ask("show sess all"))]
        return {(s.server, s.calling_ae, s.called_ae) for s in found if s.backend == "pacs"}

    with association(port, called="PACS", calling="CT 1"), association(port, called="ANY", calling="MR1"):
        wait_until(lambda: len(who()) == 2, within=5)
        assert {(calling, called) for _, calling, called in who()} == {("CT 1", "PACS"), ("MR1", "ANY")}
    wait_until(lambda: who() == set(), within=5)
