"""MetaImage, also of two files: the header says how voxels are stored and how they lie, and nothing of it is guessed.

Source: "MetaIO/Documentation", https://itk.org/Wiki/MetaIO/Documentation
"""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from uncol.core.errors import DataError, GeometryError
from uncol.core.files import opened
from uncol.core.volume import Volume
from uncol.formats.grid import (
    NOT_PLACED,
    CheckGrid,
    accept_any,
    irregular,
    length_in_mm,
    lps_to_ras,
    regular_grid,
    without_voxels,
)
from uncol.formats.paths import beside
from uncol.formats.refusals import damaged, not_one_number
from uncol.formats.voxels import StoredVoxels, check_three_axes

_log = logging.getLogger(__name__)
_HEADER_BYTES = 1 << 20
_FIELD = re.compile(r"\s*(\w+)\s*[=:](.*)")
_DTYPES = {
    "MET_CHAR": "i1", "MET_UCHAR": "u1", "MET_SHORT": "i2", "MET_USHORT": "u2", "MET_INT": "i4", "MET_UINT": "u4",
    "MET_LONG": "i4", "MET_ULONG": "u4", "MET_LONG_LONG": "i8", "MET_ULONG_LONG": "u8",
    "MET_FLOAT": "f4", "MET_DOUBLE": "f8",
}  # fmt: skip
_OTHER_NAMES = {
    "ElementByteOrderMSB": "BinaryDataByteOrderMSB",
    "Orientation": "TransformMatrix", "Rotation": "TransformMatrix",
    "Origin": "Offset", "Position": "Offset",
}  # fmt: skip


class _Header(NamedTuple):
    fields: dict[str, str]
    end: int

    def is_true(self, name: str) -> bool:
        return self.fields.get(name, "").upper().startswith(("T", "1"))

    def whole_number(self, name: str, default: int) -> int:
        return int(self.fields.get(name, default))

    def numbers(self, name: str, count: int) -> NDArray[np.float64]:
        numbers = np.array([float(text) for text in self.fields[name].split()])
        return numbers.reshape(count)  # another count is a ValueError


def read_metaimage(path: Path, subject: str, check: CheckGrid = accept_any) -> Volume:
    """Read a .mha or .mhd file, or a header with its file of voxels beside it; `check` comes before the voxels.

    Raises:
        DataError: If it is damaged, incomplete, or not scalar and 3D.
        GeometryError: If its axes are not at right angles, or its lengths are in units that are not known.
    """
    header = _read_header(path, subject)
    try:
        sizes = [int(text) for text in header.fields["DimSize"].split()]
        if len(sizes) != header.whole_number("NDims", len(sizes)):
            raise DataError(damaged(subject))
        stored = _stored(path, header, check_three_axes(sizes, subject), subject)
        grid = _grid(header, len(sizes), subject)
        names = header.fields.keys()
        is_placed = bool(names & {"ElementSpacing", "ElementSize"} and names & {"TransformMatrix", "Offset"})
        told = without_voxels(stored.shape_kji, regular_grid(lps_to_ras(grid), subject), is_placed=is_placed)
    except (ValueError, KeyError) as error:
        raise DataError(damaged(subject)) from error
    if not is_placed:
        _log.warning(NOT_PLACED, subject)
    check(told)
    return told.with_voxels(stored.read(subject))


def _read_header(path: Path, subject: str) -> _Header:
    fields: dict[str, str] = {}
    with opened(path) as (file, _):
        while "ElementDataFile" not in fields:  # the last field; voxels may follow
            found = _FIELD.match(file.readline(_HEADER_BYTES).decode("utf-8", "replace"))
            if found is None or file.tell() > _HEADER_BYTES:
                raise DataError(damaged(subject))
            name = _OTHER_NAMES.get(found[1], found[1])
            if fields.get(name, found[2].strip()) != found[2].strip():
                message = f'{subject} states "{name}" twice, and differently. Export it again.'
                raise DataError(message)
            fields[name] = found[2].strip()
        return _Header(fields, file.tell())


def _stored(path: Path, header: _Header, sizes: tuple[int, int, int], subject: str) -> StoredVoxels:
    if (channels := header.whole_number("ElementNumberOfChannels", 1)) != 1:
        raise DataError(not_one_number(subject, sizes, f"list of {channels} numbers"))
    type_name, name = header.fields["ElementType"], header.fields["ElementDataFile"]
    if type_name not in _DTYPES:
        message = f'{subject} holds voxels of type "{type_name}", which is not read here. Export it as MET_SHORT.'
        raise DataError(message)
    if name.startswith("LIST") or "%" in name:
        message = f"{subject} keeps its voxels in several files. Export it as one file."
        raise DataError(message)
    is_local = name.upper() == "LOCAL"
    is_packed = header.is_true("CompressedData")
    skipped = header.whole_number("HeaderSize", 0)
    if skipped < -1 or (skipped == -1 and is_packed):
        raise ValueError
    is_text = header.fields.get("BinaryData", "True").upper().startswith(("F", "0"))
    size = header.whole_number("CompressedDataSize", 0)
    return StoredVoxels(
        file=path if is_local else beside(path, name, subject),
        dtype=np.dtype(_DTYPES[type_name]).newbyteorder(">" if header.is_true("BinaryDataByteOrderMSB") else "<"),
        sizes=sizes,
        packing="zlib" if is_packed else "text" if is_text else "raw",
        start=skipped or (header.end if is_local else 0),  # counted from the file's begin, and -1 is END_OF_FILE
        packed_bytes=size if is_packed and size > 0 else None,
    )


def _grid(header: _Header, axis_count: int, subject: str) -> NDArray[np.float64]:
    """Return the matrix (4, 4) to LPS in mm; what the header does not say is 1 mm, straight, at the origin."""
    spacing = np.ones(axis_count)
    for name in ("ElementSize", "ElementSpacing"):  # the latter counts
        if name in header.fields:
            spacing = header.numbers(name, axis_count)
    if not spacing.all():
        raise GeometryError(irregular(subject))
    offset = header.numbers("Offset", axis_count) if "Offset" in header.fields else np.zeros(axis_count)
    directions = np.eye(axis_count)
    if "TransformMatrix" in header.fields:  # the direction of one axis after the other
        directions = header.numbers("TransformMatrix", axis_count**2).reshape(axis_count, axis_count).T
    in_mm = length_in_mm(header.fields.get("DistanceUnits", ""), subject)
    grid = np.eye(4)
    grid[:3, :3] = directions[:3, :3] * spacing[:3] * in_mm
    grid[:3, 3] = offset[:3] * in_mm
    return grid
