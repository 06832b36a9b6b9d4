"""The runbooks are true on a real pair: every command is typed as the page has it, and prints what the page says.

Without a fault: a page about a symptom must hold, and harm nobody, when it is followed on a pair that is well.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from lib.lab import Host, Result
from lib.poll import wait_until
from lib.runbook import Step, load, missing, runbooks
from pair.rig import control, nodes
from pair.rig.mending import mend

# Where a page says nothing, either node must do: the standby of the group that the pages name is the harder one.
ANYWHERE = "lb2"
ROLLOUT = "ansible-playbook playbooks/site.yml"


def type_in(step: Step, command: str) -> Result:
    """Run one command in a shell of its own, in a folder for files that a page writes."""
    line = f"mkdir -p /run/runbook && cd /run/runbook && {command}"
    return Host(step.where or ANYWHERE).run("env", f"SUDO_USER={control.OPERATOR}", "sh", "-c", line, timeout=120)


@pytest.fixture(scope="module", autouse=True)
def _as_it_was(steady: None) -> Iterator[None]:
    """The pages are for a pair whose rotads know it; they undo what they do, and whatever is left is mended once."""
    wait_until(control.all_up, within=30, what="both rotads have seen every service up", every=0.3)
    yield
    mend()
    nodes.place(nodes.preferred())


# The scenario of the role follows this page: it locks people out, which a pair at work would feel.
ELSEWHERE = {"firewall-lock-out"}


@pytest.mark.parametrize("path", [p for p in runbooks() if p.stem not in ELSEWHERE], ids=lambda path: path.stem)
def test_a_page_is_true(path: Path) -> None:
    """Its steps in their order; no operator's word is left over."""
    page = load(path)
    assert any(step.commands for step in page.steps), "a page without a command"
    for step in page.steps:
        if step.where != "controller":
            follow(page.title, step)
    states = [m["intent"] and m["intent"]["state"] for s in control.status(Host(ANYWHERE))["services"] for m in s["members"]]
    assert set(states) <= {None, "ready"}, f"{page.title} leaves a member away"


def follow(page: str, step: Step) -> None:
    """One step; every command must end well and the page's lines must be there, in their order."""
    output = ""
    for command in step.commands:
        result = type_in(step, command)
        output += result.out + result.err
        assert result.ok, f"{page}: {step.title}: {command}: exit {result.code}:\n{result.out}{result.err}"
    lacking = missing(step.expected or [], output)
    assert lacking is None, f"{page}: {step.title}: it does not print {lacking!r}, but:\n{output}"


def test_the_rollout_of_the_pages_is_the_one_that_made_this_pair() -> None:
    """It is not run once more here: the scenario has just done so, twice."""
    typed = {c for path in runbooks() for step in load(path).steps if step.where == "controller" for c in step.commands}
    assert typed <= {ROLLOUT}
    converge = yaml.safe_load((nodes.REPOSITORY / "molecule/pair/molecule.yml").read_text())["ansible"]["playbooks"][
        "converge"
    ]
    assert (nodes.REPOSITORY / "molecule/pair" / converge).resolve() == nodes.REPOSITORY / ROLLOUT.split()[1]


def test_what_a_page_does_not_print_is_seen() -> None:
    """The comparison can fail: `rota status` of a pair has no such line, nor has it them in this order."""
    said = type_in(Step("", ""), "rota status").out
    assert missing(["group imaging: …", "peer …"], said) is None
    assert missing(["group imaging: …", "SPLIT BRAIN"], said) == "SPLIT BRAIN"
    assert missing(["peer …", "group imaging: …"], said) == "group imaging: …"
