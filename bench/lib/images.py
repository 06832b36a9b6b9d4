"""CT images to send: 512 × 512 pixels of 16 bits, 512 KiB each, with nobody's data in them."""

from __future__ import annotations

from pathlib import Path

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

SIDE = 512


def make_images(folder: Path, count: int) -> list[str]:
    """Write `count` images of one series to `folder` and return their file names."""
    folder.mkdir(parents=True, exist_ok=True)
    study, series = generate_uid(), generate_uid()
    pixels = bytes(range(256)) * (SIDE * SIDE * 2 // 256)
    names = []
    for number in range(count):
        image = Dataset()
        image.SOPClassUID = CTImageStorage
        image.SOPInstanceUID = generate_uid()
        image.StudyInstanceUID, image.SeriesInstanceUID = study, series
        image.PatientID, image.PatientName, image.Modality = "BENCH", "Bench^Mark", "CT"
        image.InstanceNumber = number + 1
        image.Rows = image.Columns = SIDE
        image.BitsAllocated = image.BitsStored = 16
        image.HighBit, image.PixelRepresentation, image.SamplesPerPixel = 15, 0, 1
        image.PhotometricInterpretation = "MONOCHROME2"
        image.PixelData = pixels
        image.file_meta = FileMetaDataset()
        image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        name = f"{number:05}.dcm"
        image.save_as(folder / name, enforce_file_format=True)
        names.append(name)
    return names
