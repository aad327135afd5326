"""A safetensors file without torch: what its header says, and whether all its numbers are finite.

The file is eight bytes with the length of a JSON object, the object, then the tensors one after the other.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from uncol.core.errors import ConfigError
from uncol.core.files import opened
from uncol.core.records import from_document
from uncol.core.strict_json import read_json

WEIGHTS_LIMIT_BYTES = 4 << 30
"""Largest file of weights; those of the paper's students have 0.2 GiB."""
_HEADER_LIMIT_BYTES = 4 << 20
_BYTES_AT_ONCE = 16 << 20
_SIZES = {
    **dict.fromkeys(("BOOL", "U8", "I8"), 1),
    **dict.fromkeys(("U16", "I16", "F16", "BF16"), 2),
    **dict.fromkeys(("U32", "I32", "F32"), 4),
    **dict.fromkeys(("U64", "I64", "F64"), 8),
}
"""Bytes of one number of each type."""
_EXPONENTS = {"F16": 0x7C00, "BF16": 0x7F80, "F32": 0x7F80_0000, "F64": 0x7FF0_0000_0000_0000}
"""Bits that are all set in what is infinite or no number, and in nothing else (IEEE 754)."""


@dataclass(frozen=True)
class TensorEntry:
    """What a header says of one tensor: type, shape, and where it lies among all of them, in bytes."""

    dtype: str
    shape: tuple[int, ...]
    data_offsets: tuple[int, int]


@dataclass(frozen=True)
class Header:
    """Tensors by name, in the order of the file; the texts that stand beside them; and where tensors begin in it."""

    tensors: dict[str, TensorEntry]
    metadata: dict[str, str]
    length: int


def read_header(file: IO[bytes], size: int) -> Header:
    """Return the header of an open safetensors file of a size in bytes; it is all that is read.

    Raises:
        ValueError: If it is none, or its tensors are not exactly what follows in the file.
    """
    start = file.read(8)
    length = int.from_bytes(start, "little")
    may_be = len(start) == 8 and 2 <= length <= min(size - 8, _HEADER_LIMIT_BYTES)
    document = read_json(file.read(length)) if may_be else None
    if not isinstance(document, dict):
        message = "it is no safetensors file"
        raise ValueError(message)  # noqa: TRY004  # of the file, not of a caller
    metadata = document.pop("__metadata__", {})
    try:
        header = from_document(Header, {"tensors": document, "metadata": metadata, "length": 8 + length}, "its header")
    except ConfigError as error:
        raise ValueError(str(error)) from error
    in_order = sorted(header.tensors.items(), key=lambda each: each[1].data_offsets)
    end = 0
    for name, each in in_order:
        end = _end_of(name, each, end)
    if end != size - 8 - length:
        message = f"its tensors have {end} bytes, {size - 8 - length} follow"
        raise ValueError(message)
    return Header(dict(in_order), header.metadata, 8 + length)


def _end_of(name: str, entry: TensorEntry, start: int) -> int:
    expected = math.prod(entry.shape) * _SIZES.get(entry.dtype, 0)
    if entry.dtype not in _SIZES or min(entry.shape, default=0) < 0 or entry.data_offsets != (start, start + expected):
        message = f'its header contradicts itself about "{name[:80]}"'
        raise ValueError(message)
    return start + expected


def header_of(path: Path, limit_bytes: int = WEIGHTS_LIMIT_BYTES) -> Header:
    """Return the header of a safetensors file.

    Raises:
        ValueError: If it is none.
        OSError: If it cannot be read, is no regular file, or is larger than the limit.
    """
    with opened(path, limit_bytes) as (file, size):
        return read_header(file, size)


def first_not_finite(path: Path, limit_bytes: int = WEIGHTS_LIMIT_BYTES) -> str:
    """Return the name of the first tensor in a safetensors file with a number that is not finite; "" if there is none.

    Raises:
        ValueError: If it is no safetensors file.
        OSError: If it cannot be read, is no regular file, or is larger than the limit.
    """
    with opened(path, limit_bytes) as (file, size):
        header = read_header(file, size)
        for name, each in header.tensors.items():
            start, stop = each.data_offsets
            exponent = _EXPONENTS.get(each.dtype)
            file.seek(header.length + start)
            if exponent is not None and not _are_finite(file, stop - start, _SIZES[each.dtype], exponent):
                return name
    return ""


def _are_finite(file: IO[bytes], size: int, width: int, exponent: int) -> bool:
    mask: Any = np.array(exponent, dtype=f"<u{width}")
    for done in range(0, size, _BYTES_AT_ONCE):
        numbers = np.frombuffer(file.read(min(_BYTES_AT_ONCE, size - done)), dtype=mask.dtype)
        if ((numbers & mask) == mask).any():
            return False
    return True
