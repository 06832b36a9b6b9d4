"""The native DICOM check: A-ASSOCIATE, C-ECHO, A-RELEASE (PS3.8 9.3, PS3.7 9.3.5), with a reason for every way to fail.

`expect` with `min-recv N` is conclusive once N bytes are there; without it a mismatch waits for more. The bytes are compared
as upper-case hex, of which the buffer holds half its size.
"""

from __future__ import annotations

from functools import cache

from rota.checks.dicom_codec import ECHO, associate_request, echo_request, encode_message, release_request
from rota.checks.verdict import Reason
from rota.haproxy.section import quote
from rota.model.schema import Service

CALLED_MAP = "maps/called-ae.map"
REJECT_MAP = "maps/dicom-reject.map"

# PS3.8 Table 9-21: source and reason of an A-ASSOCIATE-RJ.
REJECT_REASONS = {
    "0101": "no reason given",
    "0102": "application context not supported",
    "0103": "calling AE title not recognised",
    "0107": "called AE title not recognised",
    "0201": "no reason given",
    "0202": "protocol version not supported",
    "0301": "temporary congestion",
    "0302": "local limit exceeded",
}

_WHY = f"%[res.payload(8,2),hex,map({REJECT_MAP},a reason that the standard does not know)]"
_STATUS = "0000000902000000"  # (0000,0900), then its two bytes
_ABORT = "070000000004....0[0-2]..$"
_HEX_STATUS = rf"res.payload(0,0),hex,regsub('^.*{_STATUS}(..)(..).*$','0x\2\1'),bytes(0,6)"


def wait_for(pattern: str, step: str, reason: Reason, text: str) -> str:
    """Wait until `pattern` comes. `step` is shown when the time is up, `reason: text` when the server closes before."""
    return f"tcp-check expect comment {quote(step)} on-error {quote(f'{reason.value}: {text}')} rbinary {quote(pattern)}"


def wait_bytes(count: int, step: str) -> str:
    """Wait for `count` bytes of answer."""
    words = f"tcp-check expect min-recv {count} comment {quote(step)}"
    return f'{words} on-error "{Reason.CLOSED.value}: the server closed the connection" rbinary "^(..){{{count}}}"'


def require(pattern: str, reason: Reason, text: str, *, flags: str = "") -> str:
    """Judge what is there: it must match `pattern`.

    `flags`: "!" for a pattern that must not come, "~" for a failure that means "no new work now" and not "down".
    """
    status = " error-status L7OKC" if "~" in flags else ""
    kind = "! rbinary" if "!" in flags else "rbinary"
    return f"tcp-check expect min-recv 0 on-error {quote(f'{reason.value}: {text}')}{status} {kind} {quote(pattern)}"


@cache
def _frames(calling: str) -> tuple[str, str, str, str]:
    """Hex: the association request before and after the called AE, the echo, the release."""
    request = associate_request("X", calling, [ECHO])
    # in one piece of 80 bytes, as every other caller sends it
    echo = encode_message(echo_request(1), ECHO, 0)
    return request[:10].hex(), request[26:].hex(), echo.hex(), release_request().hex()


def called_hex(title: str) -> str:
    """An AE title as it stands in a request: 16 bytes, padded with spaces."""
    return title.ljust(16).encode("ascii").hex().upper()


def called_map(services: dict[str, Service]) -> str:
    """The map that gives each member's check its called AE: `service/member` → hex."""
    lines = [
        f"{name}/{member} {called_hex(called)}"
        for name, service in services.items()
        for member in service.members
        if service.check.kind == "dicom" and (called := service.called_ae_of(member)) is not None
    ]
    return "".join(f"{line}\n" for line in lines)


def reject_map() -> str:
    """The map from the bytes of a rejection to words."""
    return "".join(f"{code} {text}\n" for code, text in REJECT_REASONS.items())


def lines(name: str, service: Service) -> list[str]:
    """The rules for the members of service `name`."""
    before, after, echo, release = _frames(service.check.calling_ae or "ROTA")
    titles = {service.called_ae_of(member) or "ANY-SCP" for member in service.members}
    own = []
    if len(titles) == 1:
        request = f"tcp-check send-binary {before}{called_hex(titles.pop())}{after}"
    else:
        own = ["tcp-check set-var(check.member) srv_name"]
        called = f"%[str({name}/),concat(,check.member),map({CALLED_MAP})]"
        request = f"tcp-check send-binary-lf {quote(before + called + after)}"
    part, part_echo = "incomplete answer to the association request", "incomplete answer to C-ECHO"
    return [
        "option tcp-check",
        *own,
        "tcp-check connect default linger",
        f'{request} comment "association request"',
        wait_bytes(1, "no answer to the association request"),
        require("^0[237]", Reason.NOT_DICOM, "the answer is no DICOM message"),
        wait_bytes(6, part),
        require("^0[237]..0000", Reason.BAD_ANSWER, "announces an answer of absurd length"),
        wait_bytes(10, part),
        require("^03(..){6}02", Reason.BUSY, _WHY, flags="!~"),
        require("^03", Reason.REJECTED, _WHY, flags="!"),
        require("^07", Reason.ABORTED, "the server aborted the association", flags="!"),
        wait_bytes(74, part),
        require("^02(..){6}.[13579BDF]", Reason.BAD_ANSWER, "the acceptance breaks the standard"),
        wait_for("^(..){74,}?2100....0100..00", part, Reason.BAD_ANSWER, "the acceptance breaks the standard"),
        require("^(..){74,}?2100....01000000", Reason.NO_CONTEXT, "Verification is not offered"),
        f'tcp-check send-binary {echo} comment "C-ECHO"',
        # The rest of a long acceptance may still come before the answer: nothing here looks at the beginning.
        wait_bytes(1, "no answer to C-ECHO"),
        wait_for(f"{_STATUS}....|{_ABORT}", part_echo, Reason.BAD_ANSWER, "the answer to C-ECHO is none"),
        require(_ABORT, Reason.ABORTED, "the server aborted the association at C-ECHO", flags="!"),
        require("00002001020000000100", Reason.BAD_ANSWER, "the answer belongs to another C-ECHO"),
        require(f"{_STATUS}0000", Reason.BAD_STATUS, f"C-ECHO status %[{_HEX_STATUS}]"),
        # some servers never answer a release: it is asked for, not waited for
        f'tcp-check send-binary {release} comment "release"',
    ]
