"""The `rota check` command as keepalived and a runbook see it: exit status, streams, one line, no traceback."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from peers import dicom, mllp, web
from peers.pki import Authority, server_context
from peers.tcp import Case, Talk, TcpPeer, free_port, says, silent

pytestmark = pytest.mark.contract

ROTA = [sys.executable, "-m", "rota.cli"]


def rota(*words: object, limit: float = 20) -> subprocess.CompletedProcess[str]:
    argv = [*ROTA, *map(str, words)]
    return subprocess.run(argv, capture_output=True, text=True, timeout=limit, check=False)


def assert_one_line_and_1(done: subprocess.CompletedProcess[str], *words: str) -> None:
    """The contract for everything that is not up."""
    assert done.returncode == 1, done
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert "Traceback" not in done.stderr
    for word in words:
        assert word in done.stderr


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        ("dicom", dicom.CASES["good"], dicom.CASES["bad-status"]),
        ("hl7", mllp.CASES["good"], mllp.CASES["wrong-id"]),
        ("http", web.CASES["good"], web.CASES["not-found"]),
        ("xds", web.SOAP_CASES["good"], web.SOAP_CASES["fault"]),
    ],
)
def test_up_is_0_and_down_is_1(kind: str, good: Case, bad: Case) -> None:
    for case, code, word in ((good, 0, "up"), (bad, 1, "down")):
        with TcpPeer(case.talk) as peer:
            where = f"http://{peer.hostport}/" if kind in ("http", "xds") else peer.hostport
            done = rota("check", kind, where, "--json")
            plain = rota("check", kind, where) if kind == "hl7" else None
        assert (done.returncode, done.stderr) == (code, ""), done
        answer = json.loads(done.stdout)
        assert (answer["verdict"], answer["reason"]) == (word, case.reason)
        assert answer["detail"]
        assert 0 < answer["elapsed_ms"] < 5000
        if plain is not None:
            assert plain.returncode == code
            line = plain.stdout if code == 0 else plain.stderr
            assert line.startswith(f"{word} {case.reason}: ")
            assert plain.stdout + plain.stderr == line


def test_tcp_and_tls(tmp_path: Path) -> None:
    pair = Authority(tmp_path).issue("pacs.example", days=30.5)
    with TcpPeer(silent, host="::1", tls=server_context(pair)) as peer:
        assert rota("check", "tcp", peer.hostport).returncode == 0
        done = rota("check", "tls", peer.hostport, "--json")
        assert (done.returncode, json.loads(done.stdout)["days_left"]) == (0, 30)
        assert_one_line_and_1(rota("check", "tls", peer.hostport, "--min-days", 31), "down expiring", "30 days")
    assert_one_line_and_1(rota("check", "tcp", f"127.0.0.1:{free_port()}"), "down refused")


def test_dicom_options_reach_the_server(tmp_path: Path) -> None:
    ca = Authority(tmp_path)
    ours, theirs = ca.issue("rota.example"), ca.issue("pacs.example")
    scp = dicom.Scp(store=0xA700)
    with TcpPeer(scp, tls=server_context(theirs, client_ca=ca.cert)) as peer:
        words = ["check", "dicom", peer.hostport, "--called", "PACS_A", "--calling", "ROTA_LB1", "--find", "--json"]
        words += ["--tls", "--ca", ca.cert, "--cert", ours.cert, "--key", ours.key, "--timeout", 5]
        done = rota(*words)
        assert done.returncode == 0, done
        answer = json.loads(done.stdout)
        assert (answer["called"], answer["calling"], answer["matches"]) == ("PACS_A", "ROTA_LB1", 0)
        full = rota(*words, "--store")
    assert scp.calls == [("PACS_A", "ROTA_LB1")] * 2
    answer = json.loads(full.stdout)
    assert (full.returncode, answer["reason"], answer["status"]) == (1, "cannot-store", "A700")


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ([], "Missing command"),
        (["check", "dicom", "127.0.0.1:104", "--nope"], "--nope"),
        (["check", "dicom", "127.0.0.1:104", "--tls", "--ca", "/nowhere/ca.pem"], "/nowhere/ca.pem does not exist"),
        (["check", "http", f"http://{'a' * 80}/"], "down unknown-host"),
    ],
)
def test_bad_words_are_one_line_and_1(words: list[str], line: str) -> None:
    """A sample in a real process; tests/unit/checks/test_cli.py has them all."""
    assert_one_line_and_1(rota(*words), line)


def test_help_is_fast() -> None:
    """`rota --help` loads neither pynetdicom nor pydantic nor aiohttp."""
    program = (
        "import sys; sys.argv = ['rota', '--help']\n"
        "from rota.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print(*{m.split('.')[0] for m in sys.modules} & {'pynetdicom', 'pydicom', 'pydantic', 'aiohttp', 'rich'})"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=20, check=True)
    assert done.stdout.splitlines()[-1] == ""


def test_one_byte_a_second_ends_at_the_deadline() -> None:
    talks: dict[str, Talk] = {
        "dicom": dicom.Scp(piece=1, gap=1.0),
        "hl7": mllp.Receiver(piece=1, gap=1.0),
        "http": web.Web(piece=1, gap=1.0),
        "tls": says(b"\x16\x03\x03\x40\x00" + bytes(100), piece=1, gap=1.0),
    }
    with contextlib.ExitStack() as stack:
        running = []
        for kind, talk in talks.items():
            peer = stack.enter_context(TcpPeer(talk))
            where = f"http://{peer.hostport}/" if kind == "http" else peer.hostport
            argv = [*ROTA, "check", kind, where, "--timeout", "1.5", "--json"]
            running.append(subprocess.Popen(argv, stdout=subprocess.PIPE, text=True))
        began = time.monotonic()
        for process in running:
            out, _ = process.communicate(timeout=30)
            answer = json.loads(out)
            assert (process.returncode, answer["reason"]) == (1, "timeout"), answer
            assert 1400 < answer["elapsed_ms"] < 4000
        assert time.monotonic() - began < 30


def test_dead_name_server_does_not_hold_the_process() -> None:
    """The look-up cannot be cancelled, but it may not keep the process alive either."""
    program = (
        "import socket, sys, time\n"
        "socket.getaddrinfo = lambda *a, **k: time.sleep(60)\n"
        "from rota.cli import main\n"
        "sys.argv = ['rota', 'check', KIND, WHERE, '--timeout', '0.5', '--json']\n"
        "main()"
    )
    for kind, where in (("tcp", "pacs.example:104"), ("http", "http://pacs.example/")):
        text = program.replace("KIND", repr(kind)).replace("WHERE", repr(where))
        began = time.monotonic()
        done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, timeout=20, check=False)
        assert (done.returncode, json.loads(done.stdout)["reason"]) == (1, "timeout"), done
        assert time.monotonic() - began < 20


@pytest.mark.parametrize(("number", "line"), [(signal.SIGINT, "interrupted"), (signal.SIGTERM, "terminated")])
@pytest.mark.parametrize("kind", ["tcp", "dicom"])
def test_interrupted(number: signal.Signals, line: str, kind: str) -> None:
    with TcpPeer(silent) as peer:
        where = {"dicom": peer.hostport, "tcp": "pacs.example:104"}[kind]
        argv = [*ROTA, "check", kind, where, "--timeout", "30"]
        if kind == "tcp":
            program = (
                "import socket, sys, time\n"
                "def hang(*a, **k): print('asked', file=sys.stderr, flush=True); time.sleep(60)\n"
                "socket.getaddrinfo = hang\n"
                "from rota.cli import main\n"
                f"sys.argv = {['rota', *argv[3:]]!r}\n"
                "main()"
            )
            argv = [sys.executable, "-c", program]
        with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            assert process.stderr is not None
            if kind == "tcp":
                assert process.stderr.readline() == "asked\n"
            else:
                limit = time.monotonic() + 30
                while not any(c.received for c in peer.conversations):
                    assert time.monotonic() < limit, "the check did not connect"
                    time.sleep(0.02)
            process.send_signal(number)
            out, err = process.communicate(timeout=10)
    assert (process.returncode, out) == (1, "")
    assert err == f"rota: {line}\n"


def test_full_or_closed_output_does_not_change_the_status() -> None:
    with TcpPeer(silent) as peer, Path("/dev/full").open("w") as full:
        argv = [*ROTA, "check", "tcp", peer.hostport]
        assert subprocess.run(argv, stdout=full, timeout=20, check=False).returncode == 0
        reader, writer = os.pipe()
        os.close(reader)
        try:
            assert subprocess.run(argv, stdout=writer, timeout=20, check=False).returncode == 0
        finally:
            os.close(writer)
        shell = ["sh", "-c", '"$@" >&- 2>&-', "sh", *argv]
        assert subprocess.run(shell, timeout=20, check=False).returncode == 0


def test_nothing_of_a_patient_is_printed() -> None:
    with TcpPeer(dicom.Scp(matches=3)) as peer:
        done = rota("check", "dicom", peer.hostport, "--find", "--json")
    assert json.loads(done.stdout)["matches"] == 3
    with TcpPeer(mllp.Receiver(code="AE", text="SECRET^PATIENT")) as peer:
        other = rota("check", "hl7", peer.hostport)
    assert other.returncode == 1
    assert "SECRET" not in done.stdout + done.stderr + other.stdout + other.stderr
