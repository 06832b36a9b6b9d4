"""People of the site's directory: LDAP or Active Directory, over verified TLS only (RFC 4511, 4513)."""

from __future__ import annotations

import contextlib
import ssl
import warnings
from typing import Any

from rota.web.auth.people import Person, Source
from rota.web.auth.sources import LdapConfig

with warnings.catch_warnings():
    # ldap3 2.9.1 is of 2021 and takes names from pyasn1 that have been renamed since
    warnings.filterwarnings("ignore", "(tagMap|typeMap) is deprecated", DeprecationWarning)
    import ldap3
    from ldap3.core.exceptions import LDAPException, LDAPInvalidCredentialsResult
    from ldap3.utils.conv import escape_filter_chars

SECONDS = 5  # for each step


class DirectoryFailed(Exception):
    """The directory did not answer as one does; the text is for the journal."""


class _Tls(ldap3.Tls):  # type: ignore[misc]
    """Python's own TLS with its own check of the name; ldap3's leans on a function that Python 3.12 dropped."""

    def wrap_socket(self, connection: Any, do_handshake: bool = False) -> None:
        """Begin TLS on the socket of `connection`; ssl.SSLError when the server is not who it should be."""
        context = ssl.create_default_context(cafile=self.ca_certs_file)
        connection.socket.settimeout(SECONDS)
        connection.socket = context.wrap_socket(connection.socket, server_hostname=connection.server.host)


def look_up(config: LdapConfig, name: str, password: str) -> Person | None:
    """The person `name` if that is their password and a group gives them a role; else None.

    Raises DirectoryFailed. An empty password is refused here: to a directory it is no sign-in at all, and succeeds
    (RFC 4513, 5.1.2).
    """
    if not password or len(password) > 1024:
        return None
    try:
        found = _search(config, name)
        if found is None:
            return None
        dn, groups = found
        role = max((config.roles[g] for g in groups if g in config.roles), default=None)
        connection = _connection(config, dn, password)
        try:
            _open(config, connection)
        finally:
            _close(connection)
    except LDAPInvalidCredentialsResult:
        return None
    except (LDAPException, OSError) as error:
        raise DirectoryFailed(f"{type(error).__name__}: {error}"[:150]) from None
    return Person(name.lower(), role, Source.LDAP) if role else None


def _search(config: LdapConfig, name: str) -> tuple[str, set[str]] | None:
    try:
        secret = config.bind_password_file.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise DirectoryFailed(f"{config.bind_password_file}: {error.strerror}") from None
    connection = _connection(config, config.bind_dn, secret)
    try:
        try:
            _open(config, connection)
        except LDAPInvalidCredentialsResult:
            raise DirectoryFailed("it refuses the account in bind_dn") from None
        asked = config.filter.replace("{name}", escape_filter_chars(name))
        connection.search(config.base, asked, attributes=["memberOf"], size_limit=2, time_limit=SECONDS)
        entries = [entry for entry in connection.response or [] if entry["type"] == "searchResEntry"]
    finally:
        _close(connection)
    if len(entries) != 1:  # none, or a filter that does not tell people apart
        return None
    groups = entries[0]["attributes"].get("memberOf") or []
    return entries[0]["dn"], {str(group).lower() for group in ([groups] if isinstance(groups, str) else groups)}


def _connection(config: LdapConfig, dn: str, password: str) -> Any:
    tls = _Tls(validate=ssl.CERT_REQUIRED, ca_certs_file=str(config.ca))
    server = ldap3.Server(
        config.host, port=config.port, use_ssl=not config.start_tls, tls=tls, connect_timeout=SECONDS, get_info=ldap3.NONE
    )
    return ldap3.Connection(
        server, dn, password, authentication=ldap3.SIMPLE, receive_timeout=SECONDS, raise_exceptions=True, read_only=True,
        auto_referrals=False,
    )  # fmt: skip


def _open(config: LdapConfig, connection: Any) -> None:
    connection.open()
    if config.start_tls:
        connection.start_tls()
    connection.bind()


def _close(connection: Any) -> None:
    with contextlib.suppress(LDAPException, OSError):
        connection.unbind()
    if connection.socket is not None:
        connection.socket.close()
