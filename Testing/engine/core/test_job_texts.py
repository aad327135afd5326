"""Tests of what the user types."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from mutated import counted, mutated

from uncol.core.errors import ConfigError
from uncol.core.job_texts import parse_annotated_slices, parse_box, parse_slices, parse_structure, parse_student
from uncol.core.jobs import AnnotatedSlices, Box, Structure


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("spleen=1", Structure(1, "spleen"), id="plain"),
        pytest.param(" left kidney = 12 ", Structure(12, "left kidney"), id="spaces"),
        pytest.param("T=2=3", Structure(3, "T=2"), id="equals sign in the name"),
        pytest.param("Milz ä=4", Structure(4, "Milz ä"), id="umlaut"),
    ],
)
def test_structure_is_read(text: str, expected: Structure) -> None:
    assert parse_structure(text) == expected


@pytest.mark.parametrize("text", ["", "spleen", "spleen=", "=1", "spleen=one", "spleen=1.5", "spleen=-1", "1=spleen"])
def test_unreadable_structure_is_refused_with_an_example(text: str) -> None:
    message = f'"{text}" does not say which structure it is. Write NAME=VALUE, for example spleen=1.'

    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        parse_structure(text)


def test_structure_with_a_reserved_value_is_refused() -> None:
    with pytest.raises(ConfigError, match='Structure "spleen" has label value 255; use 1 to 254'):
        parse_structure("spleen=255")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("liver=10,20,5,90,80,40", Box("liver", (10, 20, 5), (90, 80, 40)), id="plain"),
        pytest.param(" left lung = 1, 2, 3, 4, 5, 6", Box("left lung", (1, 2, 3), (4, 5, 6)), id="spaces"),
        pytest.param("cyst=7,8,9,7,8,9", Box("cyst", (7, 8, 9), (7, 8, 9)), id="one voxel, as both ends are inclusive"),
        pytest.param("T=2=0,0,0,1,1,1", Box("T=2", (0, 0, 0), (1, 1, 1)), id="equals sign in the name"),
    ],
)
def test_box_is_read(text: str, expected: Box) -> None:
    assert parse_box(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="nothing"),
        pytest.param("1,2,3,4,5,6", id="no name"),
        pytest.param("=1,2,3,4,5,6", id="empty name"),
        pytest.param("liver=", id="no indices"),
        pytest.param("liver=1,2,3,4,5", id="five indices"),
        pytest.param("liver=1,2,3,4,5,6,7", id="seven indices"),
        pytest.param("liver=1,2,3,4,5,6.5", id="part of a voxel"),
        pytest.param("liver=1,2,3,4,5,", id="index missing"),
        pytest.param("liver=1;2;3;4;5;6", id="other separator"),
    ],
)
def test_unreadable_box_is_refused_with_its_form(text: str) -> None:
    message = f'Box "{text}" is not readable. Write LABEL=I0,J0,K0,I1,J1,K1 with six whole voxel indices.'

    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        parse_box(text)


@pytest.mark.parametrize(
    ("lower", "upper"),
    [
        pytest.param((5, 0, 0), (4, 9, 9), id="I"),
        pytest.param((0, 5, 0), (9, 4, 9), id="J"),
        pytest.param((0, 0, 5), (9, 9, 4), id="K"),
    ],
)
def test_box_whose_ends_are_swapped_is_refused(lower: tuple[int, int, int], upper: tuple[int, int, int]) -> None:
    message = (
        'Box of "liver" is empty: each first index must be at most the second (I0 <= I1, J0 <= J1, K0 <= K1), '
        f"got {lower} and {upper}."
    )

    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        Box("liver", lower, upper)
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        parse_box(f"liver={','.join(map(str, (*lower, *upper)))}")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("K:0,8,16", AnnotatedSlices("K", (0, 8, 16)), id="plain"),
        pytest.param("J:40", AnnotatedSlices("J", (40,)), id="one slice"),
        pytest.param("i:3", AnnotatedSlices("I", (3,)), id="small letter"),
        pytest.param("K:16,0,8,0", AnnotatedSlices("K", (0, 8, 16)), id="sorted, each slice once"),
        pytest.param(" K : 1, 2", AnnotatedSlices("K", (1, 2)), id="spaces"),
        pytest.param("2@J:40", AnnotatedSlices("J", (40,), case=2), id="of the second case"),
    ],
)
def test_annotated_slices_are_read(text: str, expected: AnnotatedSlices) -> None:
    assert parse_annotated_slices(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="nothing"),
        pytest.param("0,8,16", id="no axis"),
        pytest.param("K", id="no slices"),
        pytest.param("K:", id="empty list of slices"),
        pytest.param("K:1,", id="slice missing"),
        pytest.param("K:1-5", id="range"),
        pytest.param("K:0.5", id="between two slices"),
        pytest.param("Z:1", id="axis of another convention"),
        pytest.param("KJ:1", id="two axes"),
        pytest.param("@K:1", id="empty case"),
        pytest.param("one@K:1", id="case in words"),
        pytest.param("0@K:1", id="cases count from 1"),
    ],
)
def test_unreadable_annotated_slices_are_refused_with_an_example(text: str) -> None:
    message = (
        f'Slices "{text}" are not readable. Write AXIS:N1,N2,... (I, J or K), as in K:0,8,16, '
        "or CASE@AXIS:N1,N2,... for one of several cases, as in 2@K:0,8,16."
    )

    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        parse_annotated_slices(text)


def test_slices_of_one_image_are_read_without_a_case() -> None:
    assert parse_slices("j:3,1") == AnnotatedSlices("J", (1, 3))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("K5", 'Slices "K5" are not readable. Write AXIS:N1,N2,... (I, J or K), as in K:0,8,16.'),
        ("2@K5", 'Slices "2@K5" are not readable. Write AXIS:N1,N2,... (I, J or K), as in K:0,8,16.'),
        ("2@K:5", 'Slices "2@K:5" name a case, but there is only one image here. Leave out "2@".'),
    ],
)
def test_slices_of_one_image_that_cannot_be_read_are_refused(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        parse_slices(text)


@pytest.mark.parametrize("text", ["2d", "3d", "auto"])
def test_student_is_read(text: str) -> None:
    assert parse_student(text) == text


def test_unknown_student_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r'Student "4d" is unknown\. Choose one of 2d, 3d, auto\.'):
        parse_student("4d")


OPTIONS = [
    (parse_structure, b"spleen=1"),
    (parse_box, b"liver=10,20,5,90,80,40"),
    (parse_slices, b"K:0,8,16"),
    (parse_annotated_slices, b"2@K:0,8,16"),
]


@pytest.mark.parametrize("count", [100, pytest.param(10_000, marks=pytest.mark.soak)])
@pytest.mark.parametrize(("parse", "good"), OPTIONS, ids=lambda each: getattr(each, "__name__", ""))
def test_mutated_texts_are_read_or_refused(
    tell: Callable[[str], None], parse: Callable[[str], Any], good: bytes, count: int
) -> None:
    texts = mutated(good).map(lambda text: text.decode("utf-8", "surrogateescape").replace("\n", " "))
    tell(f"mutated texts, {parse.__name__}: {counted(count, texts, parse, ConfigError)}")


@pytest.mark.parametrize(("parse", "text"), [(parse_structure, "spleen={}"), (parse_annotated_slices, "{}@K:1")])
@pytest.mark.parametrize("number", ["9" * 5000, "\x1c2"], ids=["5000 digits", "a blank that int() does not know"])
def test_a_number_that_python_does_not_read_is_refused(parse: Callable[[str], Any], text: str, number: str) -> None:
    with pytest.raises(ConfigError, match=r"Write "):
        parse(text.format(number))
