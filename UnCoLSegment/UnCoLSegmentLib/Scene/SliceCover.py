"""The fewest slices that hold all voxels that were changed: those in which the brush must have been. Arrays only."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from uncol.core.volume import ARRAY_AXIS, Axis
from UnCoLSegmentLib.Scene import Grids
from UnCoLSegmentLib.Scene.Grids import Mask

AXES: tuple[Axis, ...] = ("K", "J", "I")
"""Voxel indices that count slices, in the order in which they are preferred and shown."""


def slicesCovering(changed: Mask) -> list[tuple[Axis, int]]:
    """Return the fewest slices, along one axis or mixed, that hold all True voxels of an array (K, J, I).

    A brush stroke in a coronal slice touches one coronal slice but many axial and sagittal ones, so the fewest slices
    are those in which the user painted. The mixed answer takes the slice with the most voxels that are left, again
    and again; it is taken only if it needs fewer slices, so that a ball painted in 3D is not cut up criss-cross.
    """
    filled = Grids.nonzeroRegion(changed.view(np.uint8))
    if filled is None:
        return []
    counts = _countsAlong(changed[filled])
    single = min(([(axis, index) for index in np.flatnonzero(counts[axis]).tolist()] for axis in AXES), key=len)
    mixed = _mixedCover(changed[filled], counts, len(single))
    cover = single if mixed is None else mixed
    return [(axis, index + filled[ARRAY_AXIS[axis]].start) for axis, index in cover]


def _mixedCover(changed: Mask, counts: dict[Axis, NDArray[np.int64]], limit: int) -> list[tuple[Axis, int]] | None:
    """Return slices of several axes, fewer than `limit`, or None."""
    left = changed.copy() if _canEnd(counts, limit - 1) else changed
    cover: list[tuple[Axis, int]] = []
    while _canEnd(counts, limit - 1 - len(cover)):
        axis = max(AXES, key=lambda each: (counts[each].max(), [taken for taken, _index in cover].count(each)))
        index = int(counts[axis].argmax())
        if not counts[axis][index]:
            return cover
        plane = np.moveaxis(left, ARRAY_AXIS[axis], 0)[index]
        first, second = (each for each in AXES if each != axis)
        counts[first] -= plane.sum(axis=1)
        counts[second] -= plane.sum(axis=0)
        counts[axis][index] = 0
        plane[...] = False
        cover.append((axis, index))
    return None


def _canEnd(counts: Mapping[Axis, NDArray[np.int64]], sliceCount: int) -> bool:
    """Say whether that many slices, whichever they are, can hold all voxels that are left."""
    fullest = np.sort(np.concatenate(list(counts.values())))[::-1]
    return sliceCount >= 0 and int(fullest[:sliceCount].sum()) >= int(counts["K"].sum())


def _countsAlong(mask: Mask) -> dict[Axis, NDArray[np.int64]]:
    perColumn = mask.view(np.uint8).sum(axis=0, dtype=np.uint16).astype(np.int64)  # a stack is lower than 65536
    perSlab = np.array([np.count_nonzero(slab) for slab in mask])
    return {"K": perSlab, "J": perColumn.sum(axis=1), "I": perColumn.sum(axis=0)}
