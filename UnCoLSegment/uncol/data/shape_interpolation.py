"""Shape-based interpolation: what a contour looks like between two slices that were annotated.

The signed distance to the contour is interpolated linearly from slice to slice and cut at zero.

Source:
    Raya & Udupa, "Shape-based interpolation of multidimensional objects",
    IEEE TMI 9(1), 1990, doi:10.1109/42.52980.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

from uncol.core.jobs import Structure
from uncol.core.volume import SliceView, Volume
from uncol.data.annotations import complete_slices

Mask = NDArray[np.bool_]
Distance = NDArray[np.float32]


def signed_distance_mm(mask: Mask, spacing_mm: tuple[float, float]) -> Distance:
    """Return each pixel's distance to the contour of a mask, positive inside.

    Args:
        mask: Structure in one slice (H, W), with at least one pixel set; where all are set, it ends at the slice.
        spacing_mm: Distance between rows and between columns.

    Returns:
        Distance in mm (H, W) to the middle between the last pixel inside and the first outside.
    """
    framed = np.pad(mask, 1) if mask.all() else mask
    distance = np.where(framed, _distance_mm(framed, spacing_mm), -_distance_mm(~framed, spacing_mm))
    return distance[1:-1, 1:-1] if mask.all() else distance


def _distance_mm(mask: Mask, spacing_mm: tuple[float, float]) -> Distance:
    """Return the distance of each pixel of a mask to the edge of the nearest pixel outside."""
    nearest = distance_transform_edt(mask, sampling=spacing_mm, return_distances=False, return_indices=True)
    steps = np.abs(nearest - np.indices(mask.shape))
    to_edge = np.clip(steps - 0.5, 0, None) * np.reshape(spacing_mm, (2, 1, 1))
    return np.hypot(*to_edge).astype(np.float32)


class ShapeInterpolation:
    """One structure's contour at every slice between its annotated ones.

    Args:
        masks: For every annotated slice the structure's mask (H, W); an empty mask says that the
            structure is not there.
        spacing_mm: Distance between rows and between columns.
    """

    def __init__(self, masks: Mapping[int, Mask], spacing_mm: tuple[float, float]) -> None:
        self._slices = sorted(masks)
        self._distances = {
            index: signed_distance_mm(mask, spacing_mm) if mask.any() else None for index, mask in masks.items()
        }

    @classmethod
    def of_structure(
        cls, labels: NDArray[np.uint8], annotated: Sequence[int], value: int, spacing_mm: tuple[float, float]
    ) -> ShapeInterpolation:
        """Take the annotated slices' masks of the structure `value` from a label stack (S, H, W)."""
        return cls({index: labels[index] == value for index in annotated}, spacing_mm)

    def distance_mm(self, index: int) -> Distance | None:
        """Return the signed distance (H, W) at a slice, or None where the structure is not expected.

        Between a slice with the structure and one without, the contour shrinks evenly until
        nothing is left at the empty slice. Outside the annotated slices nothing is expected.
        """
        position = bisect_left(self._slices, index)
        if position < len(self._slices) and self._slices[position] == index:
            return self._distances[index]
        if position in (0, len(self._slices)):
            return None
        before, after = self._slices[position - 1], self._slices[position]
        part = (index - before) / (after - before)
        return _blend(self._distances[before], self._distances[after], part)

    def mask(self, index: int) -> Mask | None:
        """Return the interpolated mask (H, W) at a slice, or None where it would be empty."""
        distance = self.distance_mm(index)
        if distance is None or distance.max() <= 0:
            return None
        return distance > 0

    def without(self, index: int) -> ShapeInterpolation:
        """Return the interpolation as if the slice `index` had not been annotated."""
        rest = ShapeInterpolation({}, (1.0, 1.0))
        rest._slices = [each for each in self._slices if each != index]
        rest._distances = {each: distance for each, distance in self._distances.items() if each != index}
        return rest


def _blend(before: Distance | None, after: Distance | None, part: float) -> Distance | None:
    if before is not None and after is not None:
        return (1 - part) * before + part * after
    if before is not None:
        return before - part * before.max()
    if after is not None:
        return after - (1 - part) * after.max()
    return None


def interpolate_shapes(labels: Volume, structures: Sequence[Structure], view: SliceView) -> Volume:
    """Fill between the annotated slices without looking at the image: what every annotator could have had before.

    Each structure is interpolated by itself; where two overlap, the one whose contour is farther away has the voxel.
    """
    known = view.stack_from(labels.voxels)
    annotated = complete_slices(known)
    shapes = [ShapeInterpolation.of_structure(known, annotated, each.value, view.spacing_mm[1:]) for each in structures]
    values = np.array([each.value for each in structures], dtype=np.uint8)
    filled = np.zeros(labels.shape_kji, dtype=np.uint8)
    stack = view.stack_from(filled)
    nowhere = np.full(stack.shape[1:], -np.inf, dtype=np.float32)
    for index in range(len(stack)):
        if index in annotated:
            stack[index] = known[index]
            continue
        found = [shape.distance_mm(index) for shape in shapes]
        distances = np.stack([nowhere if each is None else each for each in found])
        stack[index] = np.where(distances.max(axis=0) > 0, values[distances.argmax(axis=0)], 0)
    return labels.with_voxels(filled)
