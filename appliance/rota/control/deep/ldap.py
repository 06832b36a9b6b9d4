"""An LDAP simple bind (RFC 4511, 4.2), after StartTLS (4.14) if that is wanted.

It is spoken over the checks' own wire, so that every step keeps the deadline.
"""

from __future__ import annotations

from typing import Any

from pyasn1.codec.ber import decoder, encoder
from pyasn1.error import PyAsn1Error
from pyasn1_modules import rfc2251

from rota.checks.probe import Probe
from rota.checks.verdict import Failure, Reason
from rota.checks.wire import Wire, opened
from rota.control.deep.question import Credentials, Question

_LONGEST = 65536
_UNBIND = bytes.fromhex("30050201034200")  # RFC 4511, 4.3, message 3
_START_TLS = "1.3.6.1.4.1.1466.20037"
# RFC 4511, appendix A
_LOGIN = {7: "method not supported", 8: "stronger authentication required", 13: "confidentiality required",
          32: "no such object", 34: "invalid DN", 48: "inappropriate authentication", 49: "invalid credentials",
          50: "insufficient rights"}  # fmt: skip
_BUSY = {51: "busy", 52: "unavailable"}


async def ask(question: Question, probe: Probe) -> str:
    """Bind with the name and password of the credentials, and leave."""
    login, trust = question.login(), question.trust()
    upgrades = trust if question.check.start_tls else None
    async with opened(question.address, probe, None if upgrades else trust) as wire:
        if upgrades:
            probe.doing = "StartTLS"
            await wire.write(start_tls_request())
            if code := await _answer(wire, "extendedResp", 1):
                raise Failure(Reason.TLS, f"the server does not turn to TLS (result {code})")
            await wire.start_tls(upgrades, question.address.host)
        probe.doing = "bind"
        await wire.write(bind_request(login, 2 if upgrades else 1))
        code = await _answer(wire, "bindResponse", 2 if upgrades else 1)
        wire.farewell(_UNBIND)
    probe.extras["result"] = code
    if code in _LOGIN:
        raise Failure(Reason.LOGIN, f"bind refused: {_LOGIN[code]} ({code})")
    if code in _BUSY:
        raise Failure(Reason.BUSY, f"bind refused: {_BUSY[code]} ({code})")
    if code:
        raise Failure(Reason.BAD_STATUS, f"bind answered with result {code}")
    return "bind accepted"


def start_tls_request() -> bytes:
    """Encode the request for StartTLS, message 1."""
    message = rfc2251.LDAPMessage()
    message["messageID"] = 1
    message["protocolOp"]["extendedReq"]["requestName"] = _START_TLS
    return bytes(encoder.encode(message))


def bind_request(login: Credentials, number: int = 1) -> bytes:
    """Encode the BindRequest, message `number`."""
    message = rfc2251.LDAPMessage()
    message["messageID"] = number
    bind = message["protocolOp"]["bindRequest"]
    bind["version"] = 3
    bind["name"] = login.username.encode()
    bind["authentication"]["simple"] = login.password.encode()
    return bytes(encoder.encode(message))


async def _answer(wire: Wire, kind: str, number: int) -> int:
    first = await wire.read_exactly(2)
    if first[0] != 0x30:
        raise Failure(Reason.BAD_ANSWER, f"the answer begins with {first.hex(' ')}: that is not LDAP")
    more = first[1] & 0x7F if first[1] & 0x80 else 0
    if more > 4:
        raise Failure(Reason.BAD_ANSWER, "an LDAP message of absurd length")
    rest = await wire.read_exactly(more)
    length = int.from_bytes(rest, "big") if more else first[1]
    if length > _LONGEST:
        raise Failure(Reason.BAD_ANSWER, f"an LDAP message of {length} bytes")
    data = first + rest + await wire.read_exactly(length)
    try:
        message, _ = decoder.decode(data, asn1Spec=rfc2251.LDAPMessage())
        answer: Any = message["protocolOp"].getComponent()
        if message["protocolOp"].getName() != kind or int(message["messageID"]) != number:
            raise Failure(Reason.BAD_ANSWER, "the answer does not belong to the request")
        return int(answer["resultCode"])
    except (PyAsn1Error, LookupError, ValueError) as error:
        raise Failure(Reason.BAD_ANSWER, f"the answer cannot be read ({type(error).__name__})") from None
