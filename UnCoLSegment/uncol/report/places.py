"""Where to look: the places in which a segmentation is unsure over more than the thin rim that every contour has."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from uncol.core.error_detection import bounding_box, within_distance
from uncol.core.findings import Place, Side
from uncol.core.jobs import Structure
from uncol.core.uncertainty_maps import UNSURE, unsure_from
from uncol.core.volume import Volume

NEAR_MM = 15.0
"""Undoubt_there counts this near to a structure."""
_VOXEL_MM = 1.5
"""Size of a voxel up to which voxels are left out: places are larger than that."""
_MEAN_OVER_MM = 6.0
"""Side of the cube over which the mean is taken."""
_RIM_MM, _RIM_PART = 5.0, 0.75
"""A place reaches this far into what is unsure, or this part of its mean thickness along the contours if that is less:
the rim that every contour has does not."""
_STAIRS = 1.5
"""By how much the faces of voxels are more than the smooth surface that they belong to, on average over directions."""
_LEAST_ML = 0.2
_LARGEST_PART, _LARGEST_ML = 0.25, 20.0
"""A place is not larger than this part of all structures, or than this if that is more, as far as one of the levels of
uncertainty that are tried makes it smaller."""
_LEVELS = 8
_MOST_PLACES = 12
_MOSTLY = 0.8
"""Part of a place inside, or outside, the contour from which it lies there."""
_STRIDE = 2
"""Every second voxel tells well enough which structure is the nearest one."""


@dataclass(frozen=True)
class WhereToLook:
    """The places to look at in a segmentation, and what is unsure of each structure.

    Attributes:
        places: The one with the most doubt first.
        numbers: Their numbers (K, J, I), uint8, on the grid of the segmentation; 0 elsewhere.
        sure_parts: Of what was found of each structure, the part that is sure, in [0, 1]; 1 where none was found.
        possible_ml: What may belong to each structure besides, in ml.
    """

    places: tuple[Place, ...]
    numbers: NDArray[np.uint8]
    sure_parts: tuple[float, ...]
    possible_ml: tuple[float, ...]


def where_to_look(labels: Volume, uncertainty: Volume, structures: Sequence[Structure]) -> WhereToLook:
    """Find the places to look at, and how much of each structure is unsure.

    A voxel is unsure where its uncertainty is at least `unsure_from`; outside all structures, but within 15 mm of one,
    it may belong to the nearest of them. Voxels of up to 0.75 mm are thinned out: that tells it well enough.

    Args:
        labels: Label map.
        uncertainty: Entropy divided by the logarithm of the number of structures and the background, on the same grid.
        structures: The structures.
    """
    least = unsure_from(len(structures))
    steps = np.maximum(1, _VOXEL_MM / np.array(labels.spacing_mm[::-1])).astype(int)
    spacing_mm = (steps * labels.spacing_mm[::-1]).tolist()
    few = tuple(slice(None, None, int(step)) for step in steps)
    found, doubt = np.ascontiguousarray(labels.voxels[few]), np.ascontiguousarray(uncertainty.voxels[few])
    near = near_structures(found, spacing_mm)
    pieces, few_numbers = find_places(found, doubt, near, spacing_mm, least)
    whole = [np.arange(size) // step for size, step in zip(labels.shape_kji, steps, strict=True)]
    names = {each.value: each.name for each in structures}
    places = []
    for each in pieces:
        k, j, i = (int(index * step) for index, step in zip(each.index, steps, strict=True))
        x, y, z = (labels.ijk_to_ras @ [i, j, k, 1])[:3].round(2).tolist()
        name = names.get(each.value, "the structure")
        numbers = each.number, (i, j, k), (x, y, z), each.volume_ml, each.uncertainty
        places.append(Place(*numbers, each.side, name, each.value))
    sure_parts, possible_ml = _ranges(found, (doubt >= least) & near, spacing_mm, structures)
    return WhereToLook(tuple(places), few_numbers[np.ix_(*whole)], sure_parts, possible_ml)


def _ranges(
    labels: NDArray[np.uint8], unsure: NDArray[np.bool_], spacing_mm: Sequence[float], structures: Sequence[Structure]
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the sure part of each structure, and the ml of what is unsure outside and nearest to it."""
    voxels, unsure_inside, outside_ml = (np.zeros(256) for _ in range(3))
    box = bounding_box(unsure | (labels > 0), margin=0)
    labels, unsure = labels[box], unsure[box]
    if labels.any():
        voxels += np.bincount(labels.ravel(), minlength=256)
        unsure_inside += np.bincount(labels[unsure], minlength=256)
        present = np.unique(labels[labels > 0])
        beyond = unsure & (labels == 0)
        nearest = np.full(np.count_nonzero(beyond), present[0])
        if len(present) > 1:
            where = ndimage.distance_transform_edt(
                labels == 0, spacing_mm, return_distances=False, return_indices=True
            )[:, beyond]
            nearest = labels[tuple(where)]
        outside_ml += np.bincount(nearest, minlength=256) * float(np.prod(spacing_mm)) / 1000
    sure = 1 - unsure_inside / np.maximum(voxels, 1)
    values = [each.value for each in structures]
    return tuple(sure[values].tolist()), tuple(outside_ml[values].tolist())


@dataclass(frozen=True)
class Piece:
    """A place to look at in arrays.

    Attributes:
        number: From 1, the one with the most doubt first.
        index: Its middle, indices of the arrays that were searched.
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
    least: float = UNSURE,
) -> tuple[tuple[Piece, ...], NDArray[np.uint8]]:
    """Find the places to look at.

    They are connected pieces of where the mean uncertainty over a cube of 6 mm is high enough near a structure, and
    that is thicker than the rim of the contours; the twelve of at least 0.2 ml with the largest sum of uncertainty.
    Where that is nearly everywhere, so that one of them would be larger than a quarter of what was found, only what is
    still less sure counts: a place tells where to look.

    Args:
        labels: Label map; 0 is background.
        uncertainty: In [0, 1], same shape.
        near: What `near_structures` marks.
        spacing_mm: Distances of voxels along the axes.
        least: Mean uncertainty, in [0, 1], from which a place is one to look at.

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
    mean = np.where(near, ndimage.uniform_filter(doubt, size), 0.0)
    voxel_ml = float(np.prod(spacing_mm)) / 1000
    most_ml = max(_LARGEST_ML, _LARGEST_PART * np.count_nonzero(labels) * voxel_ml)
    for level in np.linspace(least, max(least, float(mean.max())), _LEVELS, endpoint=False):
        found, count = ndimage.label(_without_rim(mean >= level, labels > 0, spacing_mm))
        found_ml = np.bincount(found.ravel(), minlength=count + 1)[1:] * voxel_ml
        if level > least and found_ml.max(initial=0) < _LEAST_ML:
            break
        pieces, volumes = found, found_ml
        if volumes.max(initial=0) <= most_ml:
            break
    sums, inside = (
        np.bincount(pieces.ravel(), weights, minlength=len(volumes) + 1)[1:] * voxel_ml
        for weights in (doubt.ravel(), (labels > 0).ravel())
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
        doubt_there = round(float(sums[piece] / volumes[piece]), 3)
        value = _structure_at(labels, mask, middle)
        places.append(Piece(number, (k, j, i), round(float(volumes[piece]), 2), doubt_there, side, value))
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
