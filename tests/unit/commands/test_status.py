from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
from rota.control.state import Alarm, IpvsCounts, Role, Status, Verdict
from unit.api.double import NOON, member, service
from unit.commands.conftest import Rotad, Run


def test_status_shows_services_members_and_pair(rotad: Rotad, run: Run) -> None:
    ran = run("status")
    assert ran.code == 0
    assert "group main: active here for 3 d" in ran.out
    assert "peer lb2: in step" in ran.out
    assert "pacs  up  203.0.113.100:104" in ran.out
    assert ran.out.count("pacs-b") == 2
    assert "\x1b" not in ran.out, "a pipe gets no colour"


def test_one_service_has_more_detail(rotad: Rotad, run: Run) -> None:
    ran = run("status", "pacs")
    assert "203.0.113.21:104" in ran.out
    assert "hl7" not in ran.out


def test_an_unknown_service_names_those_that_are(rotad: Rotad, run: Run) -> None:
    ran = run("status", "packs")
    assert (ran.code, ran.out) == (1, "")
    assert ran.err == "rota: there is no service 'packs'; there are: pacs, hl7, worklist\n"


def test_json_is_the_apis_own(rotad: Rotad, run: Run) -> None:
    assert Status.model_validate_json(run("status", "--json").out) == rotad.double.status()
    assert json.loads(run("status", "hl7", "--json").out)["name"] == "hl7"


def test_trouble_is_said_and_fails(rotad: Rotad, run: Run) -> None:
    down = [member("pacs-a", Verdict.DOWN), member("pacs-b", Verdict.CANNOT_STORE, reason="A700: no room")]
    rotad.double.services = [service("pacs", down)]
    ran = run("status")
    assert ran.code == 1
    assert "pacs  down" in ran.out
    assert "cannot-store" in ran.out
    assert "A700: no room" in ran.out


@pytest.mark.parametrize(("verdict", "code"), [("up", 0), ("degraded", 0), ("down", 1), ("unknown", 1)])
def test_exit_goes_by_the_service(rotad: Rotad, run: Run, verdict: str, code: int) -> None:
    rotad.double.services = [service("pacs", [member("pacs-a")], verdict=verdict)]
    assert run("status").code == code


def test_unknown_is_never_green(rotad: Rotad, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """With HAProxy silent and the peer unseen, nothing may look well."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    lost = [member("pacs-a", Verdict.UNKNOWN, since=None, reason="HAProxy does not answer")]
    rotad.double.services = [service("pacs", lost, verdict="unknown")]
    rotad.double.peer_fit = False
    ran = run("status")
    assert "\x1b[1;33munknown" in ran.out
    assert "its rotad does not answer" in ran.out
    assert "\x1b[32m" not in ran.out
    assert ran.code == 1


def test_alarms_stand_on_top(rotad: Rotad, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    alarm = Alarm(
        key="member-down:pacs/pacs-b", severity="critical", text="pacs-b is down", since=NOON - timedelta(minutes=5)
    )
    real = rotad.double.status
    monkeypatch.setattr(rotad.double, "status", lambda: real().model_copy(update={"alarms": [alarm]}))
    assert "critical: pacs-b is down  (for 5 min)" in run("status").out
    assert "critical: pacs-b is down" in run("status", "pacs").out
    assert "critical" not in run("status", "hl7").out


def test_a_standby_says_who_holds(rotad: Rotad, run: Run) -> None:
    rotad.double.role = Role.STANDBY
    assert "group main: standby here for 3 d, held by lb2" in run("status").out


def test_what_a_peer_sent_does_not_steer_the_terminal(rotad: Rotad, run: Run) -> None:
    rotad.double.services = [service("pacs", [member("pacs-a", Verdict.DOWN, reason="\x1b[2Jboo")])]
    assert "\x1b" not in run("status").out


class TestSilence:
    def test_nobody_listens(self, run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setenv("ROTA_SOCKET", str(tmp_path / "none.sock"))
        for command in (
            ["status"],
            ["who"],
            ["events"],
            ["drain", "a", "b", "--reason", "why"],
            ["failover", "--reason", "why"],
        ):
            ran = run(*command)
            assert (ran.code, ran.out) == (1, ""), command
            assert ran.err == f"rota: rotad does not answer on {tmp_path}/none.sock: is rota-control running?\n"

    def test_the_socket_is_left_behind(self, rotad: Rotad, run: Run) -> None:
        rotad.stop()
        assert "is rota-control running?" in run("status").err

    def test_what_answers_is_not_rotad(self, rotad: Rotad, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(rotad.double, "status", lambda: None)
        ran = run("status")
        assert ran.code == 1
        assert len(ran.err.splitlines()) == 1

    def test_version_tells_what_it_can(self, rotad: Rotad, run: Run) -> None:
        assert run("version").out.splitlines() == ["rota  0.1.0", "rotad 0.1.0 on lb1", "rotad 0.1.0 on lb2"]
        rotad.stop()
        ran = run("version")
        assert ran.code == 0
        assert "rotad unknown: rotad does not answer" in ran.out


def test_status_is_quick(rotad: Rotad) -> None:
    """Half a second is what a person waits without noticing. Counted is the processor's time: the tests have neighbours."""
    environment = os.environ | {"PYTHONPATH": "appliance"}
    taken = []
    for _ in range(4):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-m", "rota.cli", "status"], check=True, capture_output=True, env=environment)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        taken.append(after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime)
    assert min(taken) < 0.5, taken


def test_the_version_is_the_packages() -> None:
    import tomllib

    from rota import __version__

    project = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())["project"]
    assert project["version"] == __version__


def test_layer_4_shows_what_the_kernel_has(rotad: Rotad, run: Run) -> None:
    there = member("pacs-a", ipvs=IpvsCounts(weight=0, active=3, inactive=1))
    out = member("pacs-b", ipvs=IpvsCounts(weight=None, active=0, inactive=0))
    rotad.double.services = [
        service("pacs", [there, out, member("pacs-c")], mode="l4-dr"),
        service("web", [member("web-a")]),
    ]
    said = run("status").out
    assert "weight 0, 3+1" in said
    assert "out, 0+0" in said
    assert said.count("IPVS") == 1, "layer 7 has no such column"
    (row,) = [line for line in said.splitlines() if "pacs-c" in line]
    assert "?" in row


def test_a_kernel_without_ipvs_is_said_once(rotad: Rotad, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    problem = "this kernel has no ip_vs: layer 4 services do not work (modprobe ip_vs)"
    status = rotad.double.status().model_copy(update={"ipvs_problem": problem})
    monkeypatch.setattr(rotad.double, "status", lambda: status)
    assert run("status").out.count(problem) == 1
