"""What the demo's three results are worth on the slices that nobody annotated."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import inf
from statistics import fmean

from uncol.core.volume import SliceView, Volume
from uncol.demo.case import Annotation
from uncol.evaluation.evaluate import Evaluation, UncertaintyScores, dice_per_slice, evaluate
from uncol.report.story import METHOD_NAMES, Comparison, Method, Score, SliceScore


@dataclass(frozen=True)
class Scores:
    """What the results are worth on the slices that nobody annotated; empty without a reference."""

    evaluations: Mapping[Method, Evaluation]
    slices: tuple[SliceScore, ...] = ()

    @property
    def uncertainty(self) -> UncertaintyScores | None:
        """How far the fine-tuned model's uncertainty can be trusted."""
        return self.evaluations["fine_tuned"].uncertainty if self.evaluations else None

    def mean_dice(self) -> dict[Method, float]:
        """Return the mean Dice over the structures by method."""
        return {method: evaluation.mean_dice for method, evaluation in self.evaluations.items()}

    def verdict(self) -> str:
        """Return what the mean Dice alone would hide or the user should not overlook; empty if nothing."""
        return " ".join(filter(None, [self._dice_verdict(), self._distance_verdict()]))

    def _dice_verdict(self) -> str:
        means = self.mean_dice()
        if not means or max(means.values()) == means["fine_tuned"]:
            return ""
        best = max(means, key=means.__getitem__)
        return (
            f"By mean Dice the fine-tuned model is not better than the {METHOD_NAMES[best].lower()} here. "
            "Give it more --minutes, or annotate more slices with a smaller --every."
        )

    def _distance_verdict(self) -> str:
        """Far-off islands hardly change Dice, but ruin the surface distance."""
        pairs = [(each.scores["fine_tuned"], each.scores["interpolation"]) for each in self.comparisons()]
        farther = sum(_hd95_mm(ours) > _hd95_mm(theirs) for ours, theirs in pairs)
        if 2 * farther <= len(pairs):
            return ""
        return (
            f"The fine-tuned model's HD95 is larger than that of shape interpolation for {farther} of {len(pairs)} "
            f"{'structure' if len(pairs) == 1 else 'structures'}: look for false islands far from the structure."
        )

    def comparisons(self) -> tuple[Comparison, ...]:
        """Return the scores of all methods structure by structure."""
        by_method = {
            method: [Score(each.scores.dice, each.scores.hd95_mm) for each in evaluation.structures]
            for method, evaluation in self.evaluations.items()
        }
        structures = [each.structure for each in next(iter(self.evaluations.values())).structures] if by_method else []
        return tuple(
            Comparison(structure, {method: scores[place] for method, scores in by_method.items()})
            for place, structure in enumerate(structures)
        )


def score(
    predictions: Mapping[Method, Volume],
    uncertainty: Volume,
    reference: Volume,
    annotation: Annotation,
    view: SliceView,
    before_each: Callable[[int, int], None],
) -> Scores:
    """Score the results against the reference, on the slices that nobody annotated.

    Args:
        predictions: Labels by method.
        uncertainty: Uncertainty of the fine-tuned model.
        reference: Full label map.
        annotation: Says which slices are not scored, and what the structures are.
        view: How the slices are counted.
        before_each: Told before every method how many are done and how many there are; may raise.
    """
    slices, structures = annotation.slices, annotation.structures
    evaluations: dict[Method, Evaluation] = {}
    dice: dict[Method, list[list[float | None]]] = {}
    for done, (method, labels) in enumerate(predictions.items()):
        before_each(done, len(predictions))
        doubt = uncertainty if method == "fine_tuned" else None
        evaluations[method] = evaluate(labels, reference, structures=structures, excluded=[slices], uncertainty=doubt)
        dice[method] = [dice_per_slice(labels, reference, each.value, slices.axis) for each in structures]
    slice_count = len(view.stack_from(reference.voxels))
    return Scores(
        evaluations,
        tuple(
            SliceScore(
                slice_index=view.stack_index(number, slice_count),
                distance=min(abs(number - each) for each in slices.indices),
                dice=_mean_dice_in(number, dice),
            )
            for number in range(slice_count)
        ),
    )


def _hd95_mm(score: Score) -> float:
    return inf if score.hd95_mm is None else score.hd95_mm


def _mean_dice_in(number: int, dice: Mapping[Method, list[list[float | None]]]) -> dict[Method, float]:
    """Return the mean over the structures that a method or the reference shows in a slice; others say nothing."""
    means = {}
    for method, by_structure in dice.items():
        defined = [value for each in by_structure if (value := each[number]) is not None]
        if defined:
            means[method] = fmean(defined)
    return means
