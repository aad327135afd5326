"""Texts of others do nothing on a terminal but stand there."""

from __future__ import annotations

import pytest

from uncol.core.printable import printable, printable_document


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Leber, übergroß (肝臓) 🫀", "Leber, übergroß (肝臓) 🫀"),
        ("\x1b[2Jred\x1b[0m", " [2Jred [0m"),
        ("\x1b]0;title\x07", " ]0;title "),
        ("\x9b31m", " 31m"),
        ("a\r\nb\x00c\x7f", "a  b c "),
        ("a\u202egnp.exe", "a gnp.exe"),
        ("a\u2028b\u2066c", "a b c"),
        ("half \ud800", "half  "),
        ("one\ttwo", "one\ttwo"),
    ],
)
def test_what_moves_the_cursor_or_turns_the_line_becomes_a_space(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_lines_stay_where_they_are_wanted() -> None:
    assert printable("a\nb\x1b", keep="\n") == "a\nb "


def test_a_document_is_cleaned_everywhere_and_stays_as_it_is_otherwise() -> None:
    document = {"a\x1b": ["\x07", {"b": "\x9bc", "d": 1.5}], "e": None, "f": True}

    assert printable_document(document) == {"a ": [" ", {"b": " c", "d": 1.5}], "e": None, "f": True}
