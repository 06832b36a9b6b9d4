"""The native checks of HL7 (MLLP) and of the web: SOAP, HTTP."""

from __future__ import annotations

from datetime import UTC, datetime

from rota.checks.hl7 import Hl7Target, probe_message
from rota.checks.net import Address
from rota.checks.verdict import Reason
from rota.checks.xds import Kind, XdsTarget, request
from rota.haproxy.check_dicom import require, wait_bytes, wait_for
from rota.haproxy.section import endpoint, literal, quote
from rota.model.schema import Profile, Service

# MSH-10 holds at most 20 characters before HL7 2.7.
_ID = "ROTA" + "0" * 16
_STAMP = datetime(2000, 1, 1, tzinfo=UTC)
# Never more than two characters of the answer: what follows may name a patient.
_CODE = r"res.payload(0,0),regsub('(?s)^.*[\r\n]MSA.([A-Z][A-Z]).*$','\1'),bytes(0,2)"
_KINDS: dict[Profile, Kind] = {Profile.XDS_REPOSITORY: "repository", Profile.XDS_IMAGING: "imaging"}
_ACTIONS = {
    "registry": "urn:ihe:iti:2007:RegistryStoredQuery",
    "repository": "urn:ihe:iti:2007:RetrieveDocumentSet",
    "imaging": "urn:ihe:rad:2009:RetrieveImagingDocumentSet",
}


def hl7_lines(service: Service) -> list[str]:
    """A probe message with a control id of its own each time; its acknowledgement must carry that id and AA or CA."""
    check = service.check
    target = Hl7Target(
        Address("probe", 2575),
        sender=check.sending_application or "",
        sender_facility=check.sending_facility or "",
        receiver=check.receiving_application or "",
        receiver_facility=check.receiving_facility or "",
        message_type=(check.message_type or "NMD:N02").replace(":", "^"),
    )
    frame = probe_message(target, _ID, _STAMP).hex().upper()
    frame = frame.replace(_ID.encode().hex().upper(), "%[var(check.id),hex]")
    frame = frame.replace(_STAMP.strftime("%Y%m%d%H%M%S").encode().hex().upper(), "%[date,utime(%Y%m%d%H%M%S),hex]")
    return [
        "option tcp-check",
        'tcp-check set-var-fmt(check.id) "ROTA%[uuid,regsub(-,,g),bytes(0,16),upper]"',
        "tcp-check connect default linger",
        f'tcp-check send-binary-lf {quote(frame)} comment "probe message"',
        wait_bytes(1, "no answer to the probe message"),
        require("^0B", Reason.NOT_HL7, "the answer does not begin as an MLLP frame"),
        wait_for("^(..)+?1C", "incomplete answer to the probe message", Reason.NOT_HL7, "the answer is no whole MLLP frame"),
        require("^0B4D5348", Reason.NOT_HL7, "the answer has no MSH segment"),
        # 0D or 0A, then "MSA|"
        require("^(..)+?0[AD]4D53417C", Reason.NOT_HL7, "the answer has no MSA segment"),
        _string_lf("|%[var(check.id)]", Reason.WRONG_ACK, "acknowledges another message than ours"),
        # "MSA|AA|" or "MSA|CA|"
        require("^(..)+?0[AD]4D53417C4[13]417C", Reason.BAD_ACK, f"MSA-1 is %[{_CODE}]"),
        _string_lf("A|%[var(check.id)]", Reason.WRONG_ACK, "acknowledges another message than ours"),
    ]


def _string_lf(text: str, reason: Reason, why: str) -> str:
    return f"tcp-check expect min-recv 0 on-error {quote(f'{reason.value}: {why}')} string-lf {quote(text)}"


def http_lines(service: Service) -> list[str]:
    """One request, the status and if wished a text of the answer."""
    check = service.check
    host = check.host or _host(service)
    return [
        "option httpchk",
        "http-check connect default linger",
        f"http-check send meth {check.method or 'GET'} uri {quote(literal(check.path or '/'))} ver HTTP/1.1 "
        f"hdr Host {quote(literal(host))} hdr User-Agent rota-check hdr Accept */*",
        _status(check.status or "200-399"),
        *_wanted(check.expect, Reason.BAD_ANSWER),
    ]


def soap_lines(service: Service) -> list[str]:
    """A SOAP 1.2 transaction that finds nothing (ITI TF-2 Appendix V); a fault or a failure is no health."""
    check = service.check
    kind = _KINDS.get(service.profile, "registry")
    host = check.host or _host(service)
    path = check.path or "/"
    scheme = "https" if service.members_speak_tls else "http"
    message = literal(request(XdsTarget(f"{scheme}://{host}{path}", kind), "MESSAGE-ID").decode())
    body = message.replace("MESSAGE-ID", "urn:uuid:%[uuid]")
    action = check.soap_action or _ACTIONS[kind]
    content_type = literal(f'application/soap+xml; charset=UTF-8; action="{action}"')
    good = "(Success|PartialSuccess)" if kind == "registry" else "(Success|PartialSuccess|Failure)"
    rules = [
        _no("[<:]Fault[ >/]", Reason.FAULT, "SOAP fault"),
        _status(check.status or "200"),
        _rstring("[<:]Envelope[ >]", Reason.NOT_SOAP, "the answer holds no SOAP envelope"),
    ]
    if check.soap_action is None and check.expect is None:
        rules += [
            _rstring("(Query|Registry|DocumentSet)Response[ >]", Reason.NOT_SOAP, "not the answer of this transaction"),
            _rstring(f"ResponseStatusType:{good}[\"']", Reason.BAD_STATUS, "the transaction failed"),
        ]
    return [
        "option httpchk",
        "http-check connect default linger",
        f"http-check send meth POST uri {quote(literal(path))} ver HTTP/1.1 hdr Host {quote(literal(host))} "
        f"hdr User-Agent rota-check hdr Content-Type {quote(content_type)} body-lf {quote(body)}",
        *rules,
        *_wanted(check.expect, Reason.NOT_SOAP),
    ]


def _host(service: Service) -> str:
    return endpoint(service.addresses[0], None)


def _status(status: str) -> str:
    return f'http-check expect on-error "{Reason.BAD_STATUS.value}: HTTP status %[status]" status {status}'


def _wanted(text: str | None, reason: Reason) -> list[str]:
    if text is None:
        return []
    return [f'http-check expect on-error "{reason.value}: the answer does not hold the text" string {quote(text)}']


def _rstring(pattern: str, reason: Reason, text: str) -> str:
    return f'http-check expect on-error "{reason.value}: {text}" rstring {quote(pattern)}'


def _no(pattern: str, reason: Reason, text: str) -> str:
    return f'http-check expect on-error "{reason.value}: {text}" ! rstring {quote(pattern)}'
