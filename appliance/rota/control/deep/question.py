"""One question of one deep check to one member, with everything that it takes to ask."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from rota.checks.net import Address
from rota.checks.trust import Tls
from rota.checks.verdict import Failure, Reason
from rota.model import Service, Site
from rota.model.deep import DeepCheck

Key = tuple[str, str, str]  # service, member, check


@dataclass(frozen=True)
class Credentials:
    """A login. Neither part is ever printed."""

    username: str = field(repr=False)
    password: str = field(repr=False)


@dataclass(frozen=True)
class Places:
    """Where a node keeps what the model only names."""

    credentials: Path = Path("/etc/rota/credentials")
    certificates: Path = Path("/etc/haproxy/certs")
    user: str = "rota-check"  # runs the site's own programs


@dataclass(frozen=True)
class Question:
    """What `rota.control.deep.ask` answers."""

    service_name: str
    member_name: str
    service: Service
    check: DeepCheck
    places: Places

    @property
    def key(self) -> Key:
        """Its name among all questions."""
        return (self.service_name, self.member_name, self.check.name)

    @property
    def deadline(self) -> float:
        """Seconds for all steps together."""
        return self.check.timeout / 1000

    @property
    def address(self) -> Address:
        """The member, at the port of this check."""
        port = self.check.port or self.service.check_port_of(self.member_name)
        return Address(self.service.members[self.member_name].address, port)

    @property
    def in_tls(self) -> bool:
        """Whether to ask inside TLS."""
        kind = self.check.kind
        if self.check.start_tls:
            return True
        if self.check.tls is not None or kind.is_database or kind == "ldap" or self.check.port is not None:
            return bool(self.check.tls)
        return self.service.members_speak_tls

    def trust(self) -> Tls | None:
        """TLS as the service's traffic uses it, or None for a plain connection. A `Failure` when its files are no use."""
        return self.tls() if self.in_tls else None

    def tls(self) -> Tls:
        """The CA, the certificate and the name that go with the member."""
        settings, files = self.service.tls, self.places.certificates
        verifies = settings.member_ca is not None and (settings.verify or settings.mode != "re-encrypt")
        try:
            return Tls(
                files / f"{self.service_name}.member-ca.pem" if verifies else None,
                files / f"{self.service_name}.member-certificate.pem" if settings.member_certificate else None,
                None,
                self.service.members[self.member_name].tls_name,
            )
        except ValueError as problem:
            raise Failure(Reason.USAGE, str(problem)) from None

    def login(self) -> Credentials:
        """Read the file of the credentials, each time anew: a changed password needs no restart."""
        name = self.check.credentials or ""
        try:
            found = tomllib.loads((self.places.credentials / name).read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            why = getattr(error, "strerror", None) or "not UTF-8"
            raise Failure(Reason.USAGE, f"credentials {name}: {why}") from None
        except tomllib.TOMLDecodeError:
            # its message may quote the password
            raise Failure(Reason.USAGE, f"credentials {name}: not TOML") from None
        username, password = found.get("username"), found.get("password")
        # an LDAP bind without a password succeeds for anybody (RFC 4513, 5.1.2)
        if not isinstance(username, str) or not isinstance(password, str) or not username or not password:
            raise Failure(Reason.USAGE, f"credentials {name}: has no username or no password")
        return Credentials(username, password)


def questions(site: Site, node: str, places: Places) -> Iterator[Question]:
    """All questions of a node, in model order."""
    for service_name, service in site.services_of(node).items():
        for member_name in service.members:
            for check in service.deep:
                yield Question(service_name, member_name, service, check, places)
