"""Real images to send: series made from the CT and MR files that pydicom ships, and a hash to know them by."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from pydicom import Dataset, dcmread, dcmwrite
from pydicom.data import get_testdata_file
from pydicom.uid import generate_uid

CT = "CT_small.dcm"
MR = "MR_small.dcm"
# Data Set Trailing Padding says nothing (PS3.10 7.2), and DCMTK does not send it.
_PADDING = 0xFFFCFFFC


@dataclass(frozen=True)
class Instance:
    """One file of a series and what identifies its content."""

    path: Path
    sop_instance_uid: str
    sha256: str


def digest(dataset: Dataset) -> str:
    """Return the SHA-256 of a dataset's content, file meta information and padding aside.

    Written again as explicit VR little endian, so what is compared is every element and every pixel, and
    not the way in which a server lays out its own files.
    """
    content = Dataset({tag: dataset[tag] for tag in dataset.keys() if tag.group != 0x0002 and tag != _PADDING})  # noqa: SIM118 (tags)
    buffer = BytesIO()
    dcmwrite(buffer, content, implicit_vr=False, little_endian=True, enforce_file_format=False)
    return hashlib.sha256(buffer.getvalue()).hexdigest()


def digest_file(data: bytes | Path) -> str:
    """Return `digest` of a DICOM file, given as its bytes or its path."""
    return digest(dcmread(BytesIO(data) if isinstance(data, bytes) else data))


def _enlarge(dataset: Dataset, times: int) -> None:
    """Lay the image `times` × `times` side by side: real pixels, `times`² the size."""
    row = dataset.Columns * dataset.BitsAllocated // 8
    lines = [dataset.PixelData[at : at + row] * times for at in range(0, dataset.Rows * row, row)]
    dataset.PixelData = b"".join(lines) * times
    dataset.Rows, dataset.Columns = dataset.Rows * times, dataset.Columns * times


def make_series(folder: Path, count: int, *, source: str = CT, times: int = 1, description: str = "") -> list[Instance]:
    """Write one new study with one series of `count` distinct instances into `folder`.

    `source` is a file that pydicom ships; `times` enlarges each side (CT_small with 4 is 512 × 512, 512 KiB).
    Patient and identifiers are those of the test file; every UID is new.
    """
    name = get_testdata_file(source)
    if not isinstance(name, str):
        raise ValueError(f"pydicom ships no {source}")
    folder.mkdir(parents=True, exist_ok=True)
    base = dcmread(name)
    if times > 1:
        _enlarge(base, times)
    base.StudyInstanceUID, base.SeriesInstanceUID = generate_uid(), generate_uid()
    base.StudyDescription = description or "Rota lab"
    made = []
    for number in range(1, count + 1):
        base.SOPInstanceUID = base.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        base.InstanceNumber = number
        pixels = bytearray(base.PixelData)
        pixels[0:2] = (number % 4096).to_bytes(2, "little")  # no two images are alike
        base.PixelData = bytes(pixels)
        path = folder / f"{base.Modality}-{number:04d}.dcm"
        base.save_as(path)
        made.append(Instance(path, str(base.SOPInstanceUID), digest(base)))
    return made
