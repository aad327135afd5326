"""NRRD and MetaImage files with right and wrong headers, written without the product and without ITK."""

from __future__ import annotations

import bz2
import gzip
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

GRID_LPS = np.array([[0.0, 0.8, 0.0, 1.5], [-0.7, 0.0, 0.0, -2.0], [0.0, 0.0, 2.5, 30.0], [0.0, 0.0, 0.0, 1.0]])
"""I to the front, J to the left, K up; mm in LPS."""
TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
NRRD_TYPES = {"i1": "int8", "u1": "uchar", "i2": "short", "u2": "ushort", "i4": "int", "u4": "unsigned int",
              "i8": "long long int", "u8": "uint64", "f4": "float", "f8": "double"}  # fmt: skip
META_TYPES = {"i1": "MET_CHAR", "u1": "MET_UCHAR", "i2": "MET_SHORT", "u2": "MET_USHORT", "i4": "MET_INT",
              "u4": "MET_UINT", "i8": "MET_LONG_LONG", "u8": "MET_ULONG_LONG", "f4": "MET_FLOAT",
              "f8": "MET_DOUBLE"}  # fmt: skip
Fields = Mapping[str, object]
"""Header fields that replace those of a right file; None leaves one out."""


def _as_text(content: bytes, voxels: np.ndarray) -> bytes:
    return " ".join(str(number) for number in voxels.ravel().tolist()).encode()


PACK: dict[str, Callable[[bytes, np.ndarray], bytes]] = {
    "raw": lambda content, _: content,
    "gzip": lambda content, _: gzip.compress(content),
    "bzip2": lambda content, _: bz2.compress(content),
    "zlib": lambda content, _: zlib.compress(content),
    "text": _as_text,
}


def numbered(kind: str = "<i2", shape: tuple[int, ...] = (2, 3, 4)) -> np.ndarray:
    return np.arange(np.prod(shape)).reshape(shape).astype(kind)


def write_nrrd(
    path: Path,
    voxels: np.ndarray,
    fields: Fields = {},  # noqa: B006  # never written to
    *,
    packing: str = "raw",
    grid_lps: np.ndarray = GRID_LPS,
    change: Callable[[bytes], bytes] = bytes,
) -> Path:
    """Write an array (K, J, I); `change` gets the stored voxels, as they are in the file."""
    vectors = [f"({','.join(repr(float(number)) for number in column)})" for column in grid_lps[:3].T]
    endian = "big" if voxels.dtype.str[0] == ">" else "little"
    header = {
        "type": NRRD_TYPES[voxels.dtype.str[1:]], "dimension": 3, "space": "left-posterior-superior",
        "sizes": " ".join(map(str, voxels.shape[::-1])), "space directions": " ".join(vectors[:3]),
        "endian": endian, "encoding": "ascii" if packing == "text" else packing, "space origin": vectors[3], **fields,
    }  # fmt: skip
    lines = [f"{name}: {value}\n" for name, value in header.items() if value is not None]
    stored = change(PACK[packing](voxels.tobytes(), voxels))
    begin = "NRRD0004\n# a comment: of a program\nmade by:=a program\n"
    return _write(path, f"{begin}{''.join(lines)}\n", stored, header.get("data file"))


def write_meta(
    path: Path,
    voxels: np.ndarray,
    fields: Fields = {},  # noqa: B006  # never written to
    *,
    packing: str = "raw",
    grid_lps: np.ndarray = GRID_LPS,
    change: Callable[[bytes], bytes] = bytes,
) -> Path:
    """Write an array (K, J, I); `change` gets the stored voxels, as they are in the file."""
    spacing = np.linalg.norm(grid_lps[:3, :3], axis=0)
    stored = PACK[packing](voxels.tobytes(), voxels)
    header = {
        "ObjectType": "Image", "NDims": 3, "BinaryData": packing != "text",
        "BinaryDataByteOrderMSB": voxels.dtype.str[0] == ">", "CompressedData": packing == "zlib",
        "CompressedDataSize": len(stored) if packing == "zlib" else None,
        "TransformMatrix": _numbers((grid_lps[:3, :3] / spacing).T.ravel()), "Offset": _numbers(grid_lps[:3, 3]),
        "ElementSpacing": _numbers(spacing), "DimSize": _numbers(voxels.shape[::-1]),
        "ElementType": META_TYPES[voxels.dtype.str[1:]], **fields,
    }  # fmt: skip
    name = header.pop("ElementDataFile", "LOCAL")
    lines = [f"{key} = {value}\n" for key, value in header.items() if value is not None]
    end = "" if name is None else f"ElementDataFile = {name}\n"
    return _write(path, "".join(lines) + end, change(stored), None if name == "LOCAL" else name)


def _numbers(numbers: object) -> str:
    return " ".join(map(repr, np.asarray(numbers).tolist()))


def _write(path: Path, header: str, stored: bytes, data_name: object) -> Path:
    name = None if data_name is None else str(data_name)
    path.write_bytes(header.encode() + (stored if name is None else b""))
    if name is not None and "/" not in name and "%" not in name and not name.startswith("LIST"):
        (path.parent / name).write_bytes(stored)
    return path
