"""Promises by hand: Dice and volume that are expected, what more slices bring, and whether a promise was kept."""

from __future__ import annotations

import json
import math

import pytest

from uncol.core.promise import (
    ExpectedSlice,
    LeftOutCheck,
    NextSlice,
    NextSlices,
    Range,
    StructureCalibration,
    StructurePromise,
    best_extra,
    check_promise,
    expected_dice,
    expected_volume,
    expected_with,
    sentences_of,
)
from uncol.core.records import to_document

CALIBRATION = StructureCalibration("liver", 3, beside=0.3, per_slice=0.1, distance=8)
SLICES = tuple(ExpectedSlice(index, 40, 100) for index in (1, 2, 3, 5, 6, 7))
"""Dice 0.8 in each, between the annotated slices 0, 4 and 8."""


def promise(dice: float = 0.9, further: float = 0.95) -> StructurePromise:
    return StructurePromise(
        "liver", Range(dice, 0.85, 0.94), Range(100, 90, 110), further, LeftOutCheck(3, 0.7, 0.75), SLICES
    )


def test_expected_dice_by_hand() -> None:
    """2 * 90 / 200 = 0.9 of two slices: 0.1 times or divided by exp(sqrt(ln 1.7 ^ 2 + ln 2.3 ^ 2 / 2))."""
    found = expected_dice([ExpectedSlice(1, 50, 100), ExpectedSlice(2, 40, 100)])

    factor = math.exp(math.sqrt(math.log(1.7) ** 2 + math.log(2.3) ** 2 / 2))
    assert found is not None
    assert found.value == pytest.approx(0.9)
    assert found.low == pytest.approx(1 - 0.1 * factor)
    assert found.high == pytest.approx(1 - 0.1 / factor)


def test_nothing_expected_is_no_number_and_no_interval_leaves_0_to_1() -> None:
    assert expected_dice([]) is None
    assert expected_dice([ExpectedSlice(1, 0, 0)]) is None
    lost = expected_dice([ExpectedSlice(1, 0, 10)])
    assert lost is not None
    assert (lost.value, lost.low) == (0.0, 0.0)
    assert 0 <= lost.high <= 1


def test_what_was_annotated_is_certain_in_a_volume() -> None:
    """Of 100 ml 20 are annotated; the others are off by 1.4 * 0.1 of 80."""
    found = expected_volume(100, 20, 0.9)

    assert (found.value, found.low, found.high) == (100, pytest.approx(88.8), pytest.approx(111.2))
    assert expected_volume(100, 95, 0.0).low == 95


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


def test_kept_and_broken() -> None:
    """Two slices with Dice 0.8 together: 0.2 times 2.0... is lost at most."""
    promised = expected_dice(SLICES[:2])
    assert promised is not None

    (kept,) = check_promise([promise()], {"liver": promised.low + 0.01}, {1, 2})
    (broken,) = check_promise([promise()], {"liver": promised.low - 0.01}, {1, 2})

    assert (kept.is_kept, kept.slices, kept.promised) == (True, 2, promised)
    assert not broken.is_kept
    assert kept.sentence.startswith('"liver": promise kept. Dice 0.')
    assert "in 2 slices annotated since; promised was 0.80, 0." in kept.sentence
    assert broken.sentence.startswith('"liver": promise broken. ')
    assert check_promise([promise()], {"liver": 0.5}, {0, 99}) == ()
    assert check_promise([promise()], {"spleen": 0.5}, {1}) == ()


def test_sentences_of_a_report() -> None:
    report = {
        "calibration": [to_document(CALIBRATION), to_document(StructureCalibration("spleen", 1))],
        "promises": [to_document(promise())],
        "next_slices": to_document(NextSlices("K", (NextSlice(6, 0.0123, ("liver",), 1),))),
    }

    assert sentences_of(json.loads(json.dumps(report, allow_nan=False))) == [
        '"liver": Dice about 0.90, 0.85 to 0.94 where nobody annotated; with two more slices about 0.95. '
        "Volume 100.0, 90.0 to 110.0 ml. This is foreseen from this volume alone.",
        '"spleen" is not calibrated and has no promise: 1 of the annotated slices between others shows it. '
        "Annotate more of it.",
        "Annotate next: Slice 6: liver, 1 slice from the nearest annotated one; Dice about +0.012.",
    ]
    assert sentences_of({}) == []


def test_enough_is_said() -> None:
    assert promise(0.95, 0.9549).is_enough
    assert not promise(0.95, 0.9551).is_enough
    assert "more slices would hardly help" in promise(0.95, 0.952).sentence
