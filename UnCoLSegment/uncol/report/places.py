"""Where to look: the places in which a segmentation is unsure over more than the thin rim that every contour has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from uncol.core.error_detection import bounding_box, within_distance

NEAR_MM = 15.0
"""Uncertainty counts this near to a structure."""
UNSURE = 0.5
"""Mean uncertainty, in [0, 1], from which a place is one to look at."""
_MEAN_OVER_MM = 6.0
"""Side of the cube over which the mean is taken."""
_RIM_MM, _RIM_PART = 5.0, 0.75
"""A place reaches this far into what is unsure, or this part of its mean thickness along the contours if that is less:
the rim that every contour has does not."""
_STAIRS = 1.5
"""By how much the faces of voxels are more than the smooth surface that they belong to, on average over directions."""
_LEAST_ML = 0.2
_MOST_PLACES = 12
_MOSTLY = 0.8
"""Part of a place inside, or outside, the contour from which it lies there."""
_STRIDE = 2
"""Every second voxel tells well enough which structure is the nearest one."""

Side = Literal["inside", "outside", "both"]


@dataclass(frozen=True)
class Place:
    """A place to look at.

    Attributes:
        number: From 1, the one with the most doubt first.
        index: Its middle, voxel indices of the arrays that were searched.
        volume_ml: How large it is.
        uncertainty: Mean over it, in [0, 1].
        side: Whether it lies inside the contour, where it may be too much, outside, where some may be missing, or both.
        value: Label value of the structure that it belongs to.
    """

    number: int
    index: tuple[int, int, int]
    volume_ml: float
    uncertainty: float
    side: Side
    value: int


def near_structures(labels: NDArray[np.uint8], spacing_mm: Sequence[float]) -> NDArray[np.bool_]:
    """Mark the voxels within 15 mm of a structure; arrays of any order of axes, with their spacing in mm."""
    return within_distance(labels > 0, spacing_mm, NEAR_MM) if labels.any() else np.zeros(labels.shape, np.bool_)


def find_places(
    labels: NDArray[np.uint8],
    uncertainty: NDArray[np.floating[Any]],
    near: NDArray[np.bool_],
    spacing_mm: Sequence[float],
) -> tuple[tuple[Place, ...], NDArray[np.uint8]]:
    """Find the places to look at.

    They are connected pieces of where the mean uncertainty over a cube of 6 mm is at least 0.5 near a structure, and
    that is thicker than the rim of the contours; the twelve of at least 0.2 ml with the largest sum of uncertainty.

    Args:
        labels: Label map; 0 is background.
        uncertainty: In [0, 1], same shape.
        near: What `near_structures` marks.
        spacing_mm: Distances of voxels along the axes.

    Returns:
        The places, and a map with their numbers.
    """
    numbers = np.zeros(labels.shape, np.uint8)
    box = bounding_box(near, margin=0)
    labels, near = labels[box], near[box]
    if not labels.size:
        return (), numbers
    doubt = uncertainty[box].astype(np.float32)
    size = [max(1, round(_MEAN_OVER_MM / each)) for each in spacing_mm]
    unsure = (ndimage.uniform_filter(doubt, size) >= UNSURE) & near
    pieces, count = ndimage.label(_without_rim(unsure, labels > 0, spacing_mm))
    voxel_ml = float(np.prod(spacing_mm)) / 1000
    volumes, sums, inside = (
        np.bincount(pieces.ravel(), weights, minlength=count + 1)[1:] * voxel_ml
        for weights in (None, doubt.ravel(), (labels > 0).ravel())
    )
    ranked = [each for each in np.argsort(-sums, kind="stable").tolist() if volumes[each] >= _LEAST_ML]
    places = []
    for number, piece in enumerate(ranked[:_MOST_PLACES], start=1):
        mask = pieces == piece + 1
        numbers[box][mask] = number
        middle = _middle(mask, doubt, spacing_mm)
        k, j, i = (int(start.start) + each for start, each in zip(box, middle, strict=True))
        part = inside[piece] / volumes[piece]
        side: Side = "inside" if part >= _MOSTLY else "outside" if part <= 1 - _MOSTLY else "both"
        mean = round(float(sums[piece] / volumes[piece]), 3)
        value = _structure_at(labels, mask, middle)
        places.append(Place(number, (k, j, i), round(float(volumes[piece]), 2), mean, side, value))
    return tuple(places), numbers


def _without_rim(
    unsure: NDArray[np.bool_], inside: NDArray[np.bool_], spacing_mm: Sequence[float]
) -> NDArray[np.bool_]:
    """Return the parts of what is unsure that are thicker than it is on average along the contours."""
    voxel_mm3 = float(np.prod(spacing_mm))
    faces = [np.count_nonzero(np.diff(inside, axis=axis)) * voxel_mm3 / each for axis, each in enumerate(spacing_mm)]
    rim_mm = min(_RIM_MM, _RIM_PART * np.count_nonzero(unsure) * voxel_mm3 / max(sum(faces) / _STAIRS, 1e-9))
    core = ndimage.distance_transform_edt(unsure, spacing_mm) > rim_mm
    if not core.any():
        return core
    return unsure & within_distance(core, spacing_mm, rim_mm)


def _middle(mask: NDArray[np.bool_], doubt: NDArray[np.float32], spacing_mm: Sequence[float]) -> tuple[int, int, int]:
    """Return the voxel of a piece that lies deepest in it, of equals the least sure one."""
    part = bounding_box(mask, margin=1)
    inside = np.pad(mask[part], 1)
    depth = ndimage.distance_transform_edt(inside, spacing_mm)[1:-1, 1:-1, 1:-1]
    best = np.unravel_index(int(np.argmax(depth + np.where(mask[part], doubt[part], -1) / 10)), depth.shape)
    k, j, i = (int(start.start) + int(each) for start, each in zip(part, best, strict=True))
    return k, j, i


def _structure_at(labels: NDArray[np.uint8], mask: NDArray[np.bool_], middle: tuple[int, int, int]) -> int:
    """Return the label value that a piece belongs to: its own, or that of the nearest structure."""
    own = labels[mask]
    if own.any():
        return int(np.bincount(own[own > 0]).argmax())
    where = np.argwhere(labels[::_STRIDE, ::_STRIDE, ::_STRIDE] > 0) * _STRIDE
    if not len(where):
        where = np.argwhere(labels > 0)
    nearest = where[((where - np.array(middle)) ** 2).sum(axis=1).argmin()]
    return int(labels[tuple(nearest)])


def sentence_of(place: Place, names: Mapping[int, str]) -> str:
    """Return what may be wrong at a place."""
    name = names.get(place.value, "the structure")
    words = {"inside": f"may not be {name}", "outside": f"may belong to {name}", "both": f"border of {name} unsure"}
    return words[place.side]
