"""How well an uncertainty map finds the errors of a segmentation, near its boundaries.

Needs nothing but numpy: the panel scores maps, too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]
Floats = NDArray[np.floating[Any]]

BAND_MM = 5.0
"""Uncertainty is judged this near to a boundary; elsewhere the easy background would flatter it."""

_ROUNDING_MM = 1e-4


def label_boundary(labels: NDArray[Any], known: Mask | None = None) -> Mask:
    """Mark the voxels that have a 6-neighbor with another label, on both sides of the boundary.

    The edge of the image is no boundary, nor is the edge of the known region.

    Args:
        labels: Label map (K, J, I).
        known: Where the labels are known (K, J, I); None is everywhere.
    """
    boundary = np.zeros(labels.shape, dtype=np.bool_)
    for axis in range(labels.ndim):
        before, after = _neighbors(labels, axis, 1)
        differs = before != after
        if known is not None:
            known_before, known_after = _neighbors(known, axis, 1)
            differs &= known_before & known_after
        boundary_before, boundary_after = _neighbors(boundary, axis, 1)
        boundary_before |= differs
        boundary_after |= differs
    return boundary


def within_distance(mask: Mask, spacing_kji_mm: Sequence[float], distance_mm: float) -> Mask:
    """Mark the voxels whose centers lie at most `distance_mm` from the center of a voxel of the mask.

    The squared Euclidean distance is minimized axis by axis, no farther than asked: the same as a threshold on
    MONAI's `distance_transform_edt`, in half the time and a fraction of the memory.
    """
    reach = [int((distance_mm + _ROUNDING_MM) / spacing) for spacing in spacing_kji_mm]
    box = bounding_box(mask, margin=max(reach))
    squared = np.where(mask[box], np.float32(0), np.float32(np.inf))
    for axis, spacing in enumerate(spacing_kji_mm):
        nearest = squared.copy()
        for step in range(1, min(reach[axis], squared.shape[axis] - 1) + 1):
            candidate = squared + np.float32((step * spacing) ** 2)
            near_before, near_after = _neighbors(nearest, axis, step)
            before, after = _neighbors(candidate, axis, step)
            np.minimum(near_after, before, out=near_after)
            np.minimum(near_before, after, out=near_before)
        squared = nearest
    near = np.zeros(mask.shape, dtype=np.bool_)
    near[box] = squared <= (distance_mm + _ROUNDING_MM) ** 2
    return near


def error_detection_auroc(uncertainty: Floats, is_error: Mask) -> float | None:
    """Return how well uncertainty tells wrong voxels from right ones, as area under the ROC curve.

    It is the chance that a wrong voxel is more uncertain than a right one, ties counting half: 0.5 is useless,
    1 is perfect. Exact by counting; MONAI's `compute_roc_auc` gives the same number in a Python loop over voxels.

    Args:
        uncertainty: Any measure that rises with uncertainty, one number per voxel.
        is_error: Whether each voxel is wrong, same shape.

    Returns:
        In [0, 1]; None where there are no errors or nothing but errors.
    """
    wrong, right = np.sort(uncertainty[is_error]), np.sort(uncertainty[~is_error])
    if not wrong.size or not right.size:
        return None
    lower = np.searchsorted(right, wrong, side="left").sum(dtype=np.float64)
    lower_or_tied = np.searchsorted(right, wrong, side="right").sum(dtype=np.float64)
    return float((lower + lower_or_tied) / 2 / wrong.size / right.size)


def bounding_box(mask: Mask, margin: int) -> tuple[slice, ...]:
    """Return the smallest box that holds a mask, and `margin` voxels more where the array goes on."""
    box = []
    for axis, size in enumerate(mask.shape):
        used = np.flatnonzero(mask.any(axis=tuple(other for other in range(mask.ndim) if other != axis)))
        start, stop = (used[0], used[-1] + 1) if used.size else (0, 0)
        box.append(slice(max(int(start) - margin, 0), min(int(stop) + margin, size)))
    return tuple(box)


def _neighbors(array: NDArray[Any], axis: int, step: int) -> tuple[NDArray[Any], NDArray[Any]]:
    along = np.moveaxis(array, axis, 0)
    return along[:-step], along[step:]
