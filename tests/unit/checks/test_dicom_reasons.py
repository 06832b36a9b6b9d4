"""Every way in which a DICOM server can answer, and the reason that the check gives for it."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest
from peers import dicom as peers
from peers.tcp import Conversation, TcpPeer
from rota.checks.dicom import DicomTarget, check
from rota.checks.net import Address
from rota.checks.wire import Wire


@pytest.mark.parametrize("name", peers.CASES)
async def test_dicom_reason(name: str) -> None:
    case = peers.CASES[name]
    deadline = 0.6 if case.reason in ("silent", "timeout") else 5.0
    with TcpPeer(case.talk) as peer:
        began = time.monotonic()
        verdict = await check(DicomTarget(Address.parse(peer.hostport), "PEER"), deadline=deadline)
        took = time.monotonic() - began
    assert verdict.reason == case.reason, verdict
    assert verdict.up == (case.reason == "ok")
    assert took < deadline + 2
    assert case.twin is None or peers.CASES[case.twin].reason == "ok"


async def test_rejection_before_the_request_was_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server at its limit may refuse and close at once: our request then meets a reset, but the refusal is there to read."""
    closed = threading.Event()

    def talk(conversation: Conversation) -> None:
        conversation.send(peers.reject(2, 3, 2))
        try:
            conversation.reset()
        finally:
            closed.set()

    write = Wire.write

    async def late_write(wire: Wire, data: bytes) -> None:
        assert await asyncio.to_thread(closed.wait, 5)
        await write(wire, data)

    monkeypatch.setattr(Wire, "write", late_write)
    with TcpPeer(talk) as peer:
        verdict = await check(DicomTarget(Address.parse(peer.hostport), "PEER"), deadline=5)
    assert verdict.reason == "busy", verdict
