"""Frozen dataclasses as JSON objects and back; what is read is checked against the types of the fields."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import MISSING, Field, fields, is_dataclass
from functools import cache
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from uncol.core.errors import ConfigError

Record = TypeVar("Record")
Place = tuple[str, ...]
"""What messages call the document, then the names of the fields that lead to a value."""

_COUNTS = {2: "two", 3: "three"}
_GOT_LENGTH = 80


def to_document(value: Any) -> Any:
    """Return a dataclass, or what a field of one holds, as JSON knows it: an object, a list, a text, a number."""
    if is_dataclass(value):
        return {each.name: to_document(getattr(value, each.name)) for each in fields(value)}
    if isinstance(value, dict):
        return {str(key): to_document(each) for key, each in value.items()}
    if isinstance(value, tuple | list):
        return [to_document(each) for each in value]
    return str(value) if isinstance(value, Path) else value


def from_document(kind: type[Record], document: Any, subject: str, passed_over: Collection[str] = ()) -> Record:
    """Build a dataclass from a JSON object; fields left out keep their defaults.

    Types that a field may have: bool, int, float (finite; a whole number will do), str and Path (empty only if that
    is the default), Literal, other dataclasses, tuples of a fixed or of any length, dict with text as keys, Any, and
    unions of these, whose first kind that fits is taken.

    Args:
        kind: The dataclass.
        document: What a JSON text was read as.
        subject: What messages call the document, such as `Configuration`.
        passed_over: Former fields that may still be there, as in `teachers.relative_reliability`.

    Raises:
        ConfigError: If a field is unknown, missing or of another type; the sentence names it and what it holds.
        UncolError: Whatever else the dataclass itself refuses.
    """
    built: Record = _build(kind, _without(document, passed_over), (subject,))
    return built


def _without(document: Any, names: Collection[str], inside: str = "") -> Any:
    if not isinstance(document, dict):
        return document
    kept = {name: value for name, value in document.items() if f"{inside}{name}" not in names}
    return {name: _without(value, names, f"{inside}{name}.") for name, value in kept.items()}


@cache
def _fields_of(kind: type[Any]) -> dict[str, tuple[Field[Any], Any]]:
    """Return the fields of a dataclass by name, each with its type."""
    hints = get_type_hints(kind)
    return {each.name: (each, hints[each.name]) for each in fields(kind) if each.init}


def _build(kind: Any, document: Any, place: Place) -> Any:
    if not isinstance(document, dict):
        message = f"{_text(place)} must be a JSON object, got {_got(document)}."
        raise ConfigError(message)
    known = _fields_of(kind)
    unknown = [name for name in document if name not in known]
    if unknown:
        message = f'{_text(place)} has no field "{unknown[0]}". Known fields: {", ".join(known) or "none"}.'
        raise ConfigError(message)
    required = (name for name, (each, _) in known.items() if each.default is each.default_factory is MISSING)
    missing = [name for name in required if name not in document]
    if missing:
        message = f'{_text(place)} lacks the field "{missing[0]}".'
        raise ConfigError(message)
    return kind(
        **{
            name: value if value == "" == known[name][0].default else _read(value, known[name][1], (*place, name))
            for name, value in document.items()
        }
    )


def _read(value: Any, hint: Any, place: Place) -> Any:
    if is_dataclass(hint):
        return _build(hint, value, place)
    if get_origin(hint) is not None:
        return _COMPOSED[get_origin(hint)](value, get_args(hint), place)
    wanted, fits, made = _SIMPLE[hint]
    if not fits(value):
        raise _wrong(place, wanted, value)
    return made(value)


def _one_of_kinds(value: Any, kinds: tuple[Any, ...], place: Place) -> Any:
    if value is None and NoneType in kinds:
        return None
    *others, last = (each for each in kinds if each is not NoneType)
    for kind in others:
        with suppress(ConfigError):
            return _read(value, kind, place)
    return _read(value, last, place)


def _choice(value: Any, choices: tuple[Any, ...], place: Place) -> Any:
    if not any(value == each and type(value) is type(each) for each in choices):
        raise _wrong(place, f"one of {', '.join(map(str, choices))}", value)
    return value


def _tuple(value: Any, kinds: tuple[Any, ...], place: Place) -> tuple[Any, ...]:
    if not isinstance(value, list):
        raise _wrong(place, "a list", value)
    if kinds[-1] is Ellipsis:
        return tuple(_read(each, kinds[0], place) for each in value)
    if len(value) != len(kinds):
        what = _SIMPLE[kinds[0]][0].removeprefix("a ") if kinds[0] in _SIMPLE else "entry"
        raise _wrong(place, f"a list of {_COUNTS.get(len(kinds), len(kinds))} {what}s", value)
    return tuple(_read(each, kind, place) for each, kind in zip(value, kinds, strict=True))


def _dict(value: Any, kinds: tuple[Any, ...], place: Place) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _wrong(place, "a JSON object", value)
    return {key: _read(each, kinds[1], (*place, key)) for key, each in value.items()}


def _wrong(place: Place, wanted: str, value: Any) -> ConfigError:
    return ConfigError(f"{_text(place)}: {wanted} is needed, got {_got(value)}.")


def _text(place: Place) -> str:
    subject, *names = place
    return f'{subject}, field "{".".join(names)}"' if names else subject


def _got(value: Any) -> str:
    return json.dumps(value)[:_GOT_LENGTH]


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and value != "" and "\0" not in value


def _is_path(value: Any) -> bool:
    """Say whether a value is a text that can be the name of a file: half a character (a lone surrogate) cannot."""
    return _is_text(value) and value.encode(errors="replace").decode() == value


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


_COMPOSED: dict[Any, Callable[[Any, tuple[Any, ...], Place], Any]] = {
    UnionType: _one_of_kinds,
    Union: _one_of_kinds,
    Literal: _choice,
    tuple: _tuple,
    dict: _dict,
}
_SIMPLE: dict[Any, tuple[str, Callable[[Any], bool], Callable[[Any], Any]]] = {
    bool: ("true or false", lambda value: isinstance(value, bool), bool),
    int: ("a whole number", lambda value: isinstance(value, int) and not isinstance(value, bool), int),
    float: ("a number", _is_number, float),
    str: ("a text", _is_text, str),
    Path: ("a text", _is_path, Path),
    Any: ("anything", lambda _: True, lambda value: value),
}
"""By kind: what a message calls it, whether a value is one, and how it is made of the value."""
