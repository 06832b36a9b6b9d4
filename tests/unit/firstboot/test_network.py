"""Whose address it is: ARP probes (RFC 5227) answered by a neighbour, by a stranger, by nobody."""

from __future__ import annotations

import socket
import struct
import threading
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from rota.firstboot import network

OWN, OTHER = bytes.fromhex("525400000001"), bytes.fromhex("525400000009")
NOBODY = "0.0.0.0"  # noqa: S104 (the empty sender of a probe)
WANTED = IPv4Address("192.0.2.11")


def arp(sender: bytes, source: str, target: str, operation: int = 2) -> bytes:
    head = b"\xff" * 6 + sender + b"\x08\x06" + struct.pack("!HHBBH", 1, 0x0800, 6, 4, operation)
    return head + sender + IPv4Address(source).packed + b"\0" * 6 + IPv4Address(target).packed


@pytest.mark.parametrize(
    ("frame", "whose"),
    [
        (arp(OTHER, "192.0.2.11", NOBODY), "52:54:00:00:00:09"),
        (arp(OTHER, "192.0.2.11", "192.0.2.11", 1), "52:54:00:00:00:09"),
        (arp(OTHER, NOBODY, "192.0.2.11", 1), "52:54:00:00:00:09"),  # two machines with one seed probe at once
        (arp(OTHER, "192.0.2.12", "192.0.2.11", 1), None),  # somebody else only asks for it
        (arp(OWN, NOBODY, "192.0.2.11", 1), None),
        (b"\0" * 60, None),
        (arp(OTHER, "192.0.2.11", NOBODY)[:30], None),
    ],
)  # fmt: skip
def test_what_a_frame_says(frame: bytes, whose: str | None) -> None:
    assert network.claimed(frame, OWN, WANTED) == whose


class Wire:
    """One end of a pair of sockets that says it is a network card's."""

    def __init__(self) -> None:
        self.sock, self.far = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)

    def __enter__(self) -> Wire:
        return self

    def __exit__(self, *_: object) -> None:
        self.sock.close()

    def __getattr__(self, name: str) -> object:
        return getattr(self.sock, name)

    def getsockname(self) -> tuple[object, ...]:
        return ("ens3", network.ARP, 0, 1, OWN)


def test_a_neighbour_that_has_it_is_named() -> None:
    wire = Wire()

    def neighbour() -> None:
        asked = wire.far.recv(2048)
        assert asked[38:42] == WANTED.packed
        assert asked[28:32] == b"\0" * 4, "a probe claims nothing (RFC 5227, 2.1.1)"
        wire.far.send(arp(OTHER, "192.0.2.77", "192.0.2.1"))
        wire.far.send(arp(OTHER, "192.0.2.11", NOBODY))

    thread = threading.Thread(target=neighbour)
    thread.start()
    found = network.holder("ens3", WANTED, wait=5, open_socket=lambda _: wire)  # type: ignore[arg-type, return-value]
    thread.join()
    wire.far.close()
    assert found == "52:54:00:00:00:09"


def test_silence_is_nobody() -> None:
    wire = Wire()
    assert network.holder("ens3", WANTED, wait=0.02, open_socket=lambda _: wire) is None  # type: ignore[arg-type, return-value]
    wire.far.settimeout(0)
    assert len([wire.far.recv(100) for _ in range(3)]) == 3
    wire.far.close()


def test_the_card_that_is_meant(tmp_path: Path) -> None:
    for name, mac in (("ens4", "52:54:00:00:00:02"), ("ens3", "52:54:00:00:00:01"), ("lo", "00:00:00:00:00:00")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "address").write_text(mac + "\n")
        if name != "lo":
            (tmp_path / name / "device").mkdir()
    assert network.cards(tmp_path) == ["ens3", "ens4"]
    assert network.chosen("", tmp_path) == "ens3"
    assert network.chosen("ens4", tmp_path) == "ens4"
    assert network.chosen("52:54:00:00:00:02", tmp_path) == "ens4"
    assert network.chosen("lo", tmp_path) is None
