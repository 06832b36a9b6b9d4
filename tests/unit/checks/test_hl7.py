"""Every way in which an HL7 receiver can answer, and the reason that the check gives for it."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from peers import mllp as peers
from peers.tcp import TcpPeer
from rota.checks.hl7 import VERSIONS, Hl7Target, check, probe_message
from rota.checks.net import Address


@pytest.mark.parametrize("name", peers.CASES)
async def test_hl7_reason(name: str) -> None:
    case = peers.CASES[name]
    deadline = 0.6 if case.reason in ("silent", "timeout") else 5.0
    with TcpPeer(case.talk) as peer:
        verdict = await check(Hl7Target(Address.parse(peer.hostport)), deadline=deadline)
    assert verdict.reason == case.reason, verdict
    assert verdict.elapsed_ms < deadline * 1000 + 2000
    assert "SECRET" not in str(verdict) + str(verdict.as_dict())
    assert case.twin is None or peers.CASES[case.twin].reason == "ok"


@pytest.mark.parametrize(("code", "up"), [("AE", True), ("AR", True), ("CR", True), ("OK", False)])
async def test_any_ack_takes_a_rejection_for_an_answer(code: str, up: bool) -> None:
    with TcpPeer(peers.Receiver(code=code)) as peer:
        verdict = await check(Hl7Target(Address.parse(peer.hostport), any_ack=True), deadline=5)
    assert verdict.up is up, verdict


async def test_control_ids_are_unique_and_fit() -> None:
    receiver = peers.Receiver()
    with TcpPeer(receiver) as peer:
        for _ in range(2):
            assert (await check(Hl7Target(Address.parse(peer.hostport)), deadline=5)).up
    first, second = (message.split("|")[9] for message in receiver.messages)
    assert first != second
    assert len(first) == 20  # the limit of MSH-10 before HL7 2.7


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("kind", ["NMD^N02", "ADT^A08^ADT_A01", "QRY"])
def test_message_carries_what_was_asked(version: str, kind: str) -> None:
    target = Hl7Target(Address("127.0.0.1", 2575), "S", "SF", "R", "RF", message_type=kind, version=version)
    frame = probe_message(target, "ID1", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC))
    assert frame.startswith(b"\x0bMSH|^~\\&|")
    assert frame.endswith(b"\r\x1c\r")
    header = frame[1:].split(b"\r")[0].decode().split("|")
    assert header[2:12] == ["S", "SF", "R", "RF", "20260102030405", "", kind, "ID1", "P", version]
    # Nothing that belongs to a patient: the header, and the clock of a network management message.
    assert {line[:3] for line in frame[1:-2].strip(b"\r").split(b"\r")} <= {b"MSH", b"NCK"}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("sender", "A|B"),
        ("sender", "A^B"),
        ("receiver", "A\rPID|1"),
        ("receiver_facility", "Ä"),
        ("message_type", "A|B"),
        ("message_type", ""),
        ("message_type", "^"),
        ("version", "9.9"),
    ],
)
def test_field_that_would_break_the_message_is_the_callers_error(field: str, value: str) -> None:
    with pytest.raises(ValueError, match="--"):
        Hl7Target(Address("127.0.0.1", 2575), **{field: value})  # type: ignore[arg-type]
