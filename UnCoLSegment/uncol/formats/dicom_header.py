"""The header of one DICOM file up to its pixels, and where and how these are stored: all of them, or it is cut off.

Only the tags named here are read; none is about a patient.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

from pydicom import Dataset, dcmread
from pydicom.datadict import tag_for_keyword
from pydicom.filereader import read_partial
from pydicom.uid import DeflatedExplicitVRLittleEndian, UncompressedTransferSyntaxes
from pydicom.valuerep import EXPLICIT_VR_LENGTH_32

from uncol.formats.dicom_tags import TagError, tag_name, text_of, whole_number

_TAGS = (
    "SOPClassUID",
    "SOPInstanceUID",
    "SeriesInstanceUID",
    "SeriesNumber",
    "Modality",
    "ImageType",
    "NumberOfFrames",
    "Rows",
    "Columns",
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "PixelSpacing",
    "SliceThickness",
    "SpacingBetweenSlices",
    "RescaleSlope",
    "RescaleIntercept",
    "ModalityLUTSequence",
    "TemporalPositionIdentifier",
    "AcquisitionNumber",
    "EchoTime",
    "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence",
    "ExtendedOffsetTable",
    "ExtendedOffsetTableLengths",
)
_PIXEL_KEYWORDS = {tag_for_keyword(name): name for name in ("PixelData", "FloatPixelData", "DoubleFloatPixelData")}
_PIXEL_TAGS = [*_PIXEL_KEYWORDS.values()]
_UNDEFINED_LENGTH = 0xFFFFFFFF
_ITEM, _END_OF_ITEMS = 0xFFFEE000, 0xFFFEE0DD
_CUT_OFF = "cut off"


@dataclass(frozen=True, slots=True)
class PixelData:
    """How the pixels of a file are stored.

    Attributes:
        path: The file.
        syntax: UID of the transfer syntax; empty where the file names none.
        keyword: PixelData, FloatPixelData or DoubleFloatPixelData.
        offset: Where the value begins in the file, in bytes; None in a deflated file.
        is_compressed: Whether the value is a list of compressed images.
        is_little_endian: Order of its bytes.
        frame_count: Number of images, one behind the other.
        rows: Of each image.
        columns: Of each image.
        bits_allocated: Of each pixel.
        bits_stored: Those of them that count.
        is_signed: Whether the highest of these is the sign.
        photometric: MONOCHROME1 or MONOCHROME2.
        offset_table: Places and lengths of compressed images, where the file tells them.
    """

    path: Path
    syntax: str
    keyword: str
    offset: int | None
    is_compressed: bool
    is_little_endian: bool
    frame_count: int
    rows: int
    columns: int
    bits_allocated: int
    bits_stored: int
    is_signed: bool
    photometric: str
    offset_table: tuple[bytes, bytes] | None

    @property
    def frame_bytes(self) -> int:
        """Length of one image that is not compressed."""
        return math.ceil(self.rows * self.columns * self.bits_allocated / 8)


@dataclass(frozen=True)
class Place:
    """Where pixels lie: the tag, and the bytes behind it that are there."""

    keyword: str
    vr: str | None
    offset: int | None
    announced: int
    there: int
    images: int
    is_closed: bool


def read_header(file: BinaryIO) -> tuple[Any, Place | None]:
    """Return the tags before the pixels, and where these lie; None where there are none.

    Source:
        DICOM PS3.5, section 7.1 (data elements) and annex A.4 (compressed images as items).
    """
    met: list[tuple[int, str | None, int]] = []

    def is_pixels(tag: int, vr: str | None, length: int) -> bool:
        if tag in _PIXEL_KEYWORDS:
            met.append((tag, vr, length))
        return tag in _PIXEL_KEYWORDS

    tags = [tag_for_keyword(name) for name in _TAGS]
    header = read_partial(file, is_pixels, force=True, specific_tags=tags)  # type: ignore[arg-type]  # of a BaseTag
    if not met:
        return header, None
    tag, vr, length = met[0]
    keyword = _PIXEL_KEYWORDS[tag]
    if header.file_meta.get("TransferSyntaxUID") == DeflatedExplicitVRLittleEndian:
        there = len(inflated_pixels(file))
        return header, Place(keyword, vr, None, length, there, 0, is_closed=True)
    implicit, _ = header.original_encoding
    offset = file.tell() + (12 if not implicit and vr in EXPLICIT_VR_LENGTH_32 else 8)
    size = file.seek(0, 2)
    if length != _UNDEFINED_LENGTH:
        return header, Place(keyword, vr, offset, length, min(length, size - offset), 0, is_closed=True)
    images, is_closed = _count_items(file, offset, size)
    return header, Place(keyword, vr, offset, length, size - offset, images, is_closed)


def inflated_pixels(file: BinaryIO) -> bytes:
    """Return the pixel data of a file whose data set is deflated."""
    file.seek(0)
    header = dcmread(BytesIO(file.read()), force=True, specific_tags=_PIXEL_TAGS)
    return next((header[name].value for name in _PIXEL_TAGS if name in header), b"")


def _count_items(file: BinaryIO, offset: int, size: int) -> tuple[int, bool]:
    """Return how many parts follow the table of offsets, and whether they end as they should."""
    count = -1
    while True:
        file.seek(offset)
        head = file.read(8)
        if len(head) < 8:
            return max(count, 0), offset == size
        group, element, length = struct.unpack("<HHL", head)
        if group << 16 | element != _ITEM:
            return max(count, 0), group << 16 | element == _END_OF_ITEMS
        count += 1
        offset += 8 + length


def pixel_data(path: Path, header: Any, place: Place | None) -> PixelData:
    """Return how pixels are stored, if that is said and all of them are there.

    Raises:
        TagError: If not.
    """
    if place is None:
        raise TagError(_CUT_OFF)
    allocated = whole_number(header, "BitsAllocated")
    stored = whole_number(header, "BitsStored", allocated)
    pixels = PixelData(
        path=path,
        syntax=str(header.file_meta.get("TransferSyntaxUID", "")),
        keyword=place.keyword,
        offset=place.offset,
        is_compressed=place.announced == _UNDEFINED_LENGTH,
        is_little_endian=header.original_encoding[1] is not False,
        frame_count=whole_number(header, "NumberOfFrames", 1),
        rows=whole_number(header, "Rows"),
        columns=whole_number(header, "Columns"),
        bits_allocated=allocated,
        bits_stored=stored,
        is_signed=whole_number(header, "PixelRepresentation", None if place.keyword == "PixelData" else 0) == 1,
        photometric=text_of(header, "PhotometricInterpretation"),
        offset_table=_offset_table(header),
    )
    _check_stated(pixels, header, place)
    _check_complete(pixels, place, whole_number(header, "SamplesPerPixel", 1))
    return pixels


def _check_stated(pixels: PixelData, header: Dataset, place: Place) -> None:
    has_bits = 0 < pixels.bits_stored <= pixels.bits_allocated
    if not (pixels.rows and pixels.columns and pixels.frame_count and has_bits):
        message = "no size of image or pixel"
        raise TagError(message)
    highest = pixels.bits_stored - 1
    if pixels.keyword == "PixelData" and whole_number(header, "HighBit", highest) != highest:
        message = f"{tag_name('HighBit')} that does not fit {tag_name('BitsStored')}"
        raise TagError(message)
    if not pixels.is_little_endian and pixels.bits_allocated == 8 and place.vr == "OW":
        message = "single bytes in big endian order"
        raise TagError(message)
    if pixels.is_compressed == (pixels.syntax in ("", *UncompressedTransferSyntaxes)):
        message = "contradicting itself on whether pixels are compressed"
        raise TagError(message)
    described = len(header.get("PerFrameFunctionalGroupsSequence") or ())
    if described and described != pixels.frame_count:
        message = f"{pixels.frame_count} frames announced but {described} described"
        raise TagError(message)


def _check_complete(pixels: PixelData, place: Place, samples: int) -> None:
    if place.announced == _UNDEFINED_LENGTH:
        is_complete = place.is_closed and place.images >= pixels.frame_count
    else:
        is_complete = place.there >= pixels.frame_bytes * samples * pixels.frame_count
    if not is_complete:
        raise TagError(_CUT_OFF)


def _offset_table(header: Dataset) -> tuple[bytes, bytes] | None:
    tables = [header.get(name) for name in ("ExtendedOffsetTable", "ExtendedOffsetTableLengths")]
    return (tables[0], tables[1]) if all(isinstance(table, bytes) for table in tables) else None
