"""rotad's own surroundings break: the disk, the clock, the manager's patience, HAProxy's tongue."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from contract.rotad_node import Bench, Haproxy, Rotad, service, site, until
from rota.control import daemon
from rota.control.clock import Clock
from rota.control.config import load
from rota.control.notify import Notifier

pytestmark = pytest.mark.contract
DOCUMENT = site({"pacs": service(1, ["pacs-a", "pacs-b"])}, nodes=("lb1",))


@pytest.fixture
def bench(daemon_root: Path, tmp_path: Path) -> Iterator[Bench]:
    with ExitStack() as stack:
        yield Bench(daemon_root, tmp_path, stack)


@pytest.fixture
def rotad(bench: Bench) -> Rotad:
    haproxy = bench.haproxy("lb1", {"pacs": [bench.member("pacs-a"), bench.member("pacs-b")]})
    return bench.rotad("lb1", haproxy, DOCUMENT)


def test_systemd_hears_ready_alive_and_stopping(rotad: Rotad, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "n"))
        manager.settimeout(5)
        rotad.start(NOTIFY_SOCKET=str(tmp_path / "n"), WATCHDOG_USEC="900000")
        heard = [manager.recv(500).decode() for _ in range(6)]
        assert heard[0].startswith("READY=1\nSTATUS=follows HAProxy")
        assert heard.count("WATCHDOG=1") >= 2
        rotad.signal(signal.SIGHUP)
        until(lambda: manager.recv(500).startswith(b"RELOADING=1\nMONOTONIC_USEC="))
        until(lambda: manager.recv(500).startswith(b"READY=1"))
        # hung: the watchdog hears nothing, and systemd would start a new one
        rotad.signal(signal.SIGSTOP)
        manager.settimeout(1.5)
        with suppress(TimeoutError):
            while True:
                manager.recv(500)
        with pytest.raises(TimeoutError):
            manager.recv(500)
        rotad.signal(signal.SIGCONT)
        assert manager.recv(500)
        assert rotad.stop() == 0
        assert b"STOPPING=1" in [manager.recv(500) for _ in range(20) if _readable(manager)]


def _readable(manager: socket.socket) -> bool:
    import select

    return bool(select.select([manager], [], [], 0)[0])


def test_a_full_disk_is_said_acts_go_on_and_nothing_is_lost(rotad: Rotad) -> None:
    state = rotad.folder / "state"
    state.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(state)], check=True)
    try:
        rotad.start()
        ballast = state / "ballast"
        with suppress(OSError), ballast.open("wb", buffering=0) as file:
            while True:
                file.write(b"x" * 4096)
        rotad.intend("drain", "pacs-a", reason="r" * 190)
        assert rotad.haproxy.admin("pacs", "pacs-a") == 8
        until(lambda: {"intents-unsaved", "journal"} <= rotad.alarms(), within=5)
        assert rotad.events(kind="intent", member="pacs-a", after="drain")
        ballast.unlink()
        until(lambda: not {"intents-unsaved", "journal"} & rotad.alarms(), within=10)
        rotad.kill()
        rotad.start()
        assert rotad.member("pacs", "pacs-a")["intent"]["state"] == "drain"
        assert len(rotad.events(kind="intent", member="pacs-a", after="drain")) == 1
    finally:
        rotad.kill()
        subprocess.run(["umount", str(state)], check=True)


def test_a_damaged_journal_is_set_aside_said_and_begun_anew(rotad: Rotad) -> None:
    rotad.start()
    rotad.intend("drain", "pacs-a")
    assert rotad.stop() == 0
    journal = rotad.folder / "state/journal.db"
    journal.write_bytes(os.urandom(50_000))
    rotad.start()
    assert "damage:journal" in rotad.alarms()
    (event,) = rotad.events(kind="rotad", after="damage")
    assert "it is set aside as journal.db.damaged-" in event["reason"]
    assert rotad.member("pacs", "pacs-a")["intent"]["state"] == "drain"
    rotad.intend("ready", "pacs-a")
    assert rotad.events(kind="intent", after="ready")


async def test_a_clock_that_jumps_is_said_and_moves_nothing(rotad: Rotad, monkeypatch: pytest.MonkeyPatch) -> None:
    """A year ahead, and back: by its date every event would be too old to be kept, and every drain of long ago."""
    monkeypatch.setattr(daemon, "PRUNE", 0.1)
    (rotad.folder / "run/track").mkdir(parents=True)
    (rotad.folder / "state").mkdir()
    ahead = timedelta()
    config = load(rotad.write())
    running = daemon.Daemon(
        config, daemon.read_site(config.site, "lb1"), Notifier({}), clock=Clock(now=lambda: datetime.now(UTC) + ahead)
    )
    task = asyncio.create_task(running.run())

    async def asked(fn: Callable[..., Any], *words: Any, **more: Any) -> Any:
        assert not task.done(), task
        return await asyncio.to_thread(fn, *words, **more)

    async def jumps(count: int) -> list[str]:
        def seen() -> list[str]:
            found = [e["reason"] for e in rotad.events(kind="rotad", after="clock-jumped")]
            return found if len(found) == count else []

        return list(await asked(until, seen))

    try:
        await asked(until, lambda: (rotad.folder / "run/rotad.sock").exists() and rotad.answers())
        await asked(rotad.intend, "drain", "pacs-a")
        first = [e["id"] for e in await asked(rotad.get, "/v1/events")]
        ahead = timedelta(days=400)
        assert (await jumps(1))[0].startswith("the clock of lb1 jumped by +34560")
        await asyncio.sleep(1)  # some turns of what prunes
        assert {e["id"] for e in await asked(rotad.get, "/v1/events")} > set(first)
        assert rotad.haproxy.admin("pacs", "pacs-a") == 8
        ahead = timedelta()
        assert {word.split()[-2][:4] for word in await jumps(2)} == {"+345", "-345"}
        await asked(rotad.intend, "ready", "pacs-a")
        assert rotad.haproxy.admin("pacs", "pacs-a") == 0
        assert (await asked(rotad.member, "pacs", "pacs-a"))["intent"]["state"] == "ready"
    finally:
        running.stop()
        await task


class Liar:
    """Stands where HAProxy's socket was, and answers as it is told."""

    def __init__(self, path: Path, answer: bytes, *, hang: bool = False) -> None:
        path.unlink(missing_ok=True)
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(path))
        self.listener.listen(50)
        self.answer, self.hang, self.asked = answer, hang, 0
        self.held: list[socket.socket] = []
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                link, _ = self.listener.accept()
                self.asked += 1
                with suppress(OSError):
                    link.recv(1000)
                    link.sendall(self.answer)
                if self.hang:
                    self.held.append(link)
                else:
                    link.close()

    def close(self) -> None:
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for link in self.held:
            link.close()


def half(haproxy: Haproxy) -> bytes:
    return haproxy.ask("show servers state").encode()[:-30]


@pytest.mark.parametrize("kind", ["nothing", "garbage", "half", "flood", "hang"])
def test_what_haproxy_cannot_mean_is_not_believed(rotad: Rotad, bench: Bench, kind: str) -> None:
    """No verdict changes, no intent is lost, rotad answers; and when HAProxy speaks again, all is as it was."""
    rotad.start()
    rotad.intend("drain", "pacs-a")
    until(lambda: rotad.member("pacs", "pacs-b")["verdict"] == "up")
    real = rotad.haproxy.socket.with_name("real.sock")
    answers = {
        "nothing": b"",
        "garbage": bytes(range(256)) * 9,
        "half": half(rotad.haproxy),
        "flood": b"x" * 5_000_000,
        "hang": b"",
    }
    rotad.haproxy.socket.rename(real)
    liar = Liar(rotad.haproxy.socket, answers[kind], hang=kind == "hang")
    bench.stack.callback(liar.close)
    until(lambda: "haproxy-silent" in rotad.alarms(), within=10)
    until(lambda: rotad.member("pacs", "pacs-b")["verdict"] == "unknown", within=5)
    assert liar.asked
    assert rotad.get("/v1/status")["haproxy_since"] is None
    assert rotad.member("pacs", "pacs-a")["intent"]["state"] == "drain"
    real.rename(rotad.haproxy.socket)
    until(lambda: rotad.member("pacs", "pacs-b")["verdict"] == "up", within=10)
    assert rotad.events(kind="verdict", member="pacs-b", before="up") == []
    assert [e["after"] for e in rotad.events(kind="haproxy")] == ["down", "up"]
    assert rotad.haproxy.admin("pacs", "pacs-a") == 8


def test_a_haproxy_that_refuses_is_an_alarm_and_is_asked_again(bench: Bench) -> None:
    """Its socket gives no right to act: the drain is not in force, and nobody may believe that it is."""
    haproxy = bench.haproxy("lb1", {"pacs": [bench.member("pacs-a"), bench.member("pacs-b")]}, level="operator")
    rotad = bench.rotad("lb1", haproxy, DOCUMENT)
    rotad.start()
    rotad.intend("drain", "pacs-a")
    assert "haproxy-refuses" in rotad.alarms()
    assert rotad.member("pacs", "pacs-a")["in_use"]
    haproxy.kill()
    haproxy.level = "admin"
    haproxy.start()
    until(lambda: haproxy.admin("pacs", "pacs-a") == 8, within=7)
    until(lambda: "haproxy-refuses" not in rotad.alarms(), within=7)
