"""Learning curves: means over the seeds, smoothed without moving a constant."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from uncol.benchmark.comparison import compare
from uncol.benchmark.learning_plot import learning_png, mean_curve
from uncol.benchmark.runs import RunResult
from uncol.benchmark.suites import BENCHMARKS

MakeResult = Callable[..., RunResult]


def test_the_mean_of_two_seeds_is_taken_where_both_have_points() -> None:
    first = [{"step": step, "supervised": 1.0} for step in (0, 50, 100)]
    second = [{"step": step, "supervised": 3.0} for step in (20, 120)]

    curve = mean_curve([first, second], "supervised")

    assert curve[[0, -1], 0].tolist() == [20, 100]
    assert curve[:, 1] == pytest.approx(np.full(len(curve), 2.0))


def test_a_loss_that_a_run_does_not_have_has_no_curve() -> None:
    curves = [[{"step": 1, "supervised": 1.0}], [{"step": 1, "agreement": 1.0}]]

    assert mean_curve(curves, "agreement").shape == (0, 2)


def test_a_picture_is_drawn_where_losses_were_recorded(make_result: MakeResult) -> None:
    curve = [{"step": step, "stage": 2, "supervised": 1 / step, "pseudo_label": 2 / step} for step in (1, 10, 100)]
    both = [replace(make_result("uncol", {"a": 0.5}), record={"curve": curve}), make_result("bcp", {"a": 0.5})]
    (comparison,) = compare(both, BENCHMARKS["hippocampus"])

    assert learning_png(comparison, 8).startswith(b"\x89PNG\r\n\x1a\n")


def test_without_losses_there_is_no_picture(make_result: MakeResult) -> None:
    (comparison,) = compare([replace(make_result("uncol", {"a": 0.5}), record={})], BENCHMARKS["hippocampus"])

    assert learning_png(comparison, 8) is None
