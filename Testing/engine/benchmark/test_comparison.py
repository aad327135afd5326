"""Rows of the table from finished runs: grouped, paired with UnCoL, with intervals that a binomial table confirms."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from small_benchmark import make_result

from uncol.benchmark.comparison import (
    Comparison,
    Interval,
    PartMeans,
    bootstrap,
    compare,
    describe_machine,
    mean_part,
    paired_difference,
    subject_dice,
)
from uncol.benchmark.runs import RunResult
from uncol.benchmark.scores import PartScore, UncertaintyScore
from uncol.benchmark.suites import BENCHMARKS

HIPPOCAMPUS = BENCHMARKS["hippocampus"]


def only(results: list[RunResult]) -> Comparison:
    (comparison,) = compare(results, HIPPOCAMPUS)
    return comparison


def test_a_row_holds_the_means_counted_by_hand() -> None:
    results = [
        make_result("uncol", {"a": (0.5, 0.75), "b": (0.75, 1.0)}, seed=0, hd95_mm=2.0),
        make_result("uncol", {"a": (0.5, 0.75), "b": (0.75, 1.0)}, seed=1, hd95_mm=None),
    ]

    (row,) = only(results).groups[8]

    assert (row.method, row.labeled, row.seeds) == ("uncol", 8, (0, 1))
    assert row.dice.mean == 0.75
    assert row.dice_by_structure == {"anterior": 0.625, "posterior": 0.875}
    assert (row.hd95_mm, row.undefined_distances, row.distances) == (2.0, 4, 8)
    assert row.advantage is None
    assert (row.training_steps, row.seconds, len(row.curves)) == (1500, 60.0, 2)


def test_a_row_holds_what_distance_costs_and_what_the_uncertainty_is_worth() -> None:
    first = make_result("uncol", {"a": 0.5}, dice_by_distance=((3.0, 0.75), (6.0, 0.5)))
    second = make_result("uncol", {"a": 0.5}, seed=1, dice_by_distance=((3.0, 0.25),))
    doubts = ((UncertaintyScore("a", 0.75, 0.25),), (UncertaintyScore("a", None, 0.75),))

    (row,) = only([replace(first, uncertainty=doubts[0]), replace(second, uncertainty=doubts[1])]).groups[8]

    assert row.dice_by_distance == {3.0: 0.5, 6.0: 0.5}
    assert (row.auroc, row.calibration_error, row.has_uncertainty) == (0.75, 0.5, True)


def test_a_row_tells_inside_from_beyond_by_structure_in_parts_of_the_structure() -> None:
    first, second = (make_result("uncol", {"a": 0.5}, seed=seed) for seed in (0, 1))
    parts = [[(0.5, 4, 1.0, 0), (None, 0, 0.0, 15)], [(1.0, 0, None, 0), (None, 0, 0.5, 5)]]  # of 10 voxels each

    def scored(result: RunResult, of_both: list[tuple[float | None, int, float | None, int]]) -> RunResult:
        pairs = zip(result.scores, of_both, strict=True)
        return replace(
            result,
            scores=tuple(replace(each, inside=PartScore(*of[:2]), beyond=PartScore(*of[2:])) for each, of in pairs),
        )

    (row,) = only([scored(first, parts[0]), scored(second, parts[1])]).groups[8]

    assert row.inside == {"anterior": PartMeans(0.75, 0.2), "posterior": PartMeans(None, 0.0)}
    assert row.beyond == {"anterior": PartMeans(1.0, 0.0), "posterior": PartMeans(0.25, 1.0)}
    assert (mean_part(row.inside), mean_part(row.beyond)) == (PartMeans(0.75, 0.1), PartMeans(0.625, 0.5))


def test_earlier_runs_tell_nothing_of_inside_and_beyond() -> None:
    (row,) = only([make_result("uncol", {"a": 0.5})]).groups[8]

    assert (row.inside, row.beyond) == ({}, {})


def test_without_any_uncertainty_there_is_nothing_to_tell_of_it() -> None:
    (row,) = only([make_result("uncol", {"a": 0.5})]).groups[8]

    assert (row.auroc, row.calibration_error, row.has_uncertainty, row.dice_by_distance) == (None, None, False, {})


def test_rows_stand_in_the_order_of_the_methods_with_their_distance_to_uncol() -> None:
    values = {"uncol": 0.75, "bcp": 0.5, "supervised": 0.25}

    rows = only([make_result(method, {"a": value}) for method, value in values.items()]).groups[8]

    assert [row.method for row in rows] == ["supervised", "bcp", "uncol"]
    assert [row.advantage and row.advantage.mean for row in rows] == [0.5, 0.25, None]


def test_the_upper_bound_stands_at_every_label_count() -> None:
    results = [make_result("uncol", {"a": value}, labeled=count) for count, value in ((4, 0.5), (8, 0.75))]
    results.append(make_result("supervised-all", {"a": 1.0}, labeled=160))

    groups = only(results).groups

    assert list(groups) == [4, 8]
    assert [rows[-1].method for rows in groups.values()] == ["supervised-all"] * 2
    assert [rows[-1].advantage.mean for rows in groups.values()] == [-0.5, -0.25]


def test_the_upper_bound_alone_is_a_table_too() -> None:
    groups = only([make_result("supervised-all", {"a": 1.0}, labeled=160)]).groups

    assert [row.method for row in groups[160]] == ["supervised-all"]


def test_numbers_of_steps_are_compared_apart() -> None:
    results = [make_result("uncol", {"a": 0.5}, steps=steps) for steps in (30000, 1500)]

    assert [comparison.steps for comparison in compare(results, HIPPOCAMPUS)] == [1500, 30000]


def test_runs_with_older_settings_are_left_out_and_counted() -> None:
    older = [make_result("uncol", {"a": 0.25}, seed=seed, rate=1, finished="2026-01-01") for seed in (0, 1)]
    newer = make_result("uncol", {"a": 0.75}, rate=2, finished="2026-01-02")

    comparison = only([*older, newer])

    assert comparison.groups[8][0].dice.mean == 0.75
    assert comparison.left_out == 2


def test_other_benchmarks_do_not_count() -> None:
    assert compare([make_result("uncol", {"a": 0.5}, benchmark="la2018")], HIPPOCAMPUS) == []


@pytest.mark.parametrize(
    ("threads", "accelerator", "text"), [(1, None, "CPU X, 1 thread"), (4, "GPU Y", "GPU Y, CPU X, 4 threads")]
)
def test_a_machine_is_described_by_its_kind(threads: int, accelerator: str | None, text: str) -> None:
    assert describe_machine({"processor": "CPU X", "threads": threads, "accelerator": accelerator}) == text


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


def test_structures_of_a_subject_are_averaged() -> None:
    # Subject a: (0.2 + 0.4) / 2 = 0.3; subject b: (0.6 + 0.8) / 2 = 0.7.
    dice = subject_dice([make_result("uncol", {"a": (0.2, 0.4), "b": (0.6, 0.8)})])

    assert (dice.seeds, dice.subjects) == ((0,), ("a", "b"))
    assert dice.values == pytest.approx(np.array([[0.3, 0.7]]))
    assert dice.image_counts.tolist() == [1, 1]
    assert bootstrap(dice.values, dice.image_counts).mean == pytest.approx(0.5)


def test_two_sides_of_a_subject_are_one_entry_of_the_table() -> None:
    result = make_result("uncol", {"left": 0.25, "right": 0.75, "b": 1.0})
    both = tuple(replace(score, subject="a" if score.case != "b" else "b") for score in result.scores)

    dice = subject_dice([replace(result, scores=both)])

    assert (dice.subjects, dice.values.tolist(), dice.image_counts.tolist()) == (("a", "b"), [[0.5, 1.0]], [2, 1])
    assert bootstrap(dice.values, dice.image_counts).mean == pytest.approx((0.25 + 0.75 + 1.0) / 3)


def test_seeds_are_rows_whatever_the_order_of_the_results() -> None:
    dice = subject_dice([make_result("uncol", {"a": value}, seed=seed) for seed, value in ((2, 0.9), (0, 0.5))])

    assert dice.seeds == (0, 2)
    assert dice.values.tolist() == [[0.5], [0.9]]


def test_an_even_advantage_is_certain_however_much_the_cases_differ() -> None:
    theirs = {"a": 0.25, "b": 0.5, "c": 0.875}
    ours = {subject: value + 0.0625 for subject, value in theirs.items()}

    difference = paired_difference(
        subject_dice([make_result("uncol", ours)]), subject_dice([make_result("bcp", theirs)])
    )

    assert difference == Interval(0.0625, 0.0625, 0.0625)


def test_only_seeds_that_both_have_are_compared() -> None:
    ours = subject_dice([make_result("uncol", {"a": value}, seed=seed) for seed, value in ((0, 0.5), (1, 0.75))])
    theirs = subject_dice([make_result("bcp", {"a": value}, seed=seed) for seed, value in ((1, 0.5), (2, 0.0))])

    difference = paired_difference(ours, theirs)

    assert difference is not None
    assert difference.mean == 0.25


def test_without_a_common_seed_there_is_no_difference() -> None:
    ours, theirs = make_result("uncol", {"a": 0.5}, seed=0), make_result("bcp", {"a": 0.5}, seed=1)

    assert paired_difference(subject_dice([ours]), subject_dice([theirs])) is None


def in_folds(method: str, *dice: dict[str, float], seed: int = 0) -> list[RunResult]:
    """Return a run for each fold with the Dice of its subjects."""
    return [
        make_result(method, each, labeled=4, seed=seed, benchmark=f"la2018-fold{number}")
        for number, each in enumerate(dice, start=1)
    ]


def test_the_subjects_of_all_folds_stand_in_one_row_and_are_paired() -> None:
    results = [*in_folds("uncol", {"a": 0.75}, {"b": 0.25}), *in_folds("bcp", {"a": 0.5}, {"b": 0.0})]

    (comparison,) = compare(results, BENCHMARKS["la2018-fold3"])

    theirs, ours = comparison.groups[4]
    assert (ours.dice.mean, ours.subjects.subjects, ours.seeds) == (0.5, ("a", "b"), (0,))
    assert theirs.advantage == Interval(0.25, 0.25, 0.25)
    assert (comparison.subject_count, comparison.left_out, len(ours.curves)) == (2, 0, 2)
    assert compare(results, BENCHMARKS["la2018"]) == []


def test_a_seed_with_a_fold_less_waits_for_it() -> None:
    whole, begun = in_folds("uncol", {"a": 0.75}, {"b": 0.25}), in_folds("uncol", {"a": 0.0}, seed=1)

    assert subject_dice([*begun, *whole]).seeds == (0,)
    assert subject_dice(begun).seeds == (1,)
