"""How well a segmentation matches a reference, and how far its confidence can be believed.

Masks are boolean arrays with the axes of the file, (K, J, I); spacing follows them, in mm.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from monai.metrics.meandice import compute_dice
from monai.metrics.utils import get_mask_edges, get_surface_distance
from numpy.typing import NDArray
from scipy.special import entr

from uncol.core.error_detection import Floats, Mask, bounding_box
from uncol.core.reliability import ReliabilityBin

HAUSDORFF_PERCENTILE = 95
CALIBRATION_BINS = 15
_CONFIDENCE_NODES = 2**16 + 1


@dataclass(frozen=True)
class MaskScores:
    """How well one predicted mask matches its reference.

    Attributes:
        dice: Overlap in [0, 1].
        hd95_mm: Larger of the two directed 95th percentiles of the surface distance, in mm; None is undefined.
        asd_mm: Mean distance over the points of both surfaces, in mm; None is undefined.
        prediction_voxels: Predicted voxels that were scored.
        reference_voxels: Reference voxels that were scored.
    """

    dice: float
    hd95_mm: float | None
    asd_mm: float | None
    prediction_voxels: int
    reference_voxels: int


def dice(prediction: Mask, reference: Mask) -> float:
    """Return the Dice overlap of two masks, in [0, 1].

    Two empty masks agree: 1. One empty mask: 0. MONAI's `compute_dice`, which does the counting,
    would leave out every empty reference.
    """
    if not prediction.any() or not reference.any():
        return 0.0 if prediction.any() or reference.any() else 1.0
    return float(compute_dice(_one_channel(prediction), _one_channel(reference)))


def score_masks(
    prediction: Mask,
    reference: Mask,
    spacing_kji_mm: Sequence[float],
    *,
    known: Mask | None = None,
    scored: Mask | None = None,
) -> MaskScores:
    """Compare a predicted mask with its reference.

    The rule for empty masks: both empty is Dice 1, one empty is Dice 0; in either case the distances
    are undefined (None, never 0 mm), to be counted beside any mean.

    Dice counts scored voxels. Surfaces are those of the whole masks, because a mask with slices cut out
    would have false surfaces at the cuts: each surface point in a scored voxel is measured to the nearest
    point of the other *whole* surface. Where the reference is unknown there is no surface: a voxel
    is a surface point if a 6-neighbor that is known (or beyond the image) lies outside the mask, in
    both masks alike. With only some slices known, the surfaces are thus their contours. With every voxel known
    and scored, the distances are those of MONAI's `compute_hausdorff_distance(percentile=95)` and
    `compute_average_surface_distance(symmetric=True)`, which know neither restriction.

    Args:
        prediction: Predicted mask (K, J, I).
        reference: Reference mask (K, J, I).
        spacing_kji_mm: Voxel spacing along K, J and I, in mm; the axes are taken to be orthogonal.
        known: Where the reference is known (K, J, I); None is everywhere.
        scored: What to score (K, J, I), where known; None is all that is known.
    """
    known = np.ones(prediction.shape, dtype=np.bool_) if known is None else known
    scored = known if scored is None else scored & known
    box = bounding_box(prediction | reference, margin=1)
    prediction, reference, known, scored = prediction[box], reference[box], known[box], scored[box]
    prediction_voxels = int(np.count_nonzero(prediction & scored))
    reference_voxels = int(np.count_nonzero(reference & scored))
    distances = None
    if prediction_voxels and reference_voxels:
        distances = _surface_distances(prediction, reference, spacing_kji_mm, known, scored)
    return MaskScores(
        dice=dice(prediction & scored, reference & scored),
        hd95_mm=max(float(np.percentile(d, HAUSDORFF_PERCENTILE)) for d in distances) if distances else None,
        asd_mm=float(np.concatenate(distances).mean()) if distances else None,
        prediction_voxels=prediction_voxels,
        reference_voxels=reference_voxels,
    )


def _surface_distances(
    prediction: Mask, reference: Mask, spacing_kji_mm: Sequence[float], known: Mask, scored: Mask
) -> tuple[Floats, Floats] | None:
    prediction_surface, reference_surface = get_mask_edges(prediction | ~known, reference | ~known, crop=False)
    prediction_surface, reference_surface = prediction_surface & known, reference_surface & known
    from_prediction, from_reference = prediction_surface & scored, reference_surface & scored
    if not from_prediction.any() or not from_reference.any():
        return None
    spacing = list(spacing_kji_mm)
    return (
        np.asarray(get_surface_distance(from_prediction, reference_surface, spacing=spacing), dtype=np.float64),
        np.asarray(get_surface_distance(from_reference, prediction_surface, spacing=spacing), dtype=np.float64),
    )


def least_confidence(uncertainty: Floats, class_count: int) -> NDArray[np.float64]:
    """Return the smallest winning probability that a normalized entropy allows.

    Only the entropy of the C probabilities is stored, and it does not determine the largest of them; it bounds
    it from below. The bound is reached when as few classes as possible share the probability: p, ..., p and a
    remainder. For an entropy of at most ln 2 that means that all the uncertainty lies between the two most likely
    classes, and p inverts the binary entropy. So this is the exact confidence for C = 2, for a certain voxel (1)
    and for a wholly undecided one (1 / C); otherwise the network's own may have been higher,
    and a calibration error that comes from it is that of this stated reading of the map.

    Args:
        uncertainty: Entropy / ln C, in [0, 1], any shape.
        class_count: The C that the entropy was normalized by, background included.

    Returns:
        Probability in [1 / C, 1], same shape, accurate to 1e-4.

    Raises:
        ValueError: If there are fewer than two classes.
    """
    if class_count < 2:
        message = f"Confidence needs at least 2 classes, got {class_count}."
        raise ValueError(message)
    sharing_evenly = 1 / np.arange(1, class_count + 1)
    winning = np.union1d(np.linspace(1 / class_count, 1, _CONFIDENCE_NODES), sharing_evenly)[::-1]
    sharers = np.floor(1 / winning)
    entropy = sharers * entr(winning) + entr(np.maximum(1 - sharers * winning, 0))
    return np.interp(np.asarray(uncertainty) * math.log(class_count), entropy, winning)


def expected_calibration_error(confidence: Floats, is_correct: Mask, bins: int = CALIBRATION_BINS) -> float | None:
    """Return the mean gap between confidence and accuracy over bins that hold equally many voxels.

    MONAI's `CalibrationErrorMetric` has bins of equal width, of which confident maps fill only the last.

    Args:
        confidence: Claimed probability of being right, in [0, 1], one number per voxel.
        is_correct: Whether each voxel is right, same shape.
        bins: Number of bins.

    Returns:
        In [0, 1], 0 is calibrated; None where there are no voxels.
    """
    if not confidence.size:
        return None
    found = reliability(confidence, is_correct, bins)
    return sum(each.voxels * abs(each.confidence - each.accuracy) for each in found) / confidence.size


def reliability(confidence: Floats, is_correct: Mask, bins: int = CALIBRATION_BINS) -> tuple[ReliabilityBin, ...]:
    """Return confidence and accuracy in bins that hold equally many voxels, by rising confidence.

    Equal confidences stay in one bin, so bins are only as equal as ties allow and the order of the voxels does not
    matter.

    Args:
        confidence: Claimed probability of being right, in [0, 1], one number per voxel.
        is_correct: Whether each voxel is right, same shape.
        bins: Number of bins.
    """
    bin_index = equal_bins(confidence, bins)
    voxels, claimed, correct = (
        np.bincount(bin_index, weights) for weights in (None, confidence.ravel(), is_correct.ravel())
    )
    return tuple(
        ReliabilityBin(float(claimed[each] / voxels[each]), float(correct[each] / voxels[each]), int(voxels[each]))
        for each in np.flatnonzero(voxels)
    )


def equal_bins(values: Floats, bins: int) -> NDArray[np.intp]:
    """Return the number of the bin (0 ... bins - 1) of every value: equally many in each, equal values in one."""
    if not values.size:
        return np.zeros(0, dtype=np.intp)
    _, group, counts = np.unique(values.ravel(), return_inverse=True, return_counts=True)
    doubled_mid_rank = 2 * np.cumsum(counts) - counts
    numbers: NDArray[np.intp] = (doubled_mid_rank * bins // (2 * values.size))[group]
    return numbers


def error_detection_auprc(uncertainty: Floats, is_error: Mask) -> float | None:
    """Return how well uncertainty finds wrong voxels, as area under the curve of precision against recall.

    That is the average precision, sum over falling thresholds of (R_n - R_n-1) P_n: of all voxels at least as uncertain
    as a wrong one, the part that is wrong. Chance is the part of wrong voxels.

    Args:
        uncertainty: Any measure that rises with uncertainty, one number per voxel.
        is_error: Whether each voxel is wrong, same shape.

    Returns:
        In [0, 1]; None where there are no errors or nothing but errors.
    """
    if not is_error.any() or is_error.all():
        return None
    found, flagged, _ = _falling(uncertainty, is_error)
    return float(np.sum(np.diff(found, prepend=0) * found / flagged) / found[-1])


def error_overlap(uncertainty: Floats, is_error: Mask) -> tuple[float, float] | None:
    """Return the uncertainty-error overlap: the best Dice of "at least as uncertain as t" with "wrong", and its t.

        max over t of 2 |{u >= t} and wrong| / (|{u >= t}| + |wrong|)

    Source:
        Jungo, Balsiger & Reyes, "Analyzing the quality and challenges of uncertainty estimations for brain tumor
        segmentation", Frontiers in Neuroscience 14, 2020, doi:10.3389/fnins.2020.00282; the best threshold instead of a
        fixed one is ours.

    Args:
        uncertainty: Any measure that rises with uncertainty, one number per voxel.
        is_error: Whether each voxel is wrong, same shape.

    Returns:
        Dice in (0, 1] and the threshold; None where there are no errors.
    """
    if not is_error.any():
        return None
    found, flagged, thresholds = _falling(uncertainty, is_error)
    overlap = 2 * found / (flagged + found[-1])
    best = int(overlap.argmax())
    return float(overlap[best]), float(thresholds[best])


def captured_by_top(scores: Floats, errors: NDArray[Any], part: float) -> float | None:
    """Return which part of all errors lies in the items with the highest scores; ties count as chance would have it.

    Args:
        scores: One number per item.
        errors: Number of errors of each item.
        part: How many of the items count, as a part of all; at least one does.

    Returns:
        In [0, 1]; None without errors.
    """
    if not np.any(errors):
        return None
    count = max(1, int(part * len(scores) + 0.5))
    cut = np.sort(scores)[-count]
    above, tied = scores > cut, scores == cut
    chance = (count - np.count_nonzero(above)) / np.count_nonzero(tied)
    return float((errors[above].sum() + chance * errors[tied].sum()) / errors.sum())


def _falling(uncertainty: Floats, is_error: Mask) -> tuple[NDArray[np.int64], NDArray[np.int64], Floats]:
    """Return for each threshold, highest first, how many wrong voxels and how many in all are at least as uncertain."""
    values, group = np.unique(uncertainty.ravel(), return_inverse=True)
    wrong = np.bincount(group, is_error.ravel(), len(values)).astype(np.int64)
    every = np.bincount(group, minlength=len(values))
    return np.cumsum(wrong[::-1]), np.cumsum(every[::-1]), values[::-1]


def _one_channel(mask: Mask) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(mask))[None, None]
