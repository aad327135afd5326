"""Rows of the table from finished runs: grouped, paired with UnCoL, nothing mixed that does not belong together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from uncol.benchmark.comparison import Comparison, compare, describe_machine
from uncol.benchmark.runs import RunResult
from uncol.benchmark.scores import UncertaintyScore
from uncol.benchmark.suites import BENCHMARKS

MakeResult = Callable[..., RunResult]
HIPPOCAMPUS = BENCHMARKS["hippocampus"]


def only(results: list[RunResult]) -> Comparison:
    (comparison,) = compare(results, HIPPOCAMPUS)
    return comparison


def test_a_row_holds_the_means_counted_by_hand(make_result: MakeResult) -> None:
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


def test_a_row_holds_what_distance_costs_and_what_the_uncertainty_is_worth(make_result: MakeResult) -> None:
    first = make_result("uncol", {"a": 0.5}, dice_by_distance=((3.0, 0.75), (6.0, 0.5)))
    second = make_result("uncol", {"a": 0.5}, seed=1, dice_by_distance=((3.0, 0.25),))
    doubts = ((UncertaintyScore("a", 0.75, 0.25),), (UncertaintyScore("a", None, 0.75),))

    (row,) = only([replace(first, uncertainty=doubts[0]), replace(second, uncertainty=doubts[1])]).groups[8]

    assert row.dice_by_distance == {3.0: 0.5, 6.0: 0.5}
    assert (row.auroc, row.calibration_error, row.has_uncertainty) == (0.75, 0.5, True)


def test_without_any_uncertainty_there_is_nothing_to_tell_of_it(make_result: MakeResult) -> None:
    (row,) = only([make_result("uncol", {"a": 0.5})]).groups[8]

    assert (row.auroc, row.calibration_error, row.has_uncertainty, row.dice_by_distance) == (None, None, False, {})


def test_rows_stand_in_the_order_of_the_methods_with_their_distance_to_uncol(make_result: MakeResult) -> None:
    values = {"uncol": 0.75, "bcp": 0.5, "supervised": 0.25}

    rows = only([make_result(method, {"a": value}) for method, value in values.items()]).groups[8]

    assert [row.method for row in rows] == ["supervised", "bcp", "uncol"]
    assert [row.advantage and row.advantage.mean for row in rows] == [0.5, 0.25, None]


def test_the_upper_bound_stands_at_every_label_count(make_result: MakeResult) -> None:
    results = [make_result("uncol", {"a": value}, labeled=count) for count, value in ((4, 0.5), (8, 0.75))]
    results.append(make_result("supervised-all", {"a": 1.0}, labeled=160))

    groups = only(results).groups

    assert list(groups) == [4, 8]
    assert [rows[-1].method for rows in groups.values()] == ["supervised-all"] * 2
    assert [rows[-1].advantage.mean for rows in groups.values()] == [-0.5, -0.25]


def test_the_upper_bound_alone_is_a_table_too(make_result: MakeResult) -> None:
    groups = only([make_result("supervised-all", {"a": 1.0}, labeled=160)]).groups

    assert [row.method for row in groups[160]] == ["supervised-all"]


def test_numbers_of_steps_are_compared_apart(make_result: MakeResult) -> None:
    results = [make_result("uncol", {"a": 0.5}, steps=steps) for steps in (30000, 1500)]

    assert [comparison.steps for comparison in compare(results, HIPPOCAMPUS)] == [1500, 30000]


def test_runs_with_older_settings_are_left_out_and_counted(make_result: MakeResult) -> None:
    older = [make_result("uncol", {"a": 0.25}, seed=seed, rate=1, finished="2026-01-01") for seed in (0, 1)]
    newer = make_result("uncol", {"a": 0.75}, rate=2, finished="2026-01-02")

    comparison = only([*older, newer])

    assert comparison.groups[8][0].dice.mean == 0.75
    assert comparison.left_out == 2


def test_other_benchmarks_do_not_count(make_result: MakeResult) -> None:
    assert compare([make_result("uncol", {"a": 0.5}, benchmark="la2018")], HIPPOCAMPUS) == []


@pytest.mark.parametrize(
    ("threads", "accelerator", "text"), [(1, None, "CPU X, 1 thread"), (4, "GPU Y", "GPU Y, CPU X, 4 threads")]
)
def test_a_machine_is_described_by_its_kind(threads: int, accelerator: str | None, text: str) -> None:
    assert describe_machine({"processor": "CPU X", "threads": threads, "accelerator": accelerator}) == text
