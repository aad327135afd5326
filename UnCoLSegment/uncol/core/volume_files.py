"""Volumes as raw NRRD files: what the panel and the engine hand to each other.

Only numpy and the standard library are needed, so that both sides write and read in a thread of their own,
without MRML and without SimpleITK. Compressed and detached files are a matter of `data/io.py`.
"""

from __future__ import annotations

import errno
import math
import os
import re
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from uncol.core.errors import DataError, GeometryError, OutputError
from uncol.core.volume import Volume

_TYPE_OF_DTYPE = {
    "int8": "signed char",
    "uint8": "unsigned char",
    "int16": "short",
    "uint16": "unsigned short",
    "int32": "int",
    "uint32": "unsigned int",
    "int64": "long long int",
    "uint64": "unsigned long long int",
    "float32": "float",
    "float64": "double",
}
_DTYPE_OF_TYPE = {
    alias: dtype
    for dtype, aliases in {
        "int8": "signed char|int8|int8_t",
        "uint8": "uchar|unsigned char|uint8|uint8_t",
        "int16": "short|short int|signed short|signed short int|int16|int16_t",
        "uint16": "ushort|unsigned short|unsigned short int|uint16|uint16_t",
        "int32": "int|signed int|int32|int32_t",
        "uint32": "uint|unsigned int|uint32|uint32_t",
        "int64": "longlong|long long|long long int|signed long long|signed long long int|int64|int64_t",
        "uint64": "ulonglong|unsigned long long|unsigned long long int|uint64|uint64_t",
        "float32": "float",
        "float64": "double",
    }.items()
    for alias in aliases.split("|")
}
# Signs that turn the file's world axes into R, A and S.
_SIGNS_OF_SPACE = {
    "left-posterior-superior": (-1.0, -1.0, 1.0),
    "lps": (-1.0, -1.0, 1.0),
    "right-anterior-superior": (1.0, 1.0, 1.0),
    "ras": (1.0, 1.0, 1.0),
    "left-anterior-superior": (-1.0, 1.0, 1.0),
    "las": (-1.0, 1.0, 1.0),
}
_HEADER_LIMIT_BYTES = 1 << 16
_VECTOR = re.compile(r"\(([^()]*)\)")


def write_nrrd(path: Path, volume: Volume) -> None:
    """Write a volume as one raw, little-endian NRRD file in LPS space; it appears complete or not at all.

    The numbers of the grid are written with all their digits: the file has exactly the volume's grid.
    Truth values are written as 0 and 1.

    Raises:
        DataError: If the voxels have a type that NRRD does not know.
        OutputError: If the file cannot be written; nothing half-written is left behind.
    """
    voxels = volume.voxels.view(np.uint8) if volume.voxels.dtype == np.bool_ else volume.voxels
    if voxels.dtype.name not in _TYPE_OF_DTYPE:
        message = f'"{path.name}" cannot hold voxels of type {voxels.dtype}. Convert them to a number type first.'
        raise DataError(message)
    temporary: Path | None = None
    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
        temporary = Path(name)
        with os.fdopen(handle, "wb") as file:
            file.write(_header_of(volume, _TYPE_OF_DTYPE[voxels.dtype.name]).encode("ascii"))
            for one_slice in voxels:  # slice by slice: no second copy of a large volume
                file.write(np.ascontiguousarray(one_slice, voxels.dtype.newbyteorder("<")).data)
        temporary.replace(path)
    except OSError as error:
        reason = error.strerror or "unknown reason"
        message = f'"{path}" could not be written ({reason}). Free some space there or choose another folder.'
        raise OutputError(message) from error
    finally:
        if temporary is not None:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)


def read_nrrd(path: Path) -> Volume:
    """Read a raw scalar 3D NRRD file: those of `write_nrrd`, and what SimpleITK and Slicer write uncompressed.

    Raises:
        DataError: If the file is missing, damaged, incomplete, compressed or not a scalar 3D image.
        GeometryError: If its voxel grid is not usable.
    """
    try:
        with path.open("rb") as file:
            fields = _read_fields(file, path)
            voxels = _read_voxels(file, fields, path)
    except OSError as error:
        reason = error.strerror or os.strerror(errno.EIO)
        message = f'"{path.name}" could not be read ({reason}). Check the path "{path}".'
        raise DataError(message) from error
    return Volume(voxels, _grid_of(fields, path))


def _header_of(volume: Volume, type_name: str) -> str:
    ijk_to_lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ volume.ijk_to_ras + 0.0  # + 0.0 turns -0.0 into 0.0
    directions = " ".join(_vector_text(ijk_to_lps[:3, column]) for column in range(3))
    return (
        "NRRD0004\n"
        f"type: {type_name}\n"
        "dimension: 3\n"
        "space: left-posterior-superior\n"
        f"sizes: {' '.join(str(size) for size in reversed(volume.shape_kji))}\n"
        f"space directions: {directions}\n"
        "kinds: domain domain domain\n"
        "endian: little\n"
        "encoding: raw\n"
        f"space origin: {_vector_text(ijk_to_lps[:3, 3])}\n"
        "\n"
    )


def _vector_text(numbers: NDArray[np.float64]) -> str:
    return f"({','.join(repr(float(number)) for number in numbers)})"


def _read_fields(file: BinaryIO, path: Path) -> dict[str, str]:
    magic = file.readline(_HEADER_LIMIT_BYTES)
    if not re.fullmatch(rb"NRRD000[1-6]\r?\n", magic):
        message = f'"{path.name}" is not an NRRD file. Export the volume again as NRRD.'
        raise DataError(message)
    fields: dict[str, str] = {}
    while (line := file.readline(_HEADER_LIMIT_BYTES).rstrip(b"\r\n")) != b"":
        if file.tell() > _HEADER_LIMIT_BYTES:
            raise DataError(_damaged(path, "its header does not end"))
        text = line.decode("utf-8", "replace")
        name, separator, value = text.partition(":")
        if text.startswith("#") or value.startswith("="):  # a comment, or a key and value without meaning for NRRD
            continue
        if not separator:
            raise DataError(_damaged(path, f'its header has the line "{text[:40]}"'))
        fields[name.strip().lower()] = value.strip()
    return fields


def _read_voxels(file: BinaryIO, fields: Mapping[str, str], path: Path) -> NDArray[Any]:
    _check_supported(fields, path)
    dtype = np.dtype(_DTYPE_OF_TYPE[fields["type"].lower()])
    if dtype.itemsize > 1:
        endian = fields.get("endian", "").lower()
        if endian not in ("little", "big"):
            raise DataError(_damaged(path, "it does not say its byte order"))
        dtype = dtype.newbyteorder("<" if endian == "little" else ">")
    sizes = _sizes_of(fields, path)
    expected, present = math.prod(sizes) * dtype.itemsize, os.fstat(file.fileno()).st_size - file.tell()
    if present != expected:
        raise DataError(_damaged(path, f"it holds {present} bytes of voxels instead of {expected}"))
    voxels = np.fromfile(file, dtype=dtype).reshape(sizes[::-1])
    return voxels.astype(dtype.newbyteorder("="), copy=False)


def _check_supported(fields: Mapping[str, str], path: Path) -> None:
    if fields.get("dimension") != "3":
        message = f'"{path.name}" has {fields.get("dimension", "no")} axes, a volume has 3. Export one scalar volume.'
        raise DataError(message)
    if fields.get("type", "").lower() not in _DTYPE_OF_TYPE:
        message = f'"{path.name}" has voxels of type "{fields.get("type", "")}". Export it with a plain number type.'
        raise DataError(message)
    detached = sorted({"data file", "datafile"} & fields.keys())
    skips = [name for name in ("byte skip", "byteskip", "line skip", "lineskip") if fields.get(name, "0") != "0"]
    if fields.get("encoding", "").lower() != "raw" or detached or skips:
        message = (
            f'"{path.name}" is not one uncompressed file (encoding "{fields.get("encoding", "")}"). '
            "Save it as a single NRRD file without compression."
        )
        raise DataError(message)


def _sizes_of(fields: Mapping[str, str], path: Path) -> tuple[int, ...]:
    texts = fields.get("sizes", "").split()
    if len(texts) != 3 or not all(text.isdecimal() and int(text) > 0 for text in texts):
        raise DataError(_damaged(path, f'its sizes are "{fields.get("sizes", "")}"'))
    return tuple(int(text) for text in texts)


def _grid_of(fields: Mapping[str, str], path: Path) -> NDArray[np.float64]:
    signs = _SIGNS_OF_SPACE.get(fields.get("space", "").lower())
    if signs is None:
        message = (
            f'"{path.name}" does not say where it lies in the patient (space "{fields.get("space", "")}"). '
            "Export it again with its geometry."
        )
        raise GeometryError(message)
    vectors = [_vector(text) for text in _VECTOR.findall(fields.get("space directions", ""))]
    origins = [_vector(text) for text in _VECTOR.findall(fields.get("space origin", ""))]
    columns = [*vectors, *origins]
    if len(vectors) != 3 or len(origins) != 1 or any(len(each) != 3 for each in columns):
        message = f'"{path.name}" has no complete geometry (directions and origin). Export it again.'
        raise GeometryError(message)
    ijk_to_ras = np.eye(4)
    ijk_to_ras[:3, :] = np.array(signs)[:, None] * np.array(columns).T
    return ijk_to_ras + 0.0  # + 0.0 turns -0.0 into 0.0


def _vector(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(number) for number in text.split(","))
    except ValueError:
        return ()


def _damaged(path: Path, what: str) -> str:
    return f'"{path.name}" is damaged: {what}. Export it again.'
