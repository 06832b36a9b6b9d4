"""Table [alarms] of rotad.toml, read once; a mistake is one line that names the key."""

from __future__ import annotations

import ssl
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rota.control.config import BadConfig
from rota.control.notice.desk import Policy


@dataclass(frozen=True)
class Security:
    """TLS towards a receiver: its CA (unset: the system's), and our certificate."""

    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None

    def context(self) -> ssl.SSLContext:
        """A client's context that verifies; OSError or ssl.SSLError when a file is no use."""
        context = ssl.create_default_context(cafile=str(self.ca) if self.ca else None)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if self.certificate:
            context.load_cert_chain(self.certificate, self.key)
        return context


@dataclass(frozen=True)
class MailSettings:
    """Where mail goes. `tls` is starttls, tls or none."""

    host: str
    port: int
    sender: str
    to: tuple[str, ...]
    tls: str
    security: Security
    credentials: Path | None


@dataclass(frozen=True)
class WebhookSettings:
    """Where alarms are posted; `credentials` holds `token` or username and password."""

    url: str
    security: Security
    credentials: Path | None


@dataclass(frozen=True)
class SyslogSettings:
    """Where events are forwarded, over TLS (RFC 5425)."""

    host: str
    port: int
    security: Security


@dataclass(frozen=True)
class Settings:
    """All of it; a way that is None is not used."""

    policy: Policy = Policy()
    mail: MailSettings | None = None
    webhook: WebhookSettings | None = None
    syslog: SyslogSettings | None = None


_KEYS = {
    "": {"minimum", "settle_seconds", "quiet_seconds", "repeat_hours", "mail", "webhook", "syslog"},
    "mail": {"server", "from", "to", "tls", "ca", "certificate", "key", "credentials"},
    "webhook": {"url", "ca", "certificate", "key", "credentials"},
    "syslog": {"server", "ca", "certificate", "key"},
}


def read(raw: dict[str, Any]) -> Settings:
    """Read the table; raises BadConfig."""
    table = _table(raw, "alarms", "")
    minimum = str(table.get("minimum", "warning"))
    if minimum not in ("warning", "critical"):
        raise BadConfig(f"alarms.minimum: {minimum} is neither warning nor critical")
    policy = Policy(
        settle=_seconds(table, "settle_seconds", 5), quiet=_seconds(table, "quiet_seconds", 60),
        repeat=_seconds(table, "repeat_hours", 12) * 3600, minimum=minimum,
    )  # fmt: skip
    return Settings(policy, _mail(table), _webhook(table), _syslog(table))


def _mail(table: dict[str, Any]) -> MailSettings | None:
    if "mail" not in table:
        return None
    mail = _table(table, "mail", "mail")
    tls = str(mail.get("tls", "starttls"))
    if tls not in ("starttls", "tls", "none"):
        raise BadConfig(f"alarms.mail.tls: {tls} is none of starttls, tls, none")
    to = mail.get("to")
    if not isinstance(to, list) or not to or not all(isinstance(a, str) and "@" in a for a in to):
        raise BadConfig("alarms.mail.to is no list of mail addresses")
    credentials = _path(mail, "credentials")
    if credentials and tls == "none":
        raise BadConfig("alarms.mail.credentials: a password must not go over a connection without TLS")
    host, port = _server(mail, "mail", {"starttls": 587, "tls": 465, "none": 25}[tls])
    return MailSettings(host, port, _text(mail, "from", "mail"), tuple(to), tls, _security(mail), credentials)


def _webhook(table: dict[str, Any]) -> WebhookSettings | None:
    if "webhook" not in table:
        return None
    hook = _table(table, "webhook", "webhook")
    url = _text(hook, "url", "webhook")
    if not url.startswith(("https://", "http://")):
        raise BadConfig("alarms.webhook.url begins with neither https:// nor http://")
    credentials = _path(hook, "credentials")
    if credentials and not url.startswith("https://"):
        raise BadConfig("alarms.webhook.credentials: a secret must not go over a connection without TLS")
    return WebhookSettings(url, _security(hook), credentials)


def _syslog(table: dict[str, Any]) -> SyslogSettings | None:
    if "syslog" not in table:
        return None
    syslog = _table(table, "syslog", "syslog")
    return SyslogSettings(*_server(syslog, "syslog", 6514), _security(syslog))


def login(path: Path) -> dict[str, str]:
    """The texts of a file of credentials (TOML); ValueError without a word of what it holds."""
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ValueError(f"{path}: {getattr(error, 'strerror', None) or 'not TOML'}") from None
    return {key: value for key, value in found.items() if isinstance(value, str)}


def _table(raw: dict[str, Any], key: str, name: str) -> dict[str, Any]:
    value = raw.get(key, {})
    where = f"alarms.{name}" if name else "alarms"
    if not isinstance(value, dict):
        raise BadConfig(f"{where} is not a table")
    for unknown in sorted(set(value) - _KEYS[name]):
        raise BadConfig(f"{where}.{unknown} is unknown")
    return value


def _text(table: dict[str, Any], key: str, name: str) -> str:
    value = table.get(key)
    if not isinstance(value, str) or not value or not value.isprintable():
        raise BadConfig(f"alarms.{name}.{key} is missing, or no text")
    return value


def _path(table: dict[str, Any], key: str) -> Path | None:
    value = table.get(key)
    return Path(str(value)) if value is not None else None


def _security(table: dict[str, Any]) -> Security:
    return Security(_path(table, "ca"), _path(table, "certificate"), _path(table, "key"))


def _server(table: dict[str, Any], name: str, port: int) -> tuple[str, int]:
    text = _text(table, "server", name)
    host, colon, digits = text.rpartition(":")
    if not colon or (":" in host and not host.startswith("[")):
        return text.strip("[]"), port
    if not digits.isdecimal() or not 1 <= int(digits) <= 65535:
        raise BadConfig(f"alarms.{name}.server: {text} is not HOST or HOST:PORT")
    return host.strip("[]"), int(digits)


def _seconds(table: dict[str, Any], key: str, default: float) -> float:
    value = table.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 100_000:
        raise BadConfig(f"alarms.{key}: {value!r} is not a number from 0 to 100000")
    return float(value)
