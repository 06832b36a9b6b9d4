"""The answer of a check: a verdict (up or down) with a reason out of a fixed list.

This list is the one place where a reason is defined; docs/reference/check.md repeats it, and a test compares the two.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Reason(StrEnum):
    """Why a verdict is what it is. `meaning` says it in one sentence for operators."""

    meaning: str

    def __new__(cls, word: str, meaning: str = "") -> Reason:
        """Make a member that is a plain string and carries its meaning; `Reason(word)` finds one."""
        member = str.__new__(cls, word)
        member._value_ = word
        member.meaning = meaning
        return member

    OK = "ok", "The server did what it was asked."

    # The way to the server.
    UNKNOWN_HOST = "unknown-host", "The name has no address (DNS or hosts file)."
    UNREACHABLE = "unreachable", "There is no route to the host, or the network said that it is not there."
    REFUSED = "refused", "The host is there, but nothing listens on the port (or a firewall rejects)."
    TIMEOUT = (
        "timeout",
        "No connection before the deadline, or an answer that began and was not complete by then.",
    )
    SILENT = "silent", "The port takes connections, but not one byte of answer came before the deadline."
    CLOSED = "closed", "The server closed or reset the connection in place of an answer."

    # TLS.
    TLS = "tls", "TLS failed: no TLS on the port, a refused certificate (theirs or ours), or no common version."
    EXPIRED = "expired", "The server's certificate has expired."
    EXPIRING = "expiring", "The server's certificate is valid for fewer days than --min-days."

    # DICOM.
    NOT_DICOM = "not-dicom", "Something answers on the port, but it does not speak DICOM."
    REJECTED = "rejected", "The server refuses the association for good: usually an AE title it does not know."
    BUSY = "busy", "The server refuses the association for now: congestion, or its limit of associations."
    ABORTED = "aborted", "The server aborted the association (A-ABORT)."
    NO_CONTEXT = "no-context", "The association stands, but the server does not offer the service asked for."
    CANNOT_STORE = "cannot-store", "The server answers, but cannot store (status A7xx: out of resources)."
    BAD_STATUS = "bad-status", "The server answered the request with a status that means failure."
    BAD_ANSWER = "bad-answer", "The server speaks the protocol, but broke its rules (or sent nonsense)."

    # HL7.
    NOT_HL7 = "not-hl7", "Something answers on the port, but not with an HL7 acknowledgement in MLLP."
    BAD_ACK = "bad-ack", "The receiver answered with an error or a rejection (AE, AR, CE or CR)."
    WRONG_ACK = "wrong-ack", "The answer belongs to another message than the one that was sent."

    # HTTP and SOAP.
    NOT_HTTP = "not-http", "Something answers on the port, but not with HTTP."
    BAD_CONTENT = "bad-content", "The web server answers, but the text that --expect names is not in the answer."
    NOT_SOAP = "not-soap", "The web server answers, but not with the SOAP message of the transaction."
    FAULT = "fault", "The SOAP service answered with a fault."

    # Deep checks.
    LOGIN = "login", "The server refuses the name or the password of the check."
    QUERY = "query", "The database refuses the query, or answers another value than the wanted one."
    NO_ROOM = "no-room", "The server answers, but less room is left than wanted."
    PROGRAM = "program", "The site's own program says that the server is not fit (exit status 1), or it failed."

    # The caller.
    USAGE = "usage", "The check was asked for in a way that cannot work (option, address, file); nothing was sent."


@dataclass(frozen=True)
class Verdict:
    """What came of one check.

    `detail` is one printable line; it never holds patient data. `elapsed_ms` is the time over all steps, in milliseconds.
    `extras` are further named results (a status, days to expiry) that `--json` shows.
    """

    reason: Reason
    detail: str
    elapsed_ms: float = 0.0
    extras: Mapping[str, object] = field(default_factory=dict)

    @property
    def up(self) -> bool:
        """Whether new work may go to the server."""
        return self.reason is Reason.OK

    @property
    def exit_code(self) -> int:
        """0 or 1. Keepalived's `misc_dynamic` reads 2 and more as "up, with another weight"."""
        return 0 if self.up else 1

    def as_dict(self) -> dict[str, object]:
        """Return the verdict as `--json` prints it."""
        return {
            "verdict": "up" if self.up else "down",
            "reason": self.reason.value,
            "detail": self.detail,
            "elapsed_ms": round(self.elapsed_ms, 1),
            **self.extras,
        }

    def __str__(self) -> str:
        """Return the line for a terminal."""
        word = "up" if self.up else "down"
        return f"{word} {self.reason.value}: {self.detail} ({self.elapsed_ms:.0f} ms)"


class Failure(Exception):
    """Ends a check from deep inside; `probe.run` turns it into a verdict."""

    def __init__(self, reason: Reason, detail: str, **extras: object) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail
        self.extras = extras
