"""NIfTI and Analyze through nibabel: what the header says is compared with itself before it is believed."""

from __future__ import annotations

import gzip
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from nibabel.analyze import AnalyzeHeader
from numpy.typing import NDArray

from uncol.core.errors import MEMORY_IS_FULL, DataError
from uncol.core.files import opened
from uncol.core.volume import Volume
from uncol.formats.grid import CheckGrid, accept_any, without_voxels
from uncol.formats.nifti_geometry import place
from uncol.formats.nifti_header import HEADER_BYTES, VoxelLayout, has_own_voxels, layout_of, parse_header
from uncol.formats.paths import unreadable
from uncol.formats.refusals import damaged

_CHUNK_BYTES = 1 << 20
_GZIP_MAGIC = b"\x1f\x8b"
_PARTNERS = {
    ".nii": (".img", ".img.gz"),
    ".nii.gz": (".img.gz", ".img"),
    ".hdr": (".img", ".img.gz"),
    ".hdr.gz": (".img.gz", ".img"),
    ".img": (".hdr", ".hdr.gz"),
    ".img.gz": (".hdr.gz", ".hdr"),
}


@dataclass(frozen=True)
class _Source:
    """Bytes of a file after decompression; their number is known only where nothing is compressed."""

    stream: BinaryIO | gzip.GzipFile
    byte_count: int | None


def read_nifti(path: Path, subject: str, check: CheckGrid = accept_any) -> Volume:
    """Read a NIfTI-1, NIfTI-2 or Analyze 7.5 file or pair, of which either name may be given.

    Whole numbers of at most 32 bits keep their type if they are not scaled. What is scaled or has 64 bits becomes int32
    where that holds every voxel exactly, and float32 otherwise; NaN and infinity stay. `check` comes before the voxels.

    Raises:
        DataError: If it is damaged or incomplete, or if voxels are not real numbers on three axes.
        GeometryError: If the grid is not regular, or if the header does not say how large voxels are.
    """
    try:
        return _read(path, subject, check)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataError(damaged(subject)) from error
    except OSError as error:
        raise DataError(unreadable(subject, error)) from error
    except MemoryError as error:
        raise DataError(MEMORY_IS_FULL) from error


def _read(path: Path, subject: str, check: CheckGrid) -> Volume:
    ending = next(each for each in sorted(_PARTNERS, key=len)[::-1] if path.name.lower().endswith(each))
    names_voxels, may_be_analyze = ending.startswith(".img"), not ending.startswith(".nii")
    header_path = _partner(path, ending, subject) if names_voxels else path
    with _opened(header_path) as source:
        header = parse_header(source.stream.read(HEADER_BYTES), subject, may_be_analyze=may_be_analyze)
        if has_own_voxels(header):
            return _volume(header, source, subject, check)
    with _opened(path if names_voxels else _partner(path, ending, subject)) as source:
        return _volume(header, source, subject, check)


def _volume(header: AnalyzeHeader, source: _Source, subject: str, check: CheckGrid) -> Volume:
    layout = layout_of(header, subject)
    placement = place(header, layout.shape_kji, subject)
    told = without_voxels(layout.shape_kji, placement.ijk_to_ras, placement.other_grids, is_placed=placement.is_placed)
    check(told)
    return told.with_voxels(_voxels(source, layout))


def _partner(path: Path, ending: str, subject: str) -> Path:
    """Return the other file of a pair; capital letters of the ending are kept."""
    stem, is_upper = path.name[: -len(ending)], path.name[-len(ending) :].isupper()
    names = [stem + (each.upper() if is_upper else each) for each in _PARTNERS[ending]]
    found = [path.with_name(name) for name in names if os.path.lexists(path.with_name(name))]
    if len(found) == 1:
        return found[0]
    both = f'"{names[0]}" and "{names[1]}"'
    problem = f"both {both} are there. Remove one of them" if found else f"neither of {both} is there. Copy it too"
    message = f"{subject} is one file of a pair, and {problem}."
    raise DataError(message)


@contextmanager
def _opened(path: Path) -> Iterator[_Source]:
    """Open a file, whose content says whether it is compressed, and then read it to its end for its checksum."""
    with opened(path) as (file, size):
        if file.peek(len(_GZIP_MAGIC))[: len(_GZIP_MAGIC)] != _GZIP_MAGIC:
            yield _Source(file, size)
            return
        with gzip.GzipFile(fileobj=file) as stream:
            yield _Source(stream, None)
            while stream.read(_CHUNK_BYTES):
                pass


def _voxels(source: _Source, layout: VoxelLayout) -> NDArray[Any]:
    """Return the voxels (K, J, I); memory is taken only as far as there are bytes to fill it."""
    if source.byte_count is not None and source.byte_count < layout.end:
        raise EOFError
    source.stream.seek(layout.offset)
    count, step = layout.voxel_count, _CHUNK_BYTES // layout.stored.itemsize
    is_narrowed = layout.is_scaled or layout.stored.itemsize == 8
    may_be_int32 = is_narrowed and layout.holds_whole_numbers
    kind = np.int32 if may_be_int32 else np.float32 if is_narrowed else layout.stored.newbyteorder("=")
    voxels = np.empty(min(count, step) if source.byte_count is None else count, kind)
    for start in range(0, count, step):
        stop = min(start + step, count)
        stored = _numbers(source.stream, stop - start, layout.stored)
        with np.errstate(over="ignore", invalid="ignore"):  # becomes infinite; is no number before and after
            values = layout.scaled(stored)
            if may_be_int32 and not _fits_int32(values):
                may_be_int32, voxels = False, voxels.astype(np.float32)
            if stop > voxels.size:
                voxels.resize(min(2 * voxels.size, count), refcheck=False)
            voxels[start:stop] = values
    return voxels.reshape(layout.shape_kji)


def _numbers(stream: BinaryIO | gzip.GzipFile, count: int, kind: np.dtype[Any]) -> NDArray[Any]:
    content = stream.read(count * kind.itemsize)
    if len(content) < count * kind.itemsize:
        raise EOFError
    return np.frombuffer(content, kind)


def _fits_int32(values: NDArray[Any]) -> bool:
    limits = np.iinfo(np.int32)
    return bool(limits.min <= values.min() and values.max() <= limits.max)
