"""The runbooks are true on a real pair: every command is typed as the page has it, and prints what the page says.

A page about a symptom is followed while the symptom is there, and what its steps promise is looked at; the others are
followed on a pair that is well.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

import pytest
import yaml
from lib.lab import NODES, Host, Result
from lib.poll import wait_until
from lib.runbook import SYMPTOMS, Step, load, missing, runbooks
from pair.rig import archive, client, control, nodes
from pair.rig.mending import fault, kill_process, mend, mend_member

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


Watch = Callable[[int], None]  # called after each step, with its number
PACS = nodes.address_of("pacs")


def verdicts(wanted: dict[str, str]) -> bool:
    """Whether both rotads say so of the archives; AssertionError says what they say."""
    seen = {(node, name): control.member(Host(node), "pacs", name)["verdict"] for node in NODES for name in wanted}
    assert seen == {(node, name): verdict for node in NODES for name, verdict in wanted.items()}, seen
    return True


def stores(count: int = 4, *, within: float = 0) -> list[str]:
    """Send some images to the service; returns which archives have them. None may be refused, but in the first seconds."""
    archive.clear()
    began, files = time.time(), archive.series()[:count]
    lines = client.call("store_loop", PACS, "104", "PACS", "CT1", "1", *files)
    refused = [line for line in lines if not line["ok"] and line["began"] > began + within]
    assert not refused, refused
    return sorted({row["archive"] for row in archive.stored()})


@contextmanager
def down(*names: str) -> Iterator[Watch]:
    """The servers' processes are dead."""
    for name in names:
        kill_process(name)
    wait_until(lambda: verdicts(dict.fromkeys(names, "down")), within=60, what="the verdicts", every=0.5)
    yield lambda step: None
    for name in names:
        mend_member(name)
    wait_until(lambda: verdicts(dict.fromkeys(names, "up")), within=60, what="the verdicts", every=0.5)


@contextmanager
def full(name: str) -> Iterator[Watch]:
    """A server answers C-ECHO and refuses every image; once it is drained, no image is refused any more."""
    fault(name, "full")
    words = ["/opt/rota/bin/rota", "check", "dicom", "--called", "PACS_B", f"{name}:4242"]
    assert Host(ANYWHERE).run(*words).ok
    assert not Host(ANYWHERE).run(*words, "--store").ok

    def watch(step: int) -> None:
        if step == 2:
            assert stores() == ["pacs-a"]

    yield watch
    mend_member(name)


@contextmanager
def connected() -> Iterator[Watch]:
    """Somebody has an association open."""
    with client.Running("hold", PACS, "104", "PACS", "CT1") as study:
        wait_until(lambda: study.lines, within=15, what="the association")
        yield lambda step: None
        assert study.tell("echo")["ok"], "looking has cut it"


@contextmanager
def another_model() -> Iterator[Watch]:
    """A rollout has reached this node only: the other one serves by the model of before."""
    (other,) = (Host(name) for name in NODES if name != ANYWHERE)
    before = other.read("/etc/rota/site.json")
    document = json.loads(before)
    document["services"]["pacs"]["description"] = "as it was called last year"
    other.write("/etc/rota/site.json", json.dumps(document))
    other.systemctl("reload", control.UNIT)
    wait_until(lambda: control.status(Host(ANYWHERE))["peers"][0]["problem"], within=20, what="the peer is out of step")
    yield lambda step: None
    other.write("/etc/rota/site.json", before)
    other.systemctl("reload", control.UNIT)
    wait_until(control.in_step, within=20, what="both rotads in step", every=0.3)


@contextmanager
def deaf() -> Iterator[Watch]:
    """The nodes' adverts are lost between them, and nothing else is: both hold the addresses."""
    group = nodes.SITE.services["pacs"].group
    rules = "add table inet deaf; add chain inet deaf i { type filter hook input priority -300; }"
    for name in NODES:
        Host(name).check("nft", f"{rules}; add rule inet deaf i meta l4proto 112 drop")
    try:
        split = lambda: all(f"split-brain:{group}" in control.alarms(Host(name)) for name in NODES)  # noqa: E731
        wait_until(split, within=30, what="both rotads see it", every=0.5)

        def watch(step: int) -> None:
            if step == 4:
                wait_until(lambda: set(nodes.one_holder_each().values()) == {"lb1"}, within=5, what="the other one is alone")
                # keepalived tells the network again every 30 s (vrrp_garp_master_refresh)
                assert stores(within=35)

        yield watch
    finally:
        for name in NODES:
            Host(name).run("nft", "delete", "table", "inet", "deaf")


BEGINS: dict[str, Callable[[], AbstractContextManager[Watch]]] = {
    "member-is-down": lambda: down("pacs-b"),
    "all-members-down": lambda: down("pacs-a", "pacs-b"),
    "answers-but-cannot-store": lambda: full("pacs-b"),
    "who-is-connected": connected,
    "standby-out-of-step": another_model,
    "split-brain": deaf,
}
assert BEGINS.keys() == SYMPTOMS.keys()


@pytest.mark.parametrize("path", [p for p in runbooks() if p.stem not in ELSEWHERE], ids=lambda path: path.stem)
def test_a_page_is_true(path: Path) -> None:
    """Its steps in their order; no operator's word is left over."""
    page = load(path)
    assert any(step.commands for step in page.steps), "a page without a command"
    until, fails = SYMPTOMS.get(path.stem, (0, set()))
    try:
        with BEGINS.get(path.stem, lambda: nullcontext(lambda step: None))() as watch:
            for step in page.steps:
                if step.number < until and step.where != "controller":
                    follow(page.title, step, step.number in fails)
                    watch(step.number)
        for step in page.steps:
            if step.number >= until and step.where != "controller":
                follow(page.title, step, step.number in fails)
        states = [
            m["intent"] and m["intent"]["state"] for s in control.status(Host(ANYWHERE))["services"] for m in s["members"]
        ]
        assert set(states) <= {None, "ready"}, f"{page.title} leaves a member away"
    finally:
        if until:
            mend()


def follow(page: str, step: Step, fails: bool = False) -> None:
    """One step; every command must end as the page says, and the page's lines must be there, in their order."""
    output = ""
    for command in step.commands:
        result = type_in(step, command)
        output += result.out + result.err
        assert result.code == fails, f"{page}: {step.title}: {command}: exit {result.code}:\n{result.out}{result.err}"
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
