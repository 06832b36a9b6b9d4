"""The log lines: one per association, connection or request, as key=value. docs/reference/haproxy.md explains each field.

No patient data: of DICOM only the two AE titles, of HTTP only the method, the status and the letters of the path's first
part (a DICOMweb path or query names patients), of HL7 nothing.
"""

from __future__ import annotations

# ' -~' is printable ASCII: no control character reaches the log, and a NUL ends the title as C programs see it.
CLEAN = "regsub('[^ -~]','?',g),rtrim(' '),ltrim(' ')"

PATH = "path,field(2,/),regsub('[^A-Za-z._-].*$','')"

_WHO = "service=%f client=%ci port=%cp"
_HOW = "up=%U down=%B wait=%Tw connect=%Tc total=%Tt end=%ts"
_TLS = " tls=%sslv"

# What HAProxy closes before there is a stream: a failed TLS handshake.
ERRORS = "kind=refused service=%f client=%ci port=%cp error=%[fc_err] %{+Q,+E}[fc_err_str]"


def associations(*, tls: bool) -> str:
    """A DICOM service that reads the association request."""
    titles = "calling=%{+Q,+E}[var(txn.calling)] called=%{+Q,+E}[var(txn.called)]"
    return f"kind=dicom {_WHO} {titles} verdict=%[var(txn.verdict)] member=%s {_HOW}{_TLS if tls else ''}"


def connections(*, tls: bool) -> str:
    """A service whose bytes are passed on unread."""
    return f"kind=tcp {_WHO} verdict=%[var(txn.verdict)] member=%s {_HOW}{_TLS if tls else ''}"


def requests(*, tls: bool) -> str:
    """A web service."""
    answer = "status=%ST member=%s down=%B wait=%Tw connect=%Tc answer=%Tr total=%Ta end=%tsc"
    return f"kind=http {_WHO} method=%HM path=%[var(txn.path)] {answer}{_TLS if tls else ''}"
