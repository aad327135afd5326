"""Names become standard terms where DICOM has one, and no guess where it has none."""

from __future__ import annotations

import pytest

from uncol.formats.dicom_terms import UNKNOWN, term_of


@pytest.mark.parametrize(
    ("name", "category", "code", "side"),
    [
        ("liver", "Anatomical Structure", "10200004", None),
        ("Spleen", "Anatomical Structure", "78961009", None),
        ("left kidney", "Anatomical Structure", "64033007", "Left"),
        ("kidney_right", "Anatomical Structure", "64033007", "Right"),
        ("left atrium", "Anatomical Structure", "82471001", None),  # a term of its own
        ("Mass", "Morphologically Abnormal Structure", "4147007", None),
    ],
)
def test_a_known_name_has_its_term(name: str, category: str, code: str, side: str | None) -> None:
    term = term_of(name)

    assert (term.category.meaning, term.kind.value) == (category, code)
    assert (None if term.side is None else term.side.meaning) == side


@pytest.mark.parametrize("name", ["", "label-3", "left", "left right kidney", "肝", "my favourite organ"])
def test_an_unknown_name_is_tissue(name: str) -> None:
    assert term_of(name) == UNKNOWN
