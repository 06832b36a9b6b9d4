"""A drain said once on one node holds on both, whatever dies in between, until an operator takes it back."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest
from lib.lab import NODES, Host
from lib.poll import wait_until
from pair.rig import archive, client, control, nodes
from pair.rig.mending import mend

PACS = nodes.address_of("pacs")


@pytest.fixture(scope="module", autouse=True)
def drain(steady: None) -> Iterator[None]:
    """pacs-b drained on lb1, for the whole file: each test is one more thing that it has to outlive."""
    control.in_step()
    began = time.monotonic()
    control.rota(Host("lb1"), "drain", "pacs", "pacs-b", "--reason", "patching")
    wait_until(control.drained, within=3, what="drained on both nodes", every=0.05)
    print(f"drained on both nodes {time.monotonic() - began:.1f} s after it was typed")
    archive.clear()
    yield
    control.all_ready()
    mend()


@pytest.fixture(autouse=True)
def _nobody_gets_through() -> Iterator[None]:
    """After each fault: drained on both nodes, known to both rotads, and callers that it had before get to the other."""
    yield
    wait_until(control.drained, within=10, what="still drained on both nodes")
    wait_until(control.in_step, within=30, what="both rotads are back and in step", every=0.3)
    for name in NODES:
        intent = control.member(Host(name), "pacs", "pacs-b")["intent"]
        assert (intent["state"], intent["reason"], intent["person"]) == ("drain", "patching", control.OPERATOR)
    # both have been to both archives in earlier tests: their rows in the stick table must not help them
    for calling in ("CT1", "CT2"):
        assert all(line["ok"] for line in client.call("store_loop", PACS, "104", "PACS", calling, "1", archive.series()[0]))
    assert archive.stored("pacs-b") == []


def test_an_operator_drains_on_one_node() -> None:
    """Both journals know who did it, and why."""
    for name in NODES:
        told = wait_until(lambda n=name: control.events(Host(n), kind="intent", member="pacs-b", after="drain"), within=3)  # type: ignore[misc]
        assert (told[-1]["reason"], told[-1]["person"], told[-1]["node"]) == ("patching", control.OPERATOR, "lb1")


def reload(node: Host) -> None:
    node.systemctl("reload", "haproxy")


def restart(node: Host) -> None:
    node.systemctl("restart", "haproxy")


def kill(node: Host) -> None:
    before = control.main_pid(node, "haproxy.service")
    node.systemctl("kill", "--signal=KILL", "--kill-whom=main", "haproxy.service")
    control.restarted(node, before, "haproxy.service")


@pytest.mark.parametrize("rotad", ["alive", "dead"])
@pytest.mark.parametrize("fault", [reload, restart, kill], ids=lambda f: f.__name__)
def test_haproxy_comes_back_drained(fault: Callable[[Host], None], rotad: str) -> None:
    """From its first connection on, not a moment later: the new process has never sent anybody to pacs-b."""
    node = nodes.active()
    if rotad == "dead":
        node.systemctl("stop", control.UNIT)
    try:
        with client.Running("knock", PACS, "104", "PACS", "CT1") as knocks:
            knocks.wait_good(5)
            fault(node)
            knocks.wait_good(10, since=time.time())
            control.drained()
            assert nodes.servers(node)["pacs/pacs-b"]["stot"] == "0", "the new process has sent somebody there"
    finally:
        node.systemctl("start", control.UNIT)


def test_rotad_is_killed() -> None:
    """Nobody notices, and the new one knows."""
    node = nodes.active()
    before = control.main_pid(node)
    with client.Running("knock", PACS, "104", "PACS", "CT1") as knocks:
        knocks.wait_good(5)
        began = time.time()
        node.systemctl("kill", "--signal=KILL", control.UNIT)
        control.restarted(node, before)
        knocks.wait_good(20, since=began)
    assert [line for line in knocks.lines if line["began"] > began and not line["ok"]] == []


def test_the_other_node_takes_over_and_the_dead_one_returns() -> None:
    """The plug of the active node: the standby has the drain already, and after its boot the dead one has it at once."""
    node = nodes.active()
    node.kill()
    wait_until(lambda: nodes.active().name != node.name, within=10)
    assert nodes.servers(nodes.active())["pacs/pacs-b"]["status"] == "DRAIN"
    node.start()
    wait_until(lambda: nodes.servers(node)["pacs/pacs-b"]["status"] == "DRAIN", within=20)


def test_it_ends_when_the_operator_says_so() -> None:
    """On the node where it was not begun."""
    control.rota(Host("lb2"), "drain", "pacs", "pacs-a", "--reason", "the other one", "--until", "3s", "--force")
    wait_until(lambda: control.drained("pacs", "pacs-a"), within=3)
    back = lambda: {n.servers["pacs/pacs-a"]["status"] for n in nodes.snapshots()} == {"UP"}  # noqa: E731
    wait_until(back, within=8, what="pacs-a is back by itself")
    assert control.events(Host("lb1"), kind="intent", member="pacs-a", after="ready")
