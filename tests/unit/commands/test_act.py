from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from rota.commands import failover, show, wait
from rota.control.client import Rotad as Client
from rota.control.state import Association, FailoverRequest, Intent, IntentState, Role
from unit.api.double import NOON, Double
from unit.commands.conftest import Rotad, Run


def state_of(double: Double, service: str, member: str) -> IntentState | None:
    (found,) = [m for s in double.services if s.name == service for m in s.members if m.name == member]
    return found.intent.state if found.intent else None


def association(
    caller: str = "198.51.100.51:4711", member: str = "pacs-b", service: str = "pacs", **more: Any
) -> Association:
    fields: dict[str, Any] = {
        "service": service, "member": member, "caller": caller, "calling_ae": "CT_1", "called_ae": "PACS_B", "age_s": 90,
        "bytes_in": 1_250_000, "bytes_out": 4000, "node": "lb1",
    }  # fmt: skip
    return Association.model_validate(fields | more)


def test_drain_and_ready(rotad: Rotad, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUDO_USER", "anna")
    ran = run("drain", "pacs", "pacs-b", "--reason", "patching", "--until", "2h")
    assert ran.code == 0
    assert "pacs/pacs-b: drain until " in ran.out
    assert "by anna: patching" in ran.out
    assert state_of(rotad.double, "pacs", "pacs-b") is IntentState.DRAIN
    ran = run("ready", "pacs", "pacs-b", "--reason", "patched")
    assert ran.out.splitlines() == ["pacs/pacs-b: ready again by anna: patched"]
    assert state_of(rotad.double, "pacs", "pacs-b") is IntentState.READY
    assert rotad.double.people == ["anna", "anna"]


def test_halt(rotad: Rotad, run: Run) -> None:
    (intent,) = json.loads(run("halt", "pacs", "pacs-b", "--reason", "stores nothing", "--json").out)
    assert intent["state"] == "halt"
    assert state_of(rotad.double, "pacs", "pacs-b") is IntentState.HALT


def test_a_member_in_all_its_services(rotad: Rotad, run: Run) -> None:
    ran = run("drain", "--member", "pacs-b", "--reason", "patching", "--force")
    assert ran.code == 0
    assert [line.split(":")[0] for line in ran.out.splitlines()[:2]] == ["pacs/pacs-b", "worklist/pacs-b"]


def test_the_last_member_needs_force(rotad: Rotad, run: Run) -> None:
    ran = run("drain", "worklist", "pacs-b", "--reason", "patching")
    assert ran.code == 1
    assert "last member of worklist" in ran.err
    assert "--force" in ran.err
    assert rotad.double.people == []
    assert run("drain", "worklist", "pacs-b", "--reason", "patching", "--force").code == 0


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["drain", "pacs", "pacs-b"], "--reason"),
        (["drain", "pacs", "pacs-b", "--reason", " "], "reason"),
        (["drain", "pacs", "--reason", "patching"], "which member?"),
        (["drain", "--reason", "patching"], "which member?"),
        (["drain", "pacs", "pacs-b", "--member", "pacs-b", "--reason", "patching"], "alone"),
        (["drain", "pacs", "pacs-b", "--reason", "patching", "--until", "soon"], "is no time"),
        (["drain", "pacs", "pacs-b", "--reason", "patching", "--until", "25:00"], "is no time"),
        (["drain", "pacs", "pacs-b", "--reason", "patching", "--until", "2001-01-01"], "has passed"),
        (["drain", "pacs", "pacs-b", "--reason", "patching", "--wait", "--timeout", "soon"], "no length of time"),
        (["halt", "pacs", "nobody", "--reason", "patching"], "no member 'nobody'"),
        (["halt", "nothing", "pacs-b", "--reason", "patching"], "no service 'nothing'"),
        (["halt", "pacs", "pacs-b", "--reason", "a\x1bb"], "reason: "),
    ],
)
def test_a_wrong_command_says_why_in_one_line(rotad: Rotad, run: Run, argv: list[str], says: str) -> None:
    ran = run(*argv)
    assert (ran.code, ran.out) == (1, "")
    assert says in ran.err
    assert len(ran.err.splitlines()) == 1
    assert rotad.double.people == []


def test_a_peer_that_does_not_know_yet_is_named(rotad: Rotad, run: Run) -> None:
    rotad.double.peer_fit = False
    assert "lb2 does not answer" in run("drain", "pacs", "pacs-b", "--reason", "patching").out


def test_who_acts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 0)
    monkeypatch.setenv("SUDO_USER", "anna")
    assert show.person() == "anna"
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert show.person() is None, "the kernel names those who are not root"


class TestWait:
    """`drain --wait`, with a clock that jumps when it sleeps and a double that changes meanwhile."""

    def watch(self, rotad: Rotad, *steps: Any, longest: timedelta | None = None, member: str = "pacs-b") -> wait.End:
        client = Client(rotad.path)
        intents = client.intend({"member": member, "service": "pacs", "state": "drain", "reason": "patching"})
        now = [0.0]
        left = list(steps)

        def sleep(seconds: float) -> None:
            now[0] += seconds
            assert now[0] < 1000, "it waits for ever"
            if left:
                left.pop(0)()

        return wait.wait_until_idle(client, intents, longest=longest, sleep=sleep, clock=lambda: now[0])

    def test_it_ends_when_nobody_is_connected(self, rotad: Rotad, capsys: pytest.CaptureFixture[str]) -> None:
        rotad.double.open = [association(), association("198.51.100.52:4712", calling_ae="MR_1", node="lb2")]

        def leave() -> None:
            rotad.double.open.pop()

        end = self.watch(rotad, lambda: None, leave, leave)
        assert end.safe
        lines = capsys.readouterr().out.splitlines()
        assert lines[0] == "pacs-b: 2 open: CT_1→PACS_B 198.51.100.51:4711, MR_1→PACS_B 198.51.100.52:4712"
        assert lines[1] == "pacs-b: 1 open: CT_1→PACS_B 198.51.100.51:4711"
        assert lines[-1].startswith("pacs-b: safe to patch")

    def test_others_do_not_count(self, rotad: Rotad) -> None:
        rotad.double.open = [association(member="pacs-a"), association(service="worklist")]
        assert self.watch(rotad).safe

    def test_a_count_without_names_counts(self, rotad: Rotad) -> None:
        """Layer 4 and HAProxy's own counter may know of a connection that no list names."""
        double = rotad.double
        busy = [m.model_copy(update={"associations": 1 if m.name == "pacs-b" else 0}) for m in double.services[0].members]
        double.services[0] = double.services[0].model_copy(update={"members": busy})
        end = self.watch(rotad, longest=timedelta(seconds=5))
        assert not end.safe
        assert "1 open" in end.words

    def test_a_silent_peer_is_not_called_safe(self, rotad: Rotad) -> None:
        rotad.double.peer_fit = False
        end = self.watch(rotad, longest=timedelta(seconds=30))
        assert not end.safe
        assert "lb2 does not answer" in end.words
        assert "STAYS in drain" in end.words

    def test_somebody_brings_it_back(self, rotad: Rotad) -> None:
        rotad.double.open = [association()]

        def back() -> None:
            Client(rotad.path).intend({"member": "pacs-b", "service": "pacs", "state": "ready", "reason": "wrong server"})

        end = self.watch(rotad, back)
        assert not end.safe
        assert "ready again" in end.words
        assert "wrong server" in end.words

    def test_rotad_restarts_meanwhile(self, rotad: Rotad) -> None:
        rotad.double.open = [association()]
        end = self.watch(rotad, rotad.stop, lambda: None, rotad.start, rotad.double.open.clear)
        assert end.safe

    def test_rotad_stays_away(self, rotad: Rotad) -> None:
        end = self.watch(rotad, rotad.stop)
        assert not end.safe
        assert "what is connected is unknown" in end.words

    def test_ctrl_c_leaves_the_drain(self, rotad: Rotad, capsys: pytest.CaptureFixture[str]) -> None:
        rotad.double.open = [association()]

        def interrupt() -> None:
            raise KeyboardInterrupt

        end = self.watch(rotad, interrupt)
        assert not end.safe
        assert state_of(rotad.double, "pacs", "pacs-b") is IntentState.DRAIN
        assert "pacs-b STAYS in drain. Bring it back: rota ready pacs pacs-b --reason …" in capsys.readouterr().out

    def test_the_command_ends_with_safe_to_patch(self, rotad: Rotad, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(wait, "PACE", 0.01)
        ran = run("drain", "pacs", "pacs-b", "--reason", "patching", "--wait")
        assert ran.code == 0
        assert "safe to patch" in ran.out.splitlines()[-1]
        ran = run("drain", "pacs", "pacs-b", "--reason", "patching", "--wait", "--json")
        assert json.loads(ran.out)["safe"] is True

    def test_a_terminal_sees_a_picture(self, rotad: Rotad) -> None:
        from io import StringIO

        from rich.console import Console

        rotad.double.open = [association(f"198.51.100.51:{port}") for port in range(4000, 4020)]
        client = Client(rotad.path)
        until = (datetime.now(UTC) + timedelta(hours=2)).isoformat()
        intents = client.intend(
            {"member": "pacs-b", "service": "pacs", "state": "drain", "reason": "patching", "until": until}
        )
        out = Console(file=StringIO(), force_terminal=True, width=120)
        end = wait.wait_until_idle(client, intents, out=out, sleep=lambda _: rotad.double.open.clear())
        assert end.safe
        seen = out.file.getvalue()  # type: ignore[attr-defined]
        for words in (
            "20 open",
            "drain ends by itself in 1 h 59 min",
            "CT_1",
            "1.2 MB",
            "and 5 more",
            "Ctrl-C stops waiting",
        ):
            assert words in seen, words


class TestFailover:
    def test_it_is_seen_and_not_only_asked(self, rotad: Rotad, run: Run) -> None:
        ran = run("failover", "--reason", "kernel update")
        assert ran.code == 0
        assert ran.out.startswith("group main: lb2 holds the addresses")

    def test_json(self, rotad: Rotad, run: Run) -> None:
        (one,) = json.loads(run("failover", "--reason", "kernel update", "--group", "main", "--json").out)
        assert (one["from"], one["to"]) == (["lb1"], ["lb2"])

    def test_an_unfit_peer_is_refused_with_its_reason(self, rotad: Rotad, run: Run) -> None:
        rotad.double.peer_fit = False
        ran = run("failover", "--reason", "kernel update")
        assert ran.code == 1
        assert "lb2 cannot take over: it does not answer" in ran.err
        assert "--force" in ran.err
        assert rotad.double.role is Role.ACTIVE

    def test_a_failover_that_does_not_happen_fails(self, rotad: Rotad, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
        async def asked(request: FailoverRequest, person: str) -> list[str]:
            return ["main"]

        monkeypatch.setattr(rotad.double, "failover", asked)
        monkeypatch.setattr(failover, "WITHIN", 0.5)
        ran = run("failover", "--reason", "kernel update")
        assert ran.code == 1
        assert "no other node was seen to take over" in ran.out

    def test_a_reason_is_needed(self, rotad: Rotad, run: Run) -> None:
        assert "--reason" in run("failover").err
        assert "reason" in run("failover", "--reason", "x").err


def test_an_intent_in_words() -> None:
    one = Intent(
        service="a", member="b", state=IntentState.READY, reason="done", person="anna", at=NOON, counter=1, node="lb1"
    )
    assert show.intent(one) == ""
    assert show.intent(one.model_copy(update={"state": IntentState.HALT})) == "halt by anna: done"


class TestWindows:
    """Drains and halts that begin by themselves."""

    def plan(self, run: Run, *more: str, begin: str = "2h", end: str = "3h") -> Any:
        return run("drain", "pacs", "pacs-b", "--reason", "patching", "--from", begin, "--until", end, *more)

    def test_a_window_is_planned_shown_and_called_off(self, rotad: Rotad, run: Run) -> None:
        ran = self.plan(run)
        (window,) = rotad.double.windows
        assert ran.code == 0
        assert ran.out.startswith(f"{window.id}  pacs/pacs-b: drain 20")
        assert f"rota call-off {window.id} ends it" in ran.out
        assert window.until - window.starts == timedelta(hours=3)  # a length counts from the begin
        assert state_of(rotad.double, "pacs", "pacs-b") is None  # nothing is done yet
        assert f"window {window.id}  pacs/pacs-b: drain " in run("status").out
        assert f"window {window.id}" in run("status", "pacs").out
        assert f"window {window.id}" not in run("status", "hl7").out
        assert "planned" in run("windows").out
        assert "called off by" in run("call-off", window.id, "--reason", "the vendor is ill").out
        assert "window" not in run("status").out
        assert "called off (called off by" in run("windows").out

    def test_json(self, rotad: Rotad, run: Run) -> None:
        window = json.loads(self.plan(run, "--json").out)
        assert window["phase"] == "planned"
        assert json.loads(run("windows", "--json").out) == [window]
        assert json.loads(run("call-off", window["id"], "--reason", "no more", "--json").out)["phase"] == "called-off"

    def test_a_halt_of_a_member_in_all_its_services(self, rotad: Rotad, run: Run) -> None:
        ran = run("halt", "--member", "pacs-a", "--reason", "new disks", "--from", "2h", "--until", "1h")
        assert "pacs-a in all its services: halt" in ran.out

    def test_the_end_is_on_the_day_of_the_begin(self, rotad: Rotad, run: Run) -> None:
        self.plan(run, begin="2036-11-30T02:00", end="04:00")
        (window,) = rotad.double.windows
        assert window.until - window.starts == timedelta(hours=2)

    def test_none(self, rotad: Rotad, run: Run) -> None:
        assert run("windows").out == "no window is planned\n"

    def test_the_last_member_needs_force(self, rotad: Rotad, run: Run) -> None:
        asked = ("drain", "worklist", "pacs-b", "--reason", "patching", "--from", "2h", "--until", "1h")
        assert "would be the last member of worklist. With --force it is planned" in run(*asked).err
        assert "even as the last member" in run(*asked, "--force").out

    def test_a_peer_that_does_not_know_yet_is_named(self, rotad: Rotad, run: Run) -> None:
        rotad.double.peer_fit = False
        assert "lb2 does not answer" in self.plan(run).out

    @pytest.mark.parametrize(
        ("argv", "says"),
        [
            (["--from", "2h"], "give --until, too"),
            (["--from", "2h", "--until", "1h", "--wait"], "--wait is for a drain that begins now"),
            (["--from", "soon", "--until", "1h"], "'soon' is no time"),
            (["--from", "2h", "--until", "late"], "'late' is no time"),
            (["--from", "2001-01-01", "--until", "1h"], "has passed"),
            (["--from", "2036-11-30", "--until", "2036-11-29"], "2036-11-29 is not after the begin"),
        ],
    )
    def test_a_wrong_window_says_why_in_one_line(self, rotad: Rotad, run: Run, argv: list[str], says: str) -> None:
        ran = run("drain", "pacs", "pacs-b", "--reason", "patching", *argv)
        assert (ran.code, ran.out) == (1, "")
        assert says in ran.err
        assert len(ran.err.splitlines()) == 1
        assert rotad.double.windows == []

    def test_one_that_is_not_there(self, rotad: Rotad, run: Run) -> None:
        assert run("call-off", "ffffff", "--reason", "no more").err == "rota: there is no maintenance window ffffff\n"
        assert "needs a reason" in run("call-off", "ffffff", "--reason", " ").err
