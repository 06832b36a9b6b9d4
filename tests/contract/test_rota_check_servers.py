"""`rota check` against real servers: Orthanc, DCMTK, pynetdicom and the `hl7` package. Each fault has a passing twin."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from peers.dicom import pynetdicom_scp
from peers.mllp import hl7_server
from peers.pki import Authority, server_context
from peers.servers import Server, dcmqrscp, orthanc, storescp
from pydicom import Dataset
from rota.checks import Verdict
from rota.checks import dicom_codec as codec
from rota.checks.dicom import DicomTarget, check
from rota.checks.hl7 import Hl7Target
from rota.checks.hl7 import check as check_hl7
from rota.checks.http import HttpTarget
from rota.checks.http import check as check_http
from rota.checks.net import Address
from rota.checks.tls import TlsTarget
from rota.checks.tls import check as check_tls
from rota.checks.trust import Tls

pytestmark = [pytest.mark.contract, pytest.mark.xdist_group("rota-check-servers")]  # they share servers


@pytest.fixture(scope="module")
def pacs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with orthanc(tmp_path_factory.mktemp("pacs"), title="PACS_A") as server:
        yield server


@pytest.fixture(scope="module")
def locked_pacs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """An Orthanc that answers everybody's C-ECHO and nothing else."""
    folder = tmp_path_factory.mktemp("locked")
    with orthanc(folder, title="PACS_A", DicomAlwaysAllowStore=False, DicomAlwaysAllowFind=False) as server:
        yield server


@pytest.fixture(scope="module")
def receiver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with storescp(tmp_path_factory.mktemp("storescp")) as server:
        yield server


async def ask(server: Server | int, **settings: Any) -> Verdict:
    if isinstance(server, Server):
        settings = {"called": server.title, **settings}
        port = server.port
    else:
        port = server
    return await check(DicomTarget(Address("127.0.0.1", port), **settings), deadline=8)


async def test_orthanc_echo_find_and_store(pacs: Server) -> None:
    for _ in range(3):
        verdict = await ask(pacs, find=True, store=True)
        assert verdict.up, verdict
    with urllib.request.urlopen(f"http://127.0.0.1:{pacs.http}/instances", timeout=5) as answer:  # noqa: S310
        instances = json.load(answer)
    assert len(instances) == 1, "trial stores must not accumulate"
    with urllib.request.urlopen(  # noqa: S310
        f"http://127.0.0.1:{pacs.http}/instances/{instances[0]}/simplified-tags", timeout=5
    ) as answer:
        tags = json.load(answer)
    assert (tags["PatientID"], tags["SOPInstanceUID"]) == ("ROTA-CHECK", codec.INSTANCE_UID)


async def test_orthanc_refuses_a_wrong_called_title(pacs: Server) -> None:
    verdict = await ask(pacs, called="NOT_PACS_A")
    assert (verdict.reason, "called AE title" in verdict.detail) == ("rejected", True), verdict
    assert (await ask(pacs)).up


async def test_orthanc_that_answers_echo_may_refuse_the_rest(pacs: Server, locked_pacs: Server) -> None:
    assert (await ask(locked_pacs)).up
    for wish in ({"find": True}, {"store": True}):
        verdict = await ask(locked_pacs, **wish)
        assert verdict.reason == "aborted", verdict
        assert (await ask(pacs, **wish)).up


async def test_orthanc_web_pages(pacs: Server) -> None:
    base = f"http://127.0.0.1:{pacs.http}"
    assert (await check_http(HttpTarget(f"{base}/app/explorer.html"), deadline=5)).up
    assert (await check_http(HttpTarget(f"{base}/nothing"), deadline=5)).reason == "bad-status"


async def test_dicom_asked_of_a_web_port_and_the_reverse(pacs: Server) -> None:
    assert (await ask(pacs.http)).reason == "not-dicom"
    verdict = await check_http(HttpTarget(f"http://{pacs.hostport}/"), deadline=5)
    assert verdict.reason in ("not-http", "closed"), verdict


async def test_storescp_stores_one_file(receiver: Server) -> None:
    assert (await ask(receiver, store=True)).up
    assert (await ask(receiver, store=True)).up
    files = list(receiver.folder.iterdir())
    assert [file.name.endswith(codec.INSTANCE_UID) for file in files] == [True]


async def test_storescp_has_no_query(receiver: Server) -> None:
    verdict = await ask(receiver, find=True)
    assert (verdict.reason, "Study Root Find" in verdict.detail) == ("no-context", True), verdict


async def test_storescp_that_refuses_associations(tmp_path: Path, receiver: Server) -> None:
    with storescp(tmp_path, "--refuse") as server:
        verdict = await ask(server)
    assert verdict.reason in ("rejected", "busy"), verdict
    assert (await ask(receiver)).up


async def test_storescp_that_aborts_the_store(tmp_path: Path, receiver: Server) -> None:
    with storescp(tmp_path, "--abort-after") as server:
        assert (await ask(server)).up
        verdict = await ask(server, store=True)
    assert verdict.reason == "aborted", verdict
    assert (await ask(receiver, store=True)).up


async def test_dcmqrscp_with_room_and_without(tmp_path: Path) -> None:
    with dcmqrscp(tmp_path / "room") as server:
        verdict = await ask(server, find=True, store=True)
        assert verdict.up, verdict
    with dcmqrscp(tmp_path / "full", quota="(1, 1b)") as server:
        assert (await ask(server, find=True)).up
        verdict = await ask(server, store=True)
    assert verdict.reason == "cannot-store", verdict


@pytest.mark.parametrize(
    ("event", "answer", "wish", "reason"),
    [
        ("EVT_C_ECHO", 0x0000, {}, "ok"),
        ("EVT_C_ECHO", 0x0122, {}, "bad-status"),
        ("EVT_C_STORE", 0x0000, {"store": True}, "ok"),
        ("EVT_C_STORE", 0xB000, {"store": True}, "ok"),
        ("EVT_C_STORE", 0xA700, {"store": True}, "cannot-store"),
        ("EVT_C_STORE", 0xA900, {"store": True}, "bad-status"),
    ],
)
async def test_pynetdicom_status(event: str, answer: int, wish: dict[str, bool], reason: str) -> None:
    with pynetdicom_scp({event: lambda _: answer}) as port:
        verdict = await ask(port, **wish)
    assert (verdict.reason, verdict.extras["status"]) == (reason, f"{answer:04X}")


async def test_pynetdicom_query() -> None:
    def matches(event: Any) -> Iterator[tuple[int, Dataset | None]]:
        assert event.identifier.PatientID == "ROTA-CHECK"
        for number in range(1000):
            if event.is_cancelled:
                yield 0xFE00, None
                return
            match = Dataset()
            match.PatientName = "SECRET^PATIENT"
            match.StudyInstanceUID = f"1.2.{number}"
            yield 0xFF00, match

    with pynetdicom_scp({"EVT_C_FIND": matches}) as port:
        verdict = await ask(port, find=True)
    assert verdict.up, verdict
    assert "SECRET" not in str(verdict.as_dict())
    with pynetdicom_scp({"EVT_C_FIND": lambda _: iter([(0xA700, None)])}) as port:
        assert (await ask(port, find=True)).reason == "bad-status"


async def test_pynetdicom_refusals() -> None:
    def strict(entity: Any) -> None:
        entity.require_called_aet = True
        entity.require_calling_aet = ["ROTA"]

    with pynetdicom_scp(configure=strict) as port:
        assert (await ask(port, called="PYNETDICOM")).up
        verdict = await ask(port, called="ANOTHER")
        assert (verdict.reason, "called AE" in verdict.detail) == ("rejected", True), verdict
        verdict = await ask(port, called="PYNETDICOM", calling="STRANGER")
        assert (verdict.reason, "calling AE" in verdict.detail) == ("rejected", True), verdict


async def test_pynetdicom_at_its_limit_is_busy() -> None:
    from pynetdicom import AE

    def one_at_a_time(entity: Any) -> None:
        entity.maximum_associations = 1

    with pynetdicom_scp(configure=one_at_a_time) as port:
        caller = AE()
        caller.add_requested_context(codec.VERIFICATION)
        association = caller.associate("127.0.0.1", port)
        assert association.is_established
        verdict = await ask(port)
        association.release()
        assert (verdict.reason, "limit" in verdict.detail) == ("busy", True), verdict


async def test_pynetdicom_without_verification() -> None:
    def no_echo(entity: Any) -> None:
        entity.remove_supported_context(codec.VERIFICATION)

    with pynetdicom_scp(configure=no_echo) as port:
        assert (await ask(port)).reason == "no-context"


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_pynetdicom_over_tls(host: str, tmp_path: Path) -> None:
    ca, other = Authority(tmp_path / "ca"), Authority(tmp_path / "other")
    ours, theirs = ca.issue("rota.example"), ca.issue("pacs.example")
    context = server_context(theirs, client_ca=ca.cert)
    with pynetdicom_scp(host=host, ssl_context=context) as port:
        address = Address(host, port)
        verdict = await check(DicomTarget(address, tls=Tls(ca.cert, ours.cert, ours.key)), deadline=8)
        assert verdict.up, verdict
        verdict = await check(DicomTarget(address, tls=Tls(other.cert, ours.cert, ours.key)), deadline=8)
        assert verdict.reason == "tls", verdict


async def test_storescp_over_tls(tmp_path: Path) -> None:
    ca = Authority(tmp_path / "ca")
    ours, theirs = ca.issue("rota.example"), ca.issue("pacs.example")
    with storescp(tmp_path, "+tls", str(theirs.key), str(theirs.cert), "+cf", str(ca.cert)) as server:
        verdict = await ask(server, store=True, tls=Tls(ca.cert, ours.cert, ours.key))
        assert verdict.up, verdict
        # storescp demands a certificate; we show none.
        assert (await ask(server, tls=Tls(ca.cert))).reason == "tls"
        # And the port is no plain port.
        assert (await ask(server)).reason in ("closed", "not-dicom")
        verdict = await check_tls(TlsTarget(Address("127.0.0.1", server.port), Tls(ca.cert)), deadline=8)
        assert verdict.extras.get("days_left") == 89, verdict


async def test_tls_asked_of_a_plain_dicom_port(receiver: Server) -> None:
    assert (await ask(receiver, tls=Tls())).reason == "tls"


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_hl7_receiver(host: str) -> None:
    with hl7_server(host=host) as (port, control_ids):
        verdict = await check_hl7(Hl7Target(Address(host, port)), deadline=5)
    assert verdict.up, verdict
    assert control_ids == [verdict.extras["control_id"]]


async def test_hl7_receiver_over_tls(tmp_path: Path) -> None:
    ca, other = Authority(tmp_path / "ca"), Authority(tmp_path / "other")
    with hl7_server(ssl_context=server_context(ca.issue("hl7.example"))) as (port, _):
        address = Address("127.0.0.1", port)
        assert (await check_hl7(Hl7Target(address, tls=Tls(ca.cert)), deadline=5)).up
        assert (await check_hl7(Hl7Target(address, tls=Tls(other.cert)), deadline=5)).reason == "tls"
        verdict = await check_hl7(Hl7Target(address), deadline=1)
        assert verdict.reason in ("closed", "not-hl7"), verdict
