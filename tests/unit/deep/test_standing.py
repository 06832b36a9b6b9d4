"""What stands against a member: hysteresis, expiry, our own faults, the brake; and that nobody waits for another."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest
from rota.checks.verdict import Reason, Verdict
from rota.control.deep.question import Question
from rota.control.deep.schedule import Schedule
from rota.control.deep.standing import Standings
from unit.deep.asking import question

OK, BAD, OURS = (Verdict(r, "detail") for r in (Reason.OK, Reason.CANNOT_STORE, Reason.USAGE))


class World:
    """Two members with a `store` check each, and a clock."""

    def __init__(self, **check: Any) -> None:
        self.now = 1000.0
        self.dead: set[str] = set()
        self.standings = Standings(lambda: self.now, lambda member: member[1] not in self.dead)
        base = question(104, {"kind": "store", "interval": "1m", "retry": "10s", "timeout": "5s", **check})
        members = {n: base.service.members["pacs-a"] for n in ("a", "b")}
        service = base.service.model_copy(update={"members": members})
        self.questions = {n: replace(base, service=service, member_name=n) for n in members}
        self.standings.keep(self.questions.values())

    def take(self, name: str, *verdicts: Verdict) -> list[bool]:
        return [self.standings.of(self.questions[name].key).take(v, self.now) for v in verdicts]

    def against(self, name: str) -> str | None:
        return self.standings.objection(("pacs", name))


def test_the_first_answer_decides_and_later_ones_must_agree() -> None:
    world = World()
    world.take("b", OK)
    assert world.take("a", BAD) == [True]
    assert world.against("a") == "store: cannot-store: detail"
    assert world.take("a", OK, BAD, OK, BAD, BAD) == [True, False, False, False, True]


def test_one_bad_answer_of_a_good_member_is_asked_again_soon_and_takes_nobody_out() -> None:
    world = World()
    world.take("a", OK)
    standing = world.standings.of(world.questions["a"].key)
    assert standing.pace() == 60
    world.take("a", BAD)
    assert (world.against("a"), standing.pace()) == (None, 10)


def test_an_answer_expires() -> None:
    world = World()
    world.take("b", OK)
    world.take("a", BAD)
    world.now += 2 * (10 + 5) + 4
    assert world.against("a")
    world.now += 2
    assert world.against("a") is None
    assert world.standings.member(("pacs", "a")) == []


def test_nothing_known_is_nothing_against() -> None:
    world = World()
    assert world.against("a") is None
    assert world.standings.objection(("other", "a")) is None


def test_our_own_fault_is_held_against_nobody() -> None:
    world = World()
    world.take("b", OK)
    world.take("a", BAD, OURS)
    assert world.against("a") is None


def test_a_warning_takes_nobody_out() -> None:
    world = World(effect="warn")
    world.take("b", OK)
    world.take("a", BAD)
    assert world.against("a") is None


def test_when_everybody_fails_nobody_is_taken_out() -> None:
    world = World()
    world.take("a", BAD)
    assert not world.standings.braked("pacs")
    world.take("b", BAD)
    assert world.standings.braked("pacs")
    assert (world.against("a"), world.against("b")) == (None, None)
    world.take("b", OK)
    assert world.against("a")


def test_the_last_one_alive_stays_in() -> None:
    world = World()
    world.take("a", BAD)
    world.take("b", OK)
    assert world.against("a")
    world.dead = {"b"}
    assert world.against("a") is None


def test_another_model_keeps_what_is_known_of_the_same_question() -> None:
    world = World()
    world.take("b", OK)
    world.take("a", BAD)
    world.standings.keep(world.questions.values())
    assert world.against("a")
    other = {n: replace(q, check=q.check.model_copy(update={"fall": 7})) for n, q in world.questions.items()}
    world.standings.keep(other.values())
    assert world.against("a") is None


class Running:
    """A schedule with answers from a test."""

    def __init__(self, world: World, ask: Callable[[Question], Awaitable[Verdict]]) -> None:
        self.world = world
        self.changes: list[tuple[str, bool | None]] = []
        self.schedule = Schedule(world.standings, ask, self._changed, first=0.0)

    def _changed(self, asked: Question) -> None:
        self.changes.append((asked.member_name, self.world.standings.of(asked.key).good))

    async def until(self, wanted: set[tuple[str, bool | None]]) -> None:
        async with asyncio.timeout(5):
            while not wanted <= set(self.changes):
                await asyncio.sleep(0.01)


async def test_a_peer_that_never_answers_delays_no_other() -> None:
    world = World()

    async def ask(asked: Question) -> Verdict:
        await asyncio.sleep(3600 if asked.member_name == "a" else 0)
        return OK

    running = Running(world, ask)
    running.schedule.run(list(world.questions.values()))
    await running.until({("b", True)})
    assert running.changes == [("b", True)]
    await running.schedule.close()


async def test_what_is_asked_no_more_ends_and_what_stays_is_not_disturbed() -> None:
    world = World()
    begun: list[str] = []
    ended: list[str] = []

    async def ask(asked: Question) -> Verdict:
        begun.append(asked.member_name)
        try:
            await asyncio.sleep(3600)
        finally:
            ended.append(asked.member_name)
        return OK

    running = Running(world, ask)
    running.schedule.run(list(world.questions.values()))
    async with asyncio.timeout(5):
        while len(begun) < 2:
            await asyncio.sleep(0.01)
        running.schedule.run([world.questions["b"]])
        while not ended:
            await asyncio.sleep(0.01)
    assert (sorted(begun), ended) == (["a", "b"], ["a"])
    await running.schedule.close()
    assert ended == ["a", "b"]


@pytest.mark.parametrize("count", [1000])
async def test_a_thousand_members_are_cheap_to_judge(count: int) -> None:
    world = World()
    base = world.questions["a"]
    members = {f"m{i}": base.service.members["a"] for i in range(count)}
    service = base.service.model_copy(update={"members": members})
    world.questions = {n: replace(base, service=service, member_name=n) for n in members}
    world.standings.keep(world.questions.values())
    loop = asyncio.get_running_loop()
    began = loop.time()
    for name in members:
        world.take(name, OK)
        assert world.against(name) is None
    assert loop.time() - began < 0.5
