"""DICOM through pydicom: the slices of a series, or the frames of a file, that form one volume."""

from __future__ import annotations

from pathlib import Path

from uncol.core.jobs import DicomChoice
from uncol.core.volume import Volume


def is_dicom(path: Path) -> bool:
    """Say whether a file begins as DICOM files do."""
    with path.open("rb") as file:
        return file.read(132)[128:] == b"DICM"


def read_dicom(path: Path, subject: str, choice: DicomChoice) -> Volume:
    """Read a folder with one DICOM series, or one DICOM file."""
    raise NotImplementedError
