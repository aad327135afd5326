"""The DICOM images that a result refers to: their headers, as far as a result repeats them, in the order of slices."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset, dcmread
from pydicom.valuerep import DA, TM, DSfloat

from uncol.core.errors import DataError
from uncol.core.files import opened
from uncol.formats.dicom_frames import Frame
from uncol.formats.dicom_tags import UNREADABLE, tag_name

_LOGGER = logging.getLogger(__name__)
_NEEDED = ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID", "SOPClassUID", "SOPInstanceUID")
_SHARED = _NEEDED[:3]
_FORMATS: dict[str, Callable[[str], object]] = {"PatientBirthDate": DA, "StudyDate": DA, "StudyTime": TM}
_SEXES = ("", "F", "M", "O")
_MAY_BE_EMPTY = ("PatientID", "PatientName", "PatientSex", "AccessionNumber", "StudyID", *_FORMATS)
"""What DICOM wants of every object, empty where it is not known (type 2)."""
_OF_WHOM = ("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "StudyInstanceUID", "FrameOfReferenceUID")
"""What a result repeats of its images, and what would be somebody else's if it differed."""


@dataclass(frozen=True)
class Source:
    """The images of a volume, as a result refers to them.

    Attributes:
        headers: Of a file for each slice (K) of the volume, or of one file with many frames; without pixels.
        order: Which image of `headers` each slice is, or which frame of the one file.
        subject: What messages call the image.
    """

    headers: tuple[Dataset, ...]
    order: tuple[int, ...]
    subject: str

    def in_order_of_files(self, voxels: NDArray[Any]) -> NDArray[Any]:
        """Return voxels (K, J, I) with slices in the order of the images."""
        ordered = np.empty_like(voxels)
        ordered[list(self.order)] = voxels
        return ordered


def images_of(frames: Sequence[Frame], subject: str) -> Source:
    """Return the images of a volume, if they say all that a result must repeat of them.

    Raises:
        DataError: If they do not.
    """
    paths = list(dict.fromkeys(frame.pixels.path for frame in frames))
    count = sum(frame.pixels.frame_count for frame in {each.pixels.path: each for each in frames}.values())
    if count != len(frames) or (len(paths) > 1 and count > len(paths)):
        message = (
            f"{subject} is spread over several files with many frames, or uses some of the frames of one only. "
            "A DICOM result needs one file for each slice or all frames of one file: do without it."
        )
        raise DataError(message)
    order = [frame.index if len(paths) == 1 else paths.index(frame.pixels.path) for frame in frames]
    source = Source(tuple(_header(path, subject) for path in paths), tuple(order), subject)
    if len({tuple(str(each[name].value) for name in _SHARED) for each in source.headers}) > 1:
        message = f"{subject} has slices of different studies, series or frames of reference. Export it again."
        raise DataError(message)
    _tell_of_emptied(source)
    _complete_thickness(source)
    return source


def refers_to(path: Path, source: Source) -> bool:
    """Say whether the DICOM result in a file is about these very images, of this patient and study.

    Images may be the same in every voxel and belong to somebody else now, as after another pseudonymization.
    """
    first = source.headers[0]
    try:
        with opened(path) as (file, _):
            result = dcmread(file, stop_before_pixels=True)
        is_theirs = all(str(result.get(name) or "") == str(first.get(name) or "") for name in _OF_WHOM)
        series = result.ReferencedSeriesSequence
        referenced = {each.ReferencedSOPInstanceUID for one in series for each in one.ReferencedInstanceSequence}
    except UNREADABLE:
        return False
    return is_theirs and referenced == {each.SOPInstanceUID for each in source.headers}


def _complete_thickness(source: Source) -> None:
    """Take the distance between slices where no thickness is stated: nothing reads a result back that has none."""
    if len(source.headers) < 2 or all(each.get("SliceThickness") for each in source.headers):
        return
    first, second = (source.headers[number] for number in source.order[:2])
    between_mm = np.subtract(first.ImagePositionPatient, second.ImagePositionPatient, dtype=np.float64)
    normal = np.cross(*np.reshape(np.asarray(first.ImageOrientationPatient, dtype=np.float64), (2, 3)))
    for each in source.headers:
        each.SliceThickness = DSfloat(abs(float(between_mm @ normal)), auto_format=True)


def _header(path: Path, subject: str) -> Dataset:
    try:
        with opened(path) as (file, _):
            header = dcmread(file, stop_before_pixels=True, force=True)
        missing = next((name for name in _NEEDED if not header.get(name)), None)
    except UNREADABLE as error:
        message = f"The headers of {subject} cannot be repeated in a DICOM result. Export it again."
        raise DataError(message) from error
    if missing is not None:
        message = (
            f"{subject} has no {tag_name(missing)}, which a DICOM result refers to. "
            "Export the images from the archive again, or do without a DICOM result."
        )
        raise DataError(message)
    return header


def _tell_of_emptied(source: Source) -> None:
    """Empty what the rest of DICOM would refuse, and say so; nothing is made up in its place."""
    emptied = []
    for header in source.headers:
        for name in _MAY_BE_EMPTY:
            if not _is_valid(header, name):
                setattr(header, name, "")
                emptied.append(tag_name(name))
            elif name not in header:
                setattr(header, name, "")
    if emptied:
        names = ", ".join(dict.fromkeys(emptied))
        _LOGGER.warning("%s holds what is not valid in %s; it is left empty in DICOM results.", source.subject, names)


def _is_valid(header: Dataset, name: str) -> bool:
    try:
        value = header.get(name)
        if name == "PatientSex":
            return (value or "") in _SEXES
        if value and name in _FORMATS:
            _FORMATS[name](value)
    except UNREADABLE:
        return False
    return True
