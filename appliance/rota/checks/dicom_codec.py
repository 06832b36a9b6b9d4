"""The bytes of a DICOM check: made and read with pynetdicom's own PDU and DIMSE classes.

Pure: no socket here. The association itself is driven by `rota.checks.dicom` and not by pynetdicom's threads, because
those cannot keep one deadline over all steps, and report "refused" and "silent" alike.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from io import BytesIO

from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom.dimse_messages import C_CANCEL_RQ, C_ECHO_RQ, C_FIND_RQ, C_STORE_RQ, DIMSEMessage
from pynetdicom.dimse_primitives import C_CANCEL, C_ECHO, C_FIND, C_STORE
from pynetdicom.dsutils import encode
from pynetdicom.pdu import A_ABORT_RQ, A_ASSOCIATE_RQ, A_RELEASE_RQ, P_DATA_TF
from pynetdicom.pdu_primitives import (
    A_ASSOCIATE,
    ImplementationClassUIDNotification,
    ImplementationVersionNameNotification,
    MaximumLengthNotification,
)
from pynetdicom.presentation import build_context

# UUID-derived UIDs (PS3.5 B.2): uuid5(uuid5(NAMESPACE_URL, "urn:rota:check"), NAME). They never change, so that any number
# of trial stores leaves one instance; docs/reference/check.md lists them.
IMPLEMENTATION_UID = UID("2.25.53092123526995733382510070634518353268")
STUDY_UID = UID("2.25.278296334431634069294080900358687225248")
SERIES_UID = UID("2.25.37010660359882074322454766037059562038")
INSTANCE_UID = UID("2.25.162092759987881073733765964532376460616")
PATIENT_ID = "ROTA-CHECK"

VERIFICATION = UID("1.2.840.10008.1.1")
STUDY_ROOT_FIND = UID("1.2.840.10008.5.1.4.1.2.2.1")
SECONDARY_CAPTURE = UID("1.2.840.10008.5.1.4.1.1.7")

# Presentation context ids are odd (PS3.8 9.3.2.2).
CONTEXTS: Mapping[int, tuple[str, UID]] = {
    1: ("Verification", VERIFICATION),
    3: ("Study Root Find", STUDY_ROOT_FIND),
    5: ("Secondary Capture Storage", SECONDARY_CAPTURE),
}
ECHO, FIND, STORE = CONTEXTS

ASSOCIATE_AC, ASSOCIATE_RJ, P_DATA, RELEASE_RQ, RELEASE_RP, ABORT = 2, 3, 4, 5, 6, 7
_OUR_MAXIMUM_PDU = 16382


def associate_request(called: str, calling: str, contexts: list[int]) -> bytes:
    """Encode an A-ASSOCIATE-RQ (PS3.8 9.3.2) that proposes `contexts` (keys of `CONTEXTS`)."""
    request = A_ASSOCIATE()
    request.application_context_name = UID("1.2.840.10008.3.1.1.1")
    request.called_ae_title = called
    request.calling_ae_title = calling
    proposed = []
    for number in contexts:
        context = build_context(CONTEXTS[number][1], [ImplicitVRLittleEndian, ExplicitVRLittleEndian])
        context.context_id = number
        proposed.append(context)
    request.presentation_context_definition_list = proposed
    length = MaximumLengthNotification()
    length.maximum_length_received = _OUR_MAXIMUM_PDU
    implementation = ImplementationClassUIDNotification()
    implementation.implementation_class_uid = IMPLEMENTATION_UID
    version = ImplementationVersionNameNotification()
    version.implementation_version_name = "ROTA_CHECK"
    request.user_information = [length, implementation, version]
    pdu = A_ASSOCIATE_RQ()
    pdu.from_primitive(request)
    return bytes(pdu.encode())


def release_request() -> bytes:
    """Encode an A-RELEASE-RQ (PS3.8 9.3.6)."""
    return bytes(A_RELEASE_RQ().encode())


def abort() -> bytes:
    """Encode an A-ABORT of the service user (PS3.8 9.3.8)."""
    pdu = A_ABORT_RQ()
    pdu.source = 0
    pdu.reason_diagnostic = 0
    return bytes(pdu.encode())


@dataclass(frozen=True)
class Accepted:
    """What an A-ASSOCIATE-AC grants: transfer syntax by context id, and the longest PDU that the peer takes (0: any)."""

    contexts: Mapping[int, str]
    maximum_pdu: int


def read_accept(body: bytes) -> Accepted:
    """Read an A-ASSOCIATE-AC (PS3.8 9.3.3); ValueError if it is broken.

    By hand, because items of a kind that nobody knows must not fail a check: pynetdicom refuses the whole PDU.
    """
    contexts: dict[int, str] = {}
    maximum = 0
    for kind, item in _items(body[68:]):
        if kind == 0x21:
            if len(item) < 4:
                raise ValueError("presentation context item too short")
            if item[2] == 0:
                syntaxes = [value for sub, value in _items(item[4:]) if sub == 0x40]
                if not syntaxes:
                    raise ValueError("accepted context without a transfer syntax")
                contexts[item[0]] = syntaxes[0].rstrip(b"\0 ").decode("ascii")
        elif kind == 0x50:
            for sub, value in _items(item):
                if sub == 0x51 and len(value) == 4:
                    (maximum,) = struct.unpack(">L", value)
    return Accepted(contexts, maximum)


def _items(data: bytes) -> Iterator[tuple[int, bytes]]:
    while data:
        if len(data) < 4:
            raise ValueError("item header too short")
        kind, _reserved, length = struct.unpack(">BBH", data[:4])
        if len(data) < 4 + length:
            raise ValueError("item longer than its PDU")
        yield kind, data[4 : 4 + length]
        data = data[4 + length :]


def echo_request(message_id: int) -> DIMSEMessage:
    """Return a C-ECHO-RQ (PS3.7 9.3.5)."""
    primitive = C_ECHO()
    primitive.MessageID = message_id
    primitive.AffectedSOPClassUID = VERIFICATION
    message = C_ECHO_RQ()
    message.primitive_to_message(primitive)
    return message


def find_request(message_id: int, syntax: str) -> DIMSEMessage:
    """Return a C-FIND-RQ of the Study Root for the studies of our own synthetic patient.

    The archive has to search, yet no patient's data crosses the wire.
    """
    query = Dataset()
    query.QueryRetrieveLevel = "STUDY"
    query.PatientID = PATIENT_ID
    query.StudyInstanceUID = ""
    primitive = C_FIND()
    primitive.MessageID = message_id
    primitive.AffectedSOPClassUID = STUDY_ROOT_FIND
    primitive.Priority = 2
    primitive.Identifier = BytesIO(encode(query, syntax == ImplicitVRLittleEndian, True) or b"")
    message = C_FIND_RQ()
    message.primitive_to_message(primitive)
    return message


def cancel_request(message_id: int) -> DIMSEMessage:
    """Return a C-CANCEL-RQ for `message_id`."""
    primitive = C_CANCEL()
    primitive.MessageIDBeingRespondedTo = message_id
    message = C_CANCEL_RQ()
    message.primitive_to_message(primitive)
    return message


def trial_instance() -> Dataset:
    """Return the one instance that `--store` sends: 8 by 8 grey pixels, marked as a test in every field that people see."""
    dataset = Dataset()
    dataset.SOPClassUID = SECONDARY_CAPTURE
    dataset.SOPInstanceUID = INSTANCE_UID
    dataset.StudyInstanceUID = STUDY_UID
    dataset.SeriesInstanceUID = SERIES_UID
    dataset.PatientID = PATIENT_ID
    dataset.PatientName = "ROTA^CHECK"
    dataset.PatientBirthDate = ""
    dataset.PatientSex = ""
    dataset.StudyID = PATIENT_ID
    dataset.StudyDate = "20000101"
    dataset.StudyTime = "000000"
    dataset.StudyDescription = "Rota trial store, not a patient"
    dataset.SeriesDescription = "Rota trial store, not a patient"
    dataset.AccessionNumber = ""
    dataset.ReferringPhysicianName = ""
    dataset.Modality = "OT"
    dataset.ConversionType = "SYN"
    dataset.SeriesNumber = 1
    dataset.InstanceNumber = 1
    dataset.PatientOrientation = ""
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.Rows = dataset.Columns = 8
    dataset.BitsAllocated = dataset.BitsStored = 8
    dataset.HighBit = 7
    dataset.PixelRepresentation = 0
    dataset.add(DataElement(0x7FE00010, "OB", bytes(range(0, 256, 4))))
    return dataset


def store_request(message_id: int, syntax: str) -> DIMSEMessage:
    """Return a C-STORE-RQ with the trial instance."""
    primitive = C_STORE()
    primitive.MessageID = message_id
    primitive.AffectedSOPClassUID = SECONDARY_CAPTURE
    primitive.AffectedSOPInstanceUID = INSTANCE_UID
    primitive.Priority = 2
    primitive.DataSet = BytesIO(encode(trial_instance(), syntax == ImplicitVRLittleEndian, True) or b"")
    message = C_STORE_RQ()
    message.primitive_to_message(primitive)
    return message


def encode_message(message: DIMSEMessage, context: int, maximum_pdu: int) -> bytes:
    """Encode a DIMSE message as P-DATA-TF PDUs that the peer's longest PDU allows."""
    # A fragment needs its header and one byte, whatever nonsense a peer announces.
    limit = 0 if maximum_pdu == 0 else max(maximum_pdu, 16)
    data = bytearray()
    for primitive in message.encode_msg(context, limit):
        pdu = P_DATA_TF()
        pdu.from_primitive(primitive)
        data += pdu.encode()
    return bytes(data)


@dataclass(frozen=True)
class Response:
    """The fields of a DIMSE response that a check looks at. The data set is never decoded."""

    command: int
    message_id: int | None
    status: int | None


class Assembler:
    """Puts the fragments of one DIMSE message together."""

    def __init__(self) -> None:
        self._message = DIMSEMessage()

    def add(self, body: bytes) -> Response | None:
        """Take the body of one P-DATA-TF; return the response once it is whole. ValueError if it is broken."""
        pdu = P_DATA_TF()
        try:
            pdu.decode(struct.pack(">BBL", P_DATA, 0, len(body)) + body)
            whole = self._message.decode_msg(pdu.to_primitive())
            if not whole:
                return None
            command = self._message.command_set
            return Response(
                int(command.CommandField),
                command.get("MessageIDBeingRespondedTo"),
                command.get("Status"),
            )
        except Exception as exc:
            # pynetdicom raises KeyError, IndexError, struct.error, AttributeError… for what a peer got wrong.
            raise ValueError(f"undecodable message ({type(exc).__name__})") from exc
