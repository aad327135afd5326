"""Where the user painted: which voxels differ from what was accepted, and in which slices the brush must have been.

What accepted proposals put into a segmentation is remembered beside it, so that it is not taken for painting.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import slicer
from numpy.typing import NDArray

from uncol.core.volume import ARRAY_AXIS, Axis
from UnCoLSegmentLib.Scene import Grids, Labelmaps
from UnCoLSegmentLib.Scene.Grids import Mask, Matrix, Region
from UnCoLSegmentLib.Scene.Labelmaps import LayersOnGrid

AXES: tuple[Axis, ...] = ("K", "J", "I")
"""Voxel indices that count slices, in the order in which they are preferred and shown."""

_ACCEPTED_ROLE = "UnCoL.Baseline"


class AcceptedVoxels:
    """What accepted proposals put into a segmentation.

    The memory is a hidden segmentation node that is saved with the scene. Its voxels are in the segmentation's own RAS
    coordinates, so that a transform put above the segmentation later changes nothing.
    """

    def __init__(self, segmentation: Any) -> None:
        self._segmentation = segmentation

    @property
    def node(self) -> Any:
        """The hidden node; None if nothing was ever accepted."""
        return self._segmentation.GetNodeReference(_ACCEPTED_ROLE)

    def needNode(self) -> Any:
        """Return the hidden node, a new and empty one if there is none yet."""
        node = self.node
        if node is None:
            node = slicer.vtkMRMLSegmentationNode()
            node.SetName(f"{self._segmentation.GetName()} before painting")
            node.SetHideFromEditors(True)
            self._segmentation.GetScene().AddNode(node)
            self._segmentation.SetNodeReferenceID(_ACCEPTED_ROLE, node.GetID())
        return node

    def read(self, segmentId: str, lattice: Matrix, region: Region) -> Mask:
        """Return which voxels of a region of a grid, in the segmentation's own coordinates, were accepted."""
        if self.node is None:
            return np.zeros(Grids.shapeOf(region), dtype=bool)
        return Labelmaps.maskOfSegment(self.node, segmentId, lattice, region)

    def write(self, segmentId: str, accepted: Mask, lattice: Matrix, region: Region) -> None:
        """Remember what of a region is accepted now; nothing changes outside the region."""
        node = self.needNode()
        whole = Grids.unionOf(region, Labelmaps.regionOfSegment(node, segmentId, lattice))
        remembered = Labelmaps.maskOfSegment(node, segmentId, lattice, whole)
        remembered[Grids.relative(region, whole)] = accepted
        segment = Labelmaps.needSegment(node, segmentId, self._segmentation.GetSegmentation().GetSegment(segmentId))
        Labelmaps.setOwnVoxels(segment, remembered, lattice, whole)


class Painting:
    """A segmentation seen on a volume's grid, against what was accepted into it and what is proposed.

    Raises:
        GeometryError: If a non-linear transform lies between the nodes.
    """

    def __init__(self, segmentation: Any, proposal: Any, volumeNode: Any) -> None:
        codes, dtype = _codesOf(segmentation)
        toIJK = Grids.rasToIJK(segmentation, volumeNode)
        self._shape = tuple(reversed(volumeNode.GetImageData().GetDimensions()))
        self._now = LayersOnGrid(segmentation, toIJK, codes, dtype)
        self._accepted = LayersOnGrid(AcceptedVoxels(segmentation).node, toIJK, codes, dtype)
        toIJK = Grids.rasToIJK(proposal, volumeNode) if proposal is not None else toIJK
        self._proposed = LayersOnGrid(proposal, toIJK, codes, dtype)

    def slices(self) -> list[tuple[Axis, int]]:
        """Return the slices in which the user painted or erased."""
        filled = Grids.unionOf(self._now.region, self._accepted.region)
        inside = Grids.intersectionOf(filled or (slice(0, 0),) * 3, Grids.wholeRegion(self._shape))
        changed = _codesIn(self._now, inside) != _codesIn(self._accepted, inside)
        return [(axis, index + inside[ARRAY_AXIS[axis]].start) for axis, index in slicesCovering(changed)]

    def hasStructure(self, axis: Axis, index: int) -> bool:
        """Say whether a segment has a voxel in a slice."""
        return bool(_codesIn(self._now, Grids.sliceRegion(self._shape, axis, index)).any())

    def isCopied(self, axis: Axis, index: int) -> bool:
        """Say whether a slice shows exactly what the proposal shows there, and that is not nothing."""
        region = Grids.sliceRegion(self._shape, axis, index)
        here = _codesIn(self._now, region)
        return bool(here.any()) and np.array_equal(here, _codesIn(self._proposed, region))


def _codesIn(layers: LayersOnGrid, region: Region) -> NDArray[Any]:
    """Return for each voxel a number that says to which segments it belongs: equal numbers, equal segments; 0, none."""
    numbers = np.zeros(Grids.shapeOf(region), dtype=layers.dtype)
    for part, codes in layers.read(region):
        numbers[part] ^= codes
    return numbers


def _codesOf(segmentation: Any) -> tuple[dict[str, int], type[np.unsignedinteger[Any]]]:
    """Return a number for each segment ID, so chosen that those of overlapping segments can be combined by XOR.

    They are the label values where all segments share one layer of bytes, as they mostly do: nothing to look up.
    """
    layers, ids = Labelmaps.layersOf(segmentation), segmentation.GetSegmentation().GetSegmentIDs()
    if len(layers) == 1 and layers[0].voxels.dtype == np.uint8 and len(layers[0].values) == len(ids):
        return layers[0].values, np.uint8
    numbers = np.random.default_rng(0).choice(np.arange(1, 1 << 16), size=len(ids), replace=False)
    return dict(zip(ids, numbers.tolist(), strict=True)), np.uint16


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
