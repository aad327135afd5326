"""How well a method segmented the test cases, for each case and structure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, Self

from uncol.benchmark.cases import CaseReader
from uncol.metrics import score_masks
from uncol.volume import UNKNOWN_LABEL, Volume

_DIGITS = 5


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
    """

    case: str
    subject: str
    structure: str
    dice: float
    hd95_mm: float | None
    asd_mm: float | None
    prediction_voxels: int
    reference_voxels: int

    def as_document(self) -> dict[str, Any]:
        """Return the score as a JSON object."""
        return asdict(self)

    @classmethod
    def from_document(cls, document: dict[str, Any]) -> Self:
        """Take the score from a JSON object."""
        return cls(**document)


def score_predictions(
    predictions: Iterable[tuple[str, Volume]], reader: CaseReader, labeled: int
) -> tuple[LabelScore, ...]:
    """Score every test case of a benchmark.

    Args:
        predictions: Name and label map of each test case, with label values 1, 2, 3, ...
        reader: Gives the references.
        labeled: The label count of the run; with slices, the annotated ones are left out.

    Raises:
        ValueError: If a test case is missing, comes twice or is on another grid: a mistake of the method.
    """
    scores: dict[str, tuple[LabelScore, ...]] = {}
    for case_id, prediction in predictions:
        if case_id in scores:
            message = f'Case "{case_id}" was segmented twice.'
            raise ValueError(message)
        scores[case_id] = score_case(case_id, prediction, reader, labeled)
    wanted = reader.test_case_ids
    if sorted(scores) != sorted(wanted):
        message = f"The test cases are {sorted(wanted)}, but {sorted(scores)} were segmented."
        raise ValueError(message)
    return tuple(score for case_id in wanted for score in scores[case_id])


def score_case(case_id: str, prediction: Volume, reader: CaseReader, labeled: int) -> tuple[LabelScore, ...]:
    """Score one test case, structure by structure."""
    reference = reader.reference(case_id)
    if not prediction.shares_grid_with(reference):
        message = f'The segmentation of case "{case_id}" is not on the grid of its image.'
        raise ValueError(message)
    known, scored = reference.voxels != UNKNOWN_LABEL, reader.scored(case_id, labeled)
    in_mm = reader.benchmark.spacing_known
    found = []
    for structure in reader.benchmark.learned_structures:
        masks = (prediction.voxels == structure.value, reference.voxels == structure.value)
        score = score_masks(*masks, reference.spacing_mm[::-1], known=known, scored=scored)
        found.append(
            LabelScore(
                case=case_id,
                subject=reader.splits.subject_of(case_id),
                structure=structure.name,
                dice=round(score.dice, _DIGITS),
                hd95_mm=_rounded(score.hd95_mm) if in_mm else None,
                asd_mm=_rounded(score.asd_mm) if in_mm else None,
                prediction_voxels=score.prediction_voxels,
                reference_voxels=score.reference_voxels,
            )
        )
    return tuple(found)


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, _DIGITS)
