"""Values of DICOM tags: as they should be, missing, or not to be believed."""

from __future__ import annotations

import math
import re
import struct
import zlib
from collections.abc import Sequence

from pydicom import Dataset
from pydicom.datadict import tag_for_keyword
from pydicom.errors import BytesLengthException, InvalidDicomError

UNREADABLE = (
    ArithmeticError,
    AttributeError,
    BytesLengthException,
    EOFError,
    InvalidDicomError,
    LookupError,
    NotImplementedError,
    RecursionError,
    RuntimeError,
    TypeError,
    ValueError,
    struct.error,
    zlib.error,
)
"""What pydicom and its decoders raise when what they read is no valid DICOM."""


class TagError(Exception):
    """A tag is missing or cannot be believed; the text is a short phrase about the file."""


def tag_name(keyword: str) -> str:
    """Return the name of a tag with its number, as viewers show it."""
    tag = tag_for_keyword(keyword) or 0
    return f"{keyword} ({tag >> 16:04X},{tag & 0xFFFF:04X})"


def text_of(header: Dataset, keyword: str) -> str:
    """Return the value of a tag as text with backslashes between several, empty where none can be read."""
    try:
        value = header.get(keyword)
    except UNREADABLE:
        return ""
    if value is None:
        return ""
    return str(value) if isinstance(value, str) or not isinstance(value, Sequence) else "\\".join(map(str, value))


def whole_number(header: Dataset, keyword: str, default: int | None = None) -> int:
    """Return the value of a tag, 0 or more.

    Raises:
        TagError: If it is missing without a default, or no such number.
    """
    found = numbers_of([header], keyword, 1)
    if found is None and default is None:
        raise TagError(missing(keyword))
    number = default if found is None else found[0]
    if number is None or number < 0 or number != int(number):
        raise TagError(unreadable(keyword))
    return int(number)


def numbers_of(places: Sequence[Dataset], keyword: str, count: int) -> tuple[float, ...] | None:
    """Return the numbers of a tag in the first place that has it, None if none has."""
    for place in places:
        try:
            value = place.get(keyword)
            if value is None or value == "":
                continue
            parts = list(value) if isinstance(value, Sequence) and not isinstance(value, str) else [value]
            if not parts:
                continue
            numbers = tuple(float(part) for part in parts)
        except UNREADABLE as error:
            raise TagError(unreadable(keyword)) from error
        if len(numbers) != count or not all(map(math.isfinite, numbers)):
            raise TagError(unreadable(keyword))
        return numbers
    return None


def missing(keyword: str) -> str:
    """Return what is said of a file without a tag."""
    return f"no {tag_name(keyword)}"


def unreadable(keyword: str) -> str:
    """Return what is said of a file with a tag that makes no sense."""
    return f"unreadable {tag_name(keyword)}"


def first_item(header: Dataset, keyword: str) -> Dataset:
    """Return the first item of a sequence, an empty one where there is none."""
    items = items_of(header, keyword)
    return items[0] if items else Dataset()


def items_of(header: Dataset, keyword: str) -> Sequence[Dataset]:
    """Return the items of a sequence, none where it cannot be read."""
    try:
        items = header.get(keyword)
    except UNREADABLE:
        return []
    return items if isinstance(items, Sequence) and not isinstance(items, str | bytes) else []


def plain_code(text: str) -> str:
    """Return a code such as a modality, or "unknown" for what is none: free text never enters a message."""
    return text if re.fullmatch(r"[A-Z]{1,8}", text) else "unknown"
