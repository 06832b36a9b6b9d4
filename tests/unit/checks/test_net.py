"""Addresses, connections and the one deadline."""

from __future__ import annotations

import asyncio
import socket
import threading
import time

import pytest
from peers.tcp import TcpPeer, free_port, full_backlog, silent
from rota.checks import Reason
from rota.checks.net import Address
from rota.checks.probe import Probe, run
from rota.checks.tcp import TcpTarget, check


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("192.0.2.10:104", "192.0.2.10", 104),
        ("[2001:db8::10]:104", "2001:db8::10", 104),
        ("[::1]:65535", "::1", 65535),
        ("[fe80::1%eth0]:1", "fe80::1%eth0", 1),
        ("pacs.example:11112", "pacs.example", 11112),
    ],
)
def test_address_is_read_and_written(text: str, host: str, port: int) -> None:
    address = Address.parse(text)
    assert (address.host, address.port, str(address)) == (host, port, text)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("pacs", "write HOST:PORT"),
        (":104", "write HOST:PORT"),
        ("pacs:", "nothing is not a port"),
        ("pacs:0", "0 is not a port"),
        ("pacs:65536", "65536 is not a port"),
        ("pacs:999999999999", "is not a port"),
        ("pacs:-1", "-1 is not a port"),
        ("pacs:²", "is not a port"),
        ("pacs:dicom", "dicom is not a port"),
        ("::1:104", "write an IPv6 address as"),
        ("[::1]", "write an IPv6 address as"),
        ("[::1:104", "write an IPv6 address as"),
        ("[pacs]:104", "pacs is not an IPv6 address"),
        ("pa cs:104", "not a host name"),
        ("pacs\n:104", "not a host name"),
        ("", "write HOST:PORT"),
    ],
)
def test_impossible_address_is_the_callers_error(text: str, line: str) -> None:
    with pytest.raises(ValueError, match=line):
        Address.parse(text)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_open_port_is_up_and_closed_port_is_refused(host: str) -> None:
    with TcpPeer(silent, host=host) as peer:
        assert (await check(TcpTarget(Address.parse(peer.hostport)))).reason is Reason.OK
    verdict = await check(TcpTarget(Address(host, free_port(host))))
    assert verdict.reason is Reason.REFUSED


async def test_unanswered_connection_request_is_a_timeout() -> None:
    with full_backlog() as port:
        verdict = await check(TcpTarget(Address("127.0.0.1", port)), deadline=0.3)
    assert verdict.reason is Reason.TIMEOUT
    assert 250 < verdict.elapsed_ms < 2300


async def test_no_route_is_unreachable() -> None:
    # TCP to a broadcast address of loopback: ENETUNREACH, and nothing leaves the machine.
    verdict = await check(TcpTarget(Address("127.255.255.255", 104)))
    assert verdict.reason is Reason.UNREACHABLE, verdict


async def test_unknown_host(monkeypatch: pytest.MonkeyPatch) -> None:
    # A label over 63 characters is refused before any name server is asked.
    assert (await check(TcpTarget(Address("a" * 80, 104)), deadline=4)).reason is Reason.UNKNOWN_HOST

    def unknown(*_: object, **__: object) -> list[object]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    verdict = await check(TcpTarget(Address("nowhere.example", 104)), deadline=4)
    assert (verdict.reason, verdict.detail) == (Reason.UNKNOWN_HOST, "nowhere.example: Name or service not known")


async def test_deadline_covers_the_name_service(monkeypatch: pytest.MonkeyPatch) -> None:
    release = threading.Event()

    def hang(*_: object, **__: object) -> list[object]:
        release.wait(10)
        return []

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    verdict = await check(TcpTarget(Address("pacs.example", 104)), deadline=0.3)
    release.set()
    assert verdict.reason is Reason.TIMEOUT
    assert verdict.elapsed_ms < 2300
    assert "looking up pacs.example" in verdict.detail


async def test_second_address_is_tried_and_has_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """A host with a dead first address (IPv6 that is not routed, say) is up."""
    with full_backlog() as dead, TcpPeer(silent) as peer:
        found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port)) for port in (dead, peer.port)]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
        verdict = await check(TcpTarget(Address("pacs.example", 104)), deadline=1.0)
    assert verdict.up, verdict


@pytest.mark.parametrize("deadline", [0, -1, float("nan"), float("inf")])
async def test_impossible_deadline_is_the_callers_error(deadline: float) -> None:
    with pytest.raises(ValueError, match="timeout"):
        await check(TcpTarget(Address("127.0.0.1", 104)), deadline=deadline)


async def test_deadline_is_hard() -> None:
    async def sleepy(probe: Probe) -> str:
        await asyncio.sleep(30)
        return "never"

    began = time.monotonic()
    verdict = await run(sleepy, 0.1)
    assert verdict.reason is Reason.TIMEOUT
    assert time.monotonic() - began < 2.1
