"""A SQL Server in a few lines (MS-TDS): it takes a login and answers each batch with one value. Bytes made by hand."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

from peers.tcp import Conversation


def packet(kind: int, body: bytes) -> bytes:
    """Encode one TDS packet that is a whole message (2.2.3.1)."""
    return struct.pack(">BBHHBB", kind, 1, len(body) + 8, 0, 1, 0) + body


def _b_varchar(text: str) -> bytes:
    return bytes([len(text)]) + text.encode("utf-16-le")


def _us_varchar(text: str) -> bytes:
    return struct.pack("<H", len(text)) + text.encode("utf-16-le")


def error(number: int, text: str) -> bytes:
    """Encode an ERROR token (2.2.7.10)."""
    body = (
        struct.pack("<IBB", number, 1, 14) + _us_varchar(text) + _b_varchar("PEER") + _b_varchar("") + struct.pack("<I", 1)
    )
    return b"\xaa" + struct.pack("<H", len(body)) + body


def done(status: int = 0) -> bytes:
    """Encode a DONE token (2.2.7.6)."""
    return b"\xfd" + struct.pack("<HHQ", status, 0xC1, 0)


def login_ack() -> bytes:
    """Encode LOGINACK (2.2.7.14) of TDS 7.4."""
    body = b"\x01" + bytes.fromhex("74000004") + _b_varchar("PEER") + b"\x10\x00\x00\x00"
    return b"\xad" + struct.pack("<H", len(body)) + body


def one_int(value: int | None) -> bytes:
    """Encode COLMETADATA of one INT column, and its row; no row for None."""
    head = b"\x81" + struct.pack("<HIHB", 1, 0, 0, 0x38) + _b_varchar("")
    return head + (b"\xd1" + struct.pack("<i", value) if value is not None else b"")


@dataclass
class Sql:
    """A server that does all right, but for what is asked of it here. It is a `Talk`."""

    value: int | None = 1
    login_error: int = 0
    query_error: int = 0
    hangs_on: str | None = None
    piece: int | None = None
    gap: float = 0.0
    batches: list[str] = field(default_factory=list)

    def _message(self, talk: Conversation) -> tuple[int, bytes]:
        body = b""
        while True:
            kind, status, length = struct.unpack(">BBH", talk.read(8)[:4])
            body += talk.read(length - 8)
            if status & 1:
                return kind, body

    def __call__(self, talk: Conversation) -> None:
        """Hold one session."""
        kind, _ = self._message(talk)
        assert kind == 0x12, "PRELOGIN comes first"
        # VERSION and ENCRYPTION (not supported), offsets from the start
        options = struct.pack(">BHH", 0, 11, 6) + struct.pack(">BHH", 1, 17, 1) + b"\xff"
        talk.send(packet(4, options + bytes.fromhex("100000000000") + b"\x02"), self.piece, self.gap)
        kind, _ = self._message(talk)
        assert kind == 0x10, "LOGIN7 comes next"
        if self.hangs_on == "login":
            talk.hold()
        if self.login_error:
            talk.send(packet(4, error(self.login_error, "SECRET^PATIENT") + done(2)), self.piece, self.gap)
            return
        talk.send(packet(4, login_ack() + done()), self.piece, self.gap)
        while True:
            kind, body = self._message(talk)
            if kind == 0x01:
                headers = struct.unpack("<I", body[:4])[0]
                text = body[headers:].decode("utf-16-le")
                self.batches.append(text)
            answer = done()
            if kind == 0x01 and "SELECT" in text:
                if self.hangs_on == "query":
                    talk.hold()
                answer = (
                    error(self.query_error, "SECRET^PATIENT") + done(2)
                    if self.query_error
                    else one_int(self.value) + done(0x10)
                )
            talk.send(packet(4, answer), self.piece, self.gap)
