"""NRRD, also of two files: the header says how voxels are stored and how they lie, and nothing of it is guessed.

Source: "Definition of NRRD File Format", https://teem.sourceforge.net/nrrd/format.html
"""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from uncol.core.errors import DataError
from uncol.core.files import opened
from uncol.core.volume import Volume
from uncol.formats.grid import NOT_PLACED, CheckGrid, accept_any, length_in_mm, lps_to_ras, regular_grid, without_voxels
from uncol.formats.paths import beside
from uncol.formats.refusals import damaged, not_one_number
from uncol.formats.voxels import END_OF_FILE, Packing, StoredVoxels, check_three_axes

_log = logging.getLogger(__name__)
_HEADER_BYTES = 1 << 24
_MAGIC = re.compile(rb"NRRD000[1-9]\s*")
_FIELD = re.compile(r"([^:]+):(=?)(.*)")
_VECTOR = re.compile(r"none|\([^)]*\)")
_QUOTED = re.compile(r'"([^"]*)"|(\S+)')
_OTHER_NAMES = {"datafile": "data file", "lineskip": "line skip", "byteskip": "byte skip", "centerings": "centers"}
_TYPES = {
    "i1": "signed char,int8,int8_t",
    "u1": "uchar,unsigned char,uint8,uint8_t",
    "i2": "short,short int,signed short,signed short int,int16,int16_t",
    "u2": "ushort,unsigned short,unsigned short int,uint16,uint16_t",
    "i4": "int,signed int,int32,int32_t",
    "u4": "uint,unsigned int,uint32,uint32_t",
    "i8": "longlong,long long,long long int,signed long long,signed long long int,int64,int64_t",
    "u8": "ulonglong,unsigned long long,unsigned long long int,uint64,uint64_t",
    "f4": "float",
    "f8": "double",
}
_DTYPES = {name: code for code, names in _TYPES.items() for name in names.split(",")}
_ENDIANS: dict[str, Literal["<", ">"]] = {"little": "<", "big": ">"}
_PACKINGS: dict[str, Packing] = {
    "raw": "raw", "gzip": "gzip", "gz": "gzip", "bzip2": "bzip2", "bz2": "bzip2",
    "ascii": "text", "text": "text", "txt": "text",
}  # fmt: skip
_LPS, _RAS, _LAS = (1.0, 1.0, 1.0), (-1.0, -1.0, 1.0), (1.0, -1.0, 1.0)
_TO_LPS = {
    "left-posterior-superior": _LPS, "lps": _LPS,
    "right-anterior-superior": _RAS, "ras": _RAS,
    "left-anterior-superior": _LAS, "las": _LAS,
}  # fmt: skip
_PLACE_KINDS = {"domain", "space", "time", "???", "none"}


class _Header(NamedTuple):
    fields: dict[str, str]
    end: int

    def numbers(self, name: str, default: str = "") -> list[float]:
        return [float(text) for text in self.fields.get(name, default).split()]

    def whole_number(self, name: str, default: str) -> int:
        return int(self.fields.get(name, default))


class _Axis(NamedTuple):
    size: int
    direction: list[float] | None
    kind: str
    spacing: float
    unit: str


def read_nrrd(path: Path, subject: str, check: CheckGrid = accept_any) -> Volume:
    """Read a .nrrd or .nhdr file, or a header with its file of voxels beside it; `check` comes before the voxels.

    Raises:
        DataError: If it is damaged, incomplete, or not scalar and 3D.
        GeometryError: If its axes are not at right angles, or its lengths are in units that are not known.
    """
    header = _read_header(path, subject)
    try:
        axes = _axes(header)
        spatial = _spatial(axes, subject)
        stored = _stored(path, header, spatial, subject)
        grid, is_placed = _grid(header, spatial, subject)
        told = without_voxels(stored.shape_kji, regular_grid(lps_to_ras(grid), subject), is_placed=is_placed)
    except (ValueError, KeyError, IndexError) as error:
        raise DataError(damaged(subject)) from error
    if not is_placed:
        _log.warning(NOT_PLACED, subject)
    check(told)
    return told.with_voxels(stored.read(subject))


def _read_header(path: Path, subject: str) -> _Header:
    fields: dict[str, str] = {}
    with opened(path) as (file, _):
        if not _MAGIC.fullmatch(file.readline(16)):
            raise DataError(damaged(subject))
        while (line := file.readline(_HEADER_BYTES)).strip():
            if file.tell() > _HEADER_BYTES:
                raise DataError(damaged(subject))
            if line.startswith(b"#"):
                continue
            found = _FIELD.match(line.decode("utf-8", "replace"))
            if found is None:
                raise DataError(damaged(subject))
            name, is_key, value = found.groups()
            if is_key:  # a pair of key and value for programs, not a field
                continue
            name = _OTHER_NAMES.get(name.strip().lower(), name.strip().lower())
            if fields.get(name, value.strip()) != value.strip():
                message = f'{subject} states "{name}" twice, and differently. Export it again.'
                raise DataError(message)
            fields[name] = value.strip()
        return _Header(fields, file.tell())


def _axes(header: _Header) -> list[_Axis]:
    sizes = [int(text) for text in header.fields["sizes"].split()]
    texts = _VECTOR.findall(header.fields.get("space directions", "none " * len(sizes)))
    directions = [_vector(text) for text in texts]
    kinds = header.fields.get("kinds", "??? " * len(sizes)).split()
    spacings = header.numbers("spacings", "nan " * len(sizes))
    units = _texts(header, "units") or [""] * len(sizes)
    axes = [_Axis(*each) for each in zip(sizes, directions, kinds, spacings, units, strict=True)]
    if len(axes) != header.whole_number("dimension", ""):
        raise ValueError
    return axes


def _vector(text: str) -> list[float] | None:
    return [float(number) for number in text.strip("()").split(",")] if text.startswith("(") else None


def _texts(header: _Header, name: str) -> list[str]:
    return [quoted or plain for quoted, plain in _QUOTED.findall(header.fields.get(name, ""))]


def _spatial(axes: list[_Axis], subject: str) -> list[_Axis]:
    """Return the axes along I, J and K; layers of one and single time points do not count."""
    has_directions = any(axis.direction is not None for axis in axes)
    kept, several = [], 1
    for axis in axes:
        is_place = axis.kind.lower() in _PLACE_KINDS and (axis.direction is not None or not has_directions)
        if is_place or (axis.kind.lower() == "time" and axis.size > 1):
            kept.append(axis)
        else:
            several *= axis.size
    if several != 1:
        raise DataError(not_one_number(subject, [axis.size for axis in kept], f"list of {several} numbers"))
    check_three_axes([axis.size for axis in kept], subject)
    return kept[:3]


def _stored(path: Path, header: _Header, spatial: list[_Axis], subject: str) -> StoredVoxels:
    type_name, encoding = header.fields["type"].lower(), header.fields["encoding"].lower()
    if type_name not in _DTYPES or encoding not in _PACKINGS:
        message = (
            f'{subject} holds voxels of type "{type_name}" with encoding "{encoding}", which is not read here. '
            'Export it again, with encoding "raw" or "gzip".'
        )
        raise DataError(message)
    dtype, packing = np.dtype(_DTYPES[type_name]), _PACKINGS[encoding]
    if dtype.itemsize > 1 and packing != "text":
        dtype = dtype.newbyteorder(_ENDIANS[header.fields["endian"].lower()])
    lines, skipped = header.whole_number("line skip", "0"), header.whole_number("byte skip", "0")
    if lines < 0 or skipped < -1 or (skipped == -1 and packing != "raw"):
        raise ValueError
    file, start = path, header.end
    if (name := header.fields.get("data file")) is not None:
        if name.startswith("LIST") or re.search(r"%\d*d", name):
            message = f"{subject} keeps its voxels in several files. Export it as one file."
            raise DataError(message)
        file, start = beside(path, name, subject), 0
    return StoredVoxels(
        file=file,
        dtype=dtype,
        sizes=(spatial[0].size, spatial[1].size, spatial[2].size),
        packing=packing,
        start=END_OF_FILE if skipped == -1 else start,
        skipped_lines=lines,
        skipped_bytes=max(skipped, 0),
    )


def _grid(header: _Header, spatial: list[_Axis], subject: str) -> tuple[NDArray[np.float64], bool]:
    """Return the matrix (4, 4) to LPS in mm, and whether the header says all of it; a space without a name is LPS."""
    space = header.fields.get("space", "").lower().removesuffix("-time")
    origin = _vector(header.fields.get("space origin", ""))
    directions = [axis.direction[:3] for axis in spatial if axis.direction is not None]
    grid = np.eye(4)
    if len(directions) < len(spatial):
        for number, axis in enumerate(spatial):
            length = 1.0 if np.isnan(axis.spacing) else axis.spacing
            grid[number, number] = length * length_in_mm(axis.unit, subject)
        return grid, False
    units = _texts(header, "space units") or [""] * 3
    to_lps = np.array(_TO_LPS.get(space, _LPS)) * [length_in_mm(unit, subject) for unit in units[:3]]
    grid[:3, :3] = to_lps[:, None] * np.array(directions).T
    grid[:3, 3] = to_lps * (origin or [0.0] * 3)[:3]
    return grid, space in _TO_LPS and origin is not None
