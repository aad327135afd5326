"""Stand-in for `slicer.i18n`: texts come back as they are, or in brackets when a test asks which were translated."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

_marks: list[str] = []


def translate(context: str, text: str) -> str:
    """Return the text of a context in the user's language."""
    if not context:
        message = f'"{text}" is translated without a context.'
        raise ValueError(message)
    return tr(text)


def tr(text: str) -> str:
    """Return the text in the user's language; it is looked up before it is filled in, so a `{` must still be there."""
    if not isinstance(text, str) or not text:
        message = f"Only a text can be translated, got {text!r}."
        raise TypeError(message)
    return f"«{text}»" if _marks else text


@contextmanager
def marked() -> Iterator[None]:
    """Put every translated text in «brackets», so that a test finds those that were not translated."""
    _marks.append("«»")
    try:
        yield
    finally:
        _marks.pop()
