"""What a NIfTI or Analyze header says of the voxels, checked before it is believed."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from nibabel.analyze import AnalyzeHeader
from nibabel.nifti1 import Nifti1Header
from nibabel.nifti2 import Nifti2Header
from nibabel.spatialimages import HeaderDataError
from numpy.typing import NDArray

from uncol.core.errors import DataError
from uncol.formats.refusals import damaged, not_one_number, not_three_axes

HEADER_BYTES = 540
"""Bytes at the beginning of a file among which every header is found: those of NIfTI-2."""

_MAGICS: dict[bytes, tuple[type[Nifti1Header], int]] = {  # with the place in the header
    b"n+1\0": (Nifti1Header, 344),
    b"ni1\0": (Nifti1Header, 344),
    b"n+2\0\r\n\x1a\n": (Nifti2Header, 4),
    b"ni2\0\r\n\x1a\n": (Nifti2Header, 4),
}
_FARTHEST_OFFSET = 1 << 62  # what fits a file position
_UNSCALED = (1.0, 0.0)


@dataclass(frozen=True)
class VoxelLayout:
    """How voxels lie in a file: numbers of one type, I fastest, then J, then K.

    Attributes:
        shape_kji: Number of voxels along K, J and I.
        stored: The type of the numbers, with their byte order.
        offset: Bytes before the first voxel.
        slope: Factor of each number ...
        intercept: ... and what is added to it then.
    """

    shape_kji: tuple[int, int, int]
    stored: np.dtype[Any]
    offset: int
    slope: float
    intercept: float

    @property
    def voxel_count(self) -> int:
        """Number of voxels."""
        return math.prod(self.shape_kji)

    @property
    def end(self) -> int:
        """Bytes up to the end of the last voxel."""
        return self.offset + self.voxel_count * self.stored.itemsize

    @property
    def is_scaled(self) -> bool:
        """Whether voxels are other numbers than those stored."""
        return (self.slope, self.intercept) != _UNSCALED

    @property
    def holds_whole_numbers(self) -> bool:
        """Whether every voxel is a whole number by its type."""
        return self.stored.kind in "iu" and self.slope.is_integer() and self.intercept.is_integer()

    def scaled(self, stored: NDArray[Any]) -> NDArray[Any]:
        """Return the voxels that some stored numbers mean."""
        return stored.astype(np.float64) * self.slope + self.intercept if self.is_scaled else stored


def parse_header(content: bytes, subject: str, *, may_be_analyze: bool) -> AnalyzeHeader:
    """Return the header of either byte order that a file begins with; nothing in it has been checked.

    Args:
        content: The first `HEADER_BYTES` of the file, or all if there are fewer.
        subject: What messages call the file.
        may_be_analyze: Whether a header without NIfTI's mark is taken for Analyze 7.5.

    Raises:
        DataError: If it begins with no such header.
    """
    for order in "<>":
        size = int(np.frombuffer(content[:4].ljust(4, b"\0"), f"{order}i4")[0])
        kinds: list[type[AnalyzeHeader]] = [
            kind
            for magic, (kind, place) in _MAGICS.items()
            if size == kind.sizeof_hdr and content[place : place + len(magic)] == magic
        ]
        if may_be_analyze and not kinds and size == AnalyzeHeader.sizeof_hdr:
            kinds = [AnalyzeHeader]
        if kinds and len(content) >= size:
            return kinds[0](content[:size], endianness=order, check=False)
    raise DataError(damaged(subject))


def has_own_voxels(header: AnalyzeHeader) -> bool:
    """Say whether the voxels lie behind the header, not in a second file."""
    return isinstance(header, Nifti1Header) and bytes(header["magic"])[1:2] == b"+"


def layout_of(header: AnalyzeHeader, subject: str) -> VoxelLayout:
    """Return how the voxels lie.

    Raises:
        DataError: If the header contradicts itself or the standard, or if they are not real numbers on three axes.
    """
    sizes = _sizes(header, subject)
    stored = _stored_type(header, sizes, subject)
    if len(sizes) != 3:
        raise DataError(not_three_axes(subject, sizes))
    slope, intercept = _scaling(header, subject)
    return VoxelLayout((sizes[2], sizes[1], sizes[0]), stored, _offset(header, subject), slope, intercept)


def _sizes(header: AnalyzeHeader, subject: str) -> list[int]:
    axis_count, *sizes = header["dim"].tolist()
    if not 1 <= axis_count <= len(sizes):
        raise DataError(_damaged_header(subject, f"it announces {axis_count} axes"))
    del sizes[axis_count:]
    if min(sizes) < 1:
        raise DataError(_damaged_header(subject, f"it announces {' x '.join(map(str, sizes))} voxels"))
    while len(sizes) > 3 and sizes[-1] == 1:
        sizes.pop()
    return sizes


def _stored_type(header: AnalyzeHeader, sizes: list[int], subject: str) -> np.dtype[Any]:
    code, bits = int(header["datatype"]), int(header["bitpix"])
    try:
        stored: np.dtype[Any] = header.get_data_dtype()
    except (KeyError, HeaderDataError):
        stored = np.dtype("V")
    if stored == np.dtype("V"):  # also what nibabel returns for "none"
        raise DataError(_damaged_header(subject, f"{code} is no type of numbers that is read"))
    name = _type_name(stored)
    if stored.kind not in "iuf" or stored.itemsize > 8:
        raise DataError(not_one_number(subject, sizes, name))
    if bits not in (0, 8 * stored.itemsize):  # 0: not filled in; the type alone says it, as for every reader
        raise DataError(_damaged_header(subject, f"it announces {bits} bits for each {name}"))
    if len(sizes) == 5 and sizes[3] == 1:  # where NIfTI puts the components of a vector
        raise DataError(not_one_number(subject, sizes[:3], f"vector of {name}"))
    return stored


def _type_name(stored: np.dtype[Any]) -> str:
    if stored.kind == "c":
        return f"complex of {stored.itemsize * 4}-bit float"
    kinds = {"i": "signed integer", "u": "unsigned integer", "f": "float"}
    return f"{stored.itemsize * 8}-bit {kinds[stored.kind]}" if stored.kind in kinds else "color"


def _offset(header: AnalyzeHeader, subject: str) -> int:
    offset = header["vox_offset"].item()
    smallest = header.sizeof_hdr if has_own_voxels(header) else 0
    if not (smallest <= offset < _FARTHEST_OFFSET and offset == int(offset)):
        raise DataError(_damaged_header(subject, f"its voxels cannot begin at byte {offset:g}"))
    return int(offset)


def _scaling(header: AnalyzeHeader, subject: str) -> tuple[float, float]:
    """Return slope and intercept; NIfTI: "If the scl_slope field is nonzero" they are applied (nifti1.h)."""
    if not isinstance(header, Nifti1Header):
        slope = header["funused1"].item()
        if slope in (0, 1):
            return _UNSCALED
        message = (
            f"{subject} is an Analyze file with the factor {slope:g}, which some programs apply to its values and "
            "others do not. Save it as NIfTI with the program that wrote it."
        )
        raise DataError(message)
    slope, intercept = header["scl_slope"].item(), header["scl_inter"].item()
    if slope == 0 or not math.isfinite(slope):
        return _UNSCALED
    if not math.isfinite(intercept):
        raise DataError(_damaged_header(subject, f"{intercept:g} cannot be added to each value"))
    return slope, intercept


def _damaged_header(subject: str, what: str) -> str:
    return f"{subject} has a damaged header: {what}. Copy the file again, or export it again."
