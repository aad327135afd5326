"""NIfTI and Analyze files with every header field as a test wants it, and a second reading of them by the standards.

Places of fields: nifti1.h and nifti2.h (nifti.nimh.nih.gov). Nothing here uses the product or nibabel.
"""

from __future__ import annotations

import gzip
import math
import struct
from pathlib import Path
from typing import Any

import numpy as np
from scipy.spatial.transform import Rotation

Fields = dict[str, Any]
NIFTI_1 = {
    "sizeof_hdr": ("i", 0),
    "dim": ("8h", 40),
    "datatype": ("h", 70),
    "bitpix": ("h", 72),
    "pixdim": ("8f", 76),
    "vox_offset": ("f", 108),
    "scl_slope": ("f", 112),
    "scl_inter": ("f", 116),
    "xyzt_units": ("B", 123),
    "qform_code": ("h", 252),
    "sform_code": ("h", 254),
    "quatern": ("3f", 256),
    "qoffset": ("3f", 268),
    "srow": ("12f", 280),
    "magic": ("4s", 344),
}
NIFTI_2 = {
    "sizeof_hdr": ("i", 0),
    "magic": ("8s", 4),
    "datatype": ("h", 12),
    "bitpix": ("h", 14),
    "dim": ("8q", 16),
    "pixdim": ("8d", 104),
    "vox_offset": ("q", 168),
    "scl_slope": ("d", 176),
    "scl_inter": ("d", 184),
    "qform_code": ("i", 344),
    "sform_code": ("i", 348),
    "quatern": ("3d", 352),
    "qoffset": ("3d", 376),
    "srow": ("12d", 400),
    "xyzt_units": ("i", 500),
}
PLACES = {1: NIFTI_1, 2: NIFTI_2}
HEADER_BYTES = {1: 348, 2: 540}
MAGICS = {1: (b"n+1\0", b"ni1\0"), 2: (b"n+2\0\r\n\x1a\n", b"ni2\0\r\n\x1a\n")}  # single, pair
TYPES = {2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8", 256: "i1", 512: "u2", 768: "u4", 1024: "i8", 1280: "u8"}
CODES = {kind: code for code, kind in TYPES.items()}
NO_EXTENSION = b"\0\0\0\0"

OBLIQUE = np.eye(4)  # ijk to RAS, mm: left-handed and turned about every axis
OBLIQUE[:3, :3] = Rotation.from_euler("xyz", [11, -23, 7], degrees=True).as_matrix() * [-0.75, 0.8, 2.5]
OBLIQUE[:3, 3] = [12.5, -30.25, 41.75]


def turned(grid: np.ndarray, degrees: float) -> np.ndarray:
    """The same grid after a turn about the S axis."""
    turn = np.eye(4)
    turn[:3, :3] = Rotation.from_euler("z", degrees, degrees=True).as_matrix()
    return turn @ grid


def sheared(grid: np.ndarray, cosine: float) -> np.ndarray:
    """The same grid with its J axis so far off a right angle to I."""
    leaning = grid.copy()
    lengths = np.linalg.norm(grid[:3, :3], axis=0)
    leaning[:3, 1] += cosine * grid[:3, 0] * lengths[1] / lengths[0]
    return leaning


def qform(grid: np.ndarray) -> Fields:
    """The fields that say a grid by quaternion, pixdim and offset."""
    spacing = np.linalg.norm(grid[:3, :3], axis=0)
    qfac = float(np.sign(np.linalg.det(grid[:3, :3])))
    x, y, z, w = Rotation.from_matrix(grid[:3, :3] / spacing * [1, 1, qfac]).as_quat()
    sign = -1 if w < 0 else 1
    return {
        "quatern": (sign * x, sign * y, sign * z),
        "pixdim": (qfac, *spacing, 0, 0, 0, 0),
        "qoffset": tuple(grid[:3, 3]),
    }


def fields_of(voxels: np.ndarray, grid: np.ndarray = OBLIQUE, version: int = 1, *, is_pair: bool = False) -> Fields:
    """All fields of a right header, sform and qform alike."""
    return {
        "sizeof_hdr": HEADER_BYTES[version],
        "magic": MAGICS[version][is_pair],
        "dim": (voxels.ndim, *voxels.shape[::-1], *[1] * (7 - voxels.ndim)),
        "datatype": CODES[voxels.dtype.str[1:]],
        "bitpix": voxels.dtype.itemsize * 8,
        "vox_offset": 0 if is_pair else HEADER_BYTES[version] + 4,
        "scl_slope": 1,
        "scl_inter": 0,
        "xyzt_units": 2,
        "qform_code": 1,
        "sform_code": 1,
        "srow": tuple(grid[:3].ravel()),
        **qform(grid),
    }


def header_bytes(fields: Fields, version: int = 1, order: str = "<") -> bytes:
    """A header of these fields; what is not named is 0."""
    header = bytearray(HEADER_BYTES[version])
    for name, value in fields.items():
        kind, place = PLACES[version][name]
        struct.pack_into(f"{order}{kind}", header, place, *(value if isinstance(value, tuple) else (value,)))
    return bytes(header)


def single_file(
    voxels: np.ndarray,
    grid: np.ndarray = OBLIQUE,
    version: int = 1,
    order: str = "<",
    extension: bytes = NO_EXTENSION,
    **fields: Any,
) -> bytes:
    """A whole .nii file; `fields` replace what `fields_of` says."""
    header = header_bytes({**fields_of(voxels, grid, version), **fields}, version, order)
    return header + extension + voxels.astype(voxels.dtype.newbyteorder(order)).tobytes()


def save(path: Path, voxels: np.ndarray, grid: np.ndarray = OBLIQUE, **options: Any) -> Path:
    """Write a .nii or .nii.gz file, which is compressed as its name says."""
    content = single_file(voxels, grid, **options)
    path.write_bytes(gzip.compress(content, 1) if path.suffix == ".gz" else content)
    return path


def save_pair(
    path: Path,
    voxels: np.ndarray,
    grid: np.ndarray = OBLIQUE,
    version: int = 1,
    order: str = "<",
    voxel_suffix: str = ".img",
    **fields: Any,
) -> Path:
    """Write a .hdr file and, beside it, its voxels."""
    all_fields = {**fields_of(voxels, grid, version, is_pair=True), **fields}
    path.write_bytes(header_bytes(all_fields, version, order))
    content = voxels.astype(voxels.dtype.newbyteorder(order)).tobytes()
    partner = path.with_name(path.stem + voxel_suffix)
    partner.write_bytes(gzip.compress(content) if voxel_suffix.endswith(".gz") else content)
    return path


def second_reading(content: bytes, version: int, order: str) -> tuple[np.ndarray, np.ndarray] | None:
    """The grid (ijk to RAS, mm) and values (K, J, I; float64) of a .nii file, or None if it says no such thing."""
    fields: Fields = {}
    for name, (kind, place) in PLACES[version].items():
        found = struct.unpack_from(f"{order}{kind}", content, place)
        fields[name] = found if len(found) > 1 else found[0]
    axis_count, *sizes = fields["dim"]
    shape = tuple(sizes[:axis_count][::-1])
    grid = _second_grid(fields)
    is_known = 1 <= axis_count <= 7 and fields["datatype"] in TYPES and fields["magic"] == MAGICS[version][0]
    if not is_known or min(shape) < 1 or not math.isfinite(fields["vox_offset"]) or grid is None:
        return None
    if len(shape) < 3 or math.prod(shape[:-3]) != 1:
        return None
    kind = np.dtype(order + TYPES[fields["datatype"]])
    begin, count = int(fields["vox_offset"]), math.prod(shape)
    if begin < HEADER_BYTES[version] or len(content) < begin + count * kind.itemsize:
        return None
    slope, intercept = fields["scl_slope"], fields["scl_inter"]
    with np.errstate(over="ignore", invalid="ignore"):  # bits of any kind
        values = np.frombuffer(content, kind, count, begin).astype(np.float64).reshape(shape[-3:])
        if slope != 0 and math.isfinite(slope):
            values = values * slope + intercept
    return grid, values


def _second_grid(fields: Fields) -> np.ndarray | None:
    """The sform, the qform or what ITK makes up, in this order; None where none has a size."""
    to_mm = {0: 1, 1: 1e3, 2: 1, 3: 1e-3}.get(fields["xyzt_units"] & 7, math.nan)
    spacing = np.array(fields["pixdim"][1:4])
    grid = np.eye(4)
    if fields["sform_code"] > 0:
        grid[:3] = np.reshape(fields["srow"], (3, 4)) * to_mm
    elif not (spacing > 0).all():
        return None
    elif fields["qform_code"] > 0:
        vector = np.array(fields["quatern"])
        length = np.linalg.norm(vector)
        if not length < 1.001:
            return None
        scalar = math.sqrt(max(0, 1 - length**2))
        turn = Rotation.from_quat([*vector, scalar]).as_matrix()
        grid[:3, :3] = turn * spacing * [1, 1, -1 if fields["pixdim"][0] < 0 else 1] * to_mm
        grid[:3, 3] = np.array(fields["qoffset"]) * to_mm
    else:
        grid[:3, :3] = np.diag(spacing * [-1, -1, 1]) * to_mm
    return grid if np.isfinite(grid).all() else None
