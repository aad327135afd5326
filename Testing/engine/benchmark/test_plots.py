"""What the pictures show; whether they are good to look at is for people to say."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from small_benchmark import make_result

from uncol.benchmark.comparison import Comparison, compare
from uncol.benchmark.plots import (
    STYLES,
    dice_png,
    distance_png,
    fullest_count,
    in_order_of_labels,
    learning_png,
    mean_curve,
    spread,
)
from uncol.benchmark.suites import BENCHMARKS, METHODS

PNG = b"\x89PNG\r\n\x1a\n"


def compared(cells: list[tuple[str, int]], benchmark: str = "hippocampus") -> Comparison:
    results = [
        make_result(method, {"a": 0.5, "b": 0.75}, labeled=count, benchmark=benchmark) for method, count in cells
    ]
    return compare(results, BENCHMARKS[benchmark])[0]


def test_more_labels_stand_further_right() -> None:
    cases = compared([("uncol", count) for count in (16, 4, 8)])
    slices = compared([("uncol", count) for count in (16, 4, 8)], "sparse-slices-liver")

    assert in_order_of_labels(cases) == [4, 8, 16]
    assert in_order_of_labels(slices) == [16, 8, 4]


def test_all_methods_are_shown_at_the_count_where_all_are_compared() -> None:
    assert fullest_count(compared([("uncol", 4), ("bcp", 4), ("uncol", 1)])) == 1
    assert fullest_count(compared([("uncol", 4), ("bcp", 4), ("uncol", 16)])) == 4


@pytest.mark.parametrize(
    "cells",
    [
        pytest.param([("uncol", 8)], id="one run"),
        pytest.param([("uncol", 8), ("uncol", 4), ("bcp", 8), ("supervised-all", 160)], id="one line"),
    ],
)
def test_a_picture_is_drawn_of_whatever_there_is(cells: list[tuple[str, int]]) -> None:
    assert dice_png(compared(cells)).startswith(PNG)


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


def test_the_mean_of_two_seeds_is_taken_where_both_have_points() -> None:
    first = [{"step": step, "supervised": 1.0} for step in (0, 50, 100)]
    second = [{"step": step, "supervised": 3.0} for step in (20, 120)]

    curve = mean_curve([first, second], "supervised")

    assert curve[[0, -1], 0].tolist() == [20, 100]
    assert curve[:, 1] == pytest.approx(np.full(len(curve), 2.0))


def test_a_loss_that_a_run_does_not_have_has_no_curve() -> None:
    curves = [[{"step": 1, "supervised": 1.0}], [{"step": 1, "agreement": 1.0}]]

    assert mean_curve(curves, "agreement").shape == (0, 2)


def test_a_picture_is_drawn_where_losses_were_recorded() -> None:
    curve = [{"step": step, "stage": 2, "supervised": 1 / step, "pseudo_label": 2 / step} for step in (1, 10, 100)]
    both = [replace(make_result("uncol", {"a": 0.5}), record={"curve": curve}), make_result("bcp", {"a": 0.5})]
    (comparison,) = compare(both, BENCHMARKS["hippocampus"])

    assert learning_png(comparison, 8).startswith(b"\x89PNG\r\n\x1a\n")


def test_without_losses_there_is_no_picture() -> None:
    (comparison,) = compare([replace(make_result("uncol", {"a": 0.5}), record={})], BENCHMARKS["hippocampus"])

    assert learning_png(comparison, 8) is None


NAME = "sparse-slices-liver"


def test_every_label_count_with_measured_distances_has_a_plot() -> None:
    measured = [
        make_result(method, {"a": 0.5}, labeled=count, benchmark=NAME, dice_by_distance=((3.0, 0.8), (6.0, 0.7)))
        for method in ("shape-interpolation", "uncol")
        for count in (4, 16)
    ]
    of_before = make_result("uncol", {"a": 0.5}, labeled=8, benchmark=NAME)
    (comparison,) = compare([*measured, of_before], BENCHMARKS[NAME])
    (without_8,) = compare(measured, BENCHMARKS[NAME])

    drawn = distance_png(comparison)

    assert drawn.startswith(b"\x89PNG\r\n\x1a\n")
    assert drawn == distance_png(without_8)


def test_without_distances_there_is_no_picture() -> None:
    (comparison,) = compare([make_result("uncol", {"a": 0.5})], BENCHMARKS["hippocampus"])

    assert distance_png(comparison) is None


def test_every_method_has_its_color_and_its_marker() -> None:
    assert sorted(STYLES) == sorted(METHODS)
    assert len({color for color, _, _ in STYLES.values()}) == len(METHODS)
    assert len({marker for _, marker, _ in STYLES.values()}) == len(METHODS)
