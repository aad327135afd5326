"""NRRD, also of two files: the header says how voxels are stored and how they lie, and nothing of it is guessed.

Source: "Definition of NRRD File Format", https://teem.sourceforge.net/nrrd/format.html
"""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from uncol.core.errors import DataError, GeometryError
from uncol.core.volume import Volume
from uncol.formats.grid import LPS_TO_RAS, irregular, length_in_mm, not_placed, regular_grid
from uncol.formats.paths import beside
from uncol.formats.voxels import END_OF_FILE, Packing, StoredVoxels, check_three_axes, damaged, several_numbers

_log = logging.getLogger(__name__)
_HEADER_BYTES = 1 << 24
_MAGIC = re.compile(rb"NRRD000[1-9]\s*")
_FIELD = re.compile(r"([^:]+):(=?)(.*)")
_VECTOR = re.compile(r"none|\(([^)]*)\)")
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
_ENDIANS = {"little": "<", "big": ">"}
_PACKINGS: dict[str, Packing] = {
    "raw": "raw", "gzip": "gzip", "gz": "gzip", "bzip2": "bzip2", "bz2": "bzip2",
    "ascii": "text", "text": "text", "txt": "text",
}  # fmt: skip
_LPS, _RAS, _LAS = np.diag([1.0, 1.0, 1.0]), np.diag([-1.0, -1.0, 1.0]), np.diag([1.0, -1.0, 1.0])
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


def read_nrrd(path: Path, subject: str) -> Volume:
    """Read a .nrrd or .nhdr file, or a header with its file of voxels beside it.

    Raises:
        DataError: If it is damaged, incomplete, or not scalar and 3D.
        GeometryError: If its axes are not at right angles, or its lengths are in units that are not known.
    """
    header = _read_header(path, subject)
    try:
        axes = _axes(header)
        spatial = _spatial(axes, subject)
        stored = _stored(path, header, spatial, subject)
        grid = _placed_grid(header, spatial, subject)
        is_placed = grid is not None
        if grid is None:
            grid = _straight_grid(spatial, subject)
            _log.warning(not_placed(subject))
    except (ValueError, KeyError, IndexError) as error:
        raise DataError(damaged(subject)) from error
    return Volume(stored.read(subject), regular_grid(LPS_TO_RAS @ grid + 0.0, subject), is_placed=is_placed)


def _read_header(path: Path, subject: str) -> _Header:
    fields: dict[str, str] = {}
    with path.open("rb") as file:
        if not _MAGIC.fullmatch(file.readline(16)):
            raise DataError(damaged(subject))
        while (line := file.readline(_HEADER_BYTES)).strip() and file.tell() < _HEADER_BYTES:
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
    vectors = [*_VECTOR.finditer(header.fields.get("space directions", "none " * len(sizes)))]
    directions = [None if each[1] is None else [float(number) for number in each[1].split(",")] for each in vectors]
    kinds = header.fields.get("kinds", "??? " * len(sizes)).split()
    spacings = header.numbers("spacings", "nan " * len(sizes))
    units = _texts(header, "units") or [""] * len(sizes)
    axes = [_Axis(*each) for each in zip(sizes, directions, kinds, spacings, units, strict=True)]
    if len(axes) != header.whole_number("dimension", ""):
        raise ValueError
    return axes


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
        raise DataError(several_numbers([axis.size for axis in kept], several, subject))
    check_three_axes([axis.size for axis in kept], subject)
    return kept[:3]


def _stored(path: Path, header: _Header, spatial: list[_Axis], subject: str) -> StoredVoxels:
    type_name, encoding = header.fields["type"].lower(), header.fields["encoding"].lower()
    if type_name not in _DTYPES or encoding not in _PACKINGS:
        message = f'{subject} holds voxels of type "{type_name}" with encoding "{encoding}", which is not read here.'
        raise DataError(f'{message} Export it again, with encoding "raw" or "gzip".')
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


def _placed_grid(header: _Header, spatial: list[_Axis], subject: str) -> NDArray[np.float64] | None:
    """Return the matrix (4, 4) to LPS in mm, or None if the header does not say how the axes lie in the patient."""
    origin = _VECTOR.fullmatch(header.fields.get("space origin", ""))
    to_lps = _TO_LPS.get(header.fields.get("space", "").lower())
    directions = [axis.direction for axis in spatial if axis.direction is not None]
    if to_lps is None or origin is None or origin[1] is None or len(directions) != 3:
        return None
    in_mm = [length_in_mm(unit, subject) for unit in _texts(header, "space units") or [""] * 3]
    grid = np.eye(4)
    grid[:3, :3] = to_lps @ (np.array(directions).T * np.array(in_mm)[:, None])
    grid[:3, 3] = to_lps @ (np.array([float(number) for number in origin[1].split(",")]) * in_mm)
    return grid


def _straight_grid(spatial: list[_Axis], subject: str) -> NDArray[np.float64]:
    lengths = [1.0 if axis.direction is None else float(np.linalg.norm(axis.direction)) for axis in spatial]
    spacing = [
        (length if np.isnan(axis.spacing) else axis.spacing) * length_in_mm(axis.unit, subject)
        for axis, length in zip(spatial, lengths, strict=True)
    ]
    if min(spacing) <= 0:
        raise GeometryError(irregular(subject))
    return np.diag([*spacing, 1.0])
