"""What waits for one way: order, retries, limits, and the alarm that it does not go out."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from rota.control.board import Board
from rota.control.clock import Clock
from rota.control.notice.desk import Notice
from rota.control.notice.ways import Undelivered
from rota.control.notices import Outbox

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)
NOTICE = Notice("raised", "lb1", "s", "a", "warning", "text", NOON, NOON)


class Way:
    name = "mail"

    def __init__(self) -> None:
        self.works, self.got, self.tried = True, list[Any](), 0

    async def send(self, item: Any) -> None:
        self.tried += 1
        if item == "poison":
            raise ZeroDivisionError
        if not self.works:
            raise Undelivered("nobody there")
        self.got.append(item)


class Box:
    def __init__(self, most: int = 100) -> None:
        self.now = 0.0
        self.board = Board(Clock(lambda: NOON, lambda: self.now), lambda alarm, raised: None)
        self.way = Way()
        core: Any = SimpleNamespace(board=self.board, clock=SimpleNamespace(steady=lambda: self.now))
        self.outbox = Outbox(self.way, core, most=most, pauses=(0.01,))
        self.task = asyncio.create_task(self.outbox.run())

    async def until(self, fn: Any) -> None:
        async with asyncio.timeout(5):
            while not fn():
                await asyncio.sleep(0.005)


@pytest.fixture
async def box() -> AsyncIterator[Box]:
    box = Box(most=5)
    yield box
    box.task.cancel()
    await asyncio.gather(box.task, return_exceptions=True)


async def test_in_order_and_again_until_it_works(box: Box) -> None:
    box.way.works = False
    for number in range(3):
        box.outbox.put(number)
    await box.until(lambda: box.way.tried > 3)
    [alarm] = box.board.current()
    assert (alarm.key, alarm.text) == ("undelivered:mail", "mail cannot be delivered: nobody there; 3 wait")
    box.way.works = True
    await box.until(lambda: box.way.got == [0, 1, 2])
    assert box.board.current() == []


async def test_a_full_box_lets_the_oldest_go_and_says_how_many(box: Box) -> None:
    box.way.works = False
    for number in range(8):
        box.outbox.put(number)
    await box.until(lambda: box.board.current())
    assert box.board.current()[0].text.endswith("5 wait, 3 are lost")
    box.way.works = True
    await box.until(lambda: box.way.got == [3, 4, 5, 6, 7])


async def test_old_news_is_no_news_but_events_are_kept(box: Box) -> None:
    box.way.works = False
    box.outbox.put(NOTICE)
    box.outbox.put("event")
    await box.until(lambda: box.way.tried > 1)
    box.now += 3601
    fresh = replace(NOTICE, key="b")
    box.outbox.put(fresh)
    box.way.works = True
    await box.until(lambda: box.way.got == ["event", fresh])


async def test_one_that_cannot_be_sent_stops_no_other(box: Box) -> None:
    box.outbox.put("poison")
    box.outbox.put("next")
    await box.until(lambda: box.way.got == ["next"])
