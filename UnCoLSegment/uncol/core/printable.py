"""Texts of others as they may stand on a terminal or in the panel: nothing in them moves the cursor."""

from __future__ import annotations

import unicodedata
from typing import Any

_TURNS_THE_LINE = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""Unicode's marks of writing direction: with them a text can show itself backwards."""


def printable(text: str, keep: str = "\t") -> str:
    """Return a text with spaces in place of its control characters, but for those in `keep`."""
    return "".join(each if each in keep or not _is_control(each) else " " for each in text)


def printable_document(value: Any) -> Any:
    """Return a JSON value whose texts, names of fields too, are all `printable`."""
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, dict):
        return {printable(name): printable_document(each) for name, each in value.items()}
    return [printable_document(each) for each in value] if isinstance(value, list) else value


def _is_control(character: str) -> bool:
    # Cc: escape and its kind; Cs: half a character, which no terminal takes; Zl and Zp: Unicode's own ends of lines
    return unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") or character in _TURNS_THE_LINE
