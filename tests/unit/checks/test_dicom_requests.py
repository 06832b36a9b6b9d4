"""C-FIND and the trial C-STORE: what is sent, what may be shown, and what a refusal means."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from peers.dicom import ECHO_RQ, FIND_RQ, STORE_RQ, Scp
from peers.tcp import TcpPeer
from rota.checks import Verdict
from rota.checks import dicom_codec as codec
from rota.checks.dicom import DicomTarget, check
from rota.checks.net import Address

DOCS = Path(__file__).resolve().parents[3] / "docs/reference/check.md"


async def ask(scp: Scp, *, find: bool = False, store: bool = False) -> Verdict:
    with TcpPeer(scp) as peer:
        target = DicomTarget(Address.parse(peer.hostport), "PEER", "CALLER", find=find, store=store)
        return await check(target, deadline=5)


async def test_titles_reach_the_server_and_the_verdict() -> None:
    scp = Scp()
    verdict = await ask(scp)
    assert scp.calls == [("PEER", "CALLER")]
    assert verdict.extras == {"called": "PEER", "calling": "CALLER", "status": "0000"}


async def test_find_and_store_follow_the_echo_in_one_association() -> None:
    scp = Scp()
    verdict = await ask(scp, find=True, store=True)
    assert verdict.up, verdict
    assert scp.requests == [ECHO_RQ, FIND_RQ, STORE_RQ]
    assert len(scp.calls) == 1


@pytest.mark.parametrize("maximum", [64, 128, 16384, 0])
async def test_store_fits_the_longest_pdu_of_the_server(maximum: int) -> None:
    assert (await ask(Scp(maximum=maximum), store=True)).up


@pytest.mark.parametrize("status", [0xA700, 0xA701, 0xA7FF])
async def test_full_server_answers_but_cannot_store(status: int) -> None:
    verdict = await ask(Scp(store=status), store=True)
    assert (verdict.reason, verdict.extras["status"]) == ("cannot-store", f"{status:04X}")
    assert "C-ECHO answered" in verdict.detail
    # Without the trial store the same server is up: that is what tells "full" from "down".
    assert (await ask(Scp(store=status))).up


@pytest.mark.parametrize("status", [0x0000, 0xB000, 0xB006, 0xB007])
async def test_warning_of_a_stored_instance_is_up(status: int) -> None:
    assert (await ask(Scp(store=status), store=True)).up


@pytest.mark.parametrize("status", [0xA900, 0xC000, 0x0122, 0x0124, 0x0110])
async def test_other_store_failures_are_a_bad_status(status: int) -> None:
    assert (await ask(Scp(store=status), store=True)).reason == "bad-status"


@pytest.mark.parametrize("status", [0xA700, 0xA900, 0xC001, 0xFE00])
async def test_find_failure_is_a_bad_status(status: int) -> None:
    verdict = await ask(Scp(find=status), find=True)
    assert (verdict.reason, verdict.extras["status"]) == ("bad-status", f"{status:04X}")


@pytest.mark.parametrize("matches", [0, 1, 4])
async def test_matches_are_counted(matches: int) -> None:
    verdict = await ask(Scp(matches=matches), find=True)
    assert (verdict.up, verdict.extras["matches"]) == (True, matches)


async def test_long_result_is_cancelled() -> None:
    """An archive that ignores the key must not send its whole list of patients."""
    scp = Scp(matches=5)
    verdict = await ask(scp, find=True)
    assert (verdict.up, verdict.extras["matches"]) == (True, 5), verdict
    assert scp.requests[-1] == 0x0FFF


async def test_no_patient_data_in_a_verdict() -> None:
    verdict = await ask(Scp(matches=3), find=True)
    assert "SECRET" not in str(verdict) + str(verdict.as_dict())


@pytest.mark.parametrize("hang", ["find", "store"])
async def test_hang_after_the_echo_is_a_timeout(hang: str) -> None:
    with TcpPeer(Scp(hangs_on=hang)) as peer:
        target = DicomTarget(Address.parse(peer.hostport), find=True, store=True)
        verdict = await check(target, deadline=0.5)
    assert verdict.reason == "timeout"
    assert hang.upper() in verdict.detail


async def test_failed_association_ends_with_an_abort() -> None:
    """A peer must not be left with half an association until its own time-out."""
    with TcpPeer(Scp(result=3)) as peer:
        await check(DicomTarget(Address.parse(peer.hostport)), deadline=5)
    assert bytes(peer.conversations[0].received).endswith(codec.abort())


def test_trial_instance_is_marked_and_never_changes() -> None:
    first, second = codec.trial_instance(), codec.trial_instance()
    assert first == second
    assert first.PatientID == "ROTA-CHECK"
    assert all(re.fullmatch(r"2\.25\.\d{1,39}", uid) for uid in (first.SOPInstanceUID, first.StudyInstanceUID))


def test_identifiers_are_documented() -> None:
    page = DOCS.read_text()
    for uid in (codec.INSTANCE_UID, codec.SERIES_UID, codec.STUDY_UID, codec.IMPLEMENTATION_UID):
        assert uid in page


@pytest.mark.parametrize("title", ["", "   ", "SEVENTEEN_LETTERS", "BACK\\SLASH", "ÄRZTE", "TAB\tTAB"])
def test_impossible_title_is_the_callers_error(title: str) -> None:
    address = Address("127.0.0.1", 104)
    with pytest.raises(ValueError, match="--called"):
        DicomTarget(address, called=title)
    with pytest.raises(ValueError, match="--calling"):
        DicomTarget(address, calling=title)
    assert DicomTarget(address, called="SIXTEEN_LETTERS_").called
