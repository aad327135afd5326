"""Where the user painted: which voxels differ from what was accepted, and in which slices the brush must have been."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from uncol.core.volume import ARRAY_AXIS, Axis
from UnCoLSegmentLib.Scene import AcceptedVoxels, Grids, Labelmaps
from UnCoLSegmentLib.Scene.Grids import Matrix, Region

AXES: tuple[Axis, ...] = ("K", "J", "I")
"""Voxel indices that count slices, in the order in which they are preferred and shown."""


class Painting:
    """A segmentation seen on a volume's grid, against what was accepted into it and what is proposed.

    Raises:
        GeometryError: If a non-linear transform lies between the nodes.
    """

    def __init__(self, segmentation: Any, proposal: Any, volumeNode: Any) -> None:
        codes = _Codes.of(segmentation)
        rasToIJK = np.linalg.inv(Grids.ijkToRAS(volumeNode))
        toIJK = rasToIJK @ Grids.matrixBetween(segmentation, volumeNode)
        baseline = AcceptedVoxels.baselineOf(segmentation)
        self._shape = tuple(reversed(volumeNode.GetImageData().GetDimensions()))
        self._now = _Coded(segmentation, toIJK, codes)
        self._accepted = _Coded(baseline, toIJK, codes)
        self._proposed = None
        if proposal is not None:
            self._proposed = _Coded(proposal, rasToIJK @ Grids.matrixBetween(proposal, volumeNode), codes)

    def slices(self) -> list[tuple[Axis, int]]:
        """Return the slices in which the user painted or erased."""
        filled = Grids.unionOf(self._now.region, self._accepted.region)
        if filled is None:
            return []
        inside = Grids.intersectionOf(filled, Grids.wholeRegion(self._shape))
        if Grids.isEmpty(inside):
            return []
        changed = self._now.read(inside) != self._accepted.read(inside)
        return [(axis, index + inside[ARRAY_AXIS[axis]].start) for axis, index in slicesCovering(changed)]

    def hasStructure(self, axis: Axis, index: int) -> bool:
        """Say whether a segment has a voxel in a slice."""
        return bool(self._now.read(self._sliceRegion(axis, index)).any())

    def isCopied(self, axis: Axis, index: int) -> bool:
        """Say whether a slice shows exactly what the proposal shows there, and that is not nothing."""
        if self._proposed is None:
            return False
        region = self._sliceRegion(axis, index)
        here = self._now.read(region)
        return bool(here.any()) and np.array_equal(here, self._proposed.read(region))

    def _sliceRegion(self, axis: Axis, index: int) -> Region:
        region = list(Grids.wholeRegion(self._shape))
        region[ARRAY_AXIS[axis]] = slice(index, index + 1)
        return region[0], region[1], region[2]


class _Coded:
    """Which segments a voxel of the volume belongs to, as one number: equal numbers, equal segments."""

    def __init__(self, segmentationNode: Any, toIJK: Matrix, codes: _Codes) -> None:
        layers = Labelmaps.layersOf(segmentationNode) if segmentationNode is not None else []
        self._dtype = codes.dtype
        self._layers = [
            (layer.voxels, toIJK @ layer.ijkToLocal, layer.recoder(codes.bySegment, codes.dtype)) for layer in layers
        ]
        self.region: Region | None = None
        for voxels, matrix, _recoded in self._layers:
            self.region = Grids.unionOf(self.region, Grids.regionOn(matrix, voxels.shape))

    def read(self, region: Region) -> NDArray[Any]:
        """Return the numbers in a region of the volume's grid; 0 is no segment."""
        numbers = np.zeros(Grids.shapeOf(region), dtype=self._dtype)
        for voxels, matrix, recoded in self._layers:
            part = Grids.intersectionOf(region, Grids.regionOn(matrix, voxels.shape))
            if not Grids.isEmpty(part):
                here = numbers[Grids.relative(part, region)]
                here ^= recoded(Grids.sample(voxels, np.linalg.inv(matrix), part))
        return numbers


@dataclass(frozen=True)
class _Codes:
    """One number for each segment ID, so chosen that the numbers of overlapping segments can be combined by XOR."""

    bySegment: dict[str, int]
    dtype: type[np.unsignedinteger[Any]]

    @classmethod
    def of(cls, segmentation: Any) -> _Codes:
        """Take the label values where all segments share one layer of bytes, as they mostly do: nothing to look up."""
        layers = Labelmaps.layersOf(segmentation)
        ids = segmentation.GetSegmentation().GetSegmentIDs()
        if len(layers) == 1 and layers[0].voxels.dtype == np.uint8 and len(layers[0].values) == len(ids):
            return cls(layers[0].values, np.uint8)
        numbers = np.random.default_rng(0).choice(np.arange(1, 1 << 16), size=len(ids), replace=False)
        return cls(dict(zip(ids, numbers.tolist(), strict=True)), np.uint16)


def slicesCovering(changed: NDArray[np.bool_]) -> list[tuple[Axis, int]]:
    """Return the fewest slices, along one axis or mixed, that hold all True voxels of an array (K, J, I).

    A brush stroke in a coronal slice touches one coronal slice but many axial and sagittal ones, so the fewest slices
    are those in which the user painted. The mixed answer takes the slice with the most voxels that are left, again
    and again; it is taken only if it needs fewer slices, so that a ball painted in 3D is not cut up criss-cross.
    """
    filled = Grids.nonzeroRegion(changed.view(np.uint8))
    if filled is None:
        return []
    return [(axis, index + filled[ARRAY_AXIS[axis]].start) for axis, index in _covering(changed[filled])]


def _covering(changed: NDArray[np.bool_]) -> list[tuple[Axis, int]]:
    counts = _countsAlong(changed)
    single = min(([(axis, index) for index in np.flatnonzero(counts[axis]).tolist()] for axis in AXES), key=len)
    mixed = _mixedCover(changed, counts, len(single))
    return single if mixed is None else mixed


def _mixedCover(
    changed: NDArray[np.bool_], counts: dict[Axis, NDArray[np.int64]], limit: int
) -> list[tuple[Axis, int]] | None:
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


def _countsAlong(mask: NDArray[np.bool_]) -> dict[Axis, NDArray[np.int64]]:
    perColumn = mask.view(np.uint8).sum(axis=0, dtype=np.uint16).astype(np.int64)  # a stack is lower than 65536
    perSlab = np.array([np.count_nonzero(slab) for slab in mask])
    return {"K": perSlab, "J": perColumn.sum(axis=1), "I": perColumn.sum(axis=0)}
