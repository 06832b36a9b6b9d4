"""What HAProxy says of a check (`check_status` and `last_chk` of `show stat`), in the words of `rota check`."""

from __future__ import annotations

from rota.checks.verdict import Reason

_BY_STATUS = {
    "L4OK": Reason.OK,
    "L6OK": Reason.OK,
    "L7OK": Reason.OK,
    "L4TOUT": Reason.TIMEOUT,
    "SOCKERR": Reason.CLOSED,
    "L6TOUT": Reason.TLS,
    "L6RSP": Reason.TLS,
}


_WORDS = {reason.value: reason for reason in Reason}


def reason_of(check_status: str, last_chk: str) -> Reason | None:
    """The reason, or None while there is no verdict (no check yet, or one that is going on)."""
    status = check_status.removeprefix("* ")
    if status in _BY_STATUS:
        return _BY_STATUS[status]
    if status == "L4CON":
        return Reason.REFUSED if "refused" in last_chk else Reason.UNREACHABLE
    if status == "L7TOUT":
        # Of HTTP it says nothing more, of DICOM and HL7 the step: only the first one can meet silence.
        silent = not last_chk or "no answer to the" in last_chk
        return Reason.SILENT if silent else Reason.TIMEOUT
    word = last_chk.partition(":")[0]
    if status in ("L7RSP", "L7STS", "L7OKC"):
        return _WORDS.get(word, Reason.BAD_ANSWER)
    return None
