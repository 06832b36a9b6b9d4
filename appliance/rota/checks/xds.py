"""XDS-style SOAP 1.2: does the registry or repository carry out a transaction that finds nothing?

Each question asks for a document of our own that does not exist, so that the service has to search and no patient data
comes back. An answer of the transaction counts, be it an empty success or "no such document".
"""

from __future__ import annotations

import re
import uuid
from dataclasses import dataclass
from typing import Literal
from xml.etree import ElementTree  # noqa: S405 - a DTD, the way of every entity attack, is refused first

from rota.checks.http import Answer, check_expected, check_header, exchange, url_address
from rota.checks.probe import Probe, run
from rota.checks.trust import Tls
from rota.checks.verdict import Failure, Reason, Verdict

Kind = Literal["registry", "repository", "imaging"]

_SOAP = "http://www.w3.org/2003/05/soap-envelope"
_WSA = "http://www.w3.org/2005/08/addressing"
# UUID-derived (PS3.5 B.2), from the same name space as the identifiers of `rota check dicom --store`.
_NOTHING = "2.25.162092759987881073733765964532376460616"

# ITI TF-2 3.18 (GetDocuments), 3.43 and RAD TF-3 4.69.
ACTIONS: dict[Kind, str] = {
    "registry": "urn:ihe:iti:2007:RegistryStoredQuery",
    "repository": "urn:ihe:iti:2007:RetrieveDocumentSet",
    "imaging": "urn:ihe:rad:2009:RetrieveImagingDocumentSet",
}
_QUERY = f"""\
<query:AdhocQueryRequest xmlns:query="urn:oasis:names:tc:ebxml-regrep:xsd:query:3.0" \
xmlns:rim="urn:oasis:names:tc:ebxml-regrep:xsd:rim:3.0">\
<query:ResponseOption returnComposedObjects="true" returnType="ObjectRef"/>\
<rim:AdhocQuery id="urn:uuid:5c4f972b-d56b-40ac-a5fc-c8ca9b40b9d4">\
<rim:Slot name="$XDSDocumentEntryUniqueId"><rim:ValueList><rim:Value>('{_NOTHING}')</rim:Value></rim:ValueList></rim:Slot>\
</rim:AdhocQuery></query:AdhocQueryRequest>"""
_DOCUMENT = f"""\
<xds:DocumentRequest><xds:RepositoryUniqueId>{_NOTHING}</xds:RepositoryUniqueId>\
<xds:DocumentUniqueId>{_NOTHING}</xds:DocumentUniqueId></xds:DocumentRequest>"""
_RETRIEVE = f"""\
<xds:RetrieveDocumentSetRequest xmlns:xds="urn:ihe:iti:xds-b:2007">{_DOCUMENT}</xds:RetrieveDocumentSetRequest>"""
_RETRIEVE_IMAGING = f"""\
<iherad:RetrieveImagingDocumentSetRequest xmlns:iherad="urn:ihe:rad:xdsi-b:2009" xmlns:xds="urn:ihe:iti:xds-b:2007">\
<iherad:StudyRequest studyInstanceUID="{_NOTHING}"><iherad:SeriesRequest seriesInstanceUID="{_NOTHING}">\
{_DOCUMENT}</iherad:SeriesRequest></iherad:StudyRequest>\
<iherad:TransferSyntaxUIDList><iherad:TransferSyntaxUID>1.2.840.10008.1.2.1</iherad:TransferSyntaxUID>\
</iherad:TransferSyntaxUIDList></iherad:RetrieveImagingDocumentSetRequest>"""
_BODIES: dict[Kind, str] = {"registry": _QUERY, "repository": _RETRIEVE, "imaging": _RETRIEVE_IMAGING}
_RESPONSES: dict[Kind, tuple[str, ...]] = {
    "registry": ("AdhocQueryResponse", "RegistryResponse"),
    "repository": ("RetrieveDocumentSetResponse", "RegistryResponse"),
    "imaging": ("RetrieveDocumentSetResponse", "RegistryResponse"),
}


@dataclass(frozen=True)
class XdsTarget:
    """The endpoint of an XDS actor.

    `action` replaces the SOAP action of the transaction; with `expect` a text in the answer decides, not its ebXML status.
    """

    url: str
    kind: Kind = "registry"
    tls: Tls | None = None
    host: str | None = None
    action: str | None = None
    expect: str | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot work."""
        url_address(self.url)
        check_header("--host", self.host)
        check_header("--action", self.action)
        if self.action and set('<>&"\\') & set(self.action):
            raise ValueError(f"--action: {self.action!r} is not a URI")


def request(target: XdsTarget, message_id: str) -> bytes:
    """Build the SOAP 1.2 request with WS-Addressing headers (ITI TF-2 Appendix V)."""
    to = target.url.replace("&", "&amp;").replace("<", "&lt;")
    return (
        '<?xml version="1.0" encoding="UTF-8"?>'
        f'<s:Envelope xmlns:s="{_SOAP}" xmlns:a="{_WSA}"><s:Header>'
        f'<a:Action s:mustUnderstand="1">{target.action or ACTIONS[target.kind]}</a:Action>'
        f"<a:MessageID>{message_id}</a:MessageID>"
        f"<a:ReplyTo><a:Address>{_WSA}/anonymous</a:Address></a:ReplyTo>"
        f'<a:To s:mustUnderstand="1">{to}</a:To>'
        f"</s:Header><s:Body>{_BODIES[target.kind]}</s:Body></s:Envelope>"
    ).encode()


async def check(target: XdsTarget, *, deadline: float = 3.0) -> Verdict:
    """Run one transaction that finds nothing. `deadline` is in seconds, over all steps.

    Extras: `status` (of HTTP), `response` (the ebXML status, for example `Success`).
    """
    import aiohttp  # noqa: F401 - a fifth of a second, kept out of the deadline

    message_id = f"urn:uuid:{uuid.uuid4()}"

    async def question(probe: Probe) -> str:
        action = target.action or ACTIONS[target.kind]
        headers = {"Content-Type": f'application/soap+xml; charset=UTF-8; action="{action}"'}
        if target.host:
            headers["Host"] = target.host
        body = request(target, message_id)
        answer = await exchange(probe, "POST", target.url, tls=target.tls, body=body, headers=headers)
        probe.extras["status"] = answer.status
        return _judge(target, message_id, answer, probe)

    return await run(question, deadline)


def _judge(target: XdsTarget, message_id: str, answer: Answer, probe: Probe) -> str:
    """Say what the answer means: the detail of a success, or a `Failure`."""
    # A SOAP fault comes with status 400 or 500, so the envelope is looked for first.
    envelope = envelope_in(answer.body)
    if envelope is None:
        if answer.status != 200:
            raise Failure(Reason.BAD_STATUS, f"HTTP status {answer.status} and no SOAP message")
        raise Failure(Reason.NOT_SOAP, "the answer holds no SOAP 1.2 envelope")
    if envelope.find(f"./{{{_SOAP}}}Body/{{{_SOAP}}}Fault") is not None:
        raise Failure(Reason.FAULT, f"SOAP fault (HTTP status {answer.status})")
    if answer.status != 200:
        raise Failure(Reason.BAD_STATUS, f"HTTP status {answer.status}")
    relates = envelope.find(f"./{{{_SOAP}}}Header/{{{_WSA}}}RelatesTo")
    if relates is not None and (relates.text or "").strip() != message_id:
        raise Failure(Reason.WRONG_ACK, "the answer relates to another message than ours")
    if target.expect is not None:
        check_expected(answer, target.expect)
        return "SOAP answer with the expected text"
    for element in envelope.iterfind(f"./{{{_SOAP}}}Body//"):
        name = element.tag.rpartition("}")[2]
        result = element.get("status")
        if name in _RESPONSES[target.kind] and result is not None:
            word = result.rpartition(":")[2]
            probe.extras["response"] = word if word.isalnum() and word.isascii() else "unknown"
            if word in ("Success", "PartialSuccess"):
                return f"{name}: {word}"
            # A repository says Failure for a document that it does not hold: it answered the question.
            if word == "Failure" and target.kind != "registry":
                return f"{name}: no such document"
            raise Failure(Reason.BAD_STATUS, f"{name} with status {probe.extras['response']}")
    raise Failure(Reason.NOT_SOAP, "the SOAP message is not the answer of this transaction")


def envelope_in(body: bytes) -> ElementTree.Element | None:
    """Return the SOAP 1.2 envelope, out of a multipart answer (MTOM) too."""
    found = re.search(rb"<(?:([\w.-]+):)?Envelope[\s>]", body)
    # A SOAP message must not hold a DTD (SOAP 1.2 part 1, section 5).
    if not found or b"<!DOCTYPE" in body:
        return None
    closing = b"</" + (found[1] + b":" if found[1] else b"") + b"Envelope"
    end = body.find(b">", body.rfind(closing))
    try:
        root = ElementTree.fromstring(body[found.start() : end + 1].decode("utf-8"))  # noqa: S314 - see above
    except (ElementTree.ParseError, UnicodeDecodeError):
        return None
    return root if root.tag == f"{{{_SOAP}}}Envelope" else None
