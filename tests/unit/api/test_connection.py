from __future__ import annotations

import asyncio
import json
from pathlib import Path

import aiohttp
import pytest
from rota.control.access import Caller
from rota.control.connection import Limits
from rota.control.state import Event
from unit.api.conftest import VIEWERS, Who
from unit.api.double import Double


async def said(path: Path, raw: bytes, within: float = 5.0) -> bytes:
    """What the API answers to raw bytes, until it closes."""
    reader, writer = await asyncio.open_unix_connection(path)
    writer.write(raw)
    try:
        return await asyncio.wait_for(reader.read(), within)
    finally:
        writer.close()


@pytest.mark.parametrize(
    "raw",
    [
        b"\x00\x01\x02\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET /v1/status HTTP/9.9\r\n\r\n",
        b"GET /v1/status HTTP/1.1\r\nHost rotad\r\n\r\n",
        b"GET /" + b"x" * 20_000 + b" HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nx: " + b"y" * 20_000 + b"\r\n\r\n",
        b"POST /v1/intents HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
    ],
)
async def test_garbage_gets_a_problem_and_the_door(socket_path: Path, raw: bytes) -> None:
    head, _, body = (await said(socket_path, raw)).partition(b"\r\n\r\n")
    assert b"application/problem+json" in head
    assert json.loads(body)["code"] == "bad-request"


class TestImpatient:
    @pytest.fixture
    def limits(self) -> Limits:
        return Limits(idle=0.3, connections=3)

    @pytest.mark.parametrize("raw", [b"", b"GET /v1/status HT", b"GET /v1/status HTTP/1.1\r\nHost: a\r\n"])
    async def test_a_request_that_never_ends_is_closed(self, socket_path: Path, raw: bytes) -> None:
        assert await said(socket_path, raw) == b""

    async def test_a_user_has_so_many_connections(self, socket_path: Path) -> None:
        """A flood of one user ends at the door; when it is over, the user is served again."""
        held = [await asyncio.open_unix_connection(socket_path) for _ in range(3)]
        answer = await said(socket_path, b"GET /v1/alarms HTTP/1.1\r\nHost: a\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 503")
        assert b"too-many" in answer
        for _, writer in held:
            writer.close()
            await writer.wait_closed()
        async with asyncio.timeout(5):
            while True:
                answer = await said(socket_path, b"GET /v1/alarms HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
                if answer.startswith(b"HTTP/1.1 200"):
                    break

    async def test_a_stream_outlives_the_limit_on_silence(self, http: aiohttp.ClientSession) -> None:
        async with http.get("/v1/events/stream") as answer, asyncio.timeout(5):
            for _ in range(8):  # heartbeats of 0.2 s: well past 0.3 s
                assert await answer.content.readline()


async def test_many_questions_of_one_user_come_one_by_one(
    http: aiohttp.ClientSession, double: Double, who: Who, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever else asks meanwhile is answered at once."""
    under_way, most, came, go = 0, 0, 0, asyncio.Event()

    def told(self: Who, _: object) -> Caller:
        nonlocal came
        came += 1
        return self.caller

    async def events(*_: object) -> list[Event]:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await go.wait()
        under_way -= 1
        return []

    async def ask(path: str) -> int:
        async with http.get(path) as answer:
            return answer.status

    monkeypatch.setattr(double, "events", events)
    monkeypatch.setattr(type(who), "__call__", told)
    who.caller = Caller(1001, frozenset({VIEWERS}))
    many = [asyncio.create_task(ask("/v1/events")) for _ in range(5)]
    async with asyncio.timeout(5):
        while came < 5:
            await asyncio.sleep(0.01)
        who.caller = Caller(1002, frozenset({VIEWERS}))
        assert await ask("/v1/status") == 200
        go.set()
        assert await asyncio.gather(*many) == [200] * 5
    assert most == 1
