"""The agent's line: what is said, and that doubt is never held against a member."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from rota.control.agent import Agent, answer
from rota.control.release import releases

BAD = {("pacs", "pacs-a"): "store: cannot-store: status A700"}


def test_an_objection_is_down_with_its_reason() -> None:
    assert answer(b"pacs/pacs-a\n", BAD.get) == b"down #store: cannot-store: status A700\n"


@pytest.mark.parametrize("question", [b"pacs/pacs-b\n", b"pacs\n", b"\n", b"\xff\xfe/\n", b"pacs/pacs-a/x\n"])
def test_whatever_is_not_known_is_up(question: bytes) -> None:
    assert answer(question, BAD.get) == b"up\n"


def test_the_reason_is_one_plain_line() -> None:
    assert answer(b"a/b\n", lambda _: "x # y\nmaint\r\t ü" + "z" * 500) == b"down #x   y maint    " + b"z" * 165 + b"\n"


@pytest.fixture
async def agent() -> AsyncIterator[Agent]:
    agent = Agent(BAD.get)
    await agent.start(port=0)
    yield agent
    await agent.close()


async def said(agent: Agent, data: bytes, *, end: bool = False) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", agent.port)
    writer.write(data)
    if end:
        writer.write_eof()
    async with asyncio.timeout(5):
        got = await reader.read()
    writer.close()
    return got


async def test_it_answers_and_hangs_up(agent: Agent) -> None:
    assert await said(agent, b"pacs/pacs-a\n") == b"down #store: cannot-store: status A700\n"
    assert await said(agent, b"pacs/pacs-b\n") == b"up\n"


async def test_garbage_gets_no_answer_and_does_no_harm(agent: Agent) -> None:
    assert await said(agent, b"x" * 1000) == b""
    assert await said(agent, b"half", end=True) == b""
    assert await said(agent, b"pacs/pacs-b\n") == b"up\n"


async def test_a_silent_caller_delays_no_other_and_is_let_go(agent: Agent) -> None:
    silent = asyncio.create_task(said(agent, b""))
    async with asyncio.timeout(1):
        assert await said(agent, b"pacs/pacs-b\n") == b"up\n"
    assert await silent == b""


async def test_a_flood_is_answered(agent: Agent) -> None:
    got = await asyncio.gather(*(said(agent, b"pacs/pacs-b\n") for _ in range(300)))
    assert set(got) == {b"up\n"}


def test_only_what_an_agent_holds_down_is_released() -> None:
    stats = "# pxname,svname,type,agent_health,\npacs,a,2,0,\npacs,b,2,1,\npacs,c,2,,\npacs,BACKEND,1,0,\n\n"
    assert releases(stats) == ["set server pacs/a agent up"]
    assert releases("garbage") == []
