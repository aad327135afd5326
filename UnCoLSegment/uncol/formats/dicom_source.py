"""The DICOM images that a result refers to: their headers, as far as a result repeats them, in the order of slices."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset, dcmread
from pydicom.valuerep import DSfloat

from uncol.core.errors import DataError
from uncol.core.files import opened
from uncol.formats.dicom_frames import Frame
from uncol.formats.dicom_stack import stack_of
from uncol.formats.dicom_tags import UNREADABLE, first_item, items_of, tag_name, text_of
from uncol.formats.dicom_valid import is_identifier, take_away_invalid
from uncol.formats.grid import LPS_TO_RAS

_LOGGER = logging.getLogger(__name__)
_NEEDED = ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID", "SOPClassUID", "SOPInstanceUID")
_DIGITS = 10  # behind the point: 1e-8 mm at the far end of 512 pixels
_OF_WHOM = ("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "StudyInstanceUID", "FrameOfReferenceUID")
"""What a result repeats of its images, and what would be somebody else's if it differed."""


@dataclass(frozen=True)
class Source:
    """The images of a volume, as a result refers to them.

    Attributes:
        headers: Of a file for each slice (K) of the volume, or of one file with many frames; without pixels. Of the
            first one alone a result repeats what is said of patient and study.
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
        GeometryError: If they are no stack.
    """
    paths = list(dict.fromkeys(frame.pixels.path for frame in frames))
    count = sum(frame.pixels.frame_count for frame in {each.pixels.path: each for each in frames}.values())
    headers = tuple(_header(path, subject) for path in paths)
    has_many_frames = any(items_of(each, "PerFrameFunctionalGroupsSequence") for each in headers)
    if count != len(frames) or (len(paths) > 1 and (has_many_frames or count > len(paths))):
        message = (
            f"{subject} is spread over several files of a kind with many frames, or uses some frames of one only. "
            "A DICOM result needs one file for each slice or all frames of one file: do without it."
        )
        raise DataError(message)
    order = [frame.index if len(paths) == 1 else paths.index(frame.pixels.path) for frame in frames]
    source = Source(headers, tuple(order), subject)
    _check_one_patient(source)
    taken = take_away_invalid(source.headers[0])
    if taken:
        text = "%s holds what is not valid in %s; it is left empty in DICOM results."
        _LOGGER.warning(text, subject, ", ".join(taken))
    _lie_alike(source.headers, frames, subject)
    return source


def _check_one_patient(source: Source) -> None:
    """Refuse slices of which a result could not say whose they are, or which is which.

    Raises:
        DataError: With the names of the tags.
    """
    shared = (*_OF_WHOM, "SeriesInstanceUID")
    differing = [name for name in shared if len({text_of(each, name) for each in source.headers}) > 1]
    if differing:
        message = (
            f"{source.subject} has slices of different patients, studies or series: they differ in "
            f"{', '.join(map(tag_name, differing))}. Export one series again, or do without a DICOM result."
        )
        raise DataError(message)
    if len({text_of(each, "SOPInstanceUID") for each in source.headers}) < len(source.headers):
        message = (
            f"{source.subject} has different slices with the same {tag_name('SOPInstanceUID')}, so that a DICOM result "
            "could not say to which it refers. Export the images again, or do without a DICOM result."
        )
        raise DataError(message)


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


def _lie_alike(headers: Sequence[Dataset], frames: Sequence[Frame], subject: str) -> None:
    """Let headers say where the images lie as their volume does: one orientation, spacing, distance and thickness.

    Images differ in the last digits of it, say it of each frame, or are silent: then no result is made, or none that
    can be read back.
    """
    ijk_to_lps = LPS_TO_RAS @ stack_of(frames, subject)
    steps_mm = np.linalg.norm(ijk_to_lps[:3, :3], axis=0)
    orientation, measures = Dataset(), Dataset()
    orientation.ImageOrientationPatient = _decimals((ijk_to_lps[:3, :2] / steps_mm[:2]).T.ravel())
    measures.PixelSpacing = _decimals(steps_mm[[1, 0]])
    (measures.SpacingBetweenSlices,) = distance_mm = _decimals(steps_mm[[2]])
    measures.SliceThickness = frames[0].thickness_mm or distance_mm[0]
    for header in headers:
        per_frame = items_of(header, "PerFrameFunctionalGroupsSequence")
        if not per_frame:
            header.update(orientation)
            header.update(measures)
            continue
        header.SharedFunctionalGroupsSequence = [first_item(header, "SharedFunctionalGroupsSequence")]
        shared = header.SharedFunctionalGroupsSequence[0]
        shared.PlaneOrientationSequence, shared.PixelMeasuresSequence = [orientation], [measures]
        for group in per_frame:
            group.pop("PlaneOrientationSequence", None)
            group.pop("PixelMeasuresSequence", None)


def _decimals(numbers: NDArray[np.float64]) -> list[DSfloat]:
    """Return numbers as DICOM writes them, without what the last bits of a matrix add."""
    return [DSfloat(each, auto_format=True) for each in (numbers.round(_DIGITS) + 0.0).tolist()]


def _header(path: Path, subject: str) -> Dataset:
    try:
        with opened(path) as (file, _):
            header = dcmread(file, stop_before_pixels=True, force=True)
        missing = next((name for name in _NEEDED if not header.get(name)), None)
    except UNREADABLE as error:
        message = f"The headers of {subject} cannot be repeated in a DICOM result. Export it again."
        raise DataError(message) from error
    again = "Export the images from the archive again, or do without a DICOM result."
    if missing is not None:
        message = f"{subject} has no {tag_name(missing)}, which a DICOM result refers to. {again}"
        raise DataError(message)
    invalid = next((name for name in _NEEDED if not is_identifier(text_of(header, name))), None)
    if invalid is not None:
        message = (
            f"{subject} has a {tag_name(invalid)} that is no identifier of DICOM (digits and dots), as after an "
            f"anonymization that wrote a text there, and a DICOM result has to refer to it. {again}"
        )
        raise DataError(message)
    return header
