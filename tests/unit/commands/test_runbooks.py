"""The runbooks are true: they have the house's form, their commands exist, and print what they say."""

from __future__ import annotations

import re
import shlex
import typing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import typer
from lib.runbook import FACTS, FOLDER, SYMPTOMS, Step, load, missing, runbooks
from rota import cli
from rota.commands import wait
from rota.control.state import Alarm, Association, Event, PairState, Verdict
from unit.api.double import Double, member, service
from unit.commands.conftest import Rotad, Run

PAGES = runbooks()
COMMANDS = [
    pytest.param(step, command, id=f"{path.stem}-{step.title.partition('.')[0]}-{number}")
    for path in PAGES
    for step in load(path).steps
    for number, command in enumerate(step.commands)
]


def test_every_act_has_its_page() -> None:
    assert {p.stem for p in PAGES} >= {
        "patch-a-pacs-server", "planned-failover", "member-is-down", "all-members-down", "answers-but-cannot-store",
        "split-brain", "standby-out-of-step", "who-is-connected", "monthly-report",
    }  # fmt: skip


@pytest.mark.parametrize("path", PAGES, ids=lambda p: p.stem)
def test_a_page_has_the_form_of_the_house(path: Path) -> None:
    page = load(path)
    assert tuple(page.facts) == FACTS
    assert page.steps
    for number, step in enumerate(page.steps, 1):
        assert step.title.startswith(f"{number}. ")
        if step.commands and step.where is None:
            assert step.expected, f"{step.title}: nothing to see"
            assert step.otherwise, f"{step.title}: and otherwise?"


@pytest.mark.parametrize("path", [*PAGES, FOLDER / "README.md"], ids=lambda p: p.stem)
def test_links_lead_somewhere(path: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)\)", path.read_text())
    assert [link for link in links if not (path.parent / link).is_file()] == []


def test_the_index_names_every_page() -> None:
    index = (FOLDER / "README.md").read_text()
    assert [p.name for p in PAGES if f"({p.name})" not in index] == []


@pytest.mark.parametrize(("step", "command"), COMMANDS)
def test_a_command_exists_with_its_options(step: Step, command: str) -> None:
    """A misspelt option in a runbook is found at night, by somebody in a hurry."""
    program, *argv = shlex.split(command)
    if program != "rota":
        assert program in ("systemctl", "journalctl", "nft", "ansible-playbook"), command
        return
    group = typer.main.get_command(cli.app)
    with group.make_context("rota", [*argv], resilient_parsing=False) as top:
        name, found, rest = typing.cast("typing.Any", group).resolve_command(top, argv)
        while hasattr(found, "resolve_command"):
            with found.make_context(name, [*rest], parent=top) as inner:
                name, found, rest = found.resolve_command(inner, rest)
        assert found.make_context(name, [*rest], parent=top)


@pytest.fixture
def hospital(rotad: Rotad, monkeypatch: pytest.MonkeyPatch) -> Rotad:
    """The lab as the pages have it."""
    monkeypatch.setattr(wait, "PACE", 0.01)
    double = rotad.double
    double.group = "imaging"
    double.services = [service("pacs", [member("pacs-a"), member("pacs-b")], group="imaging")]
    ago = datetime.now(UTC) - timedelta(minutes=3)
    double.journal = [
        Event(id=1, at=ago, node="lb1", kind="verdict", service="pacs", member="pacs-b", before="up", after="down", reason="silent"),
        Event(id=2, at=ago, node="lb1", kind="verdict", service="pacs", member="pacs-b", before="down", after="up", reason="ok"),
        Event(id=3, at=ago, node="lb2", kind="failover", member="imaging", before="lb1", after="lb2", person="anna", reason="why"),
    ]  # fmt: skip
    return rotad


def show(symptom: str, double: Double) -> None:
    """What a page is about."""
    down = {"verdict": Verdict.DOWN, "reason": "refused: connection refused"}
    if symptom == "member-is-down":
        double.services = [service("pacs", [member("pacs-a"), member("pacs-b", **down)], group="imaging")]
    elif symptom == "all-members-down":
        double.services = [service("pacs", [member(name, **down) for name in ("pacs-a", "pacs-b")], group="imaging")]
        text = "no member of pacs serves"
        double.alarms = [Alarm(key="service-down:pacs", severity="critical", text=text, since=datetime.now(UTC))]
    elif symptom == "answers-but-cannot-store":
        full = member("pacs-b", Verdict.CANNOT_STORE, reason="A700: out of resources")
        double.services = [service("pacs", [member("pacs-a"), full], group="imaging")]
    elif symptom == "who-is-connected":
        caller = {"caller": "198.51.100.51:40000", "calling_ae": "CT1", "called_ae": "PACS"}
        rest = {"age_s": 3.0, "bytes_in": 100, "bytes_out": 100, "node": "lb2"}
        double.open = [Association.model_validate({"service": "pacs", "member": "pacs-b", **caller, **rest})]
    elif symptom == "standby-out-of-step":
        double.out_of_step = "lb2 has another site model"
    elif symptom == "split-brain":
        double.pair = PairState.SPLIT_BRAIN


@pytest.mark.parametrize("path", PAGES, ids=lambda p: p.stem)
def test_the_steps_print_what_they_say(
    path: Path, hospital: Rotad, run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Every page from top to bottom; `rota check` needs servers and is left to the lab."""
    page = load(path)
    monkeypatch.setenv("ROTA_SOCKET", str((tmp_path / "rotad.sock").resolve()))
    monkeypatch.chdir(tmp_path)
    until, fails = SYMPTOMS.get(path.stem, (0, set()))
    well = vars(hospital.double).copy()
    show(path.stem, hospital.double)
    for step in page.steps:
        if step.number == until:
            vars(hospital.double).update(well)
        commands = [shlex.split(c) for c in step.commands]
        if not commands or any(argv[0] != "rota" or argv[1] == "check" for argv in commands):
            continue
        output = ""
        for argv in commands:
            hospital.double.node = step.where or "lb1"
            ran = run(*argv[1:])
            output += ran.out + ran.err
            assert ran.code == (step.number in fails), f"{step.title}: {ran}"
        assert missing(step.expected or [], output) is None, f"{step.title}\n{output}"


def test_the_matcher_can_fail() -> None:
    output = "pacs  up  203.0.113.100:104\n  pacs-a    up   3 h\n"
    assert missing(["pacs  up  …", "…", "  pacs-a  up  …"], output) is None
    assert missing(["pacs  down  …"], output) == "pacs  down  …"
    assert missing(["  pacs-a  …", "pacs  up  …"], output) == "pacs  up  …", "the order counts"
    assert missing(["pacs"], output) == "pacs", "a line is a whole line"
