"""What the user painted: how a segmentation differs from what was accepted into it, on the grid of a volume.

What accepted proposals put into a segmentation is remembered beside it, so that it is not taken for painting.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from functools import reduce
from typing import Any
from uuid import uuid4

import numpy as np
import slicer
from numpy.typing import NDArray

from uncol.core.volume import ARRAY_AXIS, Axis
from UnCoLSegmentLib.Scene import Grids, Labelmaps
from UnCoLSegmentLib.Scene.Grids import Mask, Matrix, Region
from UnCoLSegmentLib.Scene.Labelmaps import LayersOnGrid
from UnCoLSegmentLib.Scene.SliceCover import slicesCovering

Slice = tuple[Axis, int]
"""A voxel index of the volume that counts slices, and the slice's number along it."""

_MEMORY_ROLE = "UnCoL.Baseline"
_ACCEPTED_TAG = "UnCoL.Accepted"
"""Tag of a segment: the ID, in the memory, of what was accepted into it."""
_BEFORE_TAG = "UnCoL.Before"
"""Tag of a remembered segment: the ID of what was remembered before it."""
_MOST_REMEMBERED = 12
"""More than the Segment Editor can undo."""


class AcceptedVoxels:
    """What accepted proposals put into a segmentation.

    The memory is a hidden segmentation node that is saved with the scene. Its voxels are in the segmentation's own RAS
    coordinates, so that a transform put above the segmentation later changes nothing. Nothing in it is ever changed:
    each acceptance adds a segment, and a tag of the user's segment names the one that counts. Slicer's own undo
    restores a segment's tags with its voxels, and so what counts as accepted follows it, back and forth.
    """

    def __init__(self, segmentation: Any) -> None:
        self._segmentation = segmentation

    @property
    def node(self) -> Any:
        """The hidden node; None if nothing was ever accepted."""
        return self._segmentation.GetNodeReference(_MEMORY_ROLE)

    def rememberedId(self, segmentId: str) -> str:
        """Return the ID in the memory of what was accepted into a segment; "" if nothing is known of it."""
        segment = self._segmentation.GetSegmentation().GetSegment(segmentId)
        name = Labelmaps.tagOf(segment, _ACCEPTED_TAG) or segmentId if segment is not None else segmentId
        return name if self.node is not None and self.node.GetSegmentation().GetSegment(name) is not None else ""

    def isLost(self, segmentId: str) -> bool:
        """Say whether something was accepted into a segment that came here without its memory, as from a file."""
        segment = self._segmentation.GetSegmentation().GetSegment(segmentId)
        return bool(Labelmaps.tagOf(segment, _ACCEPTED_TAG)) and not self.rememberedId(segmentId)

    def coded(self, codes: dict[str, int]) -> dict[str, int]:
        """Return numbers by segment ID as numbers by the IDs in the memory."""
        return {name: code for segmentId, code in codes.items() if (name := self.rememberedId(segmentId))}

    def read(self, segmentId: str, lattice: Matrix, region: Region) -> Mask:
        """Return which voxels of a region of a grid, in the segmentation's own coordinates, were accepted."""
        remembered = self.rememberedId(segmentId)
        if not remembered:
            return np.zeros(Grids.shapeOf(region), dtype=bool)
        return Labelmaps.maskOfSegment(self.node, remembered, lattice, region)

    def write(self, segmentId: str, accepted: Mask, lattice: Matrix, region: Region) -> None:
        """Remember what of a region is accepted now; nothing changes outside the region."""
        memory, before = self._needNode().GetSegmentation(), self.rememberedId(segmentId)
        whole = Grids.unionOf(region, Labelmaps.regionOfSegment(self.node, before, lattice) if before else None)
        remembered = self.read(segmentId, lattice, whole)
        remembered[Grids.relative(region, whole)] = accepted
        name = memory.AddEmptySegment(uuid4().hex, segmentId)
        Labelmaps.setOwnVoxels(memory.GetSegment(name), remembered, lattice, whole)
        Labelmaps.setTag(memory.GetSegment(name), _BEFORE_TAG, before)
        Labelmaps.setTag(self._segmentation.GetSegmentation().GetSegment(segmentId), _ACCEPTED_TAG, name)
        self._forgetUnreachable(segmentId, name)

    def takeAll(self, segmentId: str) -> None:
        """Count all that a segment holds now as accepted."""
        found = Labelmaps.filledPart(self._segmentation, segmentId)
        lattice = Labelmaps.workingLattice(self._segmentation, segmentId)
        region = Labelmaps.regionOfSegment(self._segmentation, segmentId, lattice) if found else None
        region = region or (slice(0, 1),) * 3
        lattice = np.eye(4) if lattice is None else lattice
        now = Labelmaps.maskOfSegment(self._segmentation, segmentId, lattice, region)
        self.write(segmentId, now, lattice, region)

    def takeSlices(self, volumeNode: Any, slices: Collection[Slice]) -> None:
        """Count what all segments hold in slices of a volume as accepted.

        Raises:
            GeometryError: If a non-linear transform lies between the nodes.
        """
        places = [Grids.SliceOfVolume(volumeNode, axis, index) for axis, index in slices]
        for segmentId in self._segmentation.GetSegmentation().GetSegmentIDs() if places else ():
            lattice = Labelmaps.workingLattice(self._segmentation, segmentId)
            if lattice is None:
                continue
            parts = [place.regionOn(self._segmentation, lattice) for place in places]
            region = reduce(Grids.unionOf, parts)
            isIn = np.zeros(Grids.shapeOf(region), dtype=bool)
            for place, part in zip(places, parts, strict=True):
                isIn[Grids.relative(part, region)] |= place.maskOn(self._segmentation, lattice, part)
            now = Labelmaps.maskOfSegment(self._segmentation, segmentId, lattice, region)
            before = self.read(segmentId, lattice, region)
            accepted = np.where(isIn, now, before)
            if not np.array_equal(accepted, before):
                self.write(segmentId, accepted, lattice, region)

    def _needNode(self) -> Any:
        if self.node is None:
            node = slicer.vtkMRMLSegmentationNode()
            node.SetName(f"{self._segmentation.GetName()} before painting")
            node.SetHideFromEditors(True)
            self._segmentation.GetScene().AddNode(node)
            self._segmentation.SetNodeReferenceID(_MEMORY_ROLE, node.GetID())
        return self.node

    def _forgetUnreachable(self, segmentId: str, name: str) -> None:
        """Keep what undoing can come back to: what was remembered before, not what had been undone by now."""
        memory, kept = self.node.GetSegmentation(), [name]
        while len(kept) < _MOST_REMEMBERED and (before := Labelmaps.tagOf(memory.GetSegment(kept[-1]), _BEFORE_TAG)):
            if memory.GetSegment(before) is None:
                break
            kept.append(before)
        for each in memory.GetSegmentIDs():
            if memory.GetSegment(each).GetName() == segmentId and each not in kept:
                memory.RemoveSegment(each)


@dataclass(frozen=True)
class Content:
    """What a segment holds in one slice, in voxels.

    Attributes:
        now: How many it holds.
        added: How many of them were not accepted.
        changed: The same, with those that were accepted and are gone.
        proposed: How many the proposal holds there.
    """

    now: int
    added: int
    changed: int
    proposed: int


class Painting:
    """A segmentation seen on a volume's grid, against what was accepted into it and what is proposed.

    Raises:
        GeometryError: If a non-linear transform lies between the nodes.
    """

    def __init__(self, segmentation: Any, proposal: Any, volumeNode: Any) -> None:
        self._codes, dtype, self._overlaps = _codesOf(segmentation)
        accepted = AcceptedVoxels(segmentation)
        toIJK = Grids.rasToIJK(segmentation, volumeNode)
        self._shape = tuple(reversed(volumeNode.GetImageData().GetDimensions()))
        self._now = LayersOnGrid(segmentation, toIJK, self._codes, dtype)
        self._accepted = LayersOnGrid(accepted.node, toIJK, accepted.coded(self._codes), dtype)
        toIJK = Grids.rasToIJK(proposal, volumeNode) if proposal is not None else toIJK
        self._proposed = LayersOnGrid(proposal, toIJK, self._codes, dtype)
        filled = Grids.unionOf(self._now.region, self._accepted.region) or (slice(0, 0),) * 3
        self._inside = Grids.intersectionOf(filled, Grids.wholeRegion(self._shape))
        if Grids.isEmpty(self._inside):
            self._inside = (slice(0, 0),) * 3
        self._changed = _codesIn(self._now, self._inside) != _codesIn(self._accepted, self._inside)
        self._contents: dict[Slice, dict[str, Content]] = {}

    def slices(self, known: Collection[Slice] = ()) -> tuple[list[Slice], list[Slice]]:
        """Return the slices in which the user painted or erased: those known that still hold some, and others."""
        places = [(axis, index - self._inside[ARRAY_AXIS[axis]].start) for axis, index in known]
        here = [(axis, index) for axis, index in places if 0 <= index < self._changed.shape[ARRAY_AXIS[axis]]]
        kept = [place for place in here if self._holdsMoreThan(place, here)]
        left = self._changed.copy() if kept else self._changed
        for axis, index in kept:
            np.moveaxis(left, ARRAY_AXIS[axis], 0)[index] = False
        return self._outside(kept), self._outside(slicesCovering(left))

    def contentsOf(self, axis: Axis, index: int) -> dict[str, Content]:
        """Return what a slice shows, by segment ID; segments that neither hold nor held anything there are left out."""
        if (axis, index) not in self._contents:
            whole = Grids.sliceRegion(self._shape, axis, index)
            inside = Grids.intersectionOf(whole, self._inside)
            counts = _countsWithOverlaps if self._overlaps else _counts
            found = counts(self._now, self._accepted, inside) if not Grids.isEmpty(inside) else {}
            proposed = _masksIn(self._proposed, whole)
            self._contents[axis, index] = {
                segmentId: Content(*found.get(code, (0, 0, 0)), int(np.count_nonzero(proposed.get(code, 0))))
                for segmentId, code in self._codes.items()
                if code in found or code in proposed
            }
        return self._contents[axis, index]

    def isCopied(self, axis: Axis, index: int) -> bool:
        """Say whether a slice shows exactly what the proposal shows there, and that is not nothing."""
        region = Grids.sliceRegion(self._shape, axis, index)
        here = _codesIn(self._now, region)
        return bool(here.any()) and np.array_equal(here, _codesIn(self._proposed, region))

    def _holdsMoreThan(self, place: Slice, known: Collection[Slice]) -> bool:
        """Say whether a slice was changed in more than what known slices across it hold of it."""
        left = np.moveaxis(self._changed, ARRAY_AXIS[place[0]], 0)[place[1]].copy()
        others = [axis for axis in "KJI" if axis != place[0]]
        for axis, index in known:
            if axis != place[0]:
                np.moveaxis(left, others.index(axis), 0)[index] = False
        return bool(left.any())

    def _outside(self, slices: Collection[Slice]) -> list[Slice]:
        return [(axis, index + self._inside[ARRAY_AXIS[axis]].start) for axis, index in slices]


def _codesIn(layers: LayersOnGrid, region: Region) -> NDArray[Any]:
    """Return for each voxel a number that says to which segments it belongs: equal numbers, equal segments; 0, none."""
    numbers = np.zeros(Grids.shapeOf(region), dtype=layers.dtype)
    for part, codes in layers.read(region):
        numbers[part] ^= codes
    return numbers


def _counts(now: LayersOnGrid, accepted: LayersOnGrid, region: Region) -> dict[int, tuple[int, int, int]]:
    """Return voxels now, added and changed of a region, by the number of a segment; where segments do not overlap."""
    here, before = _codesIn(now, region), _codesIn(accepted, region)
    differs = here != before
    counts = [np.bincount(each.ravel(), minlength=256) for each in (here, here[differs], before[differs])]
    present = np.flatnonzero(counts[0][1:] + counts[2][1:]) + 1
    return {int(n): (int(counts[0][n]), int(counts[1][n]), int(counts[1][n] + counts[2][n])) for n in present}


def _countsWithOverlaps(now: LayersOnGrid, accepted: LayersOnGrid, region: Region) -> dict[int, tuple[int, int, int]]:
    """Return the same where segments may overlap."""
    here, before = _masksIn(now, region), _masksIn(accepted, region)
    nothing = np.zeros(Grids.shapeOf(region), dtype=bool)
    pairs = {n: (here.get(n, nothing), before.get(n, nothing)) for n in here.keys() | before.keys()}
    return {
        n: (int(np.count_nonzero(new)), int(np.count_nonzero(new & ~old)), int(np.count_nonzero(new != old)))
        for n, (new, old) in pairs.items()
    }


def _masksIn(layers: LayersOnGrid, region: Region) -> dict[int, Mask]:
    """Return where each segment lies in a region, by its number; overlapping segments lie in different layers."""
    masks: dict[int, Mask] = {}
    for part, codes in layers.read(region):
        for code in np.unique(codes[codes > 0]).tolist():
            masks.setdefault(code, np.zeros(Grids.shapeOf(region), dtype=bool))[part] |= codes == code
    return masks


def _codesOf(segmentation: Any) -> tuple[dict[str, int], type[np.unsignedinteger[Any]], bool]:
    """Return a number for each segment ID, the numbers' type, and whether segments may overlap.

    Where all segments share one layer of bytes, as they mostly do, the numbers are the label values: nothing to look
    up. Those of overlapping segments can be combined by XOR: a bit each in a byte, looked up fastest, else two bytes.
    """
    layers, ids = Labelmaps.layersOf(segmentation), segmentation.GetSegmentation().GetSegmentIDs()
    if len(layers) == 1 and layers[0].voxels.dtype == np.uint8 and len(layers[0].values) == len(ids):
        return layers[0].values, np.uint8, False
    if len(ids) <= np.iinfo(np.uint8).bits:
        return {segmentId: 1 << bit for bit, segmentId in enumerate(ids)}, np.uint8, True
    numbers = np.random.default_rng(0).choice(np.arange(1, 1 << 16), size=len(ids), replace=False)
    return dict(zip(ids, numbers.tolist(), strict=True)), np.uint16, True
