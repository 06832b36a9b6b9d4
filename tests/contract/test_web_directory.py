"""Sign-in through a real OpenLDAP over LDAPS and StartTLS: who gets in, as what, and what TLS refuses."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from lib.place import reachable_folder
from peers.databases import PASSWORD, slapd
from peers.pki import Authority
from peers.tcp import free_port
from rota.web.auth import directory
from rota.web.auth.people import Person, Role, Source
from rota.web.auth.sources import LdapConfig

with warnings.catch_warnings():
    warnings.filterwarnings("ignore", "(tagMap|typeMap) is deprecated", DeprecationWarning)
    import ldap3

pytestmark = pytest.mark.contract
SECRETS = {
    "anna": "copper lantern orbit",
    "ben": "violet marble kettle",
    "carl": "silver window paper",
    "dora": "yellow garden stone",
}
GROUPS = {"ops": ["anna"], "looks": ["anna", "ben", "dora"]}  # carl is in none


@dataclass
class Directory:
    """A directory with people and groups, and how the app would be told of it."""

    secure: LdapConfig
    upgraded: LdapConfig


def fill(port: int) -> None:
    link = ldap3.Connection(ldap3.Server("127.0.0.1", port), "cn=rota,dc=example", PASSWORD, raise_exceptions=True)
    assert link.bind()
    link.add("dc=example", ["dcObject", "organization"], {"o": "example"})
    for name, secret in SECRETS.items():
        link.add(f"cn={name},dc=example", ["person"], {"sn": name, "userPassword": secret})
    link.modify("cn=dora,dc=example", {"sn": [(ldap3.MODIFY_ADD, ["anna"])]})
    for group, people in GROUPS.items():
        link.add(f"cn={group},dc=example", ["groupOfNames"], {"member": [f"cn={one},dc=example" for one in people]})
    link.unbind()


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> Iterator[Directory]:
    secure_port = free_port()
    secret = tmp_path_factory.mktemp("secret") / "password"
    secret.write_text(PASSWORD + "\n")
    with (
        reachable_folder() as folder,
        slapd(folder, tls=authority.issue("localhost"), secure_port=secure_port) as port,
    ):
        fill(port)
        secure = LdapConfig(
            host="localhost", port=secure_port, start_tls=False, ca=authority.cert, bind_dn="cn=rota,dc=example",
            bind_password_file=secret, base="dc=example", filter="(&(objectClass=person)(cn={name}))",
            roles={"cn=ops,dc=example": Role.OPERATOR, "cn=looks,dc=example": Role.VIEWER},
        )  # fmt: skip
        yield Directory(secure, replace(secure, port=port, start_tls=True))


@pytest.mark.parametrize("way", ["secure", "upgraded"])
def test_a_group_gives_the_role_and_the_highest_counts(server: Directory, way: str) -> None:
    config: LdapConfig = getattr(server, way)
    assert directory.look_up(config, "anna", SECRETS["anna"]) == Person("anna", Role.OPERATOR, Source.LDAP)
    assert directory.look_up(config, "BEN", SECRETS["ben"]) == Person("ben", Role.VIEWER, Source.LDAP)


@pytest.mark.parametrize(
    ("name", "password"),
    [
        ("anna", "not the password"),
        ("anna", ""),  # RFC 4513, 5.1.2: a directory takes it for nobody, and says yes
        ("anna", "x" * 2000),
        ("nobody", "x"),
        ("carl", SECRETS["carl"]),  # in no group
        ("*", SECRETS["anna"]),
        ("anna)(cn=*", SECRETS["anna"]),
        ("a*", SECRETS["anna"]),
    ],
)
def test_who_does_not_get_in(server: Directory, name: str, password: str) -> None:
    assert directory.look_up(server.secure, name, password) is None


def test_a_filter_that_finds_two_people_lets_nobody_in(server: Directory) -> None:
    config = replace(server.secure, filter="(sn={name})")
    assert directory.look_up(config, "anna", SECRETS["anna"]) is None
    assert directory.look_up(config, "ben", SECRETS["ben"]) is not None


@pytest.mark.parametrize("way", ["secure", "upgraded"])
def test_a_server_of_another_authority_never_hears_a_password(
    server: Directory, way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = replace(getattr(server, way), ca=Authority(tmp_path / "other").cert)
    bound: list[Any] = []
    monkeypatch.setattr(ldap3.Connection, "bind", lambda self, **_: bound.append(self))
    with pytest.raises(directory.DirectoryFailed, match=r"(?i)certificate|tls|socket"):
        directory.look_up(config, "anna", SECRETS["anna"])
    assert bound == []


def test_a_name_that_the_certificate_does_not_have_is_refused(server: Directory, monkeypatch: pytest.MonkeyPatch) -> None:
    """localhost.localdomain is 127.0.0.1 too, and not in the certificate."""
    monkeypatch.setattr("socket.getaddrinfo", _here(server.secure.port))
    monkeypatch.setattr(ldap3.Connection, "bind", lambda self, **_: pytest.fail("bound"))
    with pytest.raises(directory.DirectoryFailed, match=r"(?i)certificate|hostname|match"):
        directory.look_up(replace(server.secure, host="dc.example"), "anna", SECRETS["anna"])


def _here(port: int) -> Any:
    import socket

    return lambda *_, **__: [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"bind_dn": "cn=other,dc=example"}, "bind_dn"),
        ({"port": 1}, "Socket"),
        ({"bind_password_file": Path("/nope")}, "/nope"),
    ],
)
def test_a_directory_that_does_not_serve_is_a_failure_with_a_reason(
    server: Directory, change: dict[str, Any], says: str
) -> None:
    with pytest.raises(directory.DirectoryFailed, match=says):
        directory.look_up(replace(server.secure, **change), "anna", SECRETS["anna"])
