"""Voxels as NRRD and MetaImage files store them: plain, compressed or written out, and all of them or none.

Compressed data are unpacked once, straight into the array. ITK reads too short ones as whole.
"""

from __future__ import annotations

import bz2
import gzip
import logging
import math
import os
import sys
import warnings
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, Literal, cast

import numpy as np
from numpy.typing import NDArray

from uncol.core.errors import DataError
from uncol.core.files import opened
from uncol.formats.refusals import damaged, not_three_axes

_log = logging.getLogger(__name__)
_CHUNK_BYTES = 1 << 20
_ZLIB_OR_GZIP = 47  # zlib's code for "look which of both it is"
_MORE_VOXELS = "%s holds more voxels than its header announces; the rest is left out."
END_OF_FILE = -1
"""Start of voxels that lie at the end of their file."""

Packing = Literal["raw", "text", "zlib", "gzip", "bzip2"]


@dataclass(frozen=True, kw_only=True)
class StoredVoxels:
    """Where and how the voxels of a file lie.

    Attributes:
        file: The file that they are in.
        dtype: Their type, with its byte order.
        sizes: Number of voxels along I, J and K.
        packing: How they are written.
        start: Byte of the file at which they, or the stream that holds them, begin; `END_OF_FILE` for raw ones.
        skipped_lines: Lines after `start` that do not belong to them.
        skipped_bytes: Bytes after those, once unpacked, that do not belong to them.
        packed_bytes: Length of the stream; None for the rest of the file.
    """

    file: Path
    dtype: np.dtype[Any]
    sizes: tuple[int, int, int]
    packing: Packing = "raw"
    start: int = 0
    skipped_lines: int = 0
    skipped_bytes: int = 0
    packed_bytes: int | None = None

    @property
    def shape_kji(self) -> tuple[int, int, int]:
        """Number of voxels along K, J and I."""
        columns, rows, slices = self.sizes
        return slices, rows, columns

    @property
    def byte_count(self) -> int:
        """Number of bytes of the voxels, once unpacked."""
        return math.prod(self.sizes) * self.dtype.itemsize

    def read(self, subject: str) -> NDArray[Any]:
        """Return the voxels (K, J, I) as `in_32_bits` leaves them; more than the sizes ask for are left out.

        Raises:
            DataError: If there are too few, or their stream is damaged.
            MemoryError: If they do not fit into the memory.
        """
        try:
            with opened(self.file) as (file, _):
                file.seek(max(self.start, 0))
                for _ in range(self.skipped_lines):
                    file.readline()
                voxels = self._read(file, subject)
        except (EOFError, ValueError, zlib.error) as error:  # ValueError: text that is no number
            raise DataError(damaged(subject)) from error
        except OSError as error:
            if error.errno is None:  # of the libraries that unpack, not of the operating system
                raise DataError(damaged(subject)) from error
            raise
        if not voxels.dtype.isnative:
            voxels = voxels.byteswap(inplace=True).view(voxels.dtype.newbyteorder("="))
        return in_32_bits(voxels).reshape(self.sizes[::-1])

    def _read(self, file: BinaryIO, subject: str) -> NDArray[Any]:
        if self.byte_count > sys.maxsize:
            raise MemoryError
        if self.packing == "raw":
            return self._read_raw(file, subject)
        if self.packing == "text":
            return self._read_text(file, subject)
        return self._unpack(file, subject)

    def _read_raw(self, file: BinaryIO, subject: str) -> NDArray[Any]:
        end = os.fstat(file.fileno()).st_size
        first = end - self.byte_count if self.start == END_OF_FILE else file.tell() + self.skipped_bytes
        self._check_count(end - first if first >= 0 else end, subject)
        if end - first > self.byte_count:
            _log.warning(_MORE_VOXELS, subject)
        file.seek(first)
        voxels = np.fromfile(file, self.dtype, math.prod(self.sizes))
        self._check_count(voxels.nbytes, subject)
        return voxels

    def _read_text(self, file: BinaryIO, subject: str) -> NDArray[Any]:
        file.seek(self.skipped_bytes, os.SEEK_CUR)
        exact = self.dtype.newbyteorder("=") if self.dtype.itemsize == 8 else np.dtype(np.float64)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # about what is no number; the count tells it
            written = np.fromfile(file, exact, math.prod(self.sizes), sep=" ")
        self._check_count(written.size * self.dtype.itemsize, subject)
        with np.errstate(all="ignore"):
            voxels = written.astype(self.dtype.newbyteorder("="))
        if voxels.dtype.kind in "iu" and not np.array_equal(voxels, written):
            raise DataError(damaged(subject))
        return voxels

    def _unpack(self, file: BinaryIO, subject: str) -> NDArray[Any]:
        voxels = np.empty(math.prod(self.sizes), self.dtype)
        target = voxels.view(np.uint8).data
        filled, skipped = 0, 0
        for chunk in self._chunks(file):
            own = chunk[self.skipped_bytes - skipped :]
            skipped += len(chunk) - len(own)
            kept = own[: self.byte_count - filled]
            target[filled : filled + len(kept)] = kept
            filled += len(kept)
            if len(kept) < len(own):
                _log.warning(_MORE_VOXELS, subject)
                break
        self._check_count(filled, subject)
        return voxels

    def _chunks(self, file: BinaryIO) -> Iterator[bytes]:
        if self.packing == "zlib":
            return _inflated(file, self.packed_bytes)
        stream = gzip.GzipFile(fileobj=file) if self.packing == "gzip" else bz2.BZ2File(file)
        return iter(partial(cast(BinaryIO, stream).read, _CHUNK_BYTES), b"")

    def _check_count(self, byte_count: int, subject: str) -> None:
        if byte_count < self.byte_count:
            message = (
                f"{subject} is incomplete: of the {self.byte_count} bytes of voxels that its header announces, "
                f"{byte_count} are there. Copy the file again, or export it again."
            )
            raise DataError(message)


def _inflated(file: BinaryIO, byte_count: int | None) -> Iterator[bytes]:
    inflater = zlib.decompressobj(_ZLIB_OR_GZIP)
    left = sys.maxsize if byte_count is None else byte_count
    while not inflater.eof:
        packed = inflater.unconsumed_tail or file.read(min(_CHUNK_BYTES, left))
        if not packed:
            raise EOFError
        left -= 0 if inflater.unconsumed_tail else len(packed)
        yield inflater.decompress(packed, _CHUNK_BYTES)


def in_32_bits(voxels: NDArray[Any]) -> NDArray[Any]:
    """Return numbers of 64 bits as int32 if that holds them, else as float32; all others as they are.

    Memory that an array owns is used again, so that there are never two volumes; the array is not valid after that.
    """
    if voxels.dtype.itemsize < 8:
        return voxels
    limits = np.iinfo(np.int32)
    is_int32 = voxels.dtype.kind in "iu" and limits.min <= voxels.min() and voxels.max() <= limits.max
    kind = np.dtype(np.int32 if is_int32 else np.float32)
    with np.errstate(over="ignore"):  # becomes infinite
        if not (voxels.flags.owndata and voxels.flags.c_contiguous):
            return voxels.astype(kind)
        shape, count, wide = voxels.shape, voxels.size, voxels.reshape(-1)
        for start in range(0, count, _CHUNK_BYTES):
            wide.view(kind)[start : min(start + _CHUNK_BYTES, count)] = wide[start : min(start + _CHUNK_BYTES, count)]
    del wide
    voxels.resize((count + 1) // 2, refcheck=False)
    return voxels.view(kind)[:count].reshape(shape)


def check_three_axes(sizes: Sequence[int], subject: str) -> tuple[int, int, int]:
    """Return the sizes along I, J and K; further axes of one voxel do not count.

    Raises:
        DataError: If there are other than three axes, or nothing along one of them.
    """
    kept = list(sizes)
    while len(kept) > 3 and kept[-1] == 1:
        kept.pop()
    if len(kept) != 3:
        raise DataError(not_three_axes(subject, kept))
    if min(kept) < 1:
        raise DataError(damaged(subject))
    return kept[0], kept[1], kept[2]
