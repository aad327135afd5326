"""What the demo's three results are worth on the slices that nobody annotated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean

from uncol.core.progress import Monitor
from uncol.core.volume import Volume
from uncol.demo.case import Annotation
from uncol.evaluation.evaluate import Evaluation, dice_per_slice, evaluate
from uncol.report.results import Method, SliceScore

SCORING = "Scoring"


def score(
    labels: Mapping[Method, Volume], uncertainty: Volume, reference: Volume, annotation: Annotation, monitor: Monitor
) -> tuple[dict[Method, Evaluation], tuple[SliceScore, ...]]:
    """Score results against the reference: structure by structure where nobody annotated, and slice by slice.

    Args:
        labels: Labels by method.
        uncertainty: Uncertainty of the fine-tuned model.
        reference: Full label map.
        annotation: Says which slices are not scored, and what the structures are.
        monitor: Told before every method.

    Raises:
        CancelledError: If the monitor says so.
    """
    slices, structures = annotation.slices, annotation.structures
    evaluations: dict[Method, Evaluation] = {}
    dice: dict[Method, list[tuple[float | None, ...]]] = {}
    for method in monitor.each(list(labels), SCORING):
        scored_map = uncertainty if method == "fine_tuned" else None
        evaluations[method] = evaluate(
            labels[method], reference, structures=structures, excluded=[slices], uncertainty=scored_map
        )
        by_structure = [dice_per_slice(labels[method], reference, each.value, slices.axis) for each in structures]
        dice[method] = list(zip(*by_structure, strict=True))
    return evaluations, tuple(
        SliceScore(
            number,
            distance=min(abs(number - each) for each in slices.indices),
            dice={method: mean for method in labels if (mean := _mean(dice[method][number])) is not None},
        )
        for number in range(len(dice["fine_tuned"]))
    )


def _mean(dice: Sequence[float | None]) -> float | None:
    """Return the mean of what is defined, or None: a slice where neither map shows a structure says nothing."""
    defined = [each for each in dice if each is not None]
    return fmean(defined) if defined else None
