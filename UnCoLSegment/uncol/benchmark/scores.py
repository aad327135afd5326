"""How well a method segmented the test cases, for each case and structure, and what its uncertainty is worth."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from uncol.benchmark.cases import CaseReader
from uncol.benchmark.prediction import Prediction
from uncol.core.jobs import AnnotatedSlices, Structure
from uncol.core.volume import UNKNOWN_LABEL, Volume
from uncol.evaluation.evaluate import Evaluation, evaluate
from uncol.evaluation.metrics import dice

_DIGITS = 5


@dataclass(frozen=True)
class PartScore:
    """One structure in a part of the slices that nobody annotated.

    Attributes:
        dice: Overlap in [0, 1]; None where neither prediction nor reference show the structure there.
        wrong_voxels: Voxels that only one of the two shows.
    """

    dice: float | None
    wrong_voxels: int


@dataclass(frozen=True)
class LabelScore:
    """One structure in one test case.

    Attributes:
        case: Name of the case.
        subject: Whose image it is; several images of one subject are no independent cases.
        structure: Name of the structure.
        dice: Overlap in [0, 1]; two empty masks agree (1), one empty mask is 0.
        hd95_mm: 95th percentile of the surface distance; None where it is undefined or the spacing is not known.
        asd_mm: Mean surface distance, likewise.
        prediction_voxels: Predicted voxels that were scored.
        reference_voxels: Reference voxels that were scored.
        dice_by_distance: Pairs of a distance to the nearest annotated slice, in mm, and the Dice of all slices at that
            distance, nearest first. Slices beyond the annotated ones do not count, and a distance at which the
            reference does not show the structure is left out. Empty where whole cases are labeled, and in earlier runs.
        inside: Between the first and the last annotated slice that show the structure; None where whole cases are
            labeled, and in earlier runs.
        beyond: In all other slices that nobody annotated, likewise.
    """

    case: str
    subject: str
    structure: str
    dice: float
    hd95_mm: float | None
    asd_mm: float | None
    prediction_voxels: int
    reference_voxels: int
    dice_by_distance: tuple[tuple[float, float], ...] = ()
    inside: PartScore | None = None
    beyond: PartScore | None = None


@dataclass(frozen=True)
class UncertaintyScore:
    """What the uncertainty of one test case is worth near boundaries, see `uncertainty_scores.UncertaintyScores`.

    Attributes:
        case: Name of the case.
        error_detection_auroc: Chance that a wrong voxel is more uncertain than a right one; None without errors.
        expected_calibration_error: Gap between confidence and accuracy, in [0, 1]; None where there is no boundary.
    """

    case: str
    error_detection_auroc: float | None
    expected_calibration_error: float | None


@dataclass(frozen=True)
class Scores:
    """Everything that was measured on the test cases of a run.

    Attributes:
        labels: Every structure in every case.
        uncertainty: Every case whose method gave an uncertainty; none where the spacing is not known, since what is
            near a boundary is counted in mm.
    """

    labels: tuple[LabelScore, ...]
    uncertainty: tuple[UncertaintyScore, ...]


def score_predictions(predictions: Iterable[tuple[str, Prediction]], reader: CaseReader, labeled: int) -> Scores:
    """Score every test case of a benchmark.

    Args:
        predictions: Name and prediction of each test case.
        reader: Gives the references.
        labeled: The label count of the run; with slices, the annotated ones are left out.

    Raises:
        ValueError: If a test case is missing, comes twice or is on another grid: a mistake of the method.
    """
    scores: dict[str, Scores] = {}
    for case_id, prediction in predictions:
        if case_id in scores:
            message = f'Case "{case_id}" was segmented twice.'
            raise ValueError(message)
        scores[case_id] = score_case(case_id, prediction, reader, labeled)
    wanted = reader.test_case_ids
    if sorted(scores) != sorted(wanted):
        message = f"The test cases are {sorted(wanted)}, but {sorted(scores)} were segmented."
        raise ValueError(message)
    return Scores(
        tuple(score for case_id in wanted for score in scores[case_id].labels),
        tuple(score for case_id in wanted for score in scores[case_id].uncertainty),
    )


def score_case(case_id: str, prediction: Prediction, reader: CaseReader, labeled: int) -> Scores:
    """Score one test case, structure by structure, and its uncertainty."""
    reference, in_mm = reader.reference(case_id), reader.benchmark.spacing_known
    prediction = reader.in_whole_image(case_id, prediction)
    if not prediction.labels.shares_grid_with(reference):
        message = f'The segmentation of case "{case_id}" is not on the grid of its image.'
        raise ValueError(message)
    annotated, subject = reader.annotated(case_id, labeled), reader.splits.subject_of(case_id)
    evaluation = evaluate(
        prediction.labels,
        reference,
        structures=reader.benchmark.learned_structures,
        excluded=[annotated] if annotated else [],
        uncertainty=prediction.uncertainty if in_mm else None,
    )
    labels = [
        LabelScore(
            case_id,
            subject,
            each.structure.name,
            round(each.scores.dice, _DIGITS),
            _rounded(each.scores.hd95_mm) if in_mm else None,
            _rounded(each.scores.asd_mm) if in_mm else None,
            each.scores.prediction_voxels,
            each.scores.reference_voxels,
            *(_by_slices(each.structure, prediction.labels, reference, annotated) if annotated else ()),
        )
        for each in evaluation.structures
    ]
    return Scores(tuple(labels), _uncertainty_scores(case_id, evaluation))


def _uncertainty_scores(case_id: str, evaluation: Evaluation) -> tuple[UncertaintyScore, ...]:
    found = evaluation.uncertainty
    if found is None:
        return ()
    auroc, calibration_error = found.error_detection_auroc, found.expected_calibration_error
    return (UncertaintyScore(case_id, _rounded(auroc), _rounded(calibration_error)),)


def _by_slices(
    structure: Structure, labels: Volume, reference: Volume, annotated: AnnotatedSlices
) -> tuple[tuple[tuple[float, float], ...], PartScore, PartScore]:
    """Return the last three fields of a `LabelScore`."""
    scored = np.ones(len(reference.voxels), dtype=np.bool_)
    scored[list(annotated.indices)] = False
    shown = [index for index in annotated.indices if (reference.voxels[index] == structure.value).any()]
    inside = np.zeros_like(scored)
    inside[shown[0] : shown[-1]] = True
    return (
        _dice_by_distance(structure, labels, reference, annotated),
        _part(structure, labels, reference, scored & inside),
        _part(structure, labels, reference, scored & ~inside),
    )


def _part(structure: Structure, labels: Volume, reference: Volume, slices: NDArray[np.bool_]) -> PartScore:
    wanted = reference.voxels[slices] == structure.value
    found = (labels.voxels[slices] == structure.value) & (reference.voxels[slices] != UNKNOWN_LABEL)
    overlap = round(dice(found, wanted), _DIGITS) if found.any() or wanted.any() else None
    return PartScore(overlap, int(np.count_nonzero(found != wanted)))


def _dice_by_distance(
    structure: Structure, labels: Volume, reference: Volume, annotated: AnnotatedSlices
) -> tuple[tuple[float, float], ...]:
    between = slice(annotated.indices[0], annotated.indices[-1] + 1)
    gaps = np.abs(np.arange(between.start, between.stop)[:, None] - np.array(annotated.indices)).min(axis=1)
    wanted = reference.voxels[between] == structure.value
    found = (labels.voxels[between] == structure.value) & (reference.voxels[between] != UNKNOWN_LABEL)
    return tuple(
        (round(gap * reference.spacing_mm[2], _DIGITS), round(dice(found[at], wanted[at]), _DIGITS))
        for gap in range(1, int(gaps.max()) + 1)
        if wanted[at := gaps == gap].any()
    )


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, _DIGITS)
