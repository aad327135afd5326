"""What the pictures show; whether they are good to look at is for people to say."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from uncol.benchmark.comparison import Comparison, compare
from uncol.benchmark.plots import dice_png, fullest_count, in_order_of_labels, spread
from uncol.benchmark.runs import RunResult
from uncol.benchmark.suites import BENCHMARKS

MakeResult = Callable[..., RunResult]
PNG = b"\x89PNG\r\n\x1a\n"


def compared(make_result: MakeResult, cells: list[tuple[str, int]], benchmark: str = "hippocampus") -> Comparison:
    results = [
        make_result(method, {"a": 0.5, "b": 0.75}, labeled=count, benchmark=benchmark) for method, count in cells
    ]
    return compare(results, BENCHMARKS[benchmark])[0]


def test_more_labels_stand_further_right(make_result: MakeResult) -> None:
    cases = compared(make_result, [("uncol", count) for count in (16, 4, 8)])
    slices = compared(make_result, [("uncol", count) for count in (16, 4, 8)], "sparse-slices-liver")

    assert in_order_of_labels(cases) == [4, 8, 16]
    assert in_order_of_labels(slices) == [16, 8, 4]


def test_all_methods_are_shown_at_the_count_where_all_are_compared(make_result: MakeResult) -> None:
    assert fullest_count(compared(make_result, [("uncol", 4), ("bcp", 4), ("uncol", 8)])) == 8
    assert fullest_count(compared(make_result, [("uncol", 4), ("bcp", 4), ("uncol", 16)])) == 4


@pytest.mark.parametrize(
    "cells",
    [
        pytest.param([("uncol", 8)], id="one run"),
        pytest.param([("uncol", 8), ("uncol", 4), ("bcp", 8), ("supervised-all", 160)], id="one line"),
    ],
)
def test_a_picture_is_drawn_of_whatever_there_is(make_result: MakeResult, cells: list[tuple[str, int]]) -> None:
    assert dice_png(compared(make_result, cells)).startswith(PNG)


@pytest.mark.parametrize(
    ("heights", "shown"),
    [
        pytest.param([0.1, 0.5], [0.1, 0.5], id="far apart"),
        pytest.param([0.5, 0.5], [0.5, 0.6], id="alike: the upper one moves"),
        pytest.param([0.95, 1.0], [0.9, 1.0], id="at the top: the lower one moves"),
        pytest.param([], [], id="none"),
    ],
)
def test_names_keep_their_distance(heights: list[float], shown: list[float]) -> None:
    assert spread(heights, 0.1) == pytest.approx(shown)
