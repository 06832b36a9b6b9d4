"""TLS in every check: good, expired, untrusted, missing, mutual, and on the wrong port."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest
from peers import dicom, mllp, web
from peers.pki import Authority, Pair, server_context
from peers.tcp import HTTP_PAGE, Talk, TcpPeer, closes, closes_after_request, resets_after_request, says, silent
from rota.checks import Verdict
from rota.checks import dicom as dicom_check
from rota.checks import hl7 as hl7_check
from rota.checks import http as http_check
from rota.checks import tls as tls_check
from rota.checks.net import Address
from rota.checks.trust import Tls


@pytest.fixture(scope="module")
def ca(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="module")
def other_ca(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("other"), "Another CA")


@pytest.fixture(scope="module")
def good(ca: Authority) -> Pair:
    return ca.issue("pacs.example")


TALKS = {"dicom": dicom.Scp(), "hl7": mllp.Receiver(), "http": web.Web(), "tls": silent}


async def ask(kind: str, peer: TcpPeer, tls: Tls, deadline: float = 5.0) -> Verdict:
    address = Address.parse(peer.hostport)
    match kind:
        case "dicom":
            return await dicom_check.check(dicom_check.DicomTarget(address, tls=tls), deadline=deadline)
        case "hl7":
            return await hl7_check.check(hl7_check.Hl7Target(address, tls=tls), deadline=deadline)
        case "http":
            target = http_check.HttpTarget(f"https://{peer.hostport}/", tls=tls)
            return await http_check.check(target, deadline=deadline)
    return await tls_check.check(tls_check.TlsTarget(address, tls), deadline=deadline)


KINDS = pytest.mark.parametrize("kind", TALKS)


@KINDS
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_good_certificate_is_up(kind: str, host: str, ca: Authority, good: Pair) -> None:
    with TcpPeer(TALKS[kind], host=host, tls=server_context(good)) as peer:
        for tls in (Tls(), Tls(ca.cert), Tls(ca.cert, server_name="pacs.example")):
            verdict = await ask(kind, peer, tls)
            assert verdict.up, verdict


@KINDS
async def test_untrusted_certificate_is_refused(kind: str, other_ca: Authority, good: Pair) -> None:
    with TcpPeer(TALKS[kind], tls=server_context(good)) as peer:
        verdict = await ask(kind, peer, Tls(other_ca.cert))
    assert (verdict.reason, "not accepted" in verdict.detail) == ("tls", True), verdict


@KINDS
async def test_wrong_name_is_refused_only_if_a_name_is_asked_for(kind: str, ca: Authority, good: Pair) -> None:
    with TcpPeer(TALKS[kind], tls=server_context(good)) as peer:
        verdict = await ask(kind, peer, Tls(ca.cert, server_name="ris.example"))
        assert verdict.reason == "tls", verdict
        assert (await ask(kind, peer, Tls(ca.cert))).up


@KINDS
async def test_expired_certificate(kind: str, ca: Authority) -> None:
    with TcpPeer(TALKS[kind], tls=server_context(ca.issue("pacs.example", days=-2))) as peer:
        assert (await ask(kind, peer, Tls(ca.cert))).reason == "expired"
        unverified = await ask(kind, peer, Tls())
    # The TLS check looks at the certificate itself; the others were told not to.
    assert unverified.reason == ("expired" if kind == "tls" else "ok")


@KINDS
async def test_mutual_tls(kind: str, ca: Authority, other_ca: Authority, good: Pair) -> None:
    ours, theirs = ca.issue("rota.example"), other_ca.issue("stranger.example")
    with TcpPeer(TALKS[kind], tls=server_context(good, client_ca=ca.cert)) as peer:
        assert (await ask(kind, peer, Tls(ca.cert, ours.cert, ours.key))).up
        # With TLS 1.3 the refusal comes after our side of the handshake, so a pure TLS check cannot see it.
        if kind != "tls":
            for tls in (Tls(ca.cert), Tls(ca.cert, theirs.cert, theirs.key)):
                verdict = await ask(kind, peer, tls)
                # aiohttp loses the alert when the request meets a connection that is closed already.
                assert verdict.reason in (("tls", "closed") if kind == "http" else ("tls",)), verdict


@KINDS
@pytest.mark.parametrize(
    ("talk", "reason"),
    [(closes, "tls"), (closes_after_request, "tls"), (resets_after_request, "tls"), (silent, "silent")],
)
async def test_tls_on_a_port_without_it(kind: str, talk: Talk, reason: str) -> None:
    with TcpPeer(talk) as peer:
        verdict = await ask(kind, peer, Tls(), deadline=0.4)
    assert verdict.reason == reason, verdict
    assert verdict.elapsed_ms < 2400


@KINDS
async def test_plain_answer_to_a_handshake(kind: str) -> None:
    with TcpPeer(says(HTTP_PAGE)) as peer:
        verdict = await ask(kind, peer, Tls())
    assert verdict.reason == "tls", verdict


async def test_plain_check_of_a_tls_port_says_so(good: Pair) -> None:
    with TcpPeer(dicom.Scp(), tls=server_context(good)) as peer:
        verdict = await dicom_check.check(dicom_check.DicomTarget(Address.parse(peer.hostport)), deadline=2)
        assert verdict.reason in ("not-dicom", "closed"), verdict
        verdict = await http_check.check(http_check.HttpTarget(f"http://{peer.hostport}/"), deadline=2)
        assert verdict.reason in ("not-http", "closed"), verdict


@pytest.mark.parametrize("name", ["good", "one-byte-writes", "refuses-context", "drips", "silent", "aborts"])
async def test_dicom_reasons_are_the_same_over_tls(name: str, ca: Authority, good: Pair) -> None:
    case = dicom.CASES[name]
    deadline = 0.6 if case.reason in ("silent", "timeout") else 5.0
    with TcpPeer(case.talk, tls=server_context(good)) as peer:
        verdict = await ask("dicom", peer, Tls(ca.cert), deadline)
    # The handshake itself was an answer, so "not one byte" cannot be said any more.
    assert verdict.reason == ("timeout" if name == "silent" else case.reason), verdict


async def test_days_to_expiry(ca: Authority) -> None:
    with TcpPeer(silent, tls=server_context(ca.issue("pacs.example", days=20.5))) as peer:
        address = Address.parse(peer.hostport)
        verdict = await tls_check.check(tls_check.TlsTarget(address, min_days=20))
        assert (verdict.up, verdict.extras["days_left"]) == (True, 20)
        verdict = await tls_check.check(tls_check.TlsTarget(address, min_days=21))
        assert (verdict.reason, verdict.extras["days_left"]) == ("expiring", 20)


def test_bad_files_are_the_callers_error(tmp_path: Path, ca: Authority, other_ca: Authority, good: Pair) -> None:
    text = tmp_path / "text"
    text.write_text("no certificate")
    missing = tmp_path / "missing.pem"
    encrypted = ca.issue("pacs.example", passphrase=b"secret")
    for line, settings in (
        ("--ca: .*missing.pem does not exist", {"ca": missing}),
        ("--ca: .* is not a file", {"ca": tmp_path}),
        ("--ca: .*text holds no PEM certificate", {"ca": text}),
        ("--cert: .*missing.pem does not exist", {"cert": missing}),
        ("--cert: .* are no PEM certificate and its key", {"cert": text, "key": text}),
        ("--key: .*missing.pem does not exist", {"cert": good.cert, "key": missing}),
        ("--cert: .* are no PEM certificate and its key", {"cert": good.cert, "key": encrypted.cert}),
        ("--key: .* is encrypted", {"cert": encrypted.cert, "key": encrypted.key}),
        ("--key needs --cert", {"key": good.key}),
    ):
        with pytest.raises(ValueError, match=line):
            Tls(**settings)
    assert Tls(ca.cert, good.cert, good.key).context().verify_mode is ssl.CERT_REQUIRED
