"""JSON as files and messages of others hold it: read without surprises, or refused in a few words."""

from __future__ import annotations

import json
import math
from typing import Any, NoReturn

_DEEPEST = 40
"""Levels of lists and objects inside each other; our own documents have five."""
_TOO_DEEP = f"it is nested more than {_DEEPEST} levels deep"
_MOST_DIGITS = 20
"""Of a whole number: a seed of 63 bits has 19."""


def read_json(text: str | bytes) -> Any:
    """Return what a JSON text says.

    Raises:
        ValueError: If it is no JSON, or holds numbers that are not finite or have hundreds of digits, halves of
            characters, or values nested so deeply that nothing of ours wrote them.
    """
    try:
        value = json.loads(text, parse_float=_finite, parse_int=_whole, parse_constant=_refused)
    except RecursionError as error:
        raise ValueError(_TOO_DEEP) from error
    level = [value]
    for _ in range(_DEEPEST):
        level = [part for each in level for part in _parts(each)]
        if not level:
            return value
    raise ValueError(_TOO_DEEP)


def _parts(value: Any) -> list[Any]:
    """Return what a value consists of; texts are looked at here."""
    if isinstance(value, dict):
        return [*value, *value.values()]
    if isinstance(value, str):
        value.encode()  # a UnicodeEncodeError, which is a ValueError, tells of half a character
    return value if isinstance(value, list) else []


def _finite(text: str) -> float:
    number = float(text)
    return number if math.isfinite(number) else _refused(text)


def _whole(text: str) -> int:
    digits = len(text.lstrip("-"))
    return int(text) if digits <= _MOST_DIGITS else _refused(text)


def _refused(text: str) -> NoReturn:
    message = f"it holds the number {text[:_MOST_DIGITS]}, which cannot be used"
    raise ValueError(message)
