"""Maintenance windows over two rotad processes: begun and ended by themselves, through a death and a restart."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from contract.rotad_node import Bench, Rotad, until
from contract.test_rotad_pair import admin, in_step, node

pytestmark = pytest.mark.contract


@pytest.fixture
def pair(daemon_root: Path, tmp_path: Path) -> Iterator[tuple[Rotad, Rotad]]:
    with ExitStack() as stack:
        bench = Bench(daemon_root, tmp_path, stack)
        one, two = node(bench, "lb1"), node(bench, "lb2")
        one.start()
        two.start()
        until(lambda: in_step(one) and in_step(two), what="in step")
        yield one, two


def plan(rotad: Rotad, begin: float, end: float, member: str = "pacs-a", **more: Any) -> dict[str, Any]:
    """A window from `begin` to `end` seconds from now."""
    now = datetime.now(UTC)
    body = {"member": member, "service": "pacs", "state": "drain", "reason": "a new kernel", **more}
    times = {"starts": (now + timedelta(seconds=begin)).isoformat(), "until": (now + timedelta(seconds=end)).isoformat()}
    status, answer = rotad.request("POST", "/v1/windows", body | times)
    assert status == 200, answer
    return dict(answer)


def phases(rotad: Rotad) -> list[str]:
    return [window["phase"] for window in rotad.get("/v1/windows")]


def test_it_begins_and_ends_on_both_nodes_through_a_restart(pair: tuple[Rotad, Rotad]) -> None:
    one, two = pair
    plan(two, 6, 14)
    assert [phases(r) for r in pair] == [["planned"], ["planned"]]
    two.kill()
    two.start()
    until(lambda: [admin(r, "pacs-a") for r in pair] == [8, 8], within=40, what="both HAProxys drain")
    assert [w["id"] for w in one.get("/v1/status")["windows"]] == [w["id"] for w in two.get("/v1/status")["windows"]]
    one.kill()
    one.start()
    until(lambda: [admin(r, "pacs-a") for r in pair] == [0, 0], within=40, what="both HAProxys send work again")
    until(lambda: [phases(r) for r in pair] == [["over"], ["over"]], what="both say that it is over")
    until(lambda: in_step(one) and in_step(two), what="in step")
    for rotad in pair:
        until(lambda r=rotad: [e["after"] for e in r.events(kind="window")] == ["planned", "running", "over"])
        # a node that comes back when a window has just begun may begin it again, before it hears that another one has
        until(lambda r=rotad: list(dict.fromkeys(e["after"] for e in r.events(kind="intent"))) == ["drain", "ready"])


def test_the_other_node_begins_it_when_the_one_that_planned_it_is_dead(pair: tuple[Rotad, Rotad]) -> None:
    one, two = pair
    plan(one, 2, 600)
    one.kill()
    until(lambda: admin(two, "pacs-a") == 8, within=40, what="lb2 begins it")
    until(lambda: phases(two) == ["running"], what="and says so")
    two.intend("ready", "pacs-a")
    until(lambda: phases(two) == ["over"], what="and an operator ends it")
    one.start()
    until(lambda: phases(one) == ["over"] and in_step(one), within=40, what="lb1 learns that it was")
    assert [admin(r, "pacs-a") for r in pair] == [0, 0]


def test_one_that_would_take_the_last_member_is_skipped_and_said_on_both(pair: tuple[Rotad, Rotad]) -> None:
    one, two = pair
    window = plan(one, 2, 600)
    two.intend("drain", "pacs-b")
    for rotad in pair:
        until(lambda r=rotad: f"window-skipped:{window['id']}" in r.alarms(), within=40, what="the alarm")
        assert admin(rotad, "pacs-a") == 0
    assert {tuple(phases(r)) for r in pair} == {("skipped",)}


def test_one_is_called_off_from_the_other_node(pair: tuple[Rotad, Rotad]) -> None:
    one, two = pair
    window = plan(one, 3, 600)
    status, answer = two.request("POST", f"/v1/windows/{window['id']}/call-off", {"reason": "the vendor is ill"})
    assert (status, answer["phase"]) == (200, "called-off")
    assert phases(one) == ["called-off"]
    until(
        lambda: datetime.now(UTC) > datetime.fromisoformat(window["starts"]) + timedelta(seconds=4), what="its time has come"
    )
    assert [admin(r, "pacs-a") for r in pair] == [0, 0]
