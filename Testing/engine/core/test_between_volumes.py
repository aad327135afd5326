"""The bound for the next patient by hand, what it needs, and that it holds as often as it says."""

from __future__ import annotations

import numpy as np
import pytest

from uncol.core.between_volumes import NextPatient, expect_of_next


def test_nine_patients_are_enough_and_the_least_of_them_counts() -> None:
    """0.1 * (9 + 1) = 1: the smallest. 0.1 * (19 + 1) = 2: the second one."""
    nine, nineteen = ([{"liver": 0.9 - index / 100} for index in range(count)] for count in (9, 19))

    assert expect_of_next(nine) == (NextPatient("liver", 9, pytest.approx(0.82)),)
    assert expect_of_next(nineteen) == (NextPatient("liver", 19, pytest.approx(0.73)),)


@pytest.mark.parametrize(("count", "missing"), [(1, 8), (8, 1)])
def test_with_fewer_it_says_how_many_are_missing(count: int, missing: int) -> None:
    (found,) = expect_of_next([{"liver": 0.9}] * count)

    assert (found.least_dice, found.missing) == (None, missing)
    assert f"that needs {missing} more patient" in found.sentence


def test_a_structure_counts_where_it_was_measured() -> None:
    liver, spleen = expect_of_next([{"liver": 0.9}] * 8 + [{"liver": 0.8, "spleen": 0.5}])

    assert liver.sentence == (
        '"liver": Dice of at least 0.80 to expect in nine of ten further patients, from 9 patients, as far as they are '
        "like these."
    )
    assert (spleen.patients, spleen.missing) == (1, 8)
    assert expect_of_next([]) == ()


@pytest.mark.parametrize("count", [9, 14, 30])
def test_it_holds_in_at_least_nine_of_ten_patients(count: int) -> None:
    draws = np.random.default_rng(0).beta(5, 1, (4000, count + 1))

    held = [next_one >= expect_of_next([{"a": each} for each in before])[0].least_dice for *before, next_one in draws]

    assert 0.9 - 0.015 <= np.mean(held) <= 0.97
