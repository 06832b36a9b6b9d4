"""Keep one association open and do with it what stdin says, a word a line.

Usage: hold.py HOST PORT CALLED CALLING

Words: `echo`, `store FILE`, `big MEBIBYTES` (store an image of that size), `release`. Prints one JSON line per word: did, ok,
said. Begins with `open`. A lost association ends the program with `lost`.
"""

import json
import sys

from pydicom import Dataset, dcmread
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid
from pynetdicom import AE
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    CTImageStorage,
    MRImageStorage,
    SecondaryCaptureImageStorage,
    Verification,
)


def say(did: str, ok: bool, said: object = "") -> None:
    """Print one result."""
    print(json.dumps({"did": did, "ok": ok, "said": str(said)}), flush=True)


def image(mebibytes: int) -> Dataset:
    """Return an image with `mebibytes` MiB of pixels."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    dataset = Dataset()
    dataset.file_meta = meta
    dataset.SOPClassUID = meta.MediaStorageSOPClassUID
    dataset.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = generate_uid(), generate_uid()
    dataset.PatientID, dataset.PatientName, dataset.Modality = "ROTA-LAB", "ROTA^LAB", "OT"
    dataset.Rows, dataset.Columns = 1024, 1024 * mebibytes
    dataset.BitsAllocated = dataset.BitsStored = 8
    dataset.HighBit, dataset.SamplesPerPixel, dataset.PixelRepresentation = 7, 1, 0
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.PixelData = bytes(1024 * 1024) * mebibytes
    return dataset


def main() -> None:
    """Open the association, then follow stdin."""
    host, port, called, calling = sys.argv[1:]
    ae = AE(ae_title=calling)
    ae.connection_timeout, ae.acse_timeout, ae.dimse_timeout, ae.network_timeout = 3, 5, 20, 600
    for context in (Verification, CTImageStorage, MRImageStorage, SecondaryCaptureImageStorage):
        ae.add_requested_context(context, ExplicitVRLittleEndian)
    association = ae.associate(host, int(port), ae_title=called)
    say("open", association.is_established, association.acceptor.primitive and association.acceptor.primitive.result_str)
    for line in sys.stdin:
        word, _, rest = line.strip().partition(" ")
        if not association.is_established:
            say("lost", False, word)
            return
        if word == "release":
            association.release()
            say(word, association.is_released)
            return
        if word == "echo":
            status = association.send_c_echo()
        elif word == "store":
            status = association.send_c_store(dcmread(rest))
        else:
            status = association.send_c_store(image(int(rest)))
        say(word, "Status" in status and status.Status == 0, status.get("Status", "no answer"))


if __name__ == "__main__":
    main()
