"""`rota check member`: the model says what is asked, of every kind of check."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from peers import dicom, mllp, web
from peers.pki import Authority, server_context
from peers.tcp import Talk, TcpPeer, silent
from rota.checks import Verdict, member
from rota.model import dump, parse

SITE = {
    "name": "test",
    "ae_title": "ROTA_TEST",
    "nodes": {"lb1": {"addresses": ["198.51.100.11"]}},
    "networks": {"clinical": {"prefixes": ["198.51.100.0/24"], "interface": "eth0"}},
}


def write(path: Path, port: int, **service: Any) -> Path:
    """A normalised site.json, as the role writes it, with one service and one member on loopback."""
    one = {
        "profile": "tcp",
        "address": "198.51.100.100",
        "port": 104,
        "members": {"a": {"address": "127.0.0.1", "port": port, **service.pop("a", {})}},
        **service,
    }
    result = parse({"site": SITE, "services": {"one": one}})
    assert result.site is not None, "\n".join(map(str, result.problems))
    path.write_text(json.dumps(dump(result.site)))
    return path


async def ask(folder: Path, port: int, **service: Any) -> Verdict:
    target, seconds = member.find(write(folder / "site.json", port, **service), "one", "a", folder)
    return await member.check(target, deadline=seconds)


@pytest.mark.parametrize(
    ("good", "bad", "reason", "service"),
    [
        (dicom.Scp(), dicom.Scp(echo=0x0110), "bad-status", {"profile": "dicom", "a": {"called_ae": "PACS_A"}}),
        (
            mllp.Receiver(),
            mllp.Receiver(code="AR"),
            "bad-ack",
            {"profile": "hl7", "check": {"kind": "hl7", "sending_application": "APP", "message_type": "NMD:N02"}},
        ),
        (
            web.Soap(),
            web.Soap(fault=True),
            "fault",
            {"profile": "xds-registry", "check": {"kind": "soap", "path": "/registry"}},
        ),
        (
            web.Soap(response="RetrieveDocumentSetResponse", status="Failure"),
            web.Soap(),
            "not-soap",
            {"profile": "xds-repository"},
        ),
        (
            web.Web(),
            web.Web(web.page("404 Not Found")),
            "bad-status",
            {"profile": "rest", "check": {"kind": "http", "path": "/x", "status": "200"}},
        ),
        (silent, None, "refused", {"profile": "tcp"}),
    ],
    ids=["dicom", "hl7", "registry", "repository", "http", "tcp"],
)
async def test_member_is_asked_what_the_model_says(
    tmp_path: Path, good: Talk, bad: Talk | None, reason: str, service: dict[str, Any]
) -> None:
    with TcpPeer(good) as peer:
        verdict = await ask(tmp_path, peer.port, **service)
        port = peer.port
    assert verdict.up, verdict
    if bad is None:
        verdict = await ask(tmp_path, port, **service)
    else:
        with TcpPeer(bad) as peer:
            verdict = await ask(tmp_path, peer.port, **service)
    assert verdict.reason == reason, verdict


async def test_titles_come_from_the_model(tmp_path: Path) -> None:
    scp = dicom.Scp()
    with TcpPeer(scp) as peer:
        await ask(tmp_path, peer.port, profile="dicom", a={"called_ae": "PACS_A"})
        await ask(tmp_path, peer.port, profile="dicom", check={"kind": "dicom", "calling_ae": "OTHER", "called_ae": "ALL"})
    assert scp.calls == [("PACS_A", "ROTA_TEST"), ("ALL", "OTHER")]


async def test_hl7_fields_come_from_the_model(tmp_path: Path) -> None:
    receiver = mllp.Receiver()
    with TcpPeer(receiver) as peer:
        check = {"kind": "hl7", "sending_application": "APP", "receiving_facility": "WARD", "message_type": "QRY:A19"}
        assert (await ask(tmp_path, peer.port, profile="hl7", check=check)).up
    fields = receiver.messages[0].split("\r")[0].split("|")
    assert (fields[2], fields[5], fields[8]) == ("APP", "WARD", "QRY^A19")


async def test_tls_as_the_members_traffic(tmp_path: Path) -> None:
    ca = Authority(tmp_path / "ca")
    with TcpPeer(dicom.Scp(), tls=server_context(ca.issue("pacs.example"))) as peer:
        ask_it = {"kind": "dicom", "called_ae": "PACS_A"}
        assert (await ask(tmp_path, peer.port, profile="dicom-tls", check=ask_it)).up
        plain = {**ask_it, "tls": False}
        assert not (await ask(tmp_path, peer.port, profile="dicom-tls", check=plain)).up
        assert (await ask(tmp_path, peer.port, profile="hl7-tls")).extras["days_left"] == 89


async def test_members_certificate_is_verified_with_the_ca_of_the_node(tmp_path: Path) -> None:
    ca, other = Authority(tmp_path / "ca"), Authority(tmp_path / "other")
    service = {
        "profile": "viewer",
        "tls": {"mode": "re-encrypt", "certificate": "tls/web.pem", "member_ca": "tls/ca.pem"},
    }
    with TcpPeer(web.Web(), tls=server_context(ca.issue("web.example"))) as peer:
        for authority, up in ((ca, True), (other, False)):
            (tmp_path / "one.member-ca.pem").write_bytes(authority.cert.read_bytes())
            verdict = await ask(tmp_path, peer.port, **service)
            assert (verdict.up, verdict.reason) == (up, "ok" if up else "tls"), verdict
        assert b"\r\nHost: 198.51.100.100\r\n" in peer.conversations[0].received
        (tmp_path / "one.member-ca.pem").unlink()
        with pytest.raises(ValueError, match="one.member-ca.pem does not exist"):
            await ask(tmp_path, peer.port, **service)


async def test_time_out_comes_from_the_model(tmp_path: Path) -> None:
    with TcpPeer(silent) as peer:
        check = {"kind": "dicom", "called_ae": "PACS_A", "timeout": "300ms"}
        verdict = await ask(tmp_path, peer.port, profile="dicom", check=check)
    assert verdict.reason == "silent"
    assert 250 < verdict.elapsed_ms < 2300


def test_wrong_names_and_files_are_the_callers_error(tmp_path: Path) -> None:
    site = write(tmp_path / "site.json", 104)
    broken = tmp_path / "broken.json"
    broken.write_text('{"site": 1}')
    for path, service, name, line in (
        (site, "two", "a", "there is no service two"),
        (site, "one", "b", "the service one has no member b"),
        (tmp_path / "missing.json", "one", "a", "missing.json"),
        (broken, "one", "a", r"\S"),
    ):
        with pytest.raises(ValueError, match=line):
            member.find(path, service, name, tmp_path)
