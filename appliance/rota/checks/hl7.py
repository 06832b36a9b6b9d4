"""HL7 v2 over MLLP: does the receiver acknowledge the message that it was sent?

A probe message needs the agreement of the interface team (sender, type, facility). The default is NMD^N02, network
management data with nothing but a clock: it names no patient and starts no workflow.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import UTC, datetime

from rota.checks.net import Address
from rota.checks.probe import Probe, run
from rota.checks.trust import Tls
from rota.checks.verdict import Failure, Reason, Verdict
from rota.checks.wire import Wire, opened

_START, _END = b"\x0b", b"\x1c\r"
_LONGEST = 1 << 16
VERSIONS = ("2.1", "2.2", "2.3", "2.3.1", "2.4", "2.5", "2.5.1", "2.6")


@dataclass(frozen=True)
class Hl7Target:
    """An MLLP receiver and the routing fields of MSH to use."""

    address: Address
    sender: str = "ROTA"
    sender_facility: str = "ROTA"
    receiver: str = ""
    receiver_facility: str = ""
    message_type: str = "NMD^N02"
    version: str = "2.5"
    any_ack: bool = False
    tls: Tls | None = None

    def __post_init__(self) -> None:
        """Refuse fields that would break the message."""
        if self.version not in VERSIONS:
            raise ValueError(f"--hl7-version: {self.version} is not one of {', '.join(VERSIONS)}")
        for name in ("sender", "sender_facility", "receiver", "receiver_facility", "message_type"):
            value: str = getattr(self, name)
            option = "--" + name.replace("_", "-")
            allowed_caret = name == "message_type"
            if not value.isascii() or not (value == "" or value.isprintable()) or len(value) > 180:
                raise ValueError(f"{option}: {value!r} holds characters that a check does not send")
            if any(c in "|~\\&" or (c == "^" and not allowed_caret) for c in value):
                raise ValueError(f"{option}: {value!r} holds an HL7 separator")
        if not self.message_type.strip("^"):
            raise ValueError("--message-type: is empty")


def probe_message(target: Hl7Target, control_id: str, now: datetime) -> bytes:
    """Build the probe message with hl7apy and return it as one MLLP frame."""
    from hl7apy.core import Message

    stamp = now.strftime("%Y%m%d%H%M%S")
    message = Message(version=target.version)
    msh = message.msh
    msh.msh_3 = target.sender
    msh.msh_4 = target.sender_facility
    msh.msh_5 = target.receiver
    msh.msh_6 = target.receiver_facility
    msh.msh_7 = stamp
    msh.msh_9 = target.message_type
    msh.msh_10 = control_id
    msh.msh_11 = "P"
    msh.msh_12 = target.version
    if target.message_type.startswith("NMD") and target.version not in ("2.1", "2.2"):
        segment = message.add_segment("NCK")
        segment.nck_1 = stamp
    return _START + str(message.to_er7()).encode("ascii") + b"\r" + _END


def read_ack(payload: bytes) -> tuple[str, str]:
    """Return MSA-1 (the code) and MSA-2 (the control id) of an acknowledgement; ValueError if it is none.

    By hand: hl7apy refuses a whole message for a version or a segment that it does not know, and a check needs two fields.
    """
    segments = payload.decode("latin-1").replace("\n", "\r").split("\r")
    header = segments[0]
    if not header.startswith("MSH") or len(header) < 8:
        raise ValueError("no MSH segment")
    separator = header[3]
    for segment in segments[1:]:
        fields = segment.split(separator)
        if fields[0] == "MSA" and len(fields) > 2:
            return fields[1].strip(), fields[2].strip()
    raise ValueError("no MSA segment")


async def check(target: Hl7Target, *, deadline: float = 3.0) -> Verdict:
    """Send the probe message and judge the acknowledgement. `deadline` is in seconds, over all steps.

    Extras: `control_id` (MSH-10 of the probe) and `code` (MSA-1 of the answer). No text of the answer is shown.
    """
    control_id = "ROTA" + uuid.uuid4().hex[:16].upper()  # 20 characters, the limit of MSH-10 before 2.7
    frame = probe_message(target, control_id, datetime.now(UTC))

    async def question(probe: Probe) -> str:
        probe.extras["control_id"] = control_id
        async with opened(target.address, probe, target.tls) as wire:
            probe.doing = "waiting for the acknowledgement"
            await wire.write(frame)
            payload = await _frame(wire)
        try:
            code, acknowledged = read_ack(payload)
        except ValueError as exc:
            raise Failure(Reason.NOT_HL7, f"the answer is no acknowledgement: {exc}") from exc
        shown = code if code in _CODES else "unknown"
        probe.extras["code"] = shown
        if acknowledged != control_id:
            raise Failure(Reason.WRONG_ACK, f"acknowledgement {shown} for another message than ours")
        if code not in _CODES:
            raise Failure(Reason.BAD_ACK, "acknowledgement with an unknown code in MSA-1")
        if code not in ("AA", "CA") and not target.any_ack:
            raise Failure(Reason.BAD_ACK, f"acknowledged with {code} ({_CODES[code]})")
        return f"acknowledged with {code}"

    return await run(question, deadline)


# HL7 table 0008
_CODES = {
    "AA": "application accept",
    "AE": "application error",
    "AR": "application reject",
    "CA": "commit accept",
    "CE": "commit error",
    "CR": "commit reject",
}


async def _frame(wire: Wire) -> bytes:
    """Return the content of the next MLLP frame."""
    data = bytearray(await wire.read())
    if data[:1] != _START:
        raise Failure(Reason.NOT_HL7, f"the answer begins with {data[:6].hex(' ')}, not with an MLLP frame")
    # Some receivers leave out the last carriage return.
    while b"\x1c" not in data:
        if len(data) > _LONGEST:
            raise Failure(Reason.NOT_HL7, f"no end of the MLLP frame in {_LONGEST} bytes")
        data += await wire.read()
    return bytes(data[1 : data.index(b"\x1c")])
