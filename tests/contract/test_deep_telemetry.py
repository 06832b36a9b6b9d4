"""rotad as a process: its metrics page, and an alarm that reaches people although they were away for a while."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest
from contract.rotad_node import Bench, Haproxy, Member, Rotad, free_port, service, site, until
from peers.tcp import Conversation, TcpPeer
from peers.web import page, read_request

pytestmark = pytest.mark.contract


class Hook:
    """A webhook that is out of order at first. It is a `Talk`."""

    def __init__(self) -> None:
        self.got: list[Any] = []
        self.works = False

    def __call__(self, talk: Conversation) -> None:
        _, _, body = read_request(talk)
        if self.works:
            self.got.append(json.loads(body))
        talk.send(page("200 OK" if self.works else "503 Gone"))


class LoudRotad(Rotad):
    """A rotad with a metrics page and a webhook."""

    extra = ""

    def write(self) -> Path:
        config = super().write()
        config.write_text(config.read_text() + self.extra)
        return config


@pytest.fixture
def stage(daemon_root: Path, tmp_path: Path) -> Iterator[tuple[LoudRotad, Haproxy, Member, Hook, int]]:
    with ExitStack() as stack:
        bench = Bench(daemon_root, tmp_path, stack)
        a, b = bench.member("pacs-a"), bench.member("pacs-b")
        haproxy = bench.haproxy("lb1", {"pacs": [a, b]})
        hook, port = Hook(), free_port()
        peer = stack.enter_context(TcpPeer(hook))
        document = site({"pacs": service(1, ["pacs-a", "pacs-b"])}, nodes=("lb1",))
        rotad = LoudRotad("lb1", tmp_path / "lb1", haproxy, bench.ports["lb1"], {}, document, bench.authority)
        rotad.extra = (
            f"[metrics]\nport = {port}\n[alarms]\nsettle_seconds = 1\nquiet_seconds = 1\n"
            f'[alarms.webhook]\nurl = "http://127.0.0.1:{peer.port}/rota"\n'
        )
        stack.callback(rotad.kill)
        rotad.start()
        yield rotad, haproxy, a, hook, port


def metric(port: int, line: str) -> str:
    text = ""
    with suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
        text = answer.read().decode()
    return next((row.rpartition(" ")[2] for row in text.splitlines() if row.startswith(line)), "")


def test_metrics_follow_a_member(stage: tuple[LoudRotad, Haproxy, Member, Hook, int]) -> None:
    _, _, a, _, port = stage
    line = 'rota_member_up{member="pacs-a",service="pacs"}'
    until(lambda: metric(port, line) == "1.0")
    a.down()
    until(lambda: metric(port, line) == "0.0")
    until(lambda: metric(port, 'rota_alarms{severity="warning"}') == "1.0")
    until(lambda: float(metric(port, 'rota_events_total{kind="alarm"}') or 0) >= 1)


def test_an_alarm_waits_for_its_receiver_and_so_does_its_end(
    stage: tuple[LoudRotad, Haproxy, Member, Hook, int],
) -> None:
    rotad, _, a, hook, port = stage
    until(lambda: metric(port, 'rota_member_up{member="pacs-a",service="pacs"}') == "1.0")
    a.down()
    until(lambda: "undelivered:webhook" in rotad.alarms(), within=15)
    hook.works = True
    until(lambda: [n["kind"] for n in hook.got if n["key"] == "member-down:pacs/pacs-a"] == ["raised"], within=15)
    until(lambda: "undelivered:webhook" not in rotad.alarms())
    a.up()
    until(lambda: [n["kind"] for n in hook.got if n["key"] == "member-down:pacs/pacs-a"] == ["raised", "over"], within=15)
    assert not [n for n in hook.got if n["key"].startswith("undelivered")]


def test_the_command_tests_every_way(stage: tuple[LoudRotad, Haproxy, Member, Hook, int]) -> None:
    import os
    import subprocess
    import sys

    rotad, _, _, hook, _ = stage

    def run(*more: str) -> subprocess.CompletedProcess[str]:
        argv = [sys.executable, "-m", "rota.cli", "alarm", "test", "--config", str(rotad.folder / "rotad.toml"), *more]
        path = str(Path(__file__).resolve().parents[2] / "appliance")
        return subprocess.run(argv, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, timeout=60)

    done = run()
    assert (done.returncode, done.stdout.strip().endswith("HTTP status 503")) == (1, True), done
    hook.works = True
    done = run("--json")
    assert (done.returncode, json.loads(done.stdout)) == (
        0,
        [{"way": "webhook", "delivered": True, "problem": None}],
    ), done
    assert ("test", "test") in [(said["kind"], said["site"]) for said in hook.got]  # rotad may have had an alarm of its own
    rotad.extra = ""
    rotad.write()
    done = run()
    assert done.returncode == 1
    assert "names no way" in done.stderr
