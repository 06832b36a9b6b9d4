"""Who may shake hands: floods of strangers are bounded, and keep out nobody who is known."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from peers.pki import Authority
from rota.control.gate import EACH, STRANGERS, Gate


class Hello(asyncio.Protocol):
    """Says a word to whoever got through the handshake, and hangs up."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.write(b"hello")
        transport.close()


class Listening:
    """A gate whose only known address is 127.0.0.1."""

    def __init__(self, folder: Path) -> None:
        authority = Authority(folder)
        pair = authority.issue("lb1")
        server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        server.load_cert_chain(pair.cert, pair.key)
        self.client = ssl.create_default_context(cafile=str(authority.cert))
        self.gate = Gate(lambda: ["127.0.0.1"])
        self.port = self.gate.start("127.0.0.1", 0, Hello, server)
        self.open: list[socket.socket] = []

    def silent(self, source: str, count: int) -> None:
        for _ in range(count):
            self.open.append(socket.create_connection(("127.0.0.1", self.port), source_address=(source, 0)))

    async def greeted(self, source: str) -> bytes:
        async with asyncio.timeout(2):
            reader, writer = await asyncio.open_connection(
                "127.0.0.1", self.port, ssl=self.client, server_hostname="lb1", local_addr=(source, 0)
            )
            try:
                return await reader.read()
            finally:
                writer.close()


@pytest.fixture
async def listening(tmp_path: Path) -> AsyncIterator[Listening]:
    found = Listening(tmp_path)
    yield found
    await found.gate.close()
    for link in found.open:
        link.close()


async def settled(gate: Gate, refused: int) -> None:
    async with asyncio.timeout(2):
        while gate.refused < refused:
            await asyncio.sleep(0.01)


async def test_a_flood_of_strangers_keeps_no_peer_out(listening: Listening) -> None:
    for number in range(5):
        listening.silent(f"127.0.0.{10 + number}", 6)
    await settled(listening.gate, 30 - STRANGERS)
    assert listening.gate.shaking == STRANGERS
    assert await listening.greeted("127.0.0.1") == b"hello"
    with pytest.raises((OSError, ssl.SSLError)):
        await listening.greeted("127.0.0.30")


async def test_one_source_has_few_places_and_leaves_some_to_others(listening: Listening) -> None:
    listening.silent("127.0.0.10", EACH + 5)
    await settled(listening.gate, 5)
    assert listening.gate.shaking == EACH
    assert await listening.greeted("127.0.0.11") == b"hello"


async def test_who_says_nothing_loses_the_place(listening: Listening, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rota.control.gate.HANDSHAKE", 0.2)
    listening.silent("127.0.0.10", EACH)
    async with asyncio.timeout(3):
        while listening.gate.shaking < EACH:
            await asyncio.sleep(0.01)
        while listening.gate.shaking:
            await asyncio.sleep(0.01)
    assert await listening.greeted("127.0.0.10") == b"hello"
