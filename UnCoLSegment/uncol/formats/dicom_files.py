"""DICOM files, each looked at once and without its pixels: images, damaged images, other objects, other files."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from pydicom import Dataset
from pydicom.config import disable_value_validation
from pydicom.uid import UID

from uncol.core.errors import DataError
from uncol.core.files import opened
from uncol.formats.dicom_frames import Frame, Misfit, frames_of, oddity_of, quoted
from uncol.formats.dicom_header import PixelData, Place, pixel_data, read_header
from uncol.formats.dicom_tags import UNREADABLE, TagError, plain_code, text_of, whole_number
from uncol.formats.paths import unreadable

_LOGGER = logging.getLogger(__name__)
_MAGIC_AT, _MAGIC = 128, b"DICM"
_FIRST_GROUPS = (b"\x02\0", b"\x08\0", b"\0\x08")
"""How a file begins that lacks the preamble: with a tag of group 0002 or 0008, the last one in big endian."""
_DICOMDIR = "DICOMDIR"
_ENDINGS = {".dcm", ".dicom", ".ima"}
SEGMENTATIONS = ("1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7", "1.2.840.10008.5.1.4.1.1.66.5")
"""Segmentation, Label Map Segmentation and Surface Segmentation Storage."""
_DOSES = ("1.2.840.10008.5.1.4.1.1.481.2",)
"""RT Dose Storage: pixels that are no picture of a patient."""


@dataclass(frozen=True)
class ImageFile:
    """A whole file with images: those that say all that is needed, and those that do not."""

    pixels: PixelData
    series: str
    series_number: int | None
    modality: str
    frames: tuple[Frame, ...]
    misfits: tuple[Misfit, ...]


@dataclass(frozen=True)
class OtherFile:
    """A file without a usable image.

    Attributes:
        path: The file.
        reason: What is wrong with it, in a short phrase.
        is_damaged: Whether an image was there.
        could_be_slice: Whether what is left of it could be a damaged slice although it is not recognized as DICOM.
        series: UID of its series, empty where it is not known.
        sop_class: UID of its kind, empty where it is not known.
    """

    path: Path
    reason: str
    is_damaged: bool = False
    could_be_slice: bool = False
    series: str = ""
    sop_class: str = ""


@dataclass
class Found:
    """What lies in a folder, in the order of the files' names."""

    images: list[ImageFile] = field(default_factory=list)
    damaged: list[OtherFile] = field(default_factory=list)
    others: list[OtherFile] = field(default_factory=list)


@contextmanager
def quietly() -> Iterator[None]:
    """Keep what libraries would print out of log and console: what matters comes back as a sentence, without names."""
    loggers = [logging.getLogger(name) for name in ("pydicom", "highdicom")]
    levels = [each.level for each in loggers]
    for each in loggers:
        each.setLevel(logging.CRITICAL + 1)
    try:
        with warnings.catch_warnings(), disable_value_validation():
            warnings.simplefilter("ignore")
            yield
    finally:
        for each, level in zip(loggers, levels, strict=True):
            each.setLevel(level)


def look_through(folder: Path, subject: str) -> Found:
    """Look at every file that lies directly in a folder and is not hidden; DICOMDIR is a list and no image.

    Raises:
        DataError: If the folder or one of its files may not be read.
    """
    found = Found()
    for path in _files_in(folder, subject):
        looked_at = look_at(path, f"{quoted(path)} in {subject}")
        if isinstance(looked_at, ImageFile):
            found.images.append(looked_at)
        else:
            (found.damaged if looked_at.is_damaged else found.others).append(looked_at)
    slices = [each.pixels.path for each in found.images] + [each.path for each in found.damaged]
    endings = _ENDINGS | {_ending(path) for path in slices}
    found.damaged += [each for each in found.others if _is_lost_slice(each, endings)]
    found.others = [each for each in found.others if not _is_lost_slice(each, endings)]
    return found


def _files_in(folder: Path, subject: str) -> list[Path]:
    try:
        paths = sorted(folder.iterdir())
        return [
            path
            for path in paths
            if not path.name.startswith(".") and path.name != _DICOMDIR and (path.is_file() or path.is_symlink())
            if not path.is_dir()
        ]
    except OSError as error:
        raise DataError(unreadable(subject, error)) from error


def _ending(path: Path) -> str:
    """Return the suffix of a name; of `1.2.840.4711` it is the last number of a UID, and that is none."""
    suffix = path.suffix.lower()
    return "" if suffix[1:].isdecimal() else suffix


def _is_lost_slice(file: OtherFile, endings: set[str]) -> bool:
    ending = _ending(file.path)
    is_alike = ending in endings and not file.sop_class
    return is_alike and (bool(ending) or file.could_be_slice)


def look_at(path: Path, subject: str) -> ImageFile | OtherFile:
    """Read the header of a file.

    Raises:
        DataError: If it may not be read.
    """
    try:
        with opened(path) as (file, _):
            return _look_into(file, path)
    except FileNotFoundError:
        return OtherFile(path, "a link that leads nowhere", could_be_slice=True)
    except OSError as error:
        raise DataError(unreadable(subject, error)) from error


def is_dicom_file(path: Path) -> bool:
    """Say whether a file is DICOM, with or without the preamble."""
    with opened(path) as (file, _):
        head = file.read(_MAGIC_AT + len(_MAGIC))
        if head[_MAGIC_AT:] == _MAGIC or not _begins_as_dicom(head):
            return head[_MAGIC_AT:] == _MAGIC
        file.seek(0)
        looked_at = _look_into(file, path)
    return isinstance(looked_at, ImageFile) or looked_at.is_damaged or bool(looked_at.sop_class)


def _begins_as_dicom(head: bytes) -> bool:
    return head[_MAGIC_AT:] == _MAGIC or head[:2] in _FIRST_GROUPS


def _look_into(file: BinaryIO, path: Path) -> ImageFile | OtherFile:
    head = file.read(_MAGIC_AT + len(_MAGIC))
    if not head:
        return OtherFile(path, "empty", could_be_slice=True)
    foreign = OtherFile(path, "no DICOM file", could_be_slice=b"\0" in head)
    if not _begins_as_dicom(head):
        return foreign
    has_magic = head[_MAGIC_AT:] == _MAGIC
    file.seek(0)
    try:
        header, place = read_header(file)
        sop_class = text_of(header, "SOPClassUID") or text_of(header.file_meta, "MediaStorageSOPClassUID")
        if sop_class and (has_magic or text_of(header, "SOPInstanceUID")):
            return _sorted_out(path, header, place, sop_class)
    except UNREADABLE:
        _LOGGER.debug("The header of a DICOM file cannot be read.", exc_info=True)
    return OtherFile(path, "unreadable", is_damaged=True) if has_magic else foreign


def _sorted_out(path: Path, header: Any, place: Place | None, sop_class: str) -> ImageFile | OtherFile:
    name, series = UID(sop_class).name, text_of(header, "SeriesInstanceUID")
    kind = "DICOM of another kind" if name == sop_class else f'DICOM of the class "{name}"'
    is_picture = sop_class not in (*SEGMENTATIONS, *_DOSES) and ("Rows" in header or "Image Storage" in name)
    if not is_picture:
        return OtherFile(path, kind, sop_class=sop_class, series=series)
    try:
        pixels = pixel_data(path, header, place)
        oddity = oddity_of(header)
    except TagError as error:
        return OtherFile(path, str(error), is_damaged=True, series=series, sop_class=sop_class)
    images = [*frames_of(header, pixels)] if oddity is None else [Misfit(quoted(path), oddity)]
    return ImageFile(
        pixels,
        series,
        _series_number(header),
        plain_code(text_of(header, "Modality")),
        tuple(each for each in images if isinstance(each, Frame)),
        tuple(each for each in images if isinstance(each, Misfit)),
    )


def _series_number(header: Dataset) -> int | None:
    try:
        return whole_number(header, "SeriesNumber")
    except TagError:
        return None
