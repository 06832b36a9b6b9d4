"""The `rota` command, a real rotad and a real HAProxy: what an operator types and reads."""

from __future__ import annotations

import json
import os
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from contract.rotad_node import TOP, Bench, Haproxy, Member, Rotad, service, site, until

pytestmark = pytest.mark.contract


@pytest.fixture
def node(daemon_root: Path, tmp_path: Path) -> Iterator[tuple[Rotad, Haproxy, list[Member]]]:
    """One node with one service of two members, and rotad."""
    with ExitStack() as stack:
        bench = Bench(daemon_root, tmp_path, stack)
        members = [bench.member("pacs-a"), bench.member("pacs-b")]
        haproxy = bench.haproxy("lb1", {"pacs": members})
        rotad = bench.rotad("lb1", haproxy, site({"pacs": service(1, ["pacs-a", "pacs-b"])}, nodes=("lb1",)))
        rotad.start()
        until(lambda: all(rotad.member("pacs", m.name)["verdict"] == "up" for m in members), what="checks have run")
        yield rotad, haproxy, members


def environment(rotad: Rotad) -> dict[str, str]:
    return {
        **os.environ,
        "PYTHONPATH": str(TOP / "appliance"),
        "ROTA_SOCKET": str(rotad.folder / "run/rotad.sock"),
        "SUDO_USER": "anna",
    }


def hang_up(link: socket.socket) -> None:
    """Leave at once: the member never closes its side, and a half-closed connection counts as open."""
    link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    link.close()


def rota(rotad: Rotad, *argv: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "rota.cli", *argv]
    return subprocess.run(command, env=environment(rotad), capture_output=True, text=True, timeout=60, check=False)


def test_status_and_version(node: tuple[Rotad, Haproxy, list[Member]]) -> None:
    rotad, _, members = node
    # The exit code is not asked here: nobody holds the address in this test, which is a fault once it has lasted.
    assert "pacs  up" in rota(rotad, "status").stdout
    for member in members:
        member.down()
    until(lambda: "pacs  down" in rota(rotad, "status", "pacs").stdout, within=10, what="the command says that pacs is down")
    assert "rotad 0.1.0 on lb1" in rota(rotad, "version").stdout


def test_a_drain_waits_for_the_last_caller(node: tuple[Rotad, Haproxy, list[Member]]) -> None:
    """It names who is connected, and says safe to patch only when they have gone."""
    rotad, haproxy, _ = node
    got = haproxy.call("pacs")
    assert got
    name, link = got
    port = link.getsockname()[1]
    command = [sys.executable, "-m", "rota.cli", "drain", "pacs", name, "--reason", "patching", "--until", "1h", "--wait"]
    with subprocess.Popen(command, env=environment(rotad), stdout=subprocess.PIPE, text=True, bufsize=1) as waiting:
        assert waiting.stdout
        seen = []
        for line in waiting.stdout:
            seen.append(line)
            if f"127.0.0.1:{port}" in line:
                hang_up(link)
        assert waiting.wait(30) == 0, seen
    assert f"pacs/{name}: drain until " in seen[0]
    assert "by anna: patching" in seen[0]
    assert f"{name}: 1 open: 127.0.0.1:{port}" in "".join(seen)
    assert seen[-1].startswith(f"{name}: safe to patch")
    assert rotad.member("pacs", name)["intent"]["person"] == "anna"


def test_ctrl_c_leaves_the_drain(node: tuple[Rotad, Haproxy, list[Member]]) -> None:
    rotad, haproxy, _ = node
    got = haproxy.call("pacs")
    assert got
    name, _ = got
    command = [sys.executable, "-m", "rota.cli", "drain", "pacs", name, "--reason", "patching", "--wait"]
    with subprocess.Popen(
        command, env=environment(rotad), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as waiting:
        assert waiting.stdout
        said = []
        for line in waiting.stdout:
            said.append(line)
            if "1 open: " in line and sum("1 open: " in words for words in said) == 1:
                waiting.send_signal(signal.SIGINT)
        assert waiting.wait(30) == 1
    assert "STAYS in drain" in said[-1], said
    assert rotad.member("pacs", name)["intent"]["state"] == "drain"


def test_who_halt_and_ready(node: tuple[Rotad, Haproxy, list[Member]]) -> None:
    rotad, haproxy, _ = node
    got = haproxy.call("pacs")
    assert got
    name, link = got
    caller = f"127.0.0.1:{link.getsockname()[1]}"
    assert caller in until(lambda: rota(rotad, "who", "pacs").stdout, what="who")
    ran = rota(rotad, "halt", "pacs", name, "--reason", "stores nothing")
    assert ran.returncode == 0, ran.stderr
    assert link.recv(1) == b"", "halt cuts"
    other = {"pacs-a": "pacs-b", "pacs-b": "pacs-a"}[name]
    ran = rota(rotad, "drain", "pacs", other, "--reason", "patching")
    assert ran.returncode == 1
    assert "--force" in ran.stderr
    assert rota(rotad, "ready", "pacs", name, "--reason", "mended").returncode == 0
    until(lambda: rotad.member("pacs", name)["in_use"], what=f"{name} serves again")


def test_failover_of_a_node_without_a_peer_is_refused(node: tuple[Rotad, Haproxy, list[Member]]) -> None:
    ran = rota(node[0], "failover", "--reason", "kernel update")
    assert ran.returncode == 1
    assert ran.stdout == ""
    assert len(ran.stderr.splitlines()) == 1


def test_events_and_report(node: tuple[Rotad, Haproxy, list[Member]]) -> None:
    """An outage of two members, told by the journal; and a report that claims no more than was seen."""
    rotad, _, members = node
    for member in members:
        member.down()
    until(lambda: all(m["verdict"] == "down" for m in rotad.get("/v1/services/pacs")["members"]), what="both are down")
    for member in members:
        member.up()
    until(lambda: all(m["verdict"] == "up" for m in rotad.get("/v1/services/pacs")["members"]), what="both are back")
    lines = [
        json.loads(line)
        for line in rota(rotad, "events", "--since", "5m", "--service", "pacs", "--json").stdout.splitlines()
    ]
    assert [e["after"] for e in lines if e["kind"] == "verdict"][-4:] == ["down", "down", "up", "up"]
    document = json.loads(rota(rotad, "report", "--from", "5m", "--json").stdout)
    (pacs,) = document["services"]
    assert (pacs["availability"], document["outages"]) == (None, []), (
        "this node holds no address: it cannot say what callers met"
    )


def test_follow_lives_through_a_killed_rotad(node: tuple[Rotad, Haproxy, list[Member]]) -> None:
    """Each event once: those of before, those that come, and those written by the rotad that started anew."""
    rotad, _, _ = node
    rotad.intend("drain", "pacs-a")
    command = [sys.executable, "-m", "rota.cli", "events", "--follow", "--json"]
    with subprocess.Popen(command, env=environment(rotad), stdout=subprocess.PIPE, text=True) as following:
        assert following.stdout
        seen: list[dict[str, str]] = []

        def read_until(kind: str, after: str) -> None:
            assert following.stdout
            for line in following.stdout:
                seen.append(json.loads(line))
                if (seen[-1]["kind"], seen[-1]["after"]) == (kind, after):
                    return

        read_until("intent", "drain")
        rotad.intend("ready", "pacs-a")
        read_until("intent", "ready")
        rotad.kill()
        rotad.start()
        rotad.intend("halt", "pacs-b")
        read_until("intent", "halt")
        following.send_signal(signal.SIGINT)
        assert following.wait(10) == 0
    assert [e["after"] for e in seen if e["kind"] == "intent"] == ["drain", "ready", "halt"]
    assert [e["after"] for e in seen if e["kind"] == "rotad"] == ["started", "started"]
