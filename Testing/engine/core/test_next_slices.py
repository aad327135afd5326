"""The next slice by hand: what it brings to itself and its neighbors, over all structures, and the rules beside it."""

from __future__ import annotations

import json

import numpy as np
import pytest

from uncol.core.next_slices import (
    NextSlice,
    NextSlices,
    best_extra,
    drawn,
    expected_with,
    farthest,
    sentences_of,
)
from uncol.core.promise import ExpectedSlice, LeftOutCheck, Range, StructureCalibration, StructurePromise
from uncol.core.records import to_document

CALIBRATION = StructureCalibration("liver", 3, beside=0.3, per_slice=0.1, distance=8)
SLICES = tuple(ExpectedSlice(index, 40, 100) for index in (1, 2, 3, 5, 6, 7))
"""Dice 0.8 in each, between the annotated slices 0, 4 and 8."""


def test_an_annotated_slice_is_right_and_its_neighbors_gain_by_the_distance() -> None:
    """With slice 2: it has no errors, and 1 and 3 stay one slice away from an annotated one. 20 of 600 are gained."""
    assert expected_with(SLICES, CALIBRATION, [0, 4, 8], []) == pytest.approx(0.8)
    assert expected_with(SLICES, CALIBRATION, [0, 4, 8], [2]) == pytest.approx(1 - 100 / 600)
    # With slice 4 annotated anew, as if 0 and 8 were alone: 1, 2, 3 are then 1, 2, 1 away instead of 1, 2, 3.
    assert expected_with(SLICES[:3], CALIBRATION, [0, 8], [4]) == pytest.approx(1 - (20 + 20 + 20 * 0.4 / 0.6) / 300)


def test_the_next_slice_is_the_one_with_the_largest_gain_over_all_structures() -> None:
    """In slice 6 the spleen has all its errors, 60 of 100; the liver has 20 in each slice."""
    spleen = (ExpectedSlice(5, 50, 100), ExpectedSlice(6, 20, 100))
    calibrations = [CALIBRATION, StructureCalibration("spleen", 3, 0.3, 0.1, 8.0)]

    first = best_extra([SLICES, spleen], calibrations, [0, 4, 8])
    second = best_extra([SLICES, spleen], calibrations, [0, 4, 8], [6])

    assert first is not None
    assert (first.index, first.structures, first.distance) == (6, ("spleen",), 2)
    assert first.gain == pytest.approx((20 / 600 + 60 / 200) / 2)
    assert second is not None
    assert (second.index, second.structures) == (1, ("liver",))  # slice 2 is then nearer to an annotated one


def test_no_slice_is_left_or_nothing_is_expected() -> None:
    assert best_extra([SLICES], [CALIBRATION], [1, 2, 3, 5, 6, 7]) is None
    assert best_extra([()], [CALIBRATION], [0]) is None


PROMISE = StructurePromise("liver", Range(0.9, 0.85, 0.94), Range(100, 90, 110), 0.95, LeftOutCheck(3, 0.7, 0.75))


def test_sentences_of_a_report() -> None:
    report = {
        "calibration": [to_document(CALIBRATION), to_document(StructureCalibration("spleen", 1))],
        "promises": [to_document(PROMISE)],
        "next_slices": to_document(NextSlices("K", (NextSlice(6, 0.0123, ("liver",), 1),))),
    }

    assert sentences_of(json.loads(json.dumps(report, allow_nan=False))) == [
        '"liver": Dice about 0.90, 0.85 to 0.94 where nobody annotated; with two more slices about 0.95. '
        "Volume 100.0, 90.0 to 110.0 ml. This is foreseen from this volume alone.",
        '"spleen" is not calibrated and has no promise: 1 of the annotated slices between others shows it. '
        "Annotate more of it.",
        "Annotate next: Slice K:6: liver, 1 slice from the nearest annotated one; Dice about +0.012.",
    ]
    below = sentences_of(report, below_a_table=True)
    assert below[0] == '"liver": Dice with two more slices about 0.95.'
    assert sentences_of({}) == []


def test_many_structures_without_a_promise_are_one_sentence() -> None:
    names = [f"rib {number}" for number in range(1, 13)]
    report = {"calibration": [to_document(StructureCalibration(each, 0)) for each in names]}

    assert sentences_of(report) == [
        '12 structures are not calibrated and have no promise ("rib 1", "rib 2", "rib 3" and 9 more): too few of the '
        "annotated slices between others show them. Annotate more of them."
    ]


def test_a_slice_without_a_known_gain_is_told_by_its_doubt() -> None:
    assert NextSlice(6, None, ("liver", "spleen"), 2).sentence == (
        "Slice 6: least sure of liver and spleen, 2 slices from the nearest annotated one."
    )
    assert NextSlice(6, None, (), None).sentence == "Slice 6."


def test_even_spacing_and_chance() -> None:
    assert farthest([2, 6], 12) == 11
    assert farthest([0, 11], 12) == 5
    assert farthest([0, 1], 2) is None
    assert {drawn([0, 2], 4, np.random.default_rng(seed)) for seed in range(20)} == {1, 3}
    assert drawn([0, 1], 2, np.random.default_rng(0)) is None
