"""The ways out: mail, webhook, syslog. Each sends one thing within its deadline, or raises Undelivered with one line."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import ssl
from dataclasses import asdict
from email.message import EmailMessage
from email.utils import format_datetime, make_msgid
from typing import Any

import aiohttp
import aiosmtplib

from rota.control.notice.desk import Notice
from rota.control.notice.settings import MailSettings, SyslogSettings, WebhookSettings, login
from rota.control.state import Event

DEADLINE = 15.0
_FACILITY = 16  # local0
_SEVERITY = {"critical": 2, "warning": 4}
_OVER, _PLAIN = 5, 6  # notice, informational


class Undelivered(Exception):
    """The other side did not take it; the text is for people and holds no secret."""


class Mail:
    """Electronic mail (RFC 5321)."""

    name = "mail"

    def __init__(self, settings: MailSettings) -> None:
        self._settings = settings

    async def send(self, notice: Notice) -> None:
        """Deliver to the mail server."""
        settings = self._settings
        try:
            secret = login(settings.credentials) if settings.credentials else {}
            async with asyncio.timeout(DEADLINE):
                await aiosmtplib.send(
                    _letter(notice, settings), hostname=settings.host, port=settings.port, timeout=DEADLINE,
                    use_tls=settings.tls == "tls", start_tls=settings.tls == "starttls",
                    tls_context=settings.security.context() if settings.tls != "none" else None,
                    username=secret.get("username"), password=secret.get("password"),
                )  # fmt: skip
        except (aiosmtplib.SMTPException, TimeoutError, OSError, ssl.SSLError, ValueError) as error:
            raise Undelivered(f"{settings.host}:{settings.port}: {_why(error)}") from None


def _letter(notice: Notice, settings: MailSettings) -> EmailMessage:
    letter = EmailMessage()
    letter["Subject"] = notice.subject
    letter["From"], letter["To"] = settings.sender, ", ".join(settings.to)
    letter["Date"] = format_datetime(notice.at)
    letter["Message-ID"] = make_msgid(domain="rota.invalid")
    letter["Auto-Submitted"] = "auto-generated"  # RFC 3834: no holiday answers
    again = f"It came back {notice.times - 1} times meanwhile.\n" if notice.times > 1 else ""
    letter.set_content(
        f"{notice.text}\n\n{again}Alarm: {notice.key} ({notice.severity})\nSince: {notice.since:%Y-%m-%d %H:%M:%S} UTC\n"
        f"Node:  {notice.node}\n\nOn either node, rota status and rota events show more.\n"
    )
    return letter


class Webhook:
    """An HTTP POST of JSON."""

    name = "webhook"

    def __init__(self, settings: WebhookSettings) -> None:
        self._settings = settings

    async def send(self, notice: Notice) -> None:
        """Deliver; any status from 200 to 299 is thanks."""
        settings = self._settings
        body = {**asdict(notice), "since": notice.since.isoformat(), "at": notice.at.isoformat(), "subject": notice.subject}
        try:
            headers = _authorization(login(settings.credentials)) if settings.credentials else {}
            secure: Any = settings.security.context() if settings.url.startswith("https:") else False
            async with (
                aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=DEADLINE)) as session,
                session.post(settings.url, json=body, headers=headers, ssl=secure, allow_redirects=False) as answer,
            ):
                if not 200 <= answer.status < 300:
                    raise Undelivered(f"{settings.url}: HTTP status {answer.status}")
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise Undelivered(f"{settings.url}: {_why(error)}") from None


def _authorization(secret: dict[str, str]) -> dict[str, str]:
    if "token" in secret:
        return {"Authorization": f"Bearer {secret['token']}"}
    word = base64.b64encode(f"{secret.get('username', '')}:{secret.get('password', '')}".encode()).decode()
    return {"Authorization": f"Basic {word}"}


class Syslog:
    """Syslog over TLS (RFC 5424 in RFC 5425): one connection that is kept."""

    name = "syslog"

    def __init__(self, settings: SyslogSettings) -> None:
        self._settings = settings
        self._stream: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def send(self, item: Event | Notice) -> None:
        """Deliver one line."""
        line = syslog_line(item)
        frame = f"{len(line)} ".encode() + line
        try:
            async with asyncio.timeout(DEADLINE):
                reader, writer = await self._connected()
                writer.write(frame)
                await writer.drain()
                if reader.at_eof():
                    raise ConnectionResetError
        except (TimeoutError, OSError, ValueError) as error:  # ssl.SSLError is an OSError
            await self.close()
            raise Undelivered(f"{self._settings.host}:{self._settings.port}: {_why(error)}") from None

    async def _connected(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._stream is not None:
            # a receiver that went away has closed: writing would not tell for a while
            if not self._stream[0].at_eof():
                return self._stream
            await self.close()
        settings = self._settings
        reader, writer = await asyncio.open_connection(settings.host, settings.port, ssl=settings.security.context())
        self._stream = (reader, writer)
        return self._stream

    async def close(self) -> None:
        """End the connection."""
        if self._stream is not None:
            (_, writer), self._stream = self._stream, None
            writer.close()
            with contextlib.suppress(OSError, TimeoutError):
                async with asyncio.timeout(1):
                    await writer.wait_closed()


def syslog_line(item: Event | Notice) -> bytes:
    """RFC 5424: `<PRI>1 TIME HOST rota - KIND [rota@… …] text`."""
    if isinstance(item, Event):
        fields = {k: getattr(item, k) for k in ("service", "member", "before", "after", "person")}
        kind, text, severity = item.kind, item.reason or "", _PLAIN
        if item.kind == "alarm":
            severity = _OVER if item.after == "cleared" else _SEVERITY["warning"]
    else:
        fields = {"member": item.key, "after": item.kind}
        kind, text, severity = "alarm", item.text, _SEVERITY.get(item.severity, _PLAIN)
    # 32473 is the enterprise number for examples (RFC 5612): Rota has none of its own
    data = "".join(f' {key}="{_param(str(value))}"' for key, value in fields.items() if value is not None)
    stamp = item.at.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    plain = "".join(c if c.isprintable() else " " for c in text)
    return f"<{_FACILITY * 8 + severity}>1 {stamp} {item.node} rota - {kind} [rota@32473{data}] {plain}".encode()


def _param(text: str) -> str:
    plain = "".join(c if c.isprintable() else " " for c in text)
    return plain.replace("\\", "\\\\").replace('"', '\\"').replace("]", "\\]")


def _why(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return f"no answer within {DEADLINE:g} s"
    if "CERTIFICATE_VERIFY_FAILED" in str(error):
        # aiohttp's and aiosmtplib's own errors only quote it
        return "its certificate is not accepted"
    if isinstance(error, aiosmtplib.SMTPResponseException):
        return f"refused with code {error.code}"
    cause = error.__cause__
    if isinstance(cause, OSError):
        return _why(cause)
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(str(text).split())[:160]
