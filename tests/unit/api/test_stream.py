from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from pathlib import Path

import aiohttp
import pytest
from rota.control import sse
from rota.control.connection import Limits
from rota.control.state import Event
from unit.api.double import NOON, Double


def event(number: int, text: str = "silent") -> Event:
    return Event(id=number, at=NOON, node="lb1", kind="verdict", service="pacs", member="pacs-b", reason=text)


async def until(condition: Callable[[], bool], within: float = 5.0) -> None:
    async with asyncio.timeout(within):
        while not condition():
            await asyncio.sleep(0.005)


async def test_events_come_as_they_happen(http: aiohttp.ClientSession, double: Double) -> None:
    async with http.get("/v1/events/stream") as answer:
        assert answer.content_type == "text/event-stream"
        double.tell(event(7))
        lines = [await answer.content.readline() for _ in range(6)]
    assert lines[:2] == [b": alive\n", b"\n"]
    assert lines[2:4] == [b"id: 7\n", b"event: verdict\n"]
    assert Event.model_validate_json(lines[4].removeprefix(b"data: ")) == event(7)
    assert lines[5] == b"\n"


async def test_silence_is_filled_with_heartbeats(http: aiohttp.ClientSession) -> None:
    async with http.get("/v1/events/stream") as answer, asyncio.timeout(5):
        assert [await answer.content.readline() for _ in range(6)] == [b": alive\n", b"\n"] * 3


async def test_a_reader_that_leaves_is_forgotten(http: aiohttp.ClientSession, double: Double) -> None:
    async with http.get("/v1/events/stream"):
        await until(lambda: len(double.subscribers) == 1)
    await until(lambda: not double.subscribers)


class TestSlow:
    @pytest.fixture
    def limits(self) -> Limits:
        return Limits(backlog=10, streams=2)

    async def test_a_slow_reader_is_let_go_and_told(self, http: aiohttp.ClientSession, double: Double) -> None:
        """A burst beyond the backlog: what fitted arrives, then the word, then the end; rotad never waited."""
        async with http.get("/v1/events/stream") as answer:
            await until(lambda: len(double.subscribers) == 1)
            for number in range(1000):
                double.tell(event(number))
            text = (await asyncio.wait_for(answer.content.read(), 5)).decode()
        assert "event: lagging" in text
        assert 0 < text.count("event: verdict") < 20

    async def test_a_reader_that_takes_nothing_is_cut(
        self, socket_path: Path, double: Double, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(sse, "WRITE_SECONDS", 0.2)
        with socket.socket(socket.AF_UNIX) as dead:
            dead.connect(str(socket_path))
            dead.sendall(b"GET /v1/events/stream HTTP/1.1\r\nHost: rotad\r\n\r\n")
            await until(lambda: len(double.subscribers) == 1)
            while double.subscribers:
                double.tell(event(1, "x" * 30_000))
                await asyncio.sleep(0.01)

    async def test_streams_are_counted(self, http: aiohttp.ClientSession) -> None:
        url = "/v1/events/stream"
        async with http.get(url), http.get(url), http.get(url) as third:
            assert third.status == 503
            assert (await third.json(content_type=None))["code"] == "too-many"
