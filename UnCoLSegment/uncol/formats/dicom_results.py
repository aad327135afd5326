"""A result as DICOM beside the images that it was found in: labels as SEG, uncertainty as Parametric Map.

Both are made with highdicom, an optional package. What is said of a patient is copied where it is valid, never told.
"""

from __future__ import annotations

import colorsys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from uncol.core.errors import DataError
from uncol.core.jobs import Structure
from uncol.core.printable import printable
from uncol.formats.dicom_files import quietly
from uncol.formats.dicom_frames import Frame
from uncol.formats.dicom_source import Source, images_of
from uncol.formats.dicom_tags import UNREADABLE, tag_name
from uncol.formats.dicom_terms import UNKNOWN, Term, term_of

_LONGEST_TEXT, _LONGEST_DESCRIPTION, _LONGEST_FACTS = 64, 1024, 10240  # of LO, ST and LT; DICOM PS3.5, table 6.2-1
_LARGEST_SERIES = 2**31 - 1  # of a number as text (IS)
_SERIES_AFTER = {"SEG": 1000, "OT": 2000}
"""What is added to the number of the image's series, so that results come after the images in a list."""
_ENTROPY = Code("normalized-entropy", "99UNCOL", "Normalized entropy: 0 is certain, 1 is unknown")
_GOLDEN = 0.618034
"""Part of the circle of colors between one label value and the next: neighbors differ, and a value keeps its color."""


@dataclass(frozen=True)
class Maker:
    """What a result says of its origin.

    Attributes:
        version: Version of UnCoL.
        identity: What made it, at most 64 letters: the SHA-256 of a model's weights, or the foundation model's name.
        description: One line for people, at most 64 letters.
        facts: What else there is to tell, by name.
    """

    version: str
    identity: str
    description: str
    facts: Mapping[str, str]


@dataclass(frozen=True)
class Segment:
    """One structure of a result, and what is said of it.

    Attributes:
        structure: Its label value and its name.
        maker: Who made it.
        color: Red, green, blue, 0 to 255; None takes that of the label value (`color_of`).
        term: What it is; None takes the term of its name (`term_of`).
    """

    structure: Structure
    maker: Maker
    color: tuple[int, int, int] | None = None
    term: Term | None = None


def check_highdicom() -> None:
    """Refuse to write DICOM where the package for it is missing.

    Raises:
        DataError: If it is.
    """
    if find_spec("highdicom") is None:
        message = (
            "DICOM results need the package highdicom. 3D Slicer 5.12 and newer bring it; "
            "else install it (pip install highdicom)."
        )
        raise DataError(message)


def source_of(frames: Sequence[Frame], subject: str) -> Source:
    """Return the images of a volume, if they say all that a result must repeat of them, and highdicom takes them.

    Raises:
        DataError: If they do not.
    """
    with quietly():
        source = images_of(frames, subject)
        _check_with_highdicom(source)
    return source


def dicom_results(
    source: Source,
    labels: Sequence[NDArray[np.uint8]],
    uncertainty: NDArray[np.float32],
    segments: Sequence[Segment],
    maker: Maker,
) -> tuple[Dataset, Dataset]:
    """Return a result as DICOM: its labels as binary SEG, its uncertainty as Parametric Map of 32-bit numbers.

    Args:
        source: The images.
        labels: Label maps (K, J, I) on their grid; structures that overlap are in different ones.
        uncertainty: Normalized entropy (K, J, I), in [0, 1], on their grid.
        segments: The structures, each in one of the label maps.
        maker: Who made it all.

    Source:
        DICOM PS3.3, A.51 (Segmentation) and A.75 (Parametric Map).
    """
    with quietly(), _translated(source):
        return (
            _segmentation(source, labels, segments, maker),
            _parametric_map(source, uncertainty, maker),
        )


def write_dicom(dataset: Dataset, path: Path) -> None:
    """Write one DICOM file."""
    with quietly():
        dataset.save_as(path, enforce_file_format=True)


def color_of(value: int) -> tuple[int, int, int]:
    """Return the color (red, green, blue; 0 to 255) of a label value in DICOM."""
    red, green, blue = (round(255 * part) for part in colorsys.hsv_to_rgb(value * _GOLDEN % 1, 0.65, 0.95))
    return red, green, blue


def _check_with_highdicom(source: Source) -> None:
    """Make a segmentation of nothing: what is wrong with the headers is to be heard before the work and not after."""
    first = source.headers[0]
    nothing, nobody = np.zeros((len(source.order), first.Rows, first.Columns), dtype=np.uint8), Maker("0", "0", "0", {})
    with _translated(source):
        _segmentation(source, [nothing], [Segment(Structure(1, "nothing"), nobody)], nobody)


@contextmanager
def _translated(source: Source) -> Iterator[None]:
    try:
        yield
    except UNREADABLE as error:  # of highdicom; its text may hold what a header says of a patient
        if isinstance(error, KeyError) and error.args == (source.headers[0].SOPClassUID,):
            message = (
                f"{source.subject} is of a private or retired kind of DICOM images ({tag_name('SOPClassUID')}), to "
                "which no DICOM result can refer. Do without it."
            )
            raise DataError(message) from error
        message = (
            f"The headers of {source.subject} do not fit a DICOM result ({type(error).__name__} in highdicom). "
            "Export the images from the archive again, or do without a DICOM result."
        )
        raise DataError(message) from error


def _segmentation(
    source: Source, labels: Sequence[NDArray[np.uint8]], segments: Sequence[Segment], maker: Maker
) -> Dataset:
    from highdicom.seg import Segmentation

    made = Segmentation(
        source.headers,
        source.in_order_of_files(_numbered(labels, [each.structure.value for each in segments])),
        "BINARY",
        [_described(each, number) for number, each in enumerate(segments, start=1)],
        content_label="SEGMENTATION",
        series_description="UnCoL segmentation, research use only",
        **_common(source, "SEG", maker),
    )
    return _completed(made)


def _numbered(labels: Sequence[NDArray[np.uint8]], values: Sequence[int]) -> NDArray[np.uint8]:
    """Return numbers of segments (K, J, I), or where some may overlap a mask for each of them (K, J, I, S)."""
    if len(labels) == 1:
        numbers = np.zeros(256, dtype=np.uint8)
        numbers[list(values)] = np.arange(1, len(values) + 1)
        return numbers[labels[0]]
    masks = np.zeros((*labels[0].shape, len(values)), dtype=np.uint8)
    for number, value in enumerate(values):
        for each in labels:
            masks[..., number] |= each == value
    return masks


def _described(segment: Segment, number: int) -> Any:
    from highdicom.color import CIELabColor
    from highdicom.content import AlgorithmIdentificationSequence
    from highdicom.seg import SegmentDescription
    from highdicom.sr import CodedConcept

    structure, maker = segment.structure, segment.maker
    term = segment.term or term_of(structure.name)
    algorithm = AlgorithmIdentificationSequence(
        "UnCoL",
        codes.DCM.ArtificialIntelligence,
        _one_line(maker.version),
        parameters=_fitting(maker.facts, _LONGEST_FACTS),
    )
    described = SegmentDescription(
        number,
        _one_line(structure.name),
        term.category,
        term.kind,
        "AUTOMATIC",
        algorithm,
        display_color=CIELabColor.from_rgb(*(segment.color or color_of(structure.value))),
    )
    described.SegmentDescription = printable(structure.name, keep="")[:_LONGEST_DESCRIPTION]
    if term.side is not None:
        kind = described.SegmentedPropertyTypeCodeSequence[0]
        kind.SegmentedPropertyTypeModifierCodeSequence = [CodedConcept.from_code(term.side)]
    return described


def _one_line(text: str) -> str:
    """Return a text as DICOM takes it where it has one line: short, without control characters and backslashes."""
    return printable(text, keep="").replace("\\", "/")[:_LONGEST_TEXT]


def _fitting(facts: Mapping[str, str], limit: int) -> dict[str, str]:
    """Return the first facts that DICOM has room for, as `name=value` with commas; the report beside it has all."""
    fitting, length = {}, -1
    for name, value in facts.items():
        length += len(f",{name}={value}")
        if length > limit:
            break
        fitting[name] = printable(value, keep="")
    return fitting


def _parametric_map(source: Source, uncertainty: NDArray[np.float32], maker: Maker) -> Dataset:
    from highdicom.pm import ParametricMap, RealWorldValueMapping

    mapping = RealWorldValueMapping(
        "UNCERTAINTY",
        _ENTROPY.meaning,
        codes.UCUM.NoUnits,
        (0.0, 1.0),
        slope=1.0,
        intercept=0.0,
        quantity_definition=_ENTROPY,
    )
    made = ParametricMap(
        source.headers,
        source.in_order_of_files(uncertainty),
        contains_recognizable_visual_features=False,
        real_world_value_mappings=[mapping],
        window_center=0.5,
        window_width=1.0,
        content_label="UNCERTAINTY",
        series_description="UnCoL uncertainty, research use only",
        **_common(source, "OT", maker),
    )
    made.SharedFunctionalGroupsSequence[0].FrameAnatomySequence = [_anatomy()]
    _sort_frames(made, len(source.order))
    equipment: list[Any] = [*made.get("ContributingEquipmentSequence", ()), _equipment(maker)]
    made.ContributingEquipmentSequence = equipment
    return _completed(made)


def _equipment(maker: Maker) -> Dataset:
    """Return who made a map, which has no place for an algorithm and its parameters."""
    from highdicom.sr import CodedConcept

    facts = _fitting(maker.facts, _LONGEST_DESCRIPTION)
    equipment = Dataset()
    equipment.PurposeOfReferenceCodeSequence = [CodedConcept.from_code(codes.DCM.ProcessingEquipment)]
    equipment.Manufacturer = equipment.ManufacturerModelName = "UnCoL"
    equipment.SoftwareVersions, equipment.DeviceSerialNumber = _one_line(maker.version), _one_line(maker.identity)
    equipment.ContributionDescription = ",".join(f"{name}={value}" for name, value in facts.items())
    return equipment


def _completed(made: Dataset) -> Dataset:
    """Add what highdicom 0.27, which comes with 3D Slicer 5.12, takes no argument for."""
    made.SpecificCharacterSet = "ISO_IR 192"
    made.ContentCreatorName = None  # type 2
    return made


def _sort_frames(made: Dataset, count: int) -> None:
    """Put frames in the order in which they lie, along the normal of rows and columns.

    highdicom orders them by the text of their positions; dcmqi, and with it 3D Slicer, takes the order for the place.
    """
    directions = np.reshape(
        np.asarray(
            made.SharedFunctionalGroupsSequence[0].PlaneOrientationSequence[0].ImageOrientationPatient, dtype=float
        ),
        (2, 3),
    )
    groups = made.PerFrameFunctionalGroupsSequence
    places_mm = np.array([each.PlanePositionSequence[0].ImagePositionPatient for each in groups], dtype=np.float64)
    order = np.argsort(places_mm @ np.cross(*directions), kind="stable")
    made.PerFrameFunctionalGroupsSequence = [groups[number] for number in order]
    made.FloatPixelData = np.frombuffer(made.FloatPixelData, dtype="<f4").reshape(count, -1)[order].tobytes()
    for index, each in enumerate(made.PerFrameFunctionalGroupsSequence, start=1):
        each.FrameContentSequence[0].DimensionIndexValues = index


def _anatomy() -> Dataset:
    """Return where in the body a map lies, which is not known; dcmqi 1.5, and with it 3D Slicer, crashes without it."""
    from highdicom.sr import CodedConcept

    anatomy = Dataset()
    anatomy.FrameLaterality = "U"
    anatomy.AnatomicRegionSequence = [CodedConcept.from_code(UNKNOWN.kind)]
    return anatomy


def _common(source: Source, modality: str, maker: Maker) -> dict[str, Any]:
    """Return what SEG and Parametric Map say alike."""
    from highdicom import UID

    try:
        number = int(source.headers[0].get("SeriesNumber") or 0)
    except UNREADABLE:
        number = 0
    after = _SERIES_AFTER[modality]
    return {
        "series_instance_uid": UID(),
        "series_number": after + number if 0 <= number <= _LARGEST_SERIES - after else after,
        "sop_instance_uid": UID(),
        "instance_number": 1,
        "manufacturer": "UnCoL",
        "manufacturer_model_name": "UnCoL",
        "software_versions": _one_line(maker.version),
        "device_serial_number": _one_line(maker.identity),
        "content_description": _one_line(maker.description),
    }
