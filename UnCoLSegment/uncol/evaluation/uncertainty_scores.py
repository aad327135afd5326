"""What an uncertainty map is worth beside a reference: if it finds the errors, and if its confidence is right."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr

from uncol.core.error_detection import BAND_MM, Floats, Mask, error_detection_auroc, label_boundary, within_distance
from uncol.core.reliability import ReliabilityBin
from uncol.evaluation.metrics import (
    CALIBRATION_BINS,
    captured_by_top,
    equal_bins,
    error_detection_auprc,
    error_overlap,
    expected_calibration_error,
    least_confidence,
    reliability,
)

DETECTION_MM = 15.0
"""Errors are looked for this near to a boundary: a structure that was missed reaches beyond the band of 5 mm."""
TOP_PART = 0.2
_LEAST_SLICES = 3
"""Below this a rank correlation says nothing."""
_LEAST_DRAWN = 5
"""Slices below which there is no interval."""
_DRAWS, _LEVELS = 500, 512
_INTERVAL = (2.5, 97.5)
_NO_BOUNDARY = "undefined: neither segmentation nor reference shows a structure in the scored slices"
_NO_ERRORS = f"undefined: nothing is wrong within {DETECTION_MM:g} mm of a boundary"
_ALL_WRONG = f"undefined: everything is wrong within {DETECTION_MM:g} mm of a boundary"


@dataclass(frozen=True)
class DetectionScores:
    """How well a map finds the wrong voxels near a boundary.

    Attributes:
        auroc: Chance that a wrong voxel is more uncertain than a right one, 0.5 is chance.
        auprc: Average precision of finding wrong voxels; chance is their part.
        overlap: Uncertainty-error overlap, see `metrics.error_overlap`.
        overlap_threshold: Uncertainty from which a voxel counts as found in it.
        within_mm: How near to a predicted or reference boundary the voxels lie, in mm.
        voxels: Scored voxels there.
        errors: Those of them whose label is wrong.
    """

    auroc: float | None
    auprc: float | None
    overlap: float | None
    overlap_threshold: float | None
    within_mm: float
    voxels: int
    errors: int


@dataclass(frozen=True)
class SliceScores:
    """How well a map says in which slices the errors are.

    Attributes:
        count: Slices in which segmentation or reference show a structure.
        top: Errors in the 20 % of them with the most expected errors (the sum of 1 - confidence), as a part of all.
        top_by_boundary: The same of the 20 % with the most predicted boundary, which needs no map.
        correlation: Spearman's rank correlation of expected and real 1 - Dice, all structures together.
    """

    count: int
    top: float | None
    top_by_boundary: float | None
    correlation: float | None


@dataclass(frozen=True)
class UncertaintyScores:
    """How far an uncertainty map can be trusted. What is undefined is None, and `words` says why.

    Attributes:
        error_detection_auroc: Chance that a wrong voxel of the band is more uncertain than a right one; None
            where the band holds no errors or nothing else.
        error_detection_auroc_whole_image: The same over all scored voxels.
        expected_calibration_error: Gap between confidence and accuracy in the band, in [0, 1], with the
            confidence that `metrics.least_confidence` reads from the entropy; None where there is no band.
        band_mm: How near to a predicted or reference boundary the voxels of the band lie, in mm.
        band_voxels: Scored voxels of the band.
        band_errors: Those of them whose label is wrong.
        class_count: Number of classes C that the entropy was taken to be normalized by.
        expected_calibration_error_whole_image: The gap over all scored voxels.
        detection: How well errors are found within 15 mm of a boundary.
        slices: How well the slices with the errors are found.
        intervals: By name, 95 % intervals over slices drawn anew: auroc, auprc, overlap, calibration_error, top_slices.
        reliability: What a reliability diagram of the band shows.
        words: By name, why a number is undefined.
    """

    error_detection_auroc: float | None
    error_detection_auroc_whole_image: float | None
    expected_calibration_error: float | None
    band_mm: float
    band_voxels: int
    band_errors: int
    class_count: int
    expected_calibration_error_whole_image: float | None = None
    detection: DetectionScores | None = None
    slices: SliceScores | None = None
    intervals: dict[str, tuple[float, float]] = field(default_factory=dict)
    reliability: tuple[ReliabilityBin, ...] = ()
    words: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class ScoredGrid:
    """Where a reference is known and scored (K, J, I), spacing along K, J, I in mm, and which of them counts slices."""

    known: Mask
    scored: Mask
    spacing_kji_mm: tuple[float, ...]
    slice_axis: int


@dataclass(frozen=True)
class _Voxels:
    """The scored voxels, one number each."""

    uncertainty: Floats
    confidence: Floats
    is_wrong: Mask
    is_found: Mask
    is_there: Mask
    in_band: Mask
    is_near: Mask
    is_boundary: Mask
    slice_index: NDArray[np.intp]


def score_uncertainty(
    uncertainty: Floats, predicted: NDArray[Any], referenced: NDArray[Any], grid: ScoredGrid, class_count: int
) -> UncertaintyScores:
    """Score a map of normalized entropy.

    Args:
        uncertainty: In [0, 1], of the scored voxels in their order.
        predicted: Predicted labels (K, J, I).
        referenced: Reference labels (K, J, I).
        grid: Where they are scored.
        class_count: Number of classes, background included, by whose logarithm the entropy was divided.
    """
    voxels = _scored_voxels(uncertainty, predicted, referenced, grid, class_count)
    band, near = voxels.in_band, voxels.is_near
    detection = _detection(voxels.uncertainty[near], voxels.is_wrong[near])
    slices, per_slice = _score_slices(voxels)
    confidence, is_right = voxels.confidence, ~voxels.is_wrong
    calibration_error = expected_calibration_error(confidence[band], is_right[band])
    intervals = _intervals(voxels, per_slice) if slices.count >= _LEAST_DRAWN else {}
    defined = {"auroc": detection.auroc, "auprc": detection.auprc, "overlap": detection.overlap}
    defined |= {"calibration_error": calibration_error, "top_slices": slices.top}
    return UncertaintyScores(
        error_detection_auroc=error_detection_auroc(voxels.uncertainty[band], voxels.is_wrong[band]),
        error_detection_auroc_whole_image=error_detection_auroc(voxels.uncertainty, voxels.is_wrong),
        expected_calibration_error=calibration_error,
        band_mm=BAND_MM,
        band_voxels=int(np.count_nonzero(band)),
        band_errors=int(np.count_nonzero(voxels.is_wrong[band])),
        class_count=class_count,
        expected_calibration_error_whole_image=expected_calibration_error(confidence, is_right),
        detection=detection,
        slices=slices,
        intervals={name: each for name, each in intervals.items() if defined[name] is not None},
        reliability=reliability(confidence[band], is_right[band]),
        words=_words(defined | {"slice_correlation": slices.correlation}, detection, slices.count),
    )


def _scored_voxels(
    uncertainty: Floats, predicted: NDArray[Any], referenced: NDArray[Any], grid: ScoredGrid, class_count: int
) -> _Voxels:
    found_boundary, scored = label_boundary(predicted), grid.scored
    boundary = found_boundary | label_boundary(referenced, grid.known)
    confidence = np.ones(len(uncertainty))
    confidence[uncertainty > 0] = least_confidence(uncertainty[uncertainty > 0], class_count)
    return _Voxels(
        uncertainty,
        confidence,
        (predicted != referenced)[scored],
        predicted[scored] > 0,
        referenced[scored] > 0,
        within_distance(boundary, grid.spacing_kji_mm, BAND_MM)[scored],
        within_distance(boundary, grid.spacing_kji_mm, DETECTION_MM)[scored],
        found_boundary[scored],
        np.nonzero(scored)[grid.slice_axis],
    )


def _detection(uncertainty: Floats, is_wrong: Mask) -> DetectionScores:
    overlap = error_overlap(uncertainty, is_wrong)
    return DetectionScores(
        error_detection_auroc(uncertainty, is_wrong),
        error_detection_auprc(uncertainty, is_wrong),
        None if overlap is None else overlap[0],
        None if overlap is None else overlap[1],
        DETECTION_MM,
        is_wrong.size,
        int(np.count_nonzero(is_wrong)),
    )


@dataclass(frozen=True)
class _PerSlice:
    """Of the slices that show a structure: their numbers, and by slice what is expected and what is wrong."""

    numbers: NDArray[np.intp]
    expected: Floats
    wrong: NDArray[np.int64]


def _score_slices(voxels: _Voxels) -> tuple[SliceScores, _PerSlice]:
    def per_slice(weights: NDArray[Any]) -> Floats:
        return np.asarray(np.bincount(voxels.slice_index, weights), dtype=np.float64)

    is_shown = per_slice(voxels.is_found | voxels.is_there) > 0
    numbers = np.flatnonzero(is_shown)
    found, there = (per_slice(each)[is_shown] for each in (voxels.is_found, voxels.is_there))
    shared = per_slice(voxels.is_there & ~voxels.is_wrong)[is_shown]
    doubt = 1 - voxels.confidence
    expected_shared = per_slice(voxels.is_found * voxels.confidence)[is_shown]
    expected_there = expected_shared + per_slice(~voxels.is_found * doubt)[is_shown]
    expected, wrong = per_slice(doubt)[is_shown], per_slice(voxels.is_wrong)[is_shown].astype(np.int64)
    expected_loss = 1 - (2 * expected_shared + 1) / (found + expected_there + 1)  # a trace of doubt is no lost slice
    loss = 1 - 2 * shared / (found + there)
    is_varied = len(numbers) >= _LEAST_SLICES and np.ptp(expected_loss) > 0 and np.ptp(loss) > 0
    boundary = per_slice(voxels.is_boundary)[is_shown]
    scores = SliceScores(
        len(numbers),
        captured_by_top(expected, wrong, TOP_PART),
        captured_by_top(boundary, wrong, TOP_PART),
        float(spearmanr(expected_loss, loss).statistic) if is_varied else None,
    )
    return scores, _PerSlice(numbers, expected, wrong)


def _intervals(voxels: _Voxels, per_slice: _PerSlice) -> dict[str, tuple[float, float]]:
    """Return 95 % intervals of slices drawn with replacement; uncertainty is told apart in 512 levels for that."""
    count = len(per_slice.numbers)
    draws = np.random.default_rng(0).multinomial(count, np.full(count, 1 / count), _DRAWS).astype(np.float64)
    row = np.full(int(voxels.slice_index.max()) + 1, -1)
    row[per_slice.numbers] = np.arange(count)

    def table(chosen: Mask, columns: NDArray[np.intp], weights: Floats | Mask, size: int) -> Floats:
        """Sum the weights of the chosen voxels by slice and column."""
        rows = row[voxels.slice_index[chosen]]
        is_shown = rows >= 0
        flat = np.bincount((rows * size + columns)[is_shown], weights[is_shown], count * size)
        return draws @ flat.reshape(count, size)

    near, band = voxels.is_near, voxels.in_band
    levels = equal_bins(voxels.uncertainty[near], _LEVELS)
    wrong = table(near, levels, voxels.is_wrong[near], _LEVELS)
    right = table(near, levels, ~voxels.is_wrong[near], _LEVELS)
    bins = equal_bins(voxels.confidence[band], CALIBRATION_BINS)
    gaps = table(band, bins, voxels.confidence[band] - ~voxels.is_wrong[band], CALIBRATION_BINS)
    sizes = table(band, bins, np.ones(len(bins)), CALIBRATION_BINS).sum(1)
    drawn = [np.repeat(np.arange(count), each.astype(int)) for each in draws]
    top = [captured_by_top(per_slice.expected[each], per_slice.wrong[each], TOP_PART) for each in drawn]
    replicates = {
        **_detection_of_draws(wrong, right),
        "calibration_error": np.abs(gaps).sum(1) / np.where(sizes > 0, sizes, np.nan),
        "top_slices": np.array([np.nan if each is None else each for each in top]),
    }
    return {
        name: (float(low), float(high))
        for name, each in replicates.items()
        if np.isfinite(each).any()
        for low, high in [np.nanpercentile(each, _INTERVAL)]
    }


def _detection_of_draws(wrong: Floats, right: Floats) -> dict[str, Floats]:
    """Return AUROC, AUPRC and overlap of each draw, from its voxels (draws, levels) by rising uncertainty."""
    errors, others = (np.where(each.sum(1) > 0, each.sum(1), np.nan) for each in (wrong, right))
    below = np.cumsum(right, 1) - right / 2
    found, flagged = np.cumsum(wrong[:, ::-1], 1), np.cumsum((wrong + right)[:, ::-1], 1)
    precision = found / np.maximum(flagged, 1)
    return {
        "auroc": (wrong * below).sum(1) / errors / others,
        "auprc": (wrong[:, ::-1] * precision).sum(1) / errors,
        "overlap": (2 * found / (flagged + errors[:, None])).max(1),
    }


def _words(numbers: dict[str, float | None], detection: DetectionScores, slice_count: int) -> dict[str, str]:
    """Say of every number that is undefined why."""
    reasons = dict.fromkeys(numbers, _NO_ERRORS)
    if not detection.voxels:
        reasons = dict.fromkeys(numbers, _NO_BOUNDARY)
    elif detection.errors == detection.voxels:
        reasons |= {"auroc": _ALL_WRONG, "auprc": _ALL_WRONG}
    if slice_count and numbers["slice_correlation"] is None:
        reasons["slice_correlation"] = (
            f"undefined: it takes {_LEAST_SLICES} slices with a structure"
            if slice_count < _LEAST_SLICES
            else "undefined: all slices are alike, by the map or by the reference"
        )
    words = {name: reasons[name] for name, value in numbers.items() if value is None}
    if slice_count < _LEAST_DRAWN:
        words["intervals"] = f"no intervals: they take {_LEAST_DRAWN} slices with a structure"
    return words
