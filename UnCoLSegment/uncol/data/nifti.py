"""Whether a NIfTI file holds all that its header announces."""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from pathlib import Path

_HEADER_BYTES = 348
_CHUNK_BYTES = 1 << 20


def nifti_is_complete(path: Path) -> bool:
    """Say whether all announced voxels are there; ITK reads and writes cut-off NIfTI files without an error."""
    try:
        with path.open("rb") as file:
            is_compressed = file.read(2) == b"\x1f\x8b"
        with gzip.open(path) if is_compressed else path.open("rb") as stream:
            header = stream.read(_HEADER_BYTES)
            byte_count = len(header) + sum(len(chunk) for chunk in iter(lambda: stream.read(_CHUNK_BYTES), b""))
    except (OSError, EOFError, zlib.error):
        return False
    return byte_count >= max(_HEADER_BYTES, _announced_bytes(header))


def _announced_bytes(header: bytes) -> int:
    for order in "<>":
        if header[:4] == struct.pack(f"{order}i", _HEADER_BYTES):
            axis_count, *sizes = struct.unpack_from(f"{order}8h", header, 40)
            (bits_per_voxel,) = struct.unpack_from(f"{order}h", header, 72)
            (voxel_offset,) = struct.unpack_from(f"{order}f", header, 108)
            return int(voxel_offset) + math.prod(sizes[:axis_count]) * bits_per_voxel // 8
    return 0  # another format than NIfTI-1; ITK decides
