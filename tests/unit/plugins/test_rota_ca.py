"""The site's own authority: made once, never replaced; certificates that a TLS library accepts, renewed in time."""

from __future__ import annotations

import datetime
import importlib.util
import ssl
import stat
from pathlib import Path
from types import ModuleType

import pytest
from cryptography import x509

TOP = Path(__file__).resolve().parents[3]
YEAR, QUARTER = datetime.timedelta(days=365), datetime.timedelta(days=90)


@pytest.fixture(scope="module")
def rota_ca() -> ModuleType:
    spec = importlib.util.spec_from_file_location("rota_ca", TOP / "plugins/modules/rota_ca.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def made(rota_ca: ModuleType, folder: Path, *names: str, life: datetime.timedelta = YEAR) -> object:
    authority = rota_ca.Authority(folder, "test")
    if not authority.load():
        authority.make()
    for name in names:
        authority.issue(name, life)
    return authority


def shake(server: Path, client: Path, folder: Path, called: str) -> str:
    """A handshake in memory with both sides' certificates; the name that the server saw."""
    contexts = []
    for purpose, name in ((ssl.PROTOCOL_TLS_SERVER, server), (ssl.PROTOCOL_TLS_CLIENT, client)):
        context = ssl.SSLContext(purpose)
        context.verify_mode = ssl.CERT_REQUIRED
        context.verify_flags |= ssl.VERIFY_X509_STRICT
        context.load_cert_chain(f"{name}.crt", f"{name}.key")
        context.load_verify_locations(folder / "ca.crt")
        contexts.append(context)
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    sides = [
        contexts[0].wrap_bio(to_server, to_client, server_side=True),
        contexts[1].wrap_bio(to_client, to_server, server_hostname=called),
    ]
    for _ in range(6):
        for side in reversed(sides):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
    seen = sides[0].getpeercert()
    assert seen
    return str(dict(seen["subjectAltName"])["DNS"])  # type: ignore[arg-type]


def test_two_nodes_know_each_other(rota_ca: ModuleType, tmp_path: Path) -> None:
    made(rota_ca, tmp_path, "lb1", "lb2")
    assert shake(tmp_path / "lb1", tmp_path / "lb2", tmp_path, "lb1") == "lb2"


def test_a_node_of_another_site_is_a_stranger(rota_ca: ModuleType, tmp_path: Path) -> None:
    for name in ("ours", "theirs"):
        made(rota_ca, tmp_path / name, "lb1", "lb2")
    with pytest.raises(ssl.SSLError):
        shake(tmp_path / "ours/lb1", tmp_path / "theirs/lb2", tmp_path / "ours", "lb1")


def test_keys_are_their_owners(rota_ca: ModuleType, tmp_path: Path) -> None:
    folder = tmp_path / "ca"
    made(rota_ca, folder, "lb1")
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.glob("*.key")} == {0o600}


def test_what_fits_stays_and_what_does_not_is_found(rota_ca: ModuleType, tmp_path: Path) -> None:
    authority = made(rota_ca, tmp_path, "lb1")
    made(rota_ca, tmp_path, "short", life=datetime.timedelta(days=89))
    fits = authority.fits  # type: ignore[attr-defined]
    assert fits("lb1", QUARTER)
    assert not fits("lb2", QUARTER), "there is none"
    assert not fits("short", QUARTER), "it ends before the next rollout may come"
    (tmp_path / "lb1.key").write_bytes((tmp_path / "short.key").read_bytes())
    assert not fits("lb1", QUARTER), "the key is another one's"
    for suffix in ("crt", "key"):
        (tmp_path / f"lb3.{suffix}").write_bytes((tmp_path / f"short.{suffix}").read_bytes())
    assert not fits("lb3", datetime.timedelta()), "it names another node"


def test_an_authority_is_never_replaced(rota_ca: ModuleType, tmp_path: Path) -> None:
    """Half of one, e.g. after a restore without the vaulted key, must stop the rollout: a new one would split the pair."""
    made(rota_ca, tmp_path)
    before = (tmp_path / "ca.crt").read_bytes()
    assert x509.load_pem_x509_certificate(before).not_valid_after_utc > datetime.datetime.now(datetime.UTC) + 10 * YEAR
    made(rota_ca, tmp_path, "lb1")
    assert (tmp_path / "ca.crt").read_bytes() == before
    (tmp_path / "ca.key").unlink()
    with pytest.raises(rota_ca.Unusable, match="cannot be used together"):
        rota_ca.Authority(tmp_path, "test").load()
