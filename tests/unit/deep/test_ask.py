"""Every way in which a deep check can end, against small peers: the reason, the deadline, and that no secret is shown."""

from __future__ import annotations

import asyncio
import os
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from lib.place import reachable_folder
from peers import dicom, tcp, web
from peers.pki import Authority, server_context
from peers.tcp import GARBAGE, HTTP_PAGE, SSH_BANNER, Case, Talk, TcpPeer, free_port, full_backlog, says
from peers.tds import Sql
from rota.checks.verdict import Reason, Verdict
from rota.control.deep.ask import ask
from rota.control.deep.question import Question
from unit.deep.asking import login, question

GOOD = "good"
LDAP_OK = bytes.fromhex("300c02010161070a010004000400")


def ldap(code: int, message: int = 1) -> Talk:
    return says(
        bytes.fromhex("300c0201") + bytes([message]) + bytes.fromhex("61070a01") + bytes([code]) + bytes(2)[:0] + b"\4\0\4\0"
    )


@cache
def certificate() -> ssl.SSLContext:
    """A server's context with a certificate of a CA that nobody needs to know."""
    with TemporaryDirectory() as folder:
        return server_context(Authority(Path(folder)).issue())


@dataclass
class Turns:
    """A directory that turns its plain port to TLS, and answers the bind inside. It is a `Talk`."""

    code: int = 0

    def __call__(self, talk: tcp.Conversation) -> None:
        talk._recv(65536)
        talk.send(TURNS)
        with suppress(OSError):
            talk.sock = certificate().wrap_socket(talk.sock, server_side=True)
        ldap(self.code, 2)(talk)


def turns_and_ends(talk: tcp.Conversation) -> None:
    """A directory that agrees to TLS and hangs up."""
    talk._recv(65536)
    talk.send(TURNS)


def body(text: str, headers: str = "", status: str = "200 OK") -> Talk:
    return web.Web(web.page(status, text.encode(), headers))


HTTP = {
    "kind": "http",
    "json_values": {"$.state": "ready", "$.queue[0]": "<100"},
    "headers": {"x-node": "pacs-a"},
    "expect": "ready",
}
JSON = '{"state": "ready", "queue": [7], "patient": "SECRET"}'
NODE = "X-Node: pacs-a\r\n"
ROOM = {"kind": "storage", "path": "/statistics", "field": "$.disk.free", "minimum": 100}
AGENT = {"kind": "storage", "minimum": 100}
SOAP = {"kind": "soap", "element": "AdhocQueryResponse"}
SQL = {"kind": "mssql", "credentials": "login", "expect": "1"}
BIND = {"kind": "ldap", "credentials": "login"}
TURNS = bytes.fromhex("300c02010178070a010004000400")  # "go on with TLS"

BROKEN: dict[str, tuple[Talk, str]] = {
    "silent": (tcp.silent, "silent"),
    "closes": (tcp.closes, "closed"),
    "closes-after-request": (tcp.closes_after_request, "closed"),
    "resets": (tcp.resets, "closed"),
}
CASES: dict[str, tuple[dict[str, Any], dict[str, Case]]] = {
    "http": (
        HTTP,
        {
            GOOD: Case(body(JSON, NODE)),
            "wrong-status": Case(body(JSON, NODE, "503 Gone"), "bad-status", GOOD),
            "wrong-header": Case(body(JSON, "X-Node: pacs-b\r\n"), "bad-content", GOOD),
            "no-header": Case(body(JSON), "bad-content", GOOD),
            "wrong-value": Case(body(JSON.replace("ready", "stopped"), NODE), "bad-content", GOOD),
            "number-too-big": Case(body(JSON.replace("7", "100"), NODE), "bad-content", GOOD),
            "no-number": Case(body(JSON.replace("7", '"many"'), NODE), "bad-content", GOOD),
            "no-json": Case(body("<p>ready</p>", NODE), "bad-content", GOOD),
            "garbage": Case(says(GARBAGE), "not-http", GOOD),
        },
    ),
    "storage": (
        ROOM,
        {
            GOOD: Case(body('{"disk": {"free": 100}}')),
            "text": Case(body('{"disk": {"free": "1234 MB"}}')),
            "full": Case(body('{"disk": {"free": 99.9}}'), "no-room", GOOD),
            "negative": Case(body('{"disk": {"free": -1}}'), "no-room", GOOD),
            "no-field": Case(body('{"disk": {}}'), "bad-content", GOOD),
            "a-boolean": Case(body('{"disk": {"free": true}}'), "bad-content", GOOD),
            "unavailable": Case(body("{}", status="503 Gone"), "bad-status", GOOD),
            "deep-json": Case(body("[" * 100_000), "bad-content", GOOD),
        },
    ),
    "agent": (
        AGENT,
        {
            GOOD: Case(says(b"free 100\n", first=True)),
            "no-end": Case(lambda talk: talk.send(b"100")),
            "full": Case(says(b"free 99\n", first=True), "no-room", GOOD),
            "words": Case(says(b"plenty\n", first=True), "bad-content", GOOD),
            "endless": Case(says(b"1" * 200_000, first=True), "bad-answer", GOOD),
        },
    ),
    "soap": (
        SOAP,
        {
            GOOD: Case(web.Soap()),
            "other-element": Case(web.Soap(response="Other"), "not-soap", GOOD),
            "fault": Case(web.Soap(fault=True, http="500 Error"), "fault", GOOD),
            "html": Case(body("<p>"), "not-soap", GOOD),
            "unavailable": Case(body("", status="503 Gone"), "bad-status", GOOD),
            "dtd": Case(web.Soap(dtd=True), "not-soap", GOOD),
        },
    ),
    "mssql": (
        SQL,
        {
            GOOD: Case(Sql()),
            "in-pieces": Case(Sql(piece=1)),
            "wrong-value": Case(Sql(value=2), "query", GOOD),
            "no-row": Case(Sql(value=None), "query", GOOD),
            "refused-login": Case(Sql(login_error=18456), "login", GOOD),
            "no-such-database": Case(Sql(login_error=4060), "login", GOOD),
            "refused-query": Case(Sql(query_error=208), "query", GOOD),
            "disk-full": Case(Sql(query_error=1105), "no-room", GOOD),
            "hangs-on-login": Case(Sql(hangs_on="login"), "timeout", GOOD),
            "hangs-on-query": Case(Sql(hangs_on="query"), "timeout", GOOD),
            "drips": Case(Sql(piece=1, gap=0.2), "timeout", "in-pieces"),
            "http": Case(says(HTTP_PAGE), "bad-answer", GOOD),
        },
    ),
    "ldap": (
        BIND,
        {
            GOOD: Case(says(LDAP_OK)),
            "one-byte-writes": Case(says(LDAP_OK, piece=1)),
            "invalid-credentials": Case(ldap(49), "login", GOOD),
            "busy": Case(ldap(51), "busy", GOOD),
            "other-result": Case(ldap(1), "bad-status", GOOD),
            "other-message": Case(ldap(0, 7), "bad-answer", GOOD),
            "ssh": Case(says(SSH_BANNER), "bad-answer", GOOD),
            "endless": Case(says(bytes.fromhex("3084ffffffff")), "bad-answer", GOOD),
            "garbage-inside": Case(says(b"\x30\x20" + GARBAGE[:32]), "bad-answer", GOOD),
            "drips": Case(says(LDAP_OK, piece=1, gap=0.2), "timeout", "one-byte-writes"),
        },
    ),
    "start-tls": (
        {**BIND, "start_tls": True},
        {
            GOOD: Case(Turns()),
            "refuses": Case(says(bytes.fromhex("300c02010178070a010204000400")), "tls", GOOD),
            "says-more-in-the-clear": Case(says(TURNS + LDAP_OK), "bad-answer", GOOD),
            "bound-already": Case(says(LDAP_OK), "bad-answer", GOOD),
            "stays-plain": Case(says(TURNS), "timeout", GOOD),
            "ends": Case(turns_and_ends, "tls", GOOD),
            "invalid-credentials": Case(Turns(49), "login", GOOD),
        },
    ),
    "find": (
        {"kind": "find"},
        {
            GOOD: Case(dicom.Scp(matches=2)),
            "bad-status": Case(dicom.Scp(find=0xA700), "bad-status", GOOD),
            "no-context": Case(dicom.Scp(result=3), "no-context", GOOD),
            "hangs": Case(dicom.Scp(hangs_on="find"), "timeout", GOOD),
        },
    ),
    "store": (
        {"kind": "store"},
        {
            GOOD: Case(dicom.Scp()),
            "warning": Case(dicom.Scp(store=0xB000)),
            "full": Case(dicom.Scp(store=0xA700), "cannot-store", GOOD),
            "refused": Case(dicom.Scp(store=0xC000), "bad-status", GOOD),
            "aborts": Case(dicom.Scp(on_echo=dicom.ABORT), "aborted", GOOD),
            "rejects": Case(dicom.Scp(on_associate=dicom.reject(1, 1, 3)), "rejected", GOOD),
        },
    ),
}
SERIES = [
    (kind, name, case)
    for kind, (_, cases) in CASES.items()
    for name, case in [*cases.items(), *((n, Case(talk, reason, GOOD)) for n, (talk, reason) in BROKEN.items())]
    if (kind, name) != ("agent", "closes-after-request")  # a file agent is not asked anything
]


def prepared(kind: str, port: int, folder: Path, **more: Any) -> Question:
    login(folder, "rota", "SECRET-PASSWORD")
    return question(port, {**CASES[kind][0], **more}, folder)


@pytest.mark.parametrize(("kind", "name", "case"), SERIES, ids=[f"{k}-{n}" for k, n, _ in SERIES])
async def test_reason(kind: str, name: str, case: Case, tmp_path: Path) -> None:
    deadline = 600 if case.reason in ("silent", "timeout") else 5000
    with TcpPeer(case.talk) as peer:
        asked = prepared(kind, peer.port, tmp_path, timeout=f"{deadline}ms")
        began = time.monotonic()
        verdict = await ask(asked)
        took = time.monotonic() - began
    assert verdict.reason == case.reason, verdict
    assert took < deadline / 1000 + 1
    assert "SECRET" not in f"{verdict} {verdict.as_dict()} {asked}"
    assert case.twin is None or CASES[kind][1][case.twin].reason == "ok"


@pytest.mark.parametrize("kind", [*CASES, "mysql", "postgresql"])
async def test_nobody_there(kind: str, tmp_path: Path) -> None:
    CASES.setdefault("mysql", ({**SQL, "kind": "mysql"}, {}))
    CASES.setdefault("postgresql", ({**SQL, "kind": "postgresql"}, {}))
    assert (await ask(prepared(kind, free_port(), tmp_path))).reason is Reason.REFUSED
    with full_backlog() as port:
        verdict = await ask(prepared(kind, port, tmp_path, timeout="400ms"))
    assert verdict.reason is Reason.TIMEOUT, verdict


@pytest.mark.parametrize("kind", ["mysql", "postgresql"])
@pytest.mark.parametrize(
    ("talk", "reasons"),
    [
        (tcp.silent, {"silent", "timeout"}),
        (tcp.closes, {"closed"}),
        (tcp.resets, {"closed"}),
        (says(GARBAGE, first=True), {"bad-answer", "closed", "timeout"}),
        (says(HTTP_PAGE, first=True), {"bad-answer", "timeout"}),
        (says(b"J" + bytes(3) + b"\xff" + bytes(300), piece=1, gap=0.2, first=True), {"timeout"}),
    ],
    ids=["silent", "closes", "resets", "garbage", "http", "drips"],
)
async def test_a_database_that_is_none(kind: str, talk: Talk, reasons: set[str], tmp_path: Path) -> None:
    login(tmp_path, "rota", "SECRET-PASSWORD")
    with TcpPeer(talk) as peer:
        began = time.monotonic()
        verdict = await ask(question(peer.port, {"kind": kind, "credentials": "login", "timeout": "700ms"}, tmp_path))
        assert time.monotonic() - began < 1.7
    assert verdict.reason in reasons, verdict


@pytest.mark.parametrize("kind", ["mssql", "ldap"])
@pytest.mark.parametrize(
    "text",
    [None, 'username = "rota"\n', 'username = "rota"\npassword = ""\n', "SECRET-PASSWORD", 'username = 1\npassword = "x"\n'],
    ids=["missing", "half", "empty", "no-toml", "no-text"],
)
async def test_credentials_that_are_no_use_are_our_own_fault(kind: str, text: str | None, tmp_path: Path) -> None:
    if text is not None:
        (tmp_path / "login").write_text(text)
    with TcpPeer(tcp.silent) as peer:
        verdict = await ask(question(peer.port, CASES[kind][0], tmp_path))
        assert peer.connections == 0
    assert verdict.reason is Reason.USAGE
    assert "SECRET" not in str(verdict)


async def test_http_with_a_login(tmp_path: Path) -> None:
    login(tmp_path, "rota", "SECRET-PASSWORD")
    check = {"kind": "http", "credentials": "login"}
    with TcpPeer(body("", status="401 Unauthorized")) as peer:
        assert (await ask(question(peer.port, check, tmp_path))).reason is Reason.LOGIN
    with TcpPeer(body("")) as peer:
        assert (await ask(question(peer.port, check, tmp_path))).up
        assert b"Authorization: Basic cm90YTpTRUNSRVQtUEFTU1dPUkQ=" in peer.conversations[0].received


@pytest.mark.parametrize(
    ("days", "least", "reason"), [(90, 21, "ok"), (10, 21, "expiring"), (-1, 21, "expired")], ids=["good", "soon", "over"]
)
async def test_certificate(days: int, least: int, reason: str, tmp_path: Path) -> None:
    with TcpPeer(tcp.silent, tls=server_context(Authority(tmp_path).issue(days=days))) as peer:
        verdict = await ask(question(peer.port, {"kind": "certificate", "days": least, "retry": "1s"}))
    assert verdict.reason == reason, verdict


@pytest.fixture
def place() -> Iterator[Path]:
    with reachable_folder() as folder:
        yield folder


def program(folder: Path, text: str) -> str:
    path = folder / "check"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


def runs(folder: Path, text: str, *arguments: str, timeout: str = "5s") -> Any:
    return ask(question(104, {"kind": "command", "argv": [program(folder, text), *arguments], "timeout": timeout}))


async def test_a_program_decides(place: Path) -> None:
    assert (await runs(place, "exit 0")).up
    verdict = await runs(place, "echo SECRET^PATIENT; echo SECRET >&2; exit 1")
    assert (verdict.reason, "status 1" in verdict.detail, "SECRET" in str(verdict)) == (Reason.PROGRAM, True, False)
    assert (await runs(place, "kill -9 $$")).reason is Reason.PROGRAM


async def test_a_program_is_told_the_member_and_is_not_root(place: Path) -> None:
    wanted = 'test "$1 $2 $3 $4" = "127.0.0.1 104 pacs-a a;b" && test $(id -u) != 0 && test -z "$NOTIFY_SOCKET"'
    os.environ["NOTIFY_SOCKET"] = "/run/x"
    try:
        verdict = await runs(place, wanted, "{address}", "{port}", "{member}", "a;b")
    finally:
        del os.environ["NOTIFY_SOCKET"]
    assert verdict.up, verdict


async def test_a_program_that_does_not_end_is_ended_with_its_children(place: Path) -> None:
    mark = f"4{os.getpid()}.25"
    began = time.monotonic()
    verdict = await runs(place, f"sleep {mark} & sleep {mark}", timeout="500ms")
    assert verdict.reason in (Reason.SILENT, Reason.TIMEOUT)
    assert time.monotonic() - began < 2

    def alive() -> bool:
        lines = [p.read_bytes() for p in Path("/proc").glob("[0-9]*/cmdline") if p.exists()]
        return any(mark.encode() in line for line in lines)

    until = time.monotonic() + 2
    while alive() and time.monotonic() < until:
        await asyncio.sleep(0.02)
    assert not alive()


async def test_a_program_that_is_not_there_is_our_own_fault() -> None:
    assert (await ask(question(104, {"kind": "command", "argv": ["/nonexistent/program"]}))).reason is Reason.USAGE


async def test_a_fault_of_ours_is_no_verdict_on_the_member(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any) -> Verdict:
        raise ZeroDivisionError

    monkeypatch.setattr("rota.control.deep.web.exchange", fails)
    assert (await ask(question(104, {"kind": "http"}))).reason is Reason.USAGE


async def test_one_slow_peer_delays_no_other(tmp_path: Path) -> None:
    """Forty silent databases, and one that answers."""
    login(tmp_path, "rota", "x")
    make: Callable[[int], Question] = lambda port: question(port, {**SQL, "timeout": "3s"}, tmp_path)  # noqa: E731
    with TcpPeer(tcp.silent) as silent, TcpPeer(Sql()) as good:
        slow = [asyncio.create_task(ask(make(silent.port))) for _ in range(40)]
        await asyncio.sleep(0.2)
        began = time.monotonic()
        assert (await ask(make(good.port))).up
        assert time.monotonic() - began < 1.5
        assert {v.reason for v in await asyncio.gather(*slow)} == {Reason.SILENT}
