"""A result as DICOM beside the images that it was found in: labels as SEG, uncertainty as Parametric Map.

Both are made with highdicom, an optional package. Nothing that is said of a patient is looked at: it is copied.
"""

from __future__ import annotations

import colorsys
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset, dcmread
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code
from pydicom.valuerep import DA, TM

from uncol.core.errors import DataError
from uncol.core.jobs import Structure
from uncol.core.printable import printable
from uncol.core.volume import Volume
from uncol.formats.dicom_files import quietly
from uncol.formats.dicom_frames import Frame
from uncol.formats.dicom_tags import UNREADABLE, tag_name
from uncol.formats.dicom_terms import UNKNOWN, term_of

_LOGGER = logging.getLogger(__name__)
_NEEDED = ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID", "SOPClassUID", "SOPInstanceUID")
_SHARED = _NEEDED[:3]
_FORMATS: dict[str, Callable[[str], object]] = {"PatientBirthDate": DA, "StudyDate": DA, "StudyTime": TM}
_SEXES = ("", "F", "M", "O")
_MAY_BE_EMPTY = ("PatientID", "PatientName", "PatientSex", "AccessionNumber", "StudyID", *_FORMATS)
"""What DICOM wants of every object, empty where it is not known (type 2)."""
_LONGEST_TEXT, _LONGEST_DESCRIPTION = 64, 1024  # of LO and ST; DICOM PS3.5, table 6.2-1
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


def check_highdicom() -> None:
    """Refuse to write DICOM where the package for it is missing.

    Raises:
        DataError: If it is.
    """
    if find_spec("highdicom") is None:
        message = "DICOM results need the package highdicom. Install it (pip install highdicom), or leave out --dicom."
        raise DataError(message)


def source_of(frames: Sequence[Frame], subject: str) -> Source:
    """Return the images of a volume, if they say all that a result must repeat of them.

    Raises:
        DataError: If they do not.
    """
    paths = list(dict.fromkeys(frame.pixels.path for frame in frames))
    count = sum(frame.pixels.frame_count for frame in {each.pixels.path: each for each in frames}.values())
    if count != len(frames) or (len(paths) > 1 and count > len(paths)):
        message = (
            f"{subject} is spread over several files with many frames, or uses some of the frames of one only. "
            "A DICOM result needs one file for each slice or all frames of one file: leave out --dicom."
        )
        raise DataError(message)
    order = [frame.index if len(paths) == 1 else paths.index(frame.pixels.path) for frame in frames]
    with quietly():
        source = Source(tuple(_header(path, subject) for path in paths), tuple(order), subject)
        if len({tuple(str(each[name].value) for name in _SHARED) for each in source.headers}) > 1:
            message = f"{subject} has slices of different studies, series or frames of reference. Export it again."
            raise DataError(message)
        _tell_of_emptied(source)
        _check_with_highdicom(source)
    return source


def dicom_results(
    source: Source, labels: Volume, uncertainty: Volume, structures: Sequence[Structure], maker: Maker
) -> tuple[Dataset, Dataset]:
    """Return a result as DICOM: its labels as binary SEG, its uncertainty as Parametric Map of 32-bit numbers.

    Args:
        source: The images.
        labels: Label map (uint8) on their grid.
        uncertainty: Normalized entropy (float32, in [0, 1]) on their grid.
        structures: Label values and names.
        maker: Who made it.

    Source:
        DICOM PS3.3, A.51 (Segmentation) and A.75 (Parametric Map).
    """
    with quietly(), _translated(source.subject):
        return (
            _segmentation(source, labels.voxels, structures, maker),
            _parametric_map(source, uncertainty.voxels, maker),
        )


def write_dicom(dataset: Dataset, path: Path) -> None:
    """Write one DICOM file."""
    with quietly():
        dataset.save_as(path, enforce_file_format=True)


def color_of(value: int) -> tuple[int, int, int]:
    """Return the color (red, green, blue; 0 to 255) of a label value in DICOM."""
    red, green, blue = (round(255 * part) for part in colorsys.hsv_to_rgb(value * _GOLDEN % 1, 0.65, 0.95))
    return red, green, blue


def _header(path: Path, subject: str) -> Dataset:
    try:
        header = dcmread(path, stop_before_pixels=True, force=True)
        missing = next((name for name in _NEEDED if not header.get(name)), None)
    except UNREADABLE as error:
        message = f"The headers of {subject} cannot be repeated in a DICOM result. Export it again."
        raise DataError(message) from error
    if missing is not None:
        message = (
            f"{subject} has no {tag_name(missing)}, which a DICOM result refers to. "
            "Export the images from the archive again, or leave out --dicom."
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


def _check_with_highdicom(source: Source) -> None:
    """Make a segmentation of nothing: what is wrong with the headers is to be heard before the work and not after."""
    first = source.headers[0]
    nothing = np.zeros((len(source.order), first.Rows, first.Columns), dtype=np.uint8)
    with _translated(source.subject):
        _segmentation(source, nothing, [Structure(1, "nothing")], Maker("0", "0", "0", {}))


@contextmanager
def _translated(subject: str) -> Iterator[None]:
    try:
        yield
    except UNREADABLE as error:  # of highdicom; its text may hold what a header says of a patient
        message = (
            f"The headers of {subject} do not fit a DICOM result ({type(error).__name__} in highdicom). "
            "Export the images from the archive again, or leave out --dicom."
        )
        raise DataError(message) from error


def _segmentation(source: Source, labels: NDArray[np.uint8], structures: Sequence[Structure], maker: Maker) -> Dataset:
    from highdicom.content import AlgorithmIdentificationSequence
    from highdicom.seg import Segmentation, SegmentDescription

    numbers = np.zeros(256, dtype=np.uint8)
    numbers[[each.value for each in structures]] = np.arange(1, len(structures) + 1)
    algorithm = AlgorithmIdentificationSequence(
        "UnCoL", codes.DCM.ArtificialIntelligence, maker.version, parameters=dict(maker.facts)
    )
    descriptions: list[SegmentDescription] = [
        _described(each, number, algorithm) for number, each in enumerate(structures, start=1)
    ]
    made = Segmentation(
        source.headers,
        source.in_order_of_files(numbers[labels]),
        "BINARY",
        descriptions,
        content_label="SEGMENTATION",
        series_description="UnCoL segmentation, research use only",
        **_common(source, "SEG", maker),
    )
    made.ContentCreatorName = None  # type 2
    return made


def _described(structure: Structure, number: int, algorithm: Any) -> Any:
    from highdicom.color import CIELabColor
    from highdicom.seg import SegmentDescription
    from highdicom.sr import CodedConcept

    term, name = term_of(structure.name), printable(structure.name)
    described = SegmentDescription(
        number,
        name.replace("\\", "/")[:_LONGEST_TEXT],
        term.category,
        term.kind,
        "AUTOMATIC",
        algorithm,
        display_color=CIELabColor.from_rgb(*color_of(structure.value)),
    )
    described.SegmentDescription = name[:_LONGEST_DESCRIPTION]
    if term.side is not None:
        kind = described.SegmentedPropertyTypeCodeSequence[0]
        kind.SegmentedPropertyTypeModifierCodeSequence = [CodedConcept.from_code(term.side)]
    return described


def _parametric_map(source: Source, uncertainty: NDArray[np.float32], maker: Maker) -> Dataset:
    from highdicom import VOILUTTransformation
    from highdicom.pm import ParametricMap, RealWorldValueMapping

    mapping = RealWorldValueMapping(
        "UNCERTAINTY", _ENTROPY.meaning, codes.UCUM.NoUnits, (0.0, 1.0), quantity_definition=_ENTROPY
    )
    made = ParametricMap(
        source.headers,
        source.in_order_of_files(uncertainty),
        contains_recognizable_visual_features=False,
        real_world_value_mappings=[mapping],
        voi_lut_transformations=[VOILUTTransformation(window_center=0.5, window_width=1.0)],
        content_label="UNCERTAINTY",
        series_description="UnCoL uncertainty, research use only",
        **_common(source, "OT", maker),
    )
    made.ContentCreatorName = None  # type 2
    made.SharedFunctionalGroupsSequence[0].FrameAnatomySequence = [_anatomy()]
    _sort_frames(made, len(source.order))
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
    return {
        "series_instance_uid": UID(),
        "series_number": _SERIES_AFTER[modality] + max(0, number),
        "sop_instance_uid": UID(),
        "instance_number": 1,
        "manufacturer": "UnCoL",
        "manufacturer_model_name": "UnCoL",
        "software_versions": maker.version,
        "device_serial_number": maker.identity,
        "content_description": maker.description,
        "specific_character_set": "ISO_IR 192",
    }
