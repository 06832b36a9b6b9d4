"""Who else may vouch for people: the tables [ldap] and [oidc] of web.toml."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rota import settings
from rota.settings import BadConfig
from rota.web.auth.people import Role


@dataclass(frozen=True)
class LdapConfig:
    """Where the directory is, and what its groups mean."""

    host: str
    port: int
    start_tls: bool  # instead of TLS from the first byte
    ca: Path
    bind_dn: str  # an account that may only read
    bind_password_file: Path
    base: str
    filter: str  # `{name}` is what the person typed
    roles: dict[str, Role]  # DN of a group, in lower case → role


def ldap(raw: dict[str, Any]) -> LdapConfig:
    """The table [ldap]; raises BadConfig."""
    where = "ldap."
    template = settings.text(raw, "filter", where)
    if "{name}" not in template:
        raise BadConfig("ldap.filter does not hold {name}")
    return LdapConfig(
        host=settings.text(raw, "host", where),
        port=settings.number(raw, "port", where, lowest=1, highest=65535),
        start_tls=settings.flag(raw, "start_tls", where),
        ca=Path(settings.text(raw, "ca", where)),
        bind_dn=settings.text(raw, "bind_dn", where),
        bind_password_file=Path(settings.text(raw, "bind_password_file", where)),
        base=settings.text(raw, "base", where),
        filter=template,
        roles=roles(settings.table(raw, "roles"), where),
    )


def roles(raw: dict[str, Any], where: str) -> dict[str, Role]:
    """Group → role; raises BadConfig."""
    try:
        return {group.lower(): Role.of(str(word)) for group, word in raw.items()}
    except ValueError as error:
        raise BadConfig(f"{where}roles: {error}") from None


@dataclass(frozen=True)
class OidcConfig:
    """Who vouches, and what its groups mean."""

    label: str  # of the link on the sign-in page
    issuer: str
    client_id: str
    client_secret_file: Path
    ca: Path
    name_claim: str
    groups_claim: str
    roles: dict[str, Role]  # group, in lower case → role


def oidc(raw: dict[str, Any]) -> OidcConfig:
    """The table [oidc]; raises BadConfig."""
    where = "oidc."
    issuer = settings.text(raw, "issuer", where)
    if not issuer.startswith("https://"):
        raise BadConfig("oidc.issuer does not begin with https://")
    return OidcConfig(
        label=settings.text(raw, "label", where),
        issuer=issuer,
        client_id=settings.text(raw, "client_id", where),
        client_secret_file=Path(settings.text(raw, "client_secret_file", where)),
        ca=Path(settings.text(raw, "ca", where)),
        name_claim=settings.text(raw, "name_claim", where),
        groups_claim=settings.text(raw, "groups_claim", where),
        roles=roles(settings.table(raw, "roles"), where),
    )
