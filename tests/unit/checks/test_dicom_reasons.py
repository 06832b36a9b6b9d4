"""Every way in which a DICOM server can answer, and the reason that the check gives for it."""

from __future__ import annotations

import asyncio
import socket
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


@pytest.mark.parametrize("noticed", ["connecting", "asking"])
async def test_rejection_before_the_request_was_read(noticed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server at its limit may refuse and close at once: we then meet a reset, but the refusal is there to read."""
    connected, closed = threading.Event(), threading.Event()

    def talk(conversation: Conversation) -> None:
        assert connected.wait(5)
        conversation.send(peers.reject(2, 3, 2))
        try:
            conversation.reset()
        finally:
            closed.set()

    async def until_reset() -> None:
        connected.set()
        assert await asyncio.to_thread(closed.wait, 5)

    loop, write = asyncio.get_running_loop(), Wire.write
    sock_connect = loop.sock_connect

    async def late_look(sock: socket.socket, address: tuple[str, int]) -> None:
        await sock_connect(sock, address)
        await until_reset()
        code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        raise OSError(code, "what the loop would have found")

    async def late_write(wire: Wire, data: bytes) -> None:
        await until_reset()
        await write(wire, data)

    if noticed == "connecting":
        monkeypatch.setattr(loop, "sock_connect", late_look)
    else:
        monkeypatch.setattr(Wire, "write", late_write)
    with TcpPeer(talk) as peer:
        verdict = await check(DicomTarget(Address.parse(peer.hostport), "PEER"), deadline=5)
    assert verdict.reason == "busy", verdict
