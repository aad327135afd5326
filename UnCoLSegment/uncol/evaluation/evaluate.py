"""Score a segmentation, and the uncertainty map that came with it, against a reference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from uncol.core.error_detection import Floats, Mask
from uncol.core.errors import DataError, GeometryError
from uncol.core.jobs import AnnotatedSlices, Structure, voxels_in
from uncol.core.records import to_document
from uncol.core.volume import ARRAY_AXIS, UNKNOWN_LABEL, Axis, Volume
from uncol.evaluation.metrics import MaskScores, score_masks
from uncol.evaluation.uncertainty_scores import ScoredGrid, UncertaintyScores, score_uncertainty

_UNCERTAINTY_ROUNDING = 1e-3


@dataclass(frozen=True)
class StructureScores:
    """One structure and how well it was segmented."""

    structure: Structure
    scores: MaskScores

    def as_document(self) -> dict[str, Any]:
        """Return the scores as a JSON object; an undefined distance is null."""
        return {"name": self.structure.name, "value": self.structure.value, **asdict(self.scores)}


@dataclass(frozen=True)
class Evaluation:
    """Everything that was measured on one case.

    Attributes:
        structures: Scores by structure.
        slice_axis: Voxel index that counts the slices: that of the slices asked for, else K.
        scored_slices: Slices along it in which anything was scored.
        slice_count: Slices along it in the image.
        scored_voxels: Voxels that were scored, background included.
        uncertainty: Scores of the uncertainty map; None without one.
    """

    structures: tuple[StructureScores, ...]
    slice_axis: Axis
    scored_slices: int
    slice_count: int
    scored_voxels: int
    uncertainty: UncertaintyScores | None = None

    @property
    def mean_dice(self) -> float:
        """Mean Dice over the structures, in [0, 1]."""
        return float(np.mean([each.scores.dice for each in self.structures]))

    @property
    def mean_hd95_mm(self) -> float | None:
        """Mean HD95 over the structures that have one, in mm; to be read with `undefined_distances`."""
        return _mean_of_defined([each.scores.hd95_mm for each in self.structures])

    @property
    def mean_asd_mm(self) -> float | None:
        """Mean surface distance over the structures that have one, in mm; to be read with `undefined_distances`."""
        return _mean_of_defined([each.scores.asd_mm for each in self.structures])

    @property
    def undefined_distances(self) -> int:
        """Number of structures without surface distances, which the mean distances leave out."""
        return sum(each.scores.hd95_mm is None for each in self.structures)

    def as_document(self) -> dict[str, Any]:
        """Return the evaluation as a JSON object without NaN: what is undefined is null."""
        return {
            "structures": [each.as_document() for each in self.structures],
            "mean_dice": self.mean_dice,
            "mean_hd95_mm": self.mean_hd95_mm,
            "mean_asd_mm": self.mean_asd_mm,
            "undefined_distances": self.undefined_distances,
            "slice_axis": self.slice_axis,
            "scored_slices": self.scored_slices,
            "slice_count": self.slice_count,
            "scored_voxels": self.scored_voxels,
            "uncertainty": to_document(self.uncertainty) if self.uncertainty else None,
        }


def evaluate(
    prediction: Volume,
    reference: Volume,
    *,
    structures: Sequence[Structure] = (),
    excluded: Sequence[AnnotatedSlices] = (),
    only: Sequence[AnnotatedSlices] = (),
    uncertainty: Volume | None = None,
    class_count: int | None = None,
) -> Evaluation:
    """Score a predicted label map against a reference on the same grid.

    Voxels where the reference is 255 (unknown) are left out. Dice counts the scored voxels; distances are measured
    between whole surfaces, from the surface points in scored slices (see `uncol.evaluation.metrics.score_masks`). The
    reference must therefore be right, or 255, in the slices that are not scored too: slices that nobody
    annotated are 255, not 0.

    Args:
        prediction: Predicted labels (K, J, I).
        reference: Reference labels (K, J, I), 255 is unknown.
        structures: What to score; empty for each value that either map holds where it is scored, as "label-N".
        excluded: Slices not to score, as those that were trained on; their `case` is not looked at.
        only: The only slices to score, less the excluded ones; empty for all.
        uncertainty: Normalized entropy (K, J, I) in [0, 1] that belongs to the prediction.
        class_count: Number of classes, background included, by whose logarithm the entropy was divided; None for
            one more than there are structures, which is wrong if the network knows others.

    Raises:
        GeometryError: If the grids differ.
        DataError: If a slice does not exist, nothing is left to score, or the voxels are no uncertainty.
        ValueError: If `class_count` is below 2.
    """
    _require_one_grid("prediction", prediction, reference)
    predicted, referenced = prediction.voxels, reference.voxels
    known = referenced != UNKNOWN_LABEL
    region = _Region(known, _scored_voxels(known, excluded, only), reference.spacing_mm[::-1])
    axes: list[Axis] = [each.axis for each in (*only, *excluded)]
    axis = axes[0] if axes else "K"
    structures = structures or _structures_in(predicted[region.scored], referenced[region.scored])
    scores: UncertaintyScores | None = None
    if uncertainty is not None:
        _require_one_grid("uncertainty map", uncertainty, reference)
        count = len(structures) + 1 if class_count is None else class_count
        pair = (_only_structures(predicted, structures), _only_structures(referenced, structures))
        grid = ScoredGrid(known, region.scored, region.spacing_kji_mm, ARRAY_AXIS[axis])
        scores = score_uncertainty(_doubt_of(uncertainty, region), *pair, grid, count)
    return Evaluation(
        structures=tuple(
            StructureScores(
                each,
                score_masks(
                    predicted == each.value,
                    referenced == each.value,
                    region.spacing_kji_mm,
                    known=known,
                    scored=region.scored,
                ),
            )
            for each in structures
        ),
        slice_axis=axis,
        scored_slices=int(np.count_nonzero(region.scored.any(axis=_other_axes(axis)))),
        slice_count=reference.shape_kji[ARRAY_AXIS[axis]],
        scored_voxels=int(np.count_nonzero(region.scored)),
        uncertainty=scores,
    )


def dice_per_slice(prediction: Volume, reference: Volume, value: int, axis: Axis) -> list[float | None]:
    """Return the Dice of one label in each slice of the file, in order; None where both masks are empty.

    Unlike in a whole volume, two empty slices say nothing: most slices of an image are empty, and a 1 for each
    would hide the others. Voxels where the reference is 255 (unknown) are left out.

    Args:
        prediction: Predicted labels (K, J, I).
        reference: Reference labels (K, J, I), 255 is unknown.
        value: Label value to score.
        axis: Voxel index that counts the slices.

    Raises:
        GeometryError: If the grids differ.
    """
    _require_one_grid("prediction", prediction, reference)
    predicted = (prediction.voxels == value) & (reference.voxels != UNKNOWN_LABEL)
    referenced = reference.voxels == value
    shared, predicted_voxels, reference_voxels = (
        np.count_nonzero(mask, axis=_other_axes(axis)) for mask in (predicted & referenced, predicted, referenced)
    )
    total = predicted_voxels + reference_voxels
    return [float(2 * both / either) if either else None for both, either in zip(shared, total, strict=True)]


@dataclass(frozen=True)
class _Region:
    known: Mask
    scored: Mask
    spacing_kji_mm: tuple[float, ...]


def _only_structures(labels: NDArray[Any], structures: Sequence[Structure]) -> NDArray[Any]:
    return np.where(np.isin(labels, [structure.value for structure in structures]), labels, 0)


def _require_one_grid(name: str, volume: Volume, reference: Volume) -> None:
    if not volume.shares_grid_with(reference):
        message = f"The {name} does not lie on the grid of the reference. Resample it to that grid."
        raise GeometryError(message)


def _doubt_of(uncertainty: Volume, region: _Region) -> Floats:
    entropy = uncertainty.voxels[region.scored].astype(np.float32, copy=False)
    lowest, highest = float(entropy.min()), float(entropy.max())
    if not (lowest >= -_UNCERTAINTY_ROUNDING and highest <= 1 + _UNCERTAINTY_ROUNDING):
        message = (
            f"The uncertainty map must hold numbers in [0, 1], got {lowest:g} to {highest:g}. Choose the map that "
            "was written together with the prediction."
        )
        raise DataError(message)
    return np.clip(entropy, 0, 1)


def _scored_voxels(known: Mask, excluded: Sequence[AnnotatedSlices], only: Sequence[AnnotatedSlices]) -> Mask:
    scored = known & ~voxels_in(excluded, known.shape, "the image")
    if only:
        scored &= voxels_in(only, known.shape, "the image")
    if not scored.any():
        message = (
            "Nothing is left to score: every voxel is excluded, outside the chosen slices or unknown (255) in the "
            "reference. Exclude fewer slices or choose others."
        )
        raise DataError(message)
    return scored


def _structures_in(predicted: NDArray[Any], referenced: NDArray[Any]) -> list[Structure]:
    values = sorted({int(value) for value in np.union1d(predicted, referenced)} - {0, UNKNOWN_LABEL})
    if not values:
        message = (
            "Nothing to score: neither the prediction nor the reference holds any structure in the scored voxels. "
            "Name the structures if agreement on their absence is to count."
        )
        raise DataError(message)
    return [Structure(value, f"label-{value}") for value in values]


def _other_axes(axis: Axis) -> tuple[int, ...]:
    return tuple(other for other in range(3) if other != ARRAY_AXIS[axis])


def _mean_of_defined(values: Sequence[float | None]) -> float | None:
    defined = [value for value in values if value is not None]
    return float(np.mean(defined)) if defined else None
