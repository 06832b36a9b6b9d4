"""net-snmp's own daemon and tools with rotad's numbers, and the MIB before a strict reader."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from contract.rotad_node import Bench, Haproxy, Member, Rotad, free_port, service, site, until
from lib.network import need
from rota.snmp.tree import BASE

pytestmark = pytest.mark.contract

TOP = Path(__file__).resolve().parents[2]
MIB = TOP / "appliance/rota/snmp/ROTA-MIB.txt"
ROOT = "." + ".".join(map(str, BASE))


@pytest.fixture(scope="module", autouse=True)
def _tools() -> None:
    need("snmpd", "snmp", "smitools")


@pytest.fixture
def stage(daemon_root: Path, tmp_path: Path) -> Iterator[tuple[Rotad, Haproxy, Member, int]]:
    with ExitStack() as stack:
        bench = Bench(daemon_root, tmp_path, stack)
        a, b = bench.member("pacs-a"), bench.member("pacs-b")
        haproxy = bench.haproxy("lb1", {"pacs": [a, b]})
        rotad = bench.rotad("lb1", haproxy, site({"pacs": service(1, ["pacs-a", "pacs-b"])}, nodes=("lb1",)))
        rotad.start()
        port = free_port()
        runner = tmp_path / "pass"
        runner.write_text(
            f"#!/bin/sh\nPYTHONPATH={TOP}/appliance ROTA_SOCKET={rotad.folder}/run/rotad.sock exec {sys.executable} -m rota.snmp.agent\n"
        )
        runner.chmod(0o755)
        config = tmp_path / "snmpd.conf"
        config.write_text(f"rocommunity test 127.0.0.1\npass_persist {ROOT} {runner}\n")
        argv = [
            "/usr/sbin/snmpd",
            "-f",
            "-C",
            "-c",
            str(config),
            "-Lf",
            str(tmp_path / "snmpd.log"),
            f"udp:127.0.0.1:{port}",
        ]
        daemon = subprocess.Popen(
            [*argv, "-p", str(tmp_path / "pid")], env={"SNMP_PERSISTENT_DIR": str(tmp_path), "PATH": "/usr/bin:/bin"}
        )
        stack.callback(daemon.wait, 10)
        stack.callback(daemon.kill)
        yield rotad, haproxy, a, port


def ask(tool: str, port: int, oid: str) -> list[str]:
    argv = [tool, "-v2c", "-c", "test", "-m", "", "-OnqU", "-t", "3", "-r", "1", f"127.0.0.1:{port}", ROOT + oid]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=30, check=False)
    return done.stdout.splitlines()


def test_a_manager_sees_a_member_fail(stage: tuple[Rotad, Haproxy, Member, int]) -> None:
    _, _, a, port = stage
    until(lambda: ask("snmpget", port, ".3.1.4.1") == [f"{ROOT}.3.1.4.1 2"], within=20)
    assert ask("snmpget", port, ".3.1.3.1") == [f'{ROOT}.3.1.3.1 "pacs-a"']
    assert len(ask("snmpwalk", port, ".3")) == 14
    a.down()
    until(lambda: ask("snmpget", port, ".3.1.4.1") == [f"{ROOT}.3.1.4.1 4"], within=20)


def test_without_rotad_there_is_nothing_to_read(stage: tuple[Rotad, Haproxy, Member, int]) -> None:
    rotad, _, _, port = stage
    until(lambda: ask("snmpget", port, ".1.1.0") == [f'{ROOT}.1.1.0 "lb1"'], within=20)
    rotad.kill()
    until(lambda: "No Such" in "".join(ask("snmpget", port, ".1.1.0")), within=20)


def read_strictly(mib: Path) -> str:
    # just what ours imports of the standard modules, which Debian may not ship
    argv = ["smilint", "-s", "-l", "5", str(mib)]
    done = subprocess.run(
        argv, env={"SMIPATH": str(TOP / "tests/peers/mibs"), "PATH": "/usr/bin"}, capture_output=True, text=True, timeout=30
    )
    return (done.stdout + done.stderr).strip()


def test_a_strict_reader_finds_nothing_wrong_with_the_mib(tmp_path: Path) -> None:
    assert read_strictly(MIB) == ""
    broken = tmp_path / "ROTA-MIB"
    broken.write_text(MIB.read_text().replace("::= { rotaMemberEntry 4 }", "::= { rotaMemberEntry 3 }"))
    assert "rotaMember" in read_strictly(broken)
