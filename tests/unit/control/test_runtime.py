"""HAProxy's socket: garbage, half answers, floods and silence are answers too, and none is half believed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rota.control.runtime import Known, Runtime, RuntimeFailed, parse_info, parse_servers, parse_stats, target
from rota.control.sessions import parse_sessions, parse_titles
from rota.control.state import IntentState, Verdict
from rota.control.statefile import StateFile, with_intents
from rota.control.verdicts import judge, takes_work

HEAD = (
    "1\n# be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state srv_uweight srv_iweight srv_time_since_last_change"
    " srv_check_status srv_check_result srv_check_health srv_check_state srv_agent_state bk_f_forced_id srv_f_forced_id srv_fqdn"
    " srv_port srvrecord srv_use_ssl srv_check_port srv_check_addr srv_agent_addr srv_agent_port\n"
)


def line(
    backend: str = "pacs",
    server: str = "a",
    *,
    op: int = 2,
    admin: int = 0,
    weight: int = 100,
    result: int = 3,
    state: int = 6,
) -> str:
    return f"4 {backend} 1 {server} 192.0.2.1 {op} {admin} 100 {weight} 2 6 {result} 4 {state} 0 0 0 - 104 - 0 0 - - 0\n"


GOOD = HEAD + line() + line(server="b", op=0, result=2) + "\n"
Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@pytest.mark.parametrize(
    ("row", "verdict", "work"),
    [
        (line(), Verdict.UP, True),
        (line(op=0, result=2), Verdict.DOWN, False),
        (line(op=0, result=3), Verdict.DOWN, False),  # an agent says so
        (line(admin=8), Verdict.UP, False),
        (line(admin=16), Verdict.UP, False),
        (line(op=0, admin=1, state=14), Verdict.UNKNOWN, False),
        (line(result=0), Verdict.UNKNOWN, True),  # not asked yet
        (line(state=0), Verdict.UNKNOWN, True),  # no check
        (line(op=3), Verdict.UP, True),
        (line(weight=0, admin=8), Verdict.UP, False),
    ],
)
def test_what_a_row_says(row: str, verdict: Verdict, work: bool) -> None:
    parsed = parse_servers(HEAD + row + "\n").rows["pacs", "a"]
    assert judge(parsed) is verdict
    assert takes_work(parsed) is work


def test_a_check_under_way_changes_no_verdict() -> None:
    """HAProxy gives the result as unknown until the check has ended: every member would flicker."""
    known = Known()
    first = parse_servers(HEAD + line(result=0, state=7) + "\n", known).rows["pacs", "a"]
    assert judge(first) is Verdict.UNKNOWN  # never asked before
    done = parse_servers(HEAD + line() + "\n", known)
    under_way = parse_servers(HEAD + line(result=0, state=7) + "\n", known)
    assert judge(under_way.rows["pacs", "a"]) is Verdict.UP
    assert under_way.rows == done.rows
    assert judge(parse_servers(HEAD + line(op=0, result=0, state=7) + "\n", known).rows["pacs", "a"]) is Verdict.DOWN


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n",
        "Permission denied\n\n",
        GOOD[:-1],
        GOOD[:-2],
        GOOD[: len(GOOD) // 2],
        GOOD.replace(" 100 100 ", " 100 many "),
        GOOD.replace("192.0.2.1 ", ""),
        GOOD.replace("1\n", "2\n", 1),
        HEAD + "\x00\xff garbage\n\n",
    ],
)
def test_a_list_that_is_not_whole_is_not_believed(text: str) -> None:
    with pytest.raises(RuntimeFailed):
        parse_servers(text)


@given(st.integers(0, len(GOOD) - 1))
def test_no_beginning_of_a_list_is_taken_for_the_list(length: int) -> None:
    """Or members that HAProxy had no time to name would be gone."""
    with pytest.raises(RuntimeFailed):
        parse_servers(GOOD[:length])


@given(st.text())
def test_garbage_is_said_and_no_crash(text: str) -> None:
    for parse in (parse_servers, parse_stats, parse_info):
        with pytest.raises(RuntimeFailed):
            parse(text)
    assert parse_sessions(text) == []
    parse_titles(text)


async def answered(tmp_path: Path, handler: Handler, **limits: float) -> str:
    path = tmp_path / "s"
    server = await asyncio.start_unix_server(handler, str(path))
    try:
        await Runtime(path, deadline=0.3, limit=100_000).servers()
    except RuntimeFailed as problem:
        return str(problem)
    finally:
        server.close()
    return "believed"


async def test_an_answer_is_believed_when_whole(tmp_path: Path) -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        for start in range(0, len(GOOD), 7):  # in small pieces
            writer.write(GOOD[start : start + 7].encode())
            await writer.drain()
        writer.close()

    assert await answered(tmp_path, handler) == "believed"


async def test_silence_half_an_answer_and_a_flood_end_in_time(tmp_path: Path) -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async def half(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(GOOD[:-40].encode())
        writer.close()

    async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                writer.write(b"x" * 10_000)
                await writer.drain()
        except ConnectionError:
            writer.close()

    async def bytes_(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(b"\xff\xfe\x00")
        writer.close()

    assert await answered(tmp_path, silent) == "HAProxy did not answer within 0.3 s"
    assert "broken line" in (said := await answered(tmp_path, half)) or "cut off" in said
    assert await answered(tmp_path, flood) == "HAProxy's answer is over 100000 bytes"
    assert (await answered(tmp_path, bytes_)).startswith("HAProxy does not answer: 'utf-8'")


async def test_no_socket_and_nobody_at_it(tmp_path: Path) -> None:
    with pytest.raises(RuntimeFailed, match="HAProxy does not answer: No such file or directory"):
        await Runtime(tmp_path / "none").servers()


@pytest.mark.parametrize("name", ["a b", "a;b", "a\nb", "", "a/b", "ä", "a\\"])
def test_a_name_that_could_be_a_command_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="is not a name"):
        target("pacs", name)


async def test_a_command_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is not a command"):
        await Runtime(tmp_path / "s").command("show info\nset server a/b state maint")


def test_reasons_are_words() -> None:
    head = "# pxname,svname,scur,slim,status,check_status,last_chk,last_agt,"
    rows = 'pacs,a,3,50,DOWN,L4CON,,,\npacs,b,0,,UP,* L7OK,"said ""hello"", twice",,\n'
    found = parse_stats(f"{head}\n{rows}\n")
    assert (found["pacs", "a"].reason, found["pacs", "a"].sessions, found["pacs", "a"].limit) == ("refused", 3, 50)
    assert (found["pacs", "b"].reason, found["pacs", "b"].limit) == ('said "hello", twice', None)


def test_titles_are_printable_whatever_came_over_the_network() -> None:
    text = "0x7f: key=192.0.2.9:4711\\ MOD\x1b[2J|PACS_A\\ \\  use=1 exp=9 conn_cur=1\n0x7e: key=192.0.2.9:1 use=0 exp=0\n"
    assert parse_titles(text) == {"192.0.2.9:4711": ("MOD?[2J", "PACS_A")}


def test_the_state_file_has_the_intents_of_both_families() -> None:
    text = (
        HEAD
        + line(op=0, admin=8)
        + line("pacs.v6", "a")
        + line("pacs.fallback", "FALLBACK")
        + line("adt", "a", admin=1)
        + "\n"
    )
    rows = parse_servers(with_intents(text, {("pacs", "a"): IntentState.HALT, ("adt", "a"): IntentState.READY})).rows
    assert {name: row.admin for name, row in rows.items()} == {
        ("pacs", "a"): 1, ("pacs.v6", "a"): 1, ("pacs.fallback", "FALLBACK"): 0, ("adt", "a"): 0,
    }  # fmt: skip
    assert rows["pacs", "a"].op == 0
    fresh = parse_servers(with_intents(text, {("pacs", "a"): IntentState.DRAIN}, forget_health=True)).rows
    assert (fresh["pacs", "a"].op, fresh["pacs", "a"].admin) == (2, 8)


WANTED = {("pacs", "a"): IntentState.DRAIN}


def test_a_state_file_that_is_garbage_is_left_and_said(tmp_path: Path) -> None:
    path = tmp_path / "state"
    path.write_text("garbage")
    file = StateFile(path, tmp_path / "copy")
    file.rewrite(WANTED, forget_health=False)
    assert path.read_text() == "garbage"
    assert file.problem is not None
    assert file.problem.startswith("HAProxy's state file cannot be used")


@pytest.mark.parametrize("left", [None, "", "1\n", "garbage"])
def test_after_a_reboot_the_copy_has_the_drains(tmp_path: Path, left: str | None) -> None:
    """What is in /run is gone, or was just begun by HAProxy's own unit."""
    path = tmp_path / "state"
    StateFile(path, tmp_path / "copy").keep(GOOD, WANTED, durable=True)
    path.unlink()
    if left is not None:
        path.write_text(left)
    StateFile(path, tmp_path / "copy").rewrite(WANTED, forget_health=True)
    row = parse_servers(path.read_text()).rows["pacs", "a"]
    assert (row.admin, row.op) == (8, 2)
