"""DICOM servers in a few lines, with bytes made by hand: they must not share a mistake with what they test."""

from __future__ import annotations

import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from peers.tcp import (
    GARBAGE,
    HTTP_PAGE,
    SSH_BANNER,
    Case,
    Conversation,
    closes,
    closes_after_request,
    resets,
    resets_after_request,
    says,
    silent,
)

IMPLICIT = b"1.2.840.10008.1.2"
ECHO_RQ, FIND_RQ, STORE_RQ, CANCEL_RQ = 0x0030, 0x0020, 0x0001, 0x0FFF


def pdu(kind: int, body: bytes) -> bytes:
    """Encode a PDU."""
    return struct.pack(">BBL", kind, 0, len(body)) + body


def item(kind: int, body: bytes) -> bytes:
    """Encode an item of an association PDU."""
    return struct.pack(">BBH", kind, 0, len(body)) + body


def reject(result: int, source: int, reason: int) -> bytes:
    """Encode an A-ASSOCIATE-RJ (PS3.8 Table 9-21)."""
    return pdu(3, bytes([0, result, source, reason]))


ABORT = pdu(7, bytes([0, 0, 2, 0]))
RELEASE_RP = pdu(6, bytes(4))


def accept(request: bytes, *, result: int = 0, extra: bytes = b"", maximum: int = 16384) -> bytes:
    """Encode an A-ASSOCIATE-AC to the body of an A-ASSOCIATE-RQ; `result` goes to every presentation context."""
    body = request[:68] + item(0x10, b"1.2.840.10008.3.1.1.1")
    rest = request[68:]
    while rest:
        kind, _, length = struct.unpack(">BBH", rest[:4])
        if kind == 0x20:
            body += item(0x21, bytes([rest[4], 0, result, 0]) + item(0x40, IMPLICIT))
        rest = rest[4 + length :]
    user = item(0x51, struct.pack(">L", maximum)) + item(0x52, b"2.25.1") + item(0x55, b"PEER") + extra
    return pdu(2, body + item(0x50, user))


# User items that peers really send (role selection, extended negotiation, user identity), a private one, and a lot of them.
LONG_ITEMS = (
    item(0x53, bytes([0, 1, 0, 1]))
    + b"".join(
        item(0x54, struct.pack(">H", 17) + b"1.2.840.10008.1.1" + b"\1\1")
        + item(0x56, struct.pack(">H", 17) + b"1.2.840.10008.1.1" + bytes(6))
        for _ in range(200)
    )
    + item(0x59, struct.pack(">H", 5) + b"token")
    + item(0xEE, b"private" * 50)
)


def command(elements: dict[int, bytes]) -> bytes:
    """Encode a command set (PS3.7 6.3.1): group 0000, implicit VR, little endian."""
    body = b"".join(struct.pack("<HHL", 0, number, len(value)) + value for number, value in sorted(elements.items()))
    return struct.pack("<HHLL", 0, 0, 4, len(body)) + body


def read_command(data: bytes) -> dict[int, bytes]:
    """Read a command set."""
    elements = {}
    while data:
        _, number, length = struct.unpack("<HHL", data[:8])
        elements[number] = data[8 : 8 + length]
        data = data[8 + length :]
    return elements


def p_data(context: int, header: int, fragment: bytes) -> bytes:
    """Encode a P-DATA-TF with one fragment."""
    return pdu(4, struct.pack(">LBB", len(fragment) + 2, context, header) + fragment)


@dataclass
class Scp:
    """A server that does all right, but for what is asked of it here. It is a `Talk`."""

    result: int = 0
    extra: bytes = b""
    maximum: int = 16384
    piece: int | None = None
    gap: float = 0.0
    echo: int = 0x0000
    store: int = 0x0000
    find: int = 0x0000
    matches: int = 0
    wrong_id: bool = False
    on_echo: bytes | None = None
    on_associate: bytes | None = None
    hangs_on: str | None = None
    closes_on: str | None = None
    requests: list[int] = field(default_factory=list)
    calls: list[tuple[str, str]] = field(default_factory=list)

    def __call__(self, talk: Conversation) -> None:
        """Hold one association."""
        kind, body = talk.pdu()
        assert kind == 1, f"PDU type {kind} in place of A-ASSOCIATE-RQ"
        self.calls.append((body[4:20].decode().strip(), body[20:36].decode().strip()))
        answer = self.on_associate
        if answer is None:
            answer = accept(body, result=self.result, extra=self.extra, maximum=self.maximum)
        talk.send(answer, self.piece, self.gap)
        message: dict[int, bytes] = {}
        whole = b""
        while True:
            kind, body = talk.pdu()
            if kind == 5:
                if self.hangs_on == "release":
                    talk.hold()
                talk.send(RELEASE_RP, self.piece, self.gap)
                return
            if kind == 7:
                return
            assert kind == 4, f"PDU type {kind} in place of P-DATA"
            assert not self.maximum or len(body) <= self.maximum, "a PDU longer than was agreed"
            while body:
                length, context, header = struct.unpack(">LBB", body[:6])
                fragment, body = body[6 : 4 + length], body[4 + length :]
                if header & 1:
                    whole += fragment
                    if not header & 2:
                        continue
                    message, whole = read_command(whole), b""
                has_data = message[0x0800] != b"\x01\x01"
                if header & 2 and bool(header & 1) != has_data:
                    self._serve(talk, context, message)

    def _serve(self, talk: Conversation, context: int, request: dict[int, bytes]) -> None:
        (field_,) = struct.unpack("<H", request[0x0100])
        self.requests.append(field_)
        name = {ECHO_RQ: "echo", FIND_RQ: "find", STORE_RQ: "store", CANCEL_RQ: "cancel"}[field_]
        if self.hangs_on == name:
            talk.hold()
        if self.closes_on == name:
            talk.sock.close()
            return
        if name == "cancel":
            self._respond(talk, context, {**request, 0x0100: struct.pack("<H", FIND_RQ)}, 0xFE00)
            return
        if name == "echo" and self.on_echo is not None:
            talk.send(self.on_echo, self.piece, self.gap)
            return
        if name == "find":
            for _ in range(self.matches):
                self._respond(talk, context, request, 0xFF00, data=SECRET_MATCH)
            if self.matches >= 5:
                return  # the rest of a long answer: it waits for the C-CANCEL
        self._respond(talk, context, request, {"echo": self.echo, "store": self.store, "find": self.find}[name])

    def _respond(self, talk: Conversation, context: int, request: dict[int, bytes], status: int, data: bytes = b"") -> None:
        (field_,) = struct.unpack("<H", request[0x0100])
        (number,) = struct.unpack("<H", request.get(0x0110) or request[0x0120])
        elements = {
            0x0100: struct.pack("<H", field_ | 0x8000),
            0x0120: struct.pack("<H", number + (1 if self.wrong_id else 0)),
            0x0800: struct.pack("<H", 0x0001 if data else 0x0101),
            0x0900: struct.pack("<H", status),
        }
        if 0x0002 in request:
            elements[0x0002] = request[0x0002]
        talk.send(p_data(context, 3, command(elements)), self.piece, self.gap)
        if data:
            talk.send(p_data(context, 2, data), self.piece, self.gap)


def _element(group: int, number: int, value: bytes) -> bytes:
    return struct.pack("<HHL", group, number, len(value)) + value


# What a badly configured archive may send back: it must never be shown or logged.
SECRET_MATCH = _element(0x0010, 0x0010, b"SECRET^PATIENT") + _element(0x0010, 0x0020, b"SECRET-ID ")

GOOD = "good"
CASES: dict[str, Case] = {
    # Passing.
    GOOD: Case(Scp()),
    "one-byte-writes": Case(Scp(piece=1)),
    "long-acceptance": Case(Scp(extra=LONG_ITEMS)),
    "long-acceptance-in-pieces": Case(Scp(extra=LONG_ITEMS, piece=100)),
    "tiny-pdus": Case(Scp(maximum=64)),
    "unlimited-pdus": Case(Scp(maximum=0)),
    "no-answer-to-release": Case(Scp(hangs_on="release")),
    # No DICOM at all.
    "silent": Case(silent, "silent", GOOD),
    "closes": Case(closes, "closed", GOOD),
    "closes-after-request": Case(closes_after_request, "closed", GOOD),
    "resets": Case(resets, "closed", GOOD),
    "resets-after-request": Case(resets_after_request, "closed", GOOD),
    "http": Case(says(HTTP_PAGE), "not-dicom", GOOD),
    "ssh": Case(says(SSH_BANNER, first=True), "not-dicom", GOOD),
    "garbage": Case(says(GARBAGE), "not-dicom", GOOD),
    "one-byte-of-garbage": Case(says(b"\xff"), "not-dicom", GOOD),
    # A refusal.
    "rejects-calling": Case(Scp(on_associate=reject(1, 1, 3)), "rejected", GOOD),
    "rejects-called": Case(Scp(on_associate=reject(1, 1, 7)), "rejected", GOOD),
    "rejects-no-reason": Case(Scp(on_associate=reject(1, 1, 1)), "rejected", GOOD),
    "rejects-application-context": Case(Scp(on_associate=reject(1, 1, 2)), "rejected", GOOD),
    "rejects-protocol": Case(Scp(on_associate=reject(1, 2, 2)), "rejected", GOOD),
    "rejects-unheard-of": Case(Scp(on_associate=reject(1, 9, 200)), "rejected", GOOD),
    "rejects-in-pieces": Case(Scp(on_associate=reject(1, 1, 7), piece=1), "rejected", GOOD),
    "busy-limit": Case(Scp(on_associate=reject(2, 3, 2)), "busy", GOOD),
    "busy-congestion": Case(Scp(on_associate=reject(2, 3, 1)), "busy", GOOD),
    "aborts": Case(Scp(on_associate=ABORT), "aborted", GOOD),
    "aborts-echo": Case(Scp(on_echo=ABORT), "aborted", GOOD),
    "closes-on-echo": Case(Scp(closes_on="echo"), "closed", GOOD),
    "refuses-context": Case(Scp(result=3), "no-context", GOOD),
    "refuses-transfer-syntax": Case(Scp(result=4), "no-context", GOOD),
    # A wrong answer.
    "bad-status": Case(Scp(echo=0x0110), "bad-status", GOOD),
    "not-authorised": Case(Scp(echo=0x0124), "bad-status", GOOD),
    "wrong-message-id": Case(Scp(wrong_id=True), "bad-answer", GOOD),
    "nonsense-acceptance": Case(Scp(on_associate=pdu(2, bytes(68) + GARBAGE)), "bad-answer", GOOD),
    "nonsense-message": Case(Scp(on_echo=p_data(1, 3, GARBAGE)), "bad-answer", GOOD),
    "nonsense-after-acceptance": Case(Scp(on_echo=GARBAGE), "bad-answer", GOOD),
    "release-in-place-of-echo": Case(Scp(on_echo=RELEASE_RP), "bad-answer", GOOD),
    "endless-pdu": Case(Scp(on_associate=struct.pack(">BBL", 2, 0, 0xFFFFFFFF)), "bad-answer", GOOD),
    # Too slow.
    "drips": Case(Scp(piece=1, gap=0.2), "timeout", "one-byte-writes"),
    "hangs-on-echo": Case(Scp(hangs_on="echo"), "timeout", GOOD),
    "drips-echo": Case(Scp(on_echo=bytes(100), piece=1, gap=0.2), "timeout", "one-byte-writes"),
}


@contextmanager
def pynetdicom_scp(
    handlers: dict[str, Any] | None = None,
    *,
    host: str = "127.0.0.1",
    title: str = "PYNETDICOM",
    configure: Any = None,
    ssl_context: Any = None,
) -> Iterator[int]:
    """Run a pynetdicom server that offers Verification, Study Root Find and Secondary Capture Storage; yield its port.

    `handlers` maps `EVT_C_ECHO`, `EVT_C_FIND`, `EVT_C_STORE` to functions; `configure` may change the `AE` first.
    """
    from pynetdicom import AE, evt

    entity = AE(ae_title=title)
    for sop_class in ("1.2.840.10008.1.1", "1.2.840.10008.5.1.4.1.2.2.1", "1.2.840.10008.5.1.4.1.1.7"):
        entity.add_supported_context(sop_class)
    if configure is not None:
        configure(entity)
    bound = [(getattr(evt, name), handler) for name, handler in (handlers or {}).items()]
    server = entity.start_server((host, 0), block=False, evt_handlers=bound, ssl_context=ssl_context)
    try:
        yield server.socket.getsockname()[1]
    finally:
        server.shutdown()
        # Associations have threads of their own; a test that leaves one behind would disturb the next.
        limit = time.monotonic() + 5
        for association in list(server.active_associations):
            association.abort()
            association.join(max(0.0, limit - time.monotonic()))
        server.server_close()
