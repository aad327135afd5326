"""Intervals whose ends can be read from a binomial table, and differences that pair what belongs together."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from uncol.benchmark.runs import RunResult
from uncol.benchmark.statistics import Interval, bootstrap, mean_interval, paired_difference, subject_dice

MakeResult = Callable[..., RunResult]


def test_one_value_says_nothing_of_its_spread() -> None:
    interval = bootstrap(np.array([[0.75]]), np.ones(1))

    assert interval == Interval(0.75, -math.inf, math.inf)
    assert not interval.is_bounded
    assert interval.shown == (0.75, 0.75)


def test_the_interval_of_twenty_cases_is_that_of_the_binomial_distribution() -> None:
    # The mean of 20 draws from ten 0 and ten 1 is B(20, 1/2) / 20: P(B <= 5) = 0.021, P(B <= 6) = 0.058.
    values = np.array([[0.0] * 10 + [1.0] * 10])

    assert bootstrap(values, np.ones(20)) == Interval(0.5, 6 / 20, 14 / 20)


def test_a_seed_is_drawn_for_all_cases_alike() -> None:
    # Seed 0 always gives 0, seed 1 always gives 1: a replicate draws 0, 1/2 or 1, with probability 1/4, 1/2, 1/4.
    # Seeds drawn anew for each of the 100 cases would give means near 1/2 only.
    values = np.repeat([[0.0], [1.0]], 100, axis=1)

    assert bootstrap(values, np.ones(100)) == Interval(0.5, 0.0, 1.0)


def test_the_same_table_always_has_the_same_interval() -> None:
    values = np.random.default_rng(0).random((3, 10))

    assert bootstrap(values, np.ones(10)) == bootstrap(values, np.ones(10))


def test_a_subject_weighs_as_much_as_it_has_images_and_is_drawn_as_a_whole() -> None:
    # Subjects 0 (one image) and 1 (three): mean 3/4; both draws the same in half of the replicates.
    assert bootstrap(np.array([[0.0, 1.0]]), np.array([1.0, 3.0])) == Interval(0.75, 0.0, 1.0)


def test_structures_of_a_subject_are_averaged(make_result: MakeResult) -> None:
    # Subject a: (0.2 + 0.4) / 2 = 0.3; subject b: (0.6 + 0.8) / 2 = 0.7.
    dice = subject_dice([make_result("uncol", {"a": (0.2, 0.4), "b": (0.6, 0.8)})])

    assert (dice.seeds, dice.subjects) == ((0,), ("a", "b"))
    assert dice.values == pytest.approx(np.array([[0.3, 0.7]]))
    assert dice.image_counts.tolist() == [1, 1]
    assert mean_interval(dice).mean == pytest.approx(0.5)


def test_two_sides_of_a_subject_are_one_entry_of_the_table(make_result: MakeResult) -> None:
    result = make_result("uncol", {"left": 0.25, "right": 0.75, "b": 1.0})
    both = tuple(replace(score, subject="a" if score.case != "b" else "b") for score in result.scores)

    dice = subject_dice([replace(result, scores=both)])

    assert (dice.subjects, dice.values.tolist(), dice.image_counts.tolist()) == (("a", "b"), [[0.5, 1.0]], [2, 1])
    assert mean_interval(dice).mean == pytest.approx((0.25 + 0.75 + 1.0) / 3)


def test_seeds_are_rows_whatever_the_order_of_the_results(make_result: MakeResult) -> None:
    dice = subject_dice([make_result("uncol", {"a": value}, seed=seed) for seed, value in ((2, 0.9), (0, 0.5))])

    assert dice.seeds == (0, 2)
    assert dice.values.tolist() == [[0.5], [0.9]]


def test_an_even_advantage_is_certain_however_much_the_cases_differ(make_result: MakeResult) -> None:
    theirs = {"a": 0.25, "b": 0.5, "c": 0.875}
    ours = {subject: value + 0.0625 for subject, value in theirs.items()}

    difference = paired_difference(
        subject_dice([make_result("uncol", ours)]), subject_dice([make_result("bcp", theirs)])
    )

    assert difference == Interval(0.0625, 0.0625, 0.0625)


def test_only_seeds_that_both_have_are_compared(make_result: MakeResult) -> None:
    ours = subject_dice([make_result("uncol", {"a": value}, seed=seed) for seed, value in ((0, 0.5), (1, 0.75))])
    theirs = subject_dice([make_result("bcp", {"a": value}, seed=seed) for seed, value in ((1, 0.5), (2, 0.0))])

    difference = paired_difference(ours, theirs)

    assert difference is not None
    assert difference.mean == 0.25


def test_without_a_common_seed_there_is_no_difference(make_result: MakeResult) -> None:
    ours, theirs = make_result("uncol", {"a": 0.5}, seed=0), make_result("bcp", {"a": 0.5}, seed=1)

    assert paired_difference(subject_dice([ours]), subject_dice([theirs])) is None
