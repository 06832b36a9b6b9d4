"""DICOM: C-ECHO, and on request a C-FIND and a trial C-STORE in the same association."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rota.checks.net import Address
from rota.checks.probe import Probe, run
from rota.checks.trust import Tls
from rota.checks.verdict import Failure, Reason, Verdict
from rota.checks.wire import Wire, opened

if TYPE_CHECKING:
    from pynetdicom.dimse_messages import DIMSEMessage

    from rota.checks.dicom_codec import Accepted, Response

# An answer longer than this is no answer to what was asked.
_LONGEST_PDU = 1 << 20
# So many matches of a query for our own test patient are enough to know that the archive searches.
_ENOUGH_MATCHES = 5
# A release that is not answered does not change the verdict, so it may not cost the whole deadline.
_RELEASE_WAIT = 1.0

_PENDING = (0xFF00, 0xFF01)
_STORE_WARNINGS = (0xB000, 0xB006, 0xB007)
_CANCELLED = 0xFE00


@dataclass(frozen=True)
class DicomTarget:
    """A DICOM server, the AE titles to use, and what to ask on top of C-ECHO."""

    address: Address
    called: str = "ANY-SCP"
    calling: str = "ROTA"
    find: bool = False
    store: bool = False
    tls: Tls | None = None

    def __post_init__(self) -> None:
        """Refuse AE titles that cannot be sent."""
        for option, title in (("--called", self.called), ("--calling", self.calling)):
            if problem := ae_problem(title):
                raise ValueError(f"{option}: {title!r} {problem}")


def ae_problem(title: str) -> str | None:
    """Say what is wrong with an AE title (PS3.5 6.2, VR AE), or None."""
    if not title.strip(" "):
        return "is empty"
    if len(title) > 16:
        return f"is longer than 16 characters ({len(title)})"
    if "\\" in title or not title.isascii() or not title.isprintable():
        return "has a character that an AE title cannot have"
    return None


async def check(target: DicomTarget, *, deadline: float = 3.0) -> Verdict:
    """Ask for a C-ECHO (PS3.4 Annex A) and say what came of it; then C-FIND and C-STORE if the target wants them.

    `deadline` is seconds for look-up, connection, negotiation and all requests together. Never raises for what the network
    did. Extras: `called`, `calling`, `status` (of the last response, as four hex digits), `matches` (with find).
    """
    # pynetdicom costs a quarter of a second: outside the deadline, and only for those who ask for DICOM.
    from rota.checks import dicom_codec as codec

    async def question(probe: Probe) -> str:
        probe.extras.update(called=target.called, calling=target.calling)
        async with opened(target.address, probe, target.tls) as wire:
            association = _Association(wire, probe)
            try:
                wanted = [codec.ECHO]
                wanted += [codec.FIND] if target.find else []
                wanted += [codec.STORE] if target.store else []
                await association.open(target.called, target.calling, wanted)
                done = [await association.echo()]
                if target.find:
                    done.append(await association.find())
                if target.store:
                    done.append(await association.store())
            except BaseException:
                # Whatever went wrong, a deadline too: do not leave the peer with half an association.
                wire.farewell(codec.abort())
                raise
            await association.release()
        return ", ".join(done)

    return await run(question, deadline)


class _Association:
    """The requestor's side of one association."""

    def __init__(self, wire: Wire, probe: Probe) -> None:
        from rota.checks import dicom_codec

        self._codec = dicom_codec
        self._wire = wire
        self._probe = probe
        self._accepted: Accepted | None = None
        self._established = False

    async def open(self, called: str, calling: str, contexts: list[int]) -> None:
        """Negotiate; a `Failure` for every answer but an acceptance of all `contexts`."""
        codec = self._codec
        self._probe.doing = "association request"
        await self._wire.write(codec.associate_request(called, calling, contexts))
        kind, body = await self._pdu()
        if kind == codec.ASSOCIATE_RJ:
            raise self._rejected(body)
        if kind != codec.ASSOCIATE_AC:
            raise Failure(Reason.BAD_ANSWER, f"PDU type {kind} in answer to the association request")
        self._established = True
        try:
            self._accepted = codec.read_accept(body)
        except ValueError as exc:
            raise Failure(Reason.BAD_ANSWER, f"broken association acceptance: {exc}") from exc
        for number in contexts:
            if number not in self._accepted.contexts:
                name = codec.CONTEXTS[number][0]
                raise Failure(Reason.NO_CONTEXT, f"the server does not accept {name} from {calling}")

    async def echo(self) -> str:
        """C-ECHO."""
        response = await self._ask("C-ECHO", self._codec.ECHO, self._codec.echo_request(1), 0x8030, 1)
        if response.status != 0:
            raise self._bad("C-ECHO", response)
        return "C-ECHO answered"

    async def find(self) -> str:
        """C-FIND for our own test patient; the matches are counted and never looked at."""
        codec = self._codec
        syntax = self._syntax(codec.FIND)
        response = await self._ask("C-FIND", codec.FIND, codec.find_request(2, syntax), 0x8020, 2)
        matches = 0
        while response.status in _PENDING:
            matches += 1
            if matches == _ENOUGH_MATCHES:
                await self._send(codec.FIND, codec.cancel_request(2))
            response = await self._response("C-FIND", 0x8020, 2)
        self._probe.extras["matches"] = matches
        if response.status != 0 and not (response.status == _CANCELLED and matches >= _ENOUGH_MATCHES):
            raise self._bad("C-FIND", response)
        return "C-FIND answered"

    async def store(self) -> str:
        """C-STORE of the trial instance."""
        codec = self._codec
        syntax = self._syntax(codec.STORE)
        response = await self._ask("C-STORE", codec.STORE, codec.store_request(3, syntax), 0x8001, 3)
        status = response.status
        if status is not None and status & 0xFF00 == 0xA700:
            raise Failure(Reason.CANNOT_STORE, f"C-ECHO answered, but C-STORE refused with status {status:04X}")
        if status != 0 and status not in _STORE_WARNINGS:
            raise self._bad("C-STORE", response)
        return "trial instance stored"

    async def release(self) -> None:
        """Take leave. The verdict stands already, so nothing here can fail."""
        self._probe.doing = "release"
        try:
            async with asyncio.timeout(min(_RELEASE_WAIT, self._probe.remaining)):
                await self._wire.write(self._codec.release_request())
                with contextlib.suppress(Failure):
                    await self._pdu()
        except (TimeoutError, Failure):
            self._wire.farewell(self._codec.abort())

    def _syntax(self, context: int) -> str:
        return self._accepted.contexts[context] if self._accepted else ""

    async def _ask(self, what: str, context: int, message: DIMSEMessage, command: int, message_id: int) -> Response:
        self._probe.doing = what
        await self._send(context, message)
        return await self._response(what, command, message_id)

    async def _send(self, context: int, message: DIMSEMessage) -> None:
        maximum = self._accepted.maximum_pdu if self._accepted else 0
        await self._wire.write(self._codec.encode_message(message, context, maximum))

    async def _response(self, what: str, command: int, message_id: int) -> Response:
        assembler = self._codec.Assembler()
        response = None
        while response is None:
            kind, body = await self._pdu()
            if kind != self._codec.P_DATA:
                raise Failure(Reason.BAD_ANSWER, f"PDU type {kind} in place of the {what} response")
            try:
                response = assembler.add(body)
            except ValueError as exc:
                raise Failure(Reason.BAD_ANSWER, f"{what}: {exc}") from exc
        if response.command != command or response.message_id != message_id or response.status is None:
            raise Failure(Reason.BAD_ANSWER, f"the answer does not belong to the {what} request")
        self._probe.extras["status"] = f"{response.status:04X}"
        return response

    async def _pdu(self) -> tuple[int, bytes]:
        """Return type and body of the next PDU; a `Failure` for an abort and for what is no DICOM at all."""
        first = await self._wire.read(6)
        if first[0] not in range(1, 8):
            # Decided on the first byte: the rest of a header may never come.
            if self._established:
                raise Failure(Reason.BAD_ANSWER, f"{first.hex(' ')} is not the beginning of a PDU")
            raise Failure(Reason.NOT_DICOM, f"the answer begins with {first.hex(' ')}{_guess(first)}")
        header = first + await self._wire.read_exactly(6 - len(first))
        length = int.from_bytes(header[2:6], "big")
        if length > _LONGEST_PDU:
            raise Failure(Reason.BAD_ANSWER, f"a PDU of {length} bytes")
        body = await self._wire.read_exactly(length)
        if header[0] == self._codec.ABORT:
            by = {0: "service user", 2: "service provider"}.get(body[2] if len(body) > 2 else -1, "unknown")
            raise Failure(Reason.ABORTED, f"A-ABORT by the {by} ({self._probe.doing})")
        return header[0], body

    def _rejected(self, body: bytes) -> Failure:
        if len(body) != 4:
            return Failure(Reason.BAD_ANSWER, f"an A-ASSOCIATE-RJ of {len(body)} bytes")
        result, source, diagnostic = body[1:4]
        words = _REJECTIONS.get((source, diagnostic), f"source {source}, reason {diagnostic}")
        kind, when = (Reason.BUSY, "for now") if result == 2 else (Reason.REJECTED, "for good")
        detail = f"association rejected {when}: {words}"
        return Failure(kind, detail, result=result, source=source, diagnostic=diagnostic)

    def _bad(self, what: str, response: Response) -> Failure:
        return Failure(Reason.BAD_STATUS, f"{what} answered with status {response.status:04X}")


# PS3.8 Table 9-21
_REJECTIONS = {
    (1, 1): "no reason given",
    (1, 2): "application context not supported",
    (1, 3): "calling AE title not recognised",
    (1, 7): "called AE title not recognised",
    (2, 1): "no reason given by the provider",
    (2, 2): "protocol version not supported",
    (3, 1): "temporary congestion",
    (3, 2): "local limit exceeded",
}


def _guess(first: bytes) -> str:
    if first.startswith(b"H"):
        return " (a web server?)"
    if first.startswith((b"\x15", b"\x16")):
        return " (a TLS port? try --tls)"
    return ""
