"""HTTP servers and XDS-style SOAP 1.2 responders, scripted."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from peers.tcp import (
    GARBAGE,
    SSH_BANNER,
    Case,
    Conversation,
    closes,
    closes_after_request,
    resets_after_request,
    says,
    silent,
)


def page(status: str = "200 OK", body: bytes = b"<p>SECRET^PATIENT</p>", headers: str = "") -> bytes:
    """Encode an HTTP answer."""
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{headers}\r\n".encode() + body


def read_request(talk: Conversation) -> tuple[str, str, bytes]:
    """Return the request line, the headers and the body of the next request."""
    head = talk.read_until(b"\r\n\r\n").decode("latin-1")
    line, _, headers = head.partition("\r\n")
    length = re.search(r"(?im)^content-length:\s*(\d+)", headers)
    return line, headers, talk.read(int(length[1])) if length else b""


@dataclass
class Web:
    """A web server that gives one answer. It is a `Talk`."""

    answer: bytes = field(default_factory=page)
    piece: int | None = None
    gap: float = 0.0
    stays: bool = False
    requests: list[str] = field(default_factory=list)

    def __call__(self, talk: Conversation) -> None:
        """Answer one request."""
        line, _, _ = read_request(talk)
        self.requests.append(line)
        talk.send(self.answer, self.piece, self.gap)
        if self.stays:
            talk.hold()


GOOD = "good"
CASES: dict[str, Case] = {
    GOOD: Case(Web()),
    "one-byte-writes": Case(Web(piece=1)),
    "redirect": Case(Web(page("302 Found", headers="Location: http://192.0.2.1/\r\n"))),
    "no-content": Case(Web(b"HTTP/1.1 204 No Content\r\n\r\n")),
    "http-1.0": Case(Web(b"HTTP/1.0 200 OK\r\n\r\nto the end")),
    "not-found": Case(Web(page("404 Not Found")), "bad-status", GOOD),
    "unavailable": Case(Web(page("503 Service Unavailable")), "bad-status", GOOD),
    "silent": Case(silent, "silent", GOOD),
    "closes": Case(closes, "closed", GOOD),
    "closes-after-request": Case(closes_after_request, "closed", GOOD),
    "resets-after-request": Case(resets_after_request, "closed", GOOD),
    "half-a-body": Case(Web(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf"), "closed", GOOD),
    "garbage": Case(says(GARBAGE), "not-http", GOOD),
    "ssh": Case(says(SSH_BANNER), "not-http", GOOD),
    "drips-head": Case(Web(piece=1, gap=0.2), "timeout", "one-byte-writes"),
    "drips-body": Case(Web(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf", stays=True), "timeout", GOOD),
}

_SOAP = "http://www.w3.org/2003/05/soap-envelope"
_WSA = "http://www.w3.org/2005/08/addressing"
_STATUS = "urn:oasis:names:tc:ebxml-regrep:ResponseStatusType:"


@dataclass
class Soap:
    """An XDS actor that does all right, but for what is asked of it here. It is a `Talk`."""

    response: str = "AdhocQueryResponse"
    status: str = "Success"
    http: str = "200 OK"
    relates: str | None = None
    fault: bool = False
    multipart: bool = False
    dtd: bool = False
    prefix: str = "S"
    piece: int | None = None
    bodies: list[bytes] = field(default_factory=list)

    def __call__(self, talk: Conversation) -> None:
        """Answer one request."""
        _, _, body = read_request(talk)
        self.bodies.append(body)
        found = re.search(rb"MessageID[^>]*>([^<]+)<", body)
        message_id = found[1].decode() if found else ""
        relates = self.relates if self.relates is not None else message_id
        content = (
            f"<{self.prefix}:Fault><{self.prefix}:Code/></{self.prefix}:Fault>"
            if self.fault
            else f'<q:{self.response} xmlns:q="urn:oasis:names:tc:ebxml-regrep:xsd:query:3.0" status="{_STATUS}{self.status}"/>'
        )
        envelope = (
            f'<{self.prefix}:Envelope xmlns:{self.prefix}="{_SOAP}" xmlns:a="{_WSA}"><{self.prefix}:Header>'
            f"<a:RelatesTo>{relates}</a:RelatesTo></{self.prefix}:Header>"
            f"<{self.prefix}:Body>{content}</{self.prefix}:Body></{self.prefix}:Envelope>"
        )
        if self.dtd:
            envelope = '<!DOCTYPE x [<!ENTITY e "e">]>' + envelope
        headers = "Content-Type: application/soap+xml\r\n"
        if self.multipart:
            envelope = f"--b\r\nContent-Type: application/xop+xml\r\n\r\n{envelope}\r\n--b--\r\n"
            headers = 'Content-Type: multipart/related; type="application/xop+xml"; boundary="b"\r\n'
        talk.send(page(self.http, envelope.encode(), headers), self.piece)


SOAP_CASES: dict[str, Case] = {
    GOOD: Case(Soap()),
    "registry-response": Case(Soap(response="RegistryResponse")),
    "one-byte-writes": Case(Soap(piece=1)),
    "multipart": Case(Soap(multipart=True)),
    "other-prefix": Case(Soap(prefix="soapenv")),
    "failure": Case(Soap(status="Failure"), "bad-status", GOOD),
    "fault": Case(Soap(fault=True, http="500 Internal Server Error"), "fault", GOOD),
    "fault-with-200": Case(Soap(fault=True), "fault", GOOD),
    "unavailable": Case(Web(page("503 Service Unavailable")), "bad-status", GOOD),
    "wrong-message": Case(Soap(relates="urn:uuid:another"), "wrong-ack", GOOD),
    "another-transaction": Case(Soap(response="SomethingElse"), "not-soap", GOOD),
    "html": Case(Web(page()), "not-soap", GOOD),
    "dtd": Case(Soap(dtd=True), "not-soap", GOOD),
    "silent": Case(silent, "silent", GOOD),
    "closes-after-request": Case(closes_after_request, "closed", GOOD),
    "garbage": Case(says(GARBAGE), "not-http", GOOD),
}
