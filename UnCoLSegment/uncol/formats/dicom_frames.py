"""What the header of a DICOM file says of its images: a `Frame` for each, of single slices and many frames alike."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydicom import Dataset

from uncol.formats.dicom_header import PixelData
from uncol.formats.dicom_tags import (
    TagError,
    first_item,
    items_of,
    missing,
    numbers_of,
    tag_name,
    text_of,
    unreadable,
    whole_number,
)
from uncol.formats.paths import printable

_GROUPS = {
    "ImagePositionPatient": "PlanePositionSequence",
    "ImageOrientationPatient": "PlaneOrientationSequence",
    "PixelSpacing": "PixelMeasuresSequence",
    "SliceThickness": "PixelMeasuresSequence",
    "SpacingBetweenSlices": "PixelMeasuresSequence",
    "RescaleSlope": "PixelValueTransformationSequence",
    "RescaleIntercept": "PixelValueTransformationSequence",
    "TemporalPositionIndex": "FrameContentSequence",
    "EffectiveEchoTime": "MREchoSequence",
}
"""The functional group that holds a tag where a file has many frames; DICOM PS3.3 C.7.6.16."""
_FRAME_TYPES = ("CTImageFrameTypeSequence", "MRImageFrameTypeSequence", "PETFrameTypeSequence")
_PHASES = ("TemporalPositionIdentifier", "TemporalPositionIndex", "AcquisitionNumber", "EchoTime", "EffectiveEchoTime")
"""What tells the phases or echoes of one series apart."""
_LARGEST_NUMBER = 1e9  # of any tag of the geometry, in mm; beyond it matrices lose their decimals
_UNIT_TOLERANCE = 1e-2  # of the length of a direction: two digits are kept by the roughest writers


@dataclass(frozen=True, slots=True)
class Frame:
    """One image of a series.

    Attributes:
        pixels: The file's pixel data.
        index: Which image of the file it is, from 0.
        orientation: Directions in which columns and rows increase, LPS (the six numbers of ImageOrientationPatient).
        position_mm: Center of the first pixel, LPS.
        pixel_spacing_mm: Distance between rows, then between columns.
        depth_mm: What the file says of the distance to the next image; None without a word.
        thickness_mm: What it says of its thickness, more than 0; None without a word.
        slope: Factor of stored values.
        intercept: What is added then.
        lookup: Header with a ModalityLUTSequence, which then takes the place of both.
        is_localizer: Whether it says that it is a scout.
        phase: Names and values of what tells the phases or echoes of a series apart.
    """

    pixels: PixelData
    index: int
    orientation: tuple[float, ...]
    position_mm: tuple[float, ...]
    pixel_spacing_mm: tuple[float, ...]
    depth_mm: float | None
    thickness_mm: float | None
    slope: float
    intercept: float
    lookup: Dataset | None
    is_localizer: bool
    phase: tuple[tuple[str, float], ...]

    @property
    def name(self) -> str:
        """What messages call it."""
        return frame_name(self.pixels, self.index)


@dataclass(frozen=True, slots=True)
class Misfit:
    """A file or frame that cannot be part of the volume: what messages call it, and in a short phrase what is wrong."""

    name: str
    reason: str
    is_frame: bool = False


def quoted(path: Path) -> str:
    """Return the name of a file as messages show it."""
    return f'"{printable(path.name)}"'


def frame_name(pixels: PixelData, index: int) -> str:
    """Return what messages call an image: its file, and which of it."""
    name = quoted(pixels.path)
    return name if pixels.frame_count == 1 else f"frame {index + 1} of {name}"


def oddity_of(header: Dataset) -> str | None:
    """Return what an image is that is no grey slice, in a short phrase; None for one that is."""
    if _has_type("MOSAIC", header, []):
        return "a mosaic of slices"
    samples = whole_number(header, "SamplesPerPixel", 1)
    photometric = text_of(header, "PhotometricInterpretation")
    if samples == 1 and photometric in ("MONOCHROME1", "MONOCHROME2", ""):
        return None
    return "color"


def frames_of(header: Dataset, pixels: PixelData) -> Iterator[Frame | Misfit]:
    """Return the images that a header describes, in the order of the file; a frame's own groups go first."""
    shared = first_item(header, "SharedFunctionalGroupsSequence")
    per_frame = items_of(header, "PerFrameFunctionalGroupsSequence")
    for index in range(pixels.frame_count):
        own = per_frame[index] if index < len(per_frame) else Dataset()
        try:
            yield _frame(header, [own, shared], pixels, index)
        except TagError as error:
            yield Misfit(frame_name(pixels, index), str(error), is_frame=pixels.frame_count > 1)


class _Tags:
    """The tags of one image: in its own functional groups, in those that all images share, in the header."""

    def __init__(self, header: Dataset, groups: Sequence[Dataset], frame_count: int) -> None:
        self._header, self._groups, self._frame_count = header, groups, frame_count

    def _places(self, keyword: str) -> list[Dataset]:
        in_groups = [first_item(group, _GROUPS[keyword]) for group in self._groups] if keyword in _GROUPS else []
        is_of_one_image = keyword == "ImagePositionPatient" and self._frame_count > 1
        return in_groups if is_of_one_image else [*in_groups, self._header]

    def number(self, keyword: str) -> float | None:
        numbers = numbers_of(self._places(keyword), keyword, 1)
        return None if numbers is None else numbers[0]

    def hint(self, keyword: str) -> float | None:
        """Return a number that is not needed."""
        try:
            return self.number(keyword)
        except TagError:
            return None

    def length_mm(self, keyword: str) -> float | None:
        """Return a length that is not needed, None for one that can be none."""
        length_mm = self.hint(keyword)
        return length_mm if length_mm and length_mm > 0 else None

    def needed(self, keyword: str, count: int) -> tuple[float, ...]:
        numbers = numbers_of(self._places(keyword), keyword, count)
        if numbers is None:
            raise TagError(missing(keyword))
        if max(map(abs, numbers)) > _LARGEST_NUMBER:
            raise TagError(unreadable(keyword))
        return numbers


def _frame(header: Dataset, groups: Sequence[Dataset], pixels: PixelData, index: int) -> Frame:
    tags = _Tags(header, groups, pixels.frame_count)
    spacing = tags.needed("PixelSpacing", 2)
    if min(spacing) <= 0:
        raise TagError(unreadable("PixelSpacing"))
    slope, intercept = tags.number("RescaleSlope"), tags.number("RescaleIntercept")
    if slope == 0:
        message = f"{tag_name('RescaleSlope')} of 0"
        raise TagError(message)
    between_mm, thickness_mm = (tags.length_mm(name) for name in ("SpacingBetweenSlices", "SliceThickness"))
    phases = [(name, tags.hint(name)) for name in _PHASES]
    return Frame(
        pixels=pixels,
        index=index,
        orientation=_directions(tags.needed("ImageOrientationPatient", 6)),
        position_mm=tags.needed("ImagePositionPatient", 3),
        pixel_spacing_mm=spacing,
        depth_mm=between_mm or thickness_mm,
        thickness_mm=thickness_mm,
        slope=1.0 if slope is None else slope,
        intercept=intercept or 0.0,
        lookup=header if items_of(header, "ModalityLUTSequence") else None,
        is_localizer=_has_type("LOCALIZER", header, groups),
        phase=tuple((name, number) for name, number in phases if number is not None),
    )


def _directions(numbers: tuple[float, ...]) -> tuple[float, ...]:
    """Return two directions of length 1."""
    directions = np.array(numbers).reshape(2, 3)
    lengths = np.linalg.norm(directions, axis=1)
    if np.abs(lengths - 1).max() > _UNIT_TOLERANCE or abs(directions[0] @ directions[1]) > _UNIT_TOLERANCE:
        message = f"{tag_name('ImageOrientationPatient')} without two directions at right angles"
        raise TagError(message)
    return tuple((directions / lengths[:, None]).ravel().tolist())


def _has_type(name: str, header: Dataset, groups: Sequence[Dataset]) -> bool:
    types = [text_of(header, "ImageType")]
    types += [text_of(first_item(group, place), "FrameType") for group in groups for place in _FRAME_TYPES]
    return any(name in each.upper().split("\\") for each in types)
