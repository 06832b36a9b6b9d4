"""What rota-web must be told before it starts: /etc/rota/web.toml, written by role rota_web, read once."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from rota import settings
from rota.settings import BadConfig
from rota.web.auth import sources
from rota.web.auth.sources import LdapConfig, OidcConfig

DEFAULT = Path("/etc/rota/web.toml")


@dataclass(frozen=True)
class WebConfig:
    """Everything that rota-web needs; a missing key stops its start."""

    node: str
    site: Path  # the model as this node has it, for what does not change while it runs
    rotad_socket: Path
    state_directory: Path
    listen: tuple[str, ...]
    port: int
    certificate: Path
    key: Path
    hosts: tuple[str, ...]  # names and addresses under which people may reach it
    wallboard: bool  # a page without sign-in that shows the status
    idle: timedelta  # of a session
    absolute: timedelta  # the longest session
    streams: int  # pages that follow live, at most
    ldap: LdapConfig | None = None
    oidc: OidcConfig | None = None


def load(path: Path) -> WebConfig:
    """Read the file at `path`; raises BadConfig with one line that names the file and the key."""
    raw = settings.read(path)
    try:
        return parse(raw)
    except BadConfig as problem:
        raise BadConfig(f"{path}: {problem}") from None


def parse(raw: dict[str, Any]) -> WebConfig:
    """The configuration in the tables of `raw`."""
    session, live = settings.table(raw, "session"), settings.table(raw, "live")
    return WebConfig(
        node=settings.text(raw, "node"),
        site=Path(settings.text(raw, "site")),
        rotad_socket=Path(settings.text(raw, "rotad_socket")),
        state_directory=Path(settings.text(raw, "state_directory")),
        listen=settings.texts(raw, "listen"),
        port=settings.number(raw, "port", "", lowest=1, highest=65535),
        certificate=Path(settings.text(raw, "certificate")),
        key=Path(settings.text(raw, "key")),
        hosts=tuple(host.lower() for host in settings.texts(raw, "hosts")),
        wallboard=settings.flag(raw, "wallboard"),
        idle=timedelta(minutes=settings.number(session, "idle_minutes", "session.", lowest=1, highest=24 * 60)),
        absolute=timedelta(hours=settings.number(session, "absolute_hours", "session.", lowest=1, highest=24)),
        streams=settings.number(live, "streams", "live.", lowest=1, highest=28),
        ldap=sources.ldap(settings.table(raw, "ldap")) if "ldap" in raw else None,
        oidc=sources.oidc(settings.table(raw, "oidc")) if "oidc" in raw else None,
    )
