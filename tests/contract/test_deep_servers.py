"""Deep checks against real servers: Orthanc, DCMTK, PostgreSQL, MariaDB and OpenLDAP."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from lib.place import reachable_folder
from peers import databases
from peers.pki import Authority
from peers.servers import dcmqrscp, orthanc
from peers.tcp import free_port
from rota.checks.verdict import Verdict
from rota.control.deep.ask import ask
from unit.deep.asking import login, question

pytestmark = [pytest.mark.contract, pytest.mark.xdist_group("deep-servers")]  # they share servers


@pytest.fixture(scope="module")
def postgresql() -> Iterator[int]:
    with reachable_folder() as folder, databases.postgresql(folder) as port:
        yield port


@pytest.fixture(scope="module")
def mariadb() -> Iterator[int]:
    with reachable_folder() as folder, databases.mariadb(folder) as port:
        yield port


@pytest.fixture(scope="module")
def slapd() -> Iterator[int]:
    with reachable_folder() as folder, databases.slapd(folder) as port:
        yield port


async def asked(
    port: int, folder: Path, kind: str, user: str = "rota", password: str = databases.PASSWORD, **check: Any
) -> Verdict:
    login(folder, user, password)
    return await ask(question(port, {"kind": kind, "credentials": "login", "retry": "2s", **check}, folder))


# What a query asks, and what must come of it, in both databases.
QUERIES = {
    "good": ({}, "ok"),
    "wanted-value": ({"query": "SELECT 6 * 7", "expect": "42"}, "ok"),
    "other-value": ({"query": "SELECT 6 * 7", "expect": "54"}, "query"),
    "no-row": ({"query": "SELECT 1 WHERE 1 = 2"}, "query"),
    "no-such-table": ({"query": "SELECT secret FROM patients"}, "query"),
    "no-such-database": ({"database": "nothing"}, "query"),
    "writes": ({"query": "CREATE TABLE t (a int)"}, "query"),
    "wrong-password": ({"password": "wrong"}, "login"),
    "wrong-user": ({"user": "nobody-we-know"}, "login"),
}


@pytest.mark.parametrize(("check", "reason"), QUERIES.values(), ids=QUERIES)
@pytest.mark.parametrize("kind", ["postgresql", "mysql"])
async def test_a_query(
    kind: str, check: dict[str, Any], reason: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    port = request.getfixturevalue({"mysql": "mariadb"}.get(kind, kind))
    verdict = await asked(port, tmp_path, kind, **check)
    allowed = {reason, "login"} if check.get("database") and kind == "mysql" else {reason}
    assert verdict.reason in allowed, verdict
    assert not {"secret", "patients", databases.PASSWORD} & set(str(verdict).split())


@pytest.mark.clock
@pytest.mark.parametrize(("kind", "query"), [("postgresql", "SELECT pg_sleep(20)"), ("mysql", "SELECT SLEEP(20)")])
async def test_a_query_that_takes_too_long(kind: str, query: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    port = request.getfixturevalue({"mysql": "mariadb"}.get(kind, kind))
    verdict = await asked(port, tmp_path, kind, query=query, timeout="1s")
    assert (verdict.reason, verdict.elapsed_ms < 2000) == ("timeout", True), verdict
    assert (await asked(port, tmp_path, kind)).up


@pytest.mark.parametrize("kind", ["postgresql", "mysql"])
async def test_a_database_without_tls_is_not_asked_in_the_clear(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    port = request.getfixturevalue({"mysql": "mariadb"}.get(kind, kind))
    verdict = await asked(port, tmp_path, kind, tls=True)
    assert verdict.reason == "tls", verdict


async def test_one_server_asked_as_if_it_were_another(postgresql: int, mariadb: int, slapd: int, tmp_path: Path) -> None:
    ports = {"postgresql": postgresql, "mysql": mariadb, "ldap": slapd}
    for kind in ports:
        for other, port in ports.items():
            verdict = await asked(
                port, tmp_path, kind, user="cn=rota,dc=example" if kind == "ldap" else "rota", timeout="1500ms"
            )
            assert verdict.up is (kind == other), (kind, other, verdict)
            assert verdict.reason != "usage", (kind, other, verdict)


async def test_a_bind(slapd: int, tmp_path: Path) -> None:
    dn = "cn=rota,dc=example"
    assert (await asked(slapd, tmp_path, "ldap", dn)).up
    assert (await asked(slapd, tmp_path, "ldap", dn, "wrong")).reason == "login"
    assert (await asked(slapd, tmp_path, "ldap", "no dn at all")).reason == "login"


@dataclass
class Secure:
    """A directory that offers LDAPS and StartTLS with a certificate for `localhost` of its own CA."""

    authority: Authority
    ldaps: int
    plain: int

    async def bound(
        self, way: str, folder: Path, *, password: str = databases.PASSWORD, name: str | None = "localhost", ca: bool = True
    ) -> Verdict:
        """Bind as the model would have it, believing the CA that is in `folder`."""
        login(folder, "cn=rota,dc=example", password)
        member = {"address": "127.0.0.1", "port": 104, "called_ae": "PACS_A", **({"tls_name": name} if name else {})}
        check = {"kind": "ldap", "credentials": "login", "port": self.ldaps if way == "tls" else self.plain, way: True}
        service = {"members": {"pacs-a": member}, "tls": {"member_ca": "ca.pem"} if ca else {}}
        return await ask(question(104, check, folder, **service))


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secure]:
    authority, port = Authority(tmp_path_factory.mktemp("ca")), free_port()
    certificate = authority.issue("localhost")
    with reachable_folder() as folder, databases.slapd(folder, tls=certificate, secure_port=port) as plain:
        yield Secure(authority, port, plain)


def believe(authority: Authority, folder: Path) -> None:
    """Put a CA where a node has that of the members."""
    (folder / "pacs.member-ca.pem").write_bytes(authority.cert.read_bytes())


WAYS = pytest.mark.parametrize("way", ["tls", "start_tls"])


@WAYS
async def test_a_bind_inside_tls(secure: Secure, way: str, tmp_path: Path) -> None:
    believe(secure.authority, tmp_path)
    verdict = await secure.bound(way, tmp_path)
    assert verdict.up, verdict
    assert (await secure.bound(way, tmp_path, password="wrong")).reason == "login"  # noqa: S106


@WAYS
async def test_a_bind_tells_nothing_to_a_server_of_another_ca_or_name(secure: Secure, way: str, tmp_path: Path) -> None:
    believe(Authority(tmp_path / "other", "Other CA"), tmp_path)
    verdict = await secure.bound(way, tmp_path)
    assert (verdict.reason, "certificate is not accepted" in str(verdict)) == ("tls", True), verdict
    believe(secure.authority, tmp_path)
    verdict = await secure.bound(way, tmp_path, name="pacs.example.org")
    assert (verdict.reason, "pacs.example.org" in str(verdict)) == ("tls", True), verdict
    # as documented: without a name in the model the chain alone counts, without a CA nothing does
    assert (await secure.bound(way, tmp_path, name=None)).up
    assert (await secure.bound(way, tmp_path, ca=False)).up


async def test_a_directory_without_tls_is_not_asked_in_the_clear(slapd: int, tmp_path: Path) -> None:
    for way in ("tls", "start_tls"):
        verdict = await asked(slapd, tmp_path, "ldap", "cn=rota,dc=example", **{way: True})
        assert verdict.reason == "tls", verdict


async def test_orthanc_finds_stores_and_has_room(tmp_path: Path) -> None:
    with orthanc(tmp_path / "a", title="PACS_A") as pacs:
        for kind in ("find", "store"):
            assert (await ask(question(pacs.port, {"kind": kind}))).up
        room = {"kind": "storage", "path": "/statistics", "field": "$.TotalDiskSizeMB", "port": pacs.http}
        assert (await ask(question(pacs.port, {**room, "minimum": 0}))).up
        assert (await ask(question(pacs.port, {**room, "minimum": 1}))).reason == "no-room"
        system = {"kind": "http", "path": "/system", "port": pacs.http, "json_values": {"$.DicomAet": "PACS_A"}}
        assert (await ask(question(pacs.port, system))).up
        wrong = await ask(question(pacs.port, {**system, "json_values": {"$.DicomAet": "PACS_B"}}))
        assert wrong.reason == "bad-content"
        certificate = await ask(question(pacs.port, {"kind": "certificate", "port": pacs.http, "timeout": "2s"}))
        assert certificate.reason == "tls"


async def test_orthanc_that_does_not_know_us_may_not_be_searched(tmp_path: Path) -> None:
    closed = {"DicomAlwaysAllowStore": False, "DicomAlwaysAllowFind": False}
    with orthanc(tmp_path / "a", title="PACS_A", **closed) as pacs:
        for kind in ("find", "store"):
            verdict = await ask(question(pacs.port, {"kind": kind}))
            assert verdict.reason in ("no-context", "rejected", "bad-status", "aborted"), verdict


async def test_an_archive_that_is_full_answers_and_cannot_store(tmp_path: Path) -> None:
    with dcmqrscp(tmp_path / "full", title="PACS_A", quota="(1, 1b)") as archive:
        assert (await ask(question(archive.port, {"kind": "find"}))).up
        verdict = await ask(question(archive.port, {"kind": "store"}))
    assert verdict.reason == "cannot-store", verdict
