"""Whether full supervision has converged: before it has, a tie may say only that all are trained too little."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from uncol.benchmark.comparison import Row
from uncol.benchmark.plots import SUPERVISED_LOSS
from uncol.benchmark.suites import SUPERVISED_ALL

_FLAT = 0.05
"""A last quarter that lowers the loss by less is flat."""
_QUARTER_BEGINS, _AVERAGED = 0.75, 0.1
"""Parts of all steps: a loss is averaged over the last tenth of the steps up to where it is read."""


@dataclass(frozen=True)
class Convergence:
    """What is known of full supervision on a benchmark.

    Attributes:
        fall: Part of the loss that the last quarter of the steps took away, mean over seeds; None without a curve.
        dice: Mean Dice; None where full supervision was not run.
        credible_dice: Dice from which full supervision is as good as the field knows it.
    """

    fall: float | None
    dice: float | None
    credible_dice: float

    @property
    def is_reached(self) -> bool:
        """Whether the curve is flat and the Dice credible, so that a tie counts."""
        return self.fall is not None and self.fall < _FLAT and self.dice is not None and self.dice >= self.credible_dice

    @property
    def sentence(self) -> str:
        """The verdict as a reader of the table is told it."""
        if self.dice is None:
            return f"{SUPERVISED_ALL} was not run: nobody knows whether these steps are enough, and no tie counts."
        fall = "unknown" if self.fall is None else f"{100 * self.fall:.0f} % (flat is less than {100 * _FLAT:.0f} %)"
        verdict = "has converged: ties count" if self.is_reached else "has not converged: no tie counts"
        return (
            f"{SUPERVISED_ALL} {verdict}. Its last quarter lowers the loss by {fall}; its Dice is {self.dice:.3f} "
            f"(credible from {self.credible_dice:.2f})."
        )


def convergence_of(rows: Sequence[Row], credible_dice: float) -> Convergence:
    """Return what the rows at one label count tell of full supervision."""
    found = [row for row in rows if row.method == SUPERVISED_ALL]
    if not found:
        return Convergence(None, None, credible_dice)
    return Convergence(last_quarter_fall(found[0].curves), found[0].dice.mean, credible_dice)


def last_quarter_fall(curves: Iterable[Sequence[Mapping[str, Any]]]) -> float | None:
    """Return which part of the supervised loss the last quarter of the steps took away, mean over the runs.

    Losses are means over a tenth of the steps, since single steps are noisy; None where a run has none there.
    """
    falls = []
    for curve in curves:
        points = [(point["step"], point[SUPERVISED_LOSS]) for point in curve if SUPERVISED_LOSS in point]
        last = max((step for step, _ in points), default=0)
        read = [
            [loss for step, loss in points if (end - _AVERAGED) * last < step <= end * last]
            for end in (_QUARTER_BEGINS, 1.0)
        ]
        if not all(read):
            return None
        falls.append(1 - fmean(read[1]) / fmean(read[0]))
    return fmean(falls) if falls else None
