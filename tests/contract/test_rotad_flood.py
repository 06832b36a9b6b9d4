"""A viewer floods the API: others are answered, nothing grows, and afterwards the viewer is served again."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from contract.rotad_node import Bench, Rotad, service, site, until
from lib.place import reachable_folder
from rota.control.clock import Clock
from rota.control.connection import Limits
from rota.control.journal import Journal

pytestmark = pytest.mark.contract
NOBODY, VIEWERS = 65534, 61_002
# Opens connections as fast as they are taken, sends what it is told on each, reads nothing, and keeps all that are not closed
# at the other end. Ends with its stdin.
FLOOD = """
import os, select, socket, sys
os.setgroups([])
os.setgid(int(sys.argv[5]))
os.setuid(int(sys.argv[4]))
path, most, data = sys.argv[1], int(sys.argv[2]), bytes.fromhex(sys.argv[3])
held, opened = [], 0
while not select.select([sys.stdin], [], [], 0)[0]:
    link = socket.socket(socket.AF_UNIX)
    link.settimeout(2)
    try:
        link.connect(path)
        opened += 1
        held.append(link)
        link.sendall(data)
    except OSError:
        pass
    if len(held) > most:
        for link in held[:most // 2]:
            link.close()
        del held[:most // 2]
    if not opened % 100:
        print(opened, flush=True)
"""
ASK = "GET {} HTTP/1.1\r\nHost: rotad\r\n\r\n"
KINDS = {
    "silent": b"",
    "half": b"GET /v1/status HTTP/1.1\r\nHost: rotad\r\n",
    "body": b"POST /v1/intents HTTP/1.1\r\nHost: rotad\r\nContent-Length: 9999\r\n\r\n{",
    "garbage": bytes(range(256)) * 64,
    "status": ASK.format("/v1/status").encode(),
    "journal": ASK.format("/v1/events?limit=5000").encode(),
    "many": ASK.format("/v1/events?limit=5000").encode() * 50,
    "stream": ASK.format("/v1/events/stream").encode(),
}


class Grouped(Rotad):
    """A rotad on a machine that has the group of viewers."""

    def command(self) -> list[str]:
        command = super().command()
        groups = self.folder / "group"
        groups.write_text(Path("/etc/group").read_text() + f"rota-viewers:x:{VIEWERS}:\n")
        bind = 'mount --bind "$0" /etc/group && exec "$@"'
        return ["unshare", "--mount", "sh", "-c", bind, str(groups), *command]


@dataclass
class Flood:
    process: subprocess.Popen[str]

    def passes(self, count: int) -> None:
        """Wait until so many more connections were opened."""
        assert self.process.stdout is not None
        first = int(self.process.stdout.readline())
        while int(self.process.stdout.readline()) < first + count:
            pass


@contextmanager
def flood(rotad: Rotad, data: bytes) -> Iterator[Flood]:
    # the Python of a virtual environment need not be for everybody: it lets go of its rights itself
    argv = [sys.executable, "-c", FLOOD, f"{rotad.folder}/run/rotad.sock", "900", data.hex(), str(NOBODY), str(VIEWERS)]
    process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        yield Flood(process)
    finally:
        process.kill()
        process.communicate(timeout=10)


def seen_by_viewer(rotad: Rotad) -> int:
    """The status that a viewer gets for a small question."""
    socket = f"{rotad.folder}/run/rotad.sock"
    argv = ["curl", "-s", "-m", "5", "-o", "/dev/null", "-w", "%{http_code}", "--unix-socket", socket, "http://r/v1/alarms"]
    done = subprocess.run(
        argv, capture_output=True, text=True, timeout=10, user=NOBODY, group=VIEWERS, extra_groups=[], cwd="/"
    )
    return int(done.stdout or 0)


def files(rotad: Rotad) -> int:
    assert rotad.process is not None
    return len(os.listdir(f"/proc/{rotad.process.pid}/fd"))


def megabytes(rotad: Rotad) -> float:
    assert rotad.process is not None
    lines = Path(f"/proc/{rotad.process.pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmRSS")).split()[1]) / 1000


@pytest.fixture(scope="module")
def rotad(daemon_root: Path) -> Iterator[Rotad]:
    """With 20,000 events, so that an answer can be large."""
    with ExitStack() as stack:
        folder = stack.enter_context(reachable_folder())
        bench = Bench(daemon_root, folder, stack)
        haproxy = bench.haproxy("lb1", {"pacs": [bench.member("pacs-a"), bench.member("pacs-b")]})
        document = site({"pacs": service(1, ["pacs-a", "pacs-b"])}, nodes=("lb1",))
        made = Grouped("lb1", folder / "lb1", haproxy, bench.ports["lb1"], {}, document, bench.authority)
        stack.callback(made.kill)
        (made.folder / "state").mkdir(parents=True)
        past = datetime.now(UTC) - timedelta(days=1)
        journal = Journal(made.folder / "state/journal.db", "lb1", Clock(now=lambda: past), days=9, mebibytes=64)
        for number in range(20_000):
            journal.record(kind="verdict", service="pacs", member="pacs-a", after=str(number), reason="r" * 100)
            if number % 5000 == 0:
                journal.flush()
        journal.flush()
        journal.close()
        made.start()
        (made.folder / "run").chmod(0o755)
        assert seen_by_viewer(made) == 200
        yield made


@pytest.mark.parametrize("kind", KINDS)
def test_a_flood_of_one_viewer_stops_nobody_else(rotad: Rotad, kind: str) -> None:
    before, limits = files(rotad), Limits()
    with flood(rotad, KINDS[kind]) as running:
        running.passes(3000)
        took = []
        for state in ("drain", "ready") * 5:
            began = time.monotonic()
            rotad.intend(state, "pacs-a")
            assert rotad.haproxy.admin("pacs", "pacs-a") == {"drain": 8, "ready": 0}[state]
            took.append(time.monotonic() - began)
            # who is over the limit is told why, and has a second to read it; further ones are closed at once
            assert files(rotad) < before + 2 * limits.connections + 20
        running.passes(3000)
        held = megabytes(rotad)
        rotad.get("/v1/status")
    print(f"{kind}: an act took {min(took):.3f}..{max(took):.3f} s, {held:.0f} MB")
    assert max(took) < 2
    assert held < 120
    assert rotad.process is not None
    assert rotad.process.poll() is None
    until(lambda: seen_by_viewer(rotad) == 200, within=40, what="the viewer is served again")
    until(lambda: files(rotad) <= before + 2, within=40, what="every connection is gone")
    assert "Traceback" not in rotad.log()
    assert rotad.alarms() <= {"no-active:main"}  # there is no keepalived here
