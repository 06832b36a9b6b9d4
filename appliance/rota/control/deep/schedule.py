"""Asks every question at its own slow pace; each has a task of its own, so that no slow peer delays another."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable

from rota.checks.verdict import Verdict
from rota.control.deep.question import Key, Question
from rota.control.deep.standing import Standings

_FIRST = 5.0  # seconds over which the first questions are spread
_JITTER = 0.1  # of each pause, so that two nodes and many members do not fall into step
_AT_ONCE = 64  # questions at one time; the others wait without losing any of their own deadline

Changed = Callable[[Question], None]


class Schedule:
    """The running questions. `ask` never raises; `changed` is told when what stands has changed."""

    def __init__(
        self,
        standings: Standings,
        ask: Callable[[Question], Awaitable[Verdict]],
        changed: Changed,
        *,
        first: float = _FIRST,
    ) -> None:
        self._standings = standings
        self._ask = ask
        self._changed = changed
        self._first = first
        self._tasks: dict[Key, tuple[Question, asyncio.Task[None]]] = {}
        self._room = asyncio.Semaphore(_AT_ONCE)

    def run(self, questions: list[Question]) -> None:
        """Ask these from now on: what was asked before and is unchanged goes on, the rest ends or begins."""
        self._standings.keep(questions)
        wanted = {question.key: question for question in questions}
        for key, (question, task) in list(self._tasks.items()):
            if wanted.get(key) != question or task.done():
                task.cancel()
                del self._tasks[key]
        for key, question in wanted.items():
            if key not in self._tasks:
                self._tasks[key] = (question, asyncio.create_task(self._go_on(question)))

    async def _go_on(self, question: Question) -> None:
        await asyncio.sleep(random.uniform(0, self._first))  # noqa: S311 (no secret)
        while True:
            async with self._room:
                verdict = await self._ask(question)
            standing = self._standings.of(question.key)
            if standing.take(verdict, self._standings.steady()):
                self._changed(question)
            await asyncio.sleep(standing.pace() * random.uniform(1 - _JITTER, 1 + _JITTER))  # noqa: S311

    async def close(self) -> None:
        """Ask no more."""
        tasks = [task for _, task in self._tasks.values()]
        self._tasks.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
