"""A curve is flat by what its last quarter lowers, and full supervision counts only with a credible Dice besides."""

from __future__ import annotations

import pytest
from small_benchmark import make_result

from uncol.benchmark.comparison import compare
from uncol.benchmark.convergence import Convergence, convergence_of, last_quarter_fall
from uncol.benchmark.suites import BENCHMARKS


def curve_of(*losses: float) -> list[dict[str, float]]:
    return [{"step": 10 * number, "supervised": loss} for number, loss in enumerate(losses, start=1)]


def test_the_fall_of_the_last_quarter_is_that_between_two_tenths_mean_over_seeds() -> None:
    # Of 200 steps those from 140 to 150 (points 14.1 to 15) and from 180 to 200 (points 19 and 20) are read.
    first = curve_of(*[9.0] * 13, 4.0, 2.0, *[9.0] * 3, 1.0, 2.0)  # (4 + 2) / 2 = 3 to (1 + 2) / 2 = 1.5
    second = curve_of(*[9.0] * 13, 2.0, 2.0, *[9.0] * 3, 2.0, 2.0)

    assert last_quarter_fall([first]) == pytest.approx(0.5)
    assert last_quarter_fall([first, second]) == pytest.approx(0.25)


@pytest.mark.parametrize("curves", [[], [[]], [curve_of(1.0, 1.0)], [[{"step": 10, "consistency": 1.0}]]])
def test_without_losses_where_they_are_read_nothing_is_known(curves: list[list[dict[str, float]]]) -> None:
    assert last_quarter_fall(curves) is None


@pytest.mark.parametrize(
    ("fall", "dice", "is_reached", "sentence"),
    [
        pytest.param(0.04, 0.9, True, "supervised-all has converged: ties count. Its last quarter", id="both"),
        pytest.param(0.05, 0.9, False, "lowers the loss by 5 % (flat is less than 5 %); its Dice is", id="falls"),
        pytest.param(0.04, 0.8, False, "has not converged: no tie counts.", id="not credible"),
        pytest.param(-0.1, 0.9, True, "lowers the loss by -10 % (flat", id="the loss rises"),
        pytest.param(None, 0.9, False, "lowers the loss by unknown; its Dice is 0.900 (credible from", id="no curve"),
        pytest.param(None, None, False, "was not run: nobody knows whether these steps are enough", id="not run"),
    ],
)
def test_a_tie_counts_where_the_curve_is_flat_and_the_dice_credible(
    fall: float | None, dice: float | None, is_reached: bool, sentence: str
) -> None:
    convergence = Convergence(fall, dice, 0.85)

    assert convergence.is_reached == is_reached
    assert sentence in convergence.sentence


def test_rows_tell_it_by_the_one_that_has_all_labels() -> None:
    results = [make_result("uncol", {"a": 0.5}), make_result("supervised-all", {"a": 0.875}, labeled=160)]
    (comparison,) = compare(results, BENCHMARKS["hippocampus"])

    # Its loss is 700 / step at 100, 200, ..., 1500 steps: 1000 and 1100 are read (0.668), then 1400 and 1500 (0.483).
    assert convergence_of(comparison.groups[8], 0.86).dice == 0.875
    assert convergence_of(comparison.groups[8], 0.86).fall == pytest.approx(1 - (1 / 14 + 1 / 15) / (1 / 10 + 1 / 11))
    assert convergence_of(comparison.groups[8][:1], 0.86) == Convergence(None, None, 0.86)
