"""Mail, webhook and syslog against real servers on loopback: what arrives, and what is said when nothing does."""

from __future__ import annotations

import asyncio
import email
import json
import ssl
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from email.policy import default
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult
from peers import tcp
from peers.pki import Authority, server_context
from peers.tcp import TcpPeer, free_port
from rota.control.notice.desk import Notice
from rota.control.notice.settings import read
from rota.control.notice.ways import Mail, Syslog, Undelivered, Webhook, syslog_line
from rota.control.state import Event

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)
NOTICE = Notice("raised", "lb1", "st-marys", "member-down:pacs/a", "warning", "a of pacs is down: silent", NOON, NOON, 3)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "ca")


class Postbox:
    """Takes mail, and one login."""

    def __init__(self) -> None:
        self.letters: list[Any] = []
        self.code = "250 OK"

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:  # noqa: N802
        self.letters.append((envelope.rcpt_tos, email.message_from_bytes(envelope.content, policy=default)))
        return self.code


@pytest.fixture
def mail_server(authority: Authority) -> Iterator[tuple[Postbox, int]]:
    box = Postbox()

    def accepts(_server: Any, _session: Any, _envelope: Any, _mechanism: Any, data: Any) -> AuthResult:
        return AuthResult(success=(data.login, data.password) == (b"rota", b"pass word"), handled=False)

    controller = Controller(
        box, hostname="127.0.0.1", port=free_port(), tls_context=server_context(authority.issue()), require_starttls=True,
        authenticator=accepts, auth_required=True,
    )  # fmt: skip
    controller.start()
    yield box, controller.port
    controller.stop()


def mail(port: int, authority: Authority, folder: Path, password: str = "pass word", **more: Any) -> Mail:  # noqa: S107
    (folder / "login").write_text(f'username = "rota"\npassword = "{password}"\n')
    table = {
        "server": f"127.0.0.1:{port}", "from": "rota@example.org", "to": ["it@example.org", "pacs@example.org"],
        "ca": str(authority.cert), "credentials": str(folder / "login"), **more,
    }  # fmt: skip
    settings = read({"alarms": {"mail": table}}).mail
    assert settings
    return Mail(settings)


async def test_mail_arrives_with_a_login_inside_tls(
    mail_server: tuple[Postbox, int], authority: Authority, tmp_path: Path
) -> None:
    box, port = mail_server
    await mail(port, authority, tmp_path).send(NOTICE)
    [(to, letter)] = box.letters
    assert to == ["it@example.org", "pacs@example.org"]
    assert letter["Subject"] == "[rota st-marys] WARNING: a of pacs is down: silent"
    assert letter["Auto-Submitted"] == "auto-generated"
    assert "came back 2 times" in letter.get_content()


async def test_mail_that_is_refused_says_why_and_tells_no_secret(
    mail_server: tuple[Postbox, int], authority: Authority, tmp_path: Path
) -> None:
    box, port = mail_server
    with pytest.raises(Undelivered, match="refused with code 535") as problem:
        await mail(port, authority, tmp_path, "SECRET").send(NOTICE)
    assert "SECRET" not in str(problem.value)
    box.code = "452 full"
    with pytest.raises(Undelivered, match="refused with code 452"):
        await mail(port, authority, tmp_path).send(NOTICE)
    other = Authority(tmp_path / "other")
    with pytest.raises(Undelivered, match="certificate"):
        await mail(port, other, tmp_path).send(NOTICE)
    with pytest.raises(Undelivered, match="login: No such file"):
        await mail(port, authority, tmp_path, credentials=str(tmp_path / "no/login")).send(NOTICE)
    with pytest.raises(Undelivered):
        await mail(free_port(), authority, tmp_path).send(NOTICE)


@pytest.fixture
async def hook(authority: Authority) -> AsyncIterator[tuple[list[Any], int, dict[str, int]]]:
    got: list[Any] = []
    answer = {"status": 204}

    async def take(request: web.Request) -> web.Response:
        got.append((request.headers.get("Authorization"), await request.json()))
        return web.Response(status=answer["status"], headers={"Location": "/other"})

    app = web.Application()
    app.router.add_post("/rota", take)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=server_context(authority.issue())).start()
    yield got, runner.addresses[0][1], answer
    await runner.cleanup()


def webhook(port: int, authority: Authority, credentials: Path | None = None) -> Webhook:
    table = {"url": f"https://127.0.0.1:{port}/rota", "ca": str(authority.cert)}
    settings = read({"alarms": {"webhook": {**table, **({"credentials": str(credentials)} if credentials else {})}}}).webhook
    assert settings
    return Webhook(settings)


async def test_a_webhook_gets_json(
    hook: tuple[list[Any], int, dict[str, int]], authority: Authority, tmp_path: Path
) -> None:
    got, port, answer = hook
    (tmp_path / "token").write_text('token = "abc"\n')
    await webhook(port, authority, tmp_path / "token").send(NOTICE)
    [(authorization, body)] = got
    assert authorization == "Bearer abc"
    assert (body["kind"], body["key"], body["since"], body["times"]) == ("raised", NOTICE.key, NOON.isoformat(), 3)
    for status in (302, 500):
        answer["status"] = status
        with pytest.raises(Undelivered, match=f"HTTP status {status}"):
            await webhook(port, authority).send(NOTICE)
    with pytest.raises(Undelivered):
        await webhook(port, Authority(tmp_path / "other")).send(NOTICE)
    with pytest.raises(Undelivered):
        await webhook(free_port(), authority).send(NOTICE)


async def test_a_way_that_never_answers_ends_in_time(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rota.control.notice.ways.DEADLINE", 0.3)
    with TcpPeer(tcp.silent) as peer:
        with pytest.raises(Undelivered, match="no answer"):
            await webhook(peer.port, authority).send(NOTICE)
        with pytest.raises(Undelivered, match="no answer"):
            await Syslog(settings_of(peer.port, authority)).send(NOTICE)


def settings_of(port: int, authority: Authority, **more: str) -> Any:
    return read({"alarms": {"syslog": {"server": f"127.0.0.1:{port}", "ca": str(authority.cert), **more}}}).syslog


class Collector:
    """A receiver of RFC 5425."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self.lines: list[bytes] = []
        self.context = context
        self.writers: list[asyncio.StreamWriter] = []

    async def start(self) -> int:
        self.server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self.context)
        return int(self.server.sockets[0].getsockname()[1])

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writers.append(writer)
        try:
            while True:
                size = await reader.readuntil(b" ")
                self.lines.append(await reader.readexactly(int(size)))
        except (asyncio.IncompleteReadError, OSError):
            writer.close()

    async def has(self, count: int) -> None:
        async with asyncio.timeout(5):
            while len(self.lines) < count:
                await asyncio.sleep(0.01)

    async def close(self) -> None:
        for writer in self.writers:
            writer.close()
        self.server.close()


EVENT = Event(
    id=1, at=NOON, node="lb1", kind="verdict", service="pacs", member="a", before="up", after="down", reason='no "]\n answer'
)


async def test_syslog_over_mutual_tls_keeps_its_connection(authority: Authority, tmp_path: Path) -> None:
    pair = authority.issue("lb1")
    collector = Collector(server_context(authority.issue(), client_ca=authority.cert))
    port = await collector.start()
    way = Syslog(settings_of(port, authority, certificate=str(pair.cert), key=str(pair.key)))
    await way.send(EVENT)
    await way.send(NOTICE)
    await collector.has(2)
    assert len(collector.writers) == 1
    assert collector.lines[0] == (
        b"<134>1 2026-11-24T12:00:00.000000Z lb1 rota - verdict "
        b'[rota@32473 service="pacs" member="a" before="up" after="down"] no "]  answer'
    )
    assert collector.lines[1].startswith(b"<132>1 ")
    # the receiver restarts: the next line is sent on a new connection
    collector.writers[0].close()
    await asyncio.sleep(0.1)
    await way.send(EVENT)
    await collector.has(3)
    await way.close()
    await collector.close()


async def test_syslog_trusts_no_stranger(authority: Authority, tmp_path: Path) -> None:
    collector = Collector(server_context(Authority(tmp_path / "other").issue()))
    port = await collector.start()
    with pytest.raises(Undelivered, match="certificate"):
        await Syslog(settings_of(port, authority)).send(EVENT)
    await collector.close()
    with pytest.raises(Undelivered):
        await Syslog(settings_of(free_port(), authority)).send(EVENT)
    assert collector.lines == []


def test_structured_data_cannot_be_broken_out_of() -> None:
    line = syslog_line(EVENT.model_copy(update={"member": 'a"] x\\'}))
    assert rb'member="a\"\] x\\"' in line
    assert json.loads(json.dumps(line.decode()))
