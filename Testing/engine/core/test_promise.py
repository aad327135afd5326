"""Promises by hand: Dice and volume that are expected, and whether a promise was kept."""

from __future__ import annotations

import math

import pytest

from uncol.core.promise import (
    ExpectedSlice,
    LeftOutCheck,
    Range,
    StructurePromise,
    check_promise,
    expected_dice,
    expected_volume,
)

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


def test_enough_is_said() -> None:
    assert promise(0.95, 0.9549).is_enough
    assert not promise(0.95, 0.9551).is_enough
    assert "more slices would hardly help" in promise(0.95, 0.952).sentence
