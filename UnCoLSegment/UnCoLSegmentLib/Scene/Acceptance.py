"""Taking a proposal over into the user's segmentation: by segment, by slice or whole; in one step.

Segments that are marked as completed are never changed. Neither is what the user painted, unless they accept that very
slice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import slicer
from slicer.i18n import tr as _

from uncol.core.volume import ARRAY_AXIS, Axis
from UnCoLSegmentLib.Scene import Grids, Labelmaps
from UnCoLSegmentLib.Scene.Grids import Mask, Matrix, Region
from UnCoLSegmentLib.Scene.Painting import AcceptedVoxels
from UnCoLSegmentLib.Scene.SliceCover import slicesCovering

SOURCE_ROLE = "UnCoL.Segmentation"
"""Node reference of a proposal to the segmentation whose segment IDs it uses."""

BeforeChange = Callable[[], object]

_Logic = slicer.vtkSlicerSegmentationsModuleLogic


def _nothing() -> None:
    """Nobody wants to undo."""


@dataclass(frozen=True)
class AcceptSummary:
    """What accepting did.

    Attributes:
        changed: Names of the segments that were changed.
        skipped: Names of those that were not, each with the reason.
        keptSlices: How many painted slices stayed as they were.
    """

    changed: tuple[str, ...] = ()
    skipped: tuple[tuple[str, str], ...] = ()
    keptSlices: int = 0

    @property
    def text(self) -> str:
        """The same in sentences for the user."""
        names = ", ".join(self.changed)
        sentences = [_("Accepted: {names}.").format(names=names) if names else _("Nothing was changed.")]
        if self.keptSlices:
            sentences.append(_("Slices that you painted were kept: {count}.").format(count=self.keptSlices))
        sentences += [_("{name}: {reason}.").format(name=name, reason=reason) for name, reason in self.skipped]
        return " ".join(sentences)


def acceptAll(proposal: Any, target: Any, beforeChange: BeforeChange = _nothing) -> AcceptSummary:
    """Take over every segment that was found, except where the user painted it.

    Args:
        proposal: What is proposed.
        target: The user's segmentation.
        beforeChange: Called once, before the first change, if there is one: to save the state for undoing.

    Raises:
        GeometryError: If a non-linear transform lies between the two.
    """
    return _accept(proposal, target, Labelmaps.segmentsOf(proposal), _WholeSegment(), beforeChange)


def acceptSegment(proposal: Any, target: Any, segmentId: str, beforeChange: BeforeChange = _nothing) -> AcceptSummary:
    """Take over one segment, except where the user painted it; see `acceptAll`.

    Raises:
        GeometryError: If a non-linear transform lies between the two.
    """
    return _accept(proposal, target, [segmentId], _WholeSegment(), beforeChange)


def acceptSlice(
    proposal: Any, target: Any, volumeNode: Any, axis: Axis, index: int, beforeChange: BeforeChange = _nothing
) -> AcceptSummary:
    """Take over all segments in one slice of the volume, whatever was there before; see `acceptAll`.

    Raises:
        GeometryError: If a non-linear transform lies between two of the nodes.
    """
    return _accept(proposal, target, Labelmaps.segmentsOf(proposal), _OneSlice(volumeNode, axis, index), beforeChange)


def emptySlice(target: Any, volumeNode: Any, axis: Axis, index: int, beforeChange: BeforeChange = _nothing) -> None:
    """Take the voxels of all segments out of one slice of a volume; those that are marked as completed keep theirs.

    `beforeChange` is called before each change.

    Raises:
        GeometryError: If a non-linear transform lies between the nodes.
    """
    scope = _OneSlice(volumeNode, axis, index)
    for segmentId, segment in Labelmaps.segmentsOf(target).items():
        lattice = Labelmaps.workingLattice(target, segmentId)
        if lattice is None or _whyNot(segment):
            continue
        region = scope.regionOn(target, lattice)
        before = Labelmaps.maskOfSegment(target, segmentId, lattice, region)
        accepted = AcceptedVoxels(target).read(segmentId, lattice, region)
        edit = _Edit(target, segmentId, lattice, region, before, accepted, np.zeros_like(before))
        kept = ~scope.changeable(edit)
        if (before & ~kept).any() or (accepted & ~kept).any():
            beforeChange()
            _apply(edit, segment, before & kept, accepted & kept, scope)


def needSegments(proposal: Any, target: Any, beforeChange: BeforeChange = _nothing) -> None:
    """Add the proposed segments that the user's segmentation lacks to it, without voxels; see `emptySlice`."""
    for segmentId, segment in Labelmaps.segmentsOf(proposal).items():
        targetId = _counterpart(proposal, segmentId, target)
        if target.GetSegmentation().GetSegment(targetId) is None:
            beforeChange()
            Labelmaps.needSegment(target, targetId, segment)


@dataclass(frozen=True)
class _Edit:
    """One segment about to be changed, on the grid on which it is painted.

    Attributes:
        target: The user's segmentation.
        segmentId: The segment's ID in it.
        lattice: The grid, in the segmentation's own RAS coordinates.
        region: The voxels about which it is.
        before: What the segment holds there.
        accepted: What was accepted into it before.
        proposed: What the proposal holds there.
    """

    target: Any
    segmentId: str
    lattice: Matrix
    region: Region
    before: Mask
    accepted: Mask
    proposed: Mask


class _WholeSegment:
    """Changes all of a segment, but not the slices in which the user painted it."""

    def __init__(self) -> None:
        self.keptSlices: set[tuple[Axis, int]] = set()

    def regionOn(self, _target: Any, _lattice: Matrix, filled: Region) -> Region:
        return filled

    def changeable(self, edit: _Edit) -> Mask:
        allowed = np.ones(edit.before.shape, dtype=bool)
        for axis, index in slicesCovering(edit.before != edit.accepted):
            np.moveaxis(allowed, ARRAY_AXIS[axis], 0)[index] = False
            self.keptSlices.add((axis, index + edit.region[ARRAY_AXIS[axis]].start))
        return allowed

    def write(self, edit: _Edit, now: Mask) -> None:
        Labelmaps.writeSegment(edit.target, edit.segmentId, now, edit.lattice, edit.region)


class _OneSlice:
    """Changes the voxels of a segmentation whose centers lie in one slice of a volume."""

    def __init__(self, volumeNode: Any, axis: Axis, index: int) -> None:
        self.keptSlices: set[tuple[Axis, int]] = set()
        self._place = Grids.SliceOfVolume(volumeNode, axis, index)

    def regionOn(self, target: Any, lattice: Matrix, _filled: Region | None = None) -> Region:
        return self._place.regionOn(target, lattice)

    def changeable(self, edit: _Edit) -> Mask:
        return self._place.maskOn(edit.target, edit.lattice, edit.region)

    def write(self, edit: _Edit, now: Mask) -> None:
        Labelmaps.patchSegment(edit.target, edit.segmentId, now, edit.before, edit.lattice, edit.region)


def _accept(
    proposal: Any,
    target: Any,
    segmentIds: Iterable[str],
    scope: _WholeSegment | _OneSlice,
    beforeChange: BeforeChange,
) -> AcceptSummary:
    between = Grids.matrixBetween(proposal, target)
    changed: list[str] = []
    skipped: list[tuple[str, str]] = []
    for segmentId in segmentIds:
        segment = proposal.GetSegmentation().GetSegment(segmentId)
        targetId = _counterpart(proposal, segmentId, target)
        reason = _whyNot(target.GetSegmentation().GetSegment(targetId))
        found = None if reason else Labelmaps.filledPart(proposal, segmentId)
        if found is None:
            skipped.append((segment.GetName(), reason or _("there is nothing to take over")))
            continue
        edit = _editOf(target, targetId, found, between, scope)
        allowed = scope.changeable(edit)
        now = np.where(allowed, edit.proposed, edit.before)
        accepted = np.where(allowed, edit.proposed, edit.accepted)
        if np.array_equal(now, edit.before) and np.array_equal(accepted, edit.accepted):
            continue
        if not changed:
            beforeChange()
        _apply(edit, segment, now, accepted, scope)
        changed.append(segment.GetName())
    return AcceptSummary(tuple(changed), tuple(skipped), len(scope.keptSlices))


def _apply(edit: _Edit, pattern: Any, now: Mask, accepted: Mask, scope: _WholeSegment | _OneSlice) -> None:
    segment = Labelmaps.needSegment(edit.target, edit.segmentId, pattern)
    if not np.array_equal(now, edit.before):
        scope.write(edit, now)
        if _Logic.GetSegmentStatus(segment) == _Logic.NotStarted:
            _Logic.SetSegmentStatus(segment, _Logic.InProgress)
    AcceptedVoxels(edit.target).write(edit.segmentId, accepted, edit.lattice, edit.region)


def _editOf(
    target: Any, targetId: str, found: tuple[Mask, Matrix, Matrix], between: Matrix, scope: _WholeSegment | _OneSlice
) -> _Edit:
    """Read what is there and compare it with what is proposed, the filled part of a segment."""
    mask, ijkToProposal, proposalLattice = found
    lattice = Labelmaps.workingLattice(target, targetId)
    if lattice is None:
        lattice = between @ proposalLattice
    toLattice = np.linalg.inv(lattice) @ between @ ijkToProposal
    filled = Grids.unionOf(Grids.regionOn(toLattice, mask.shape), Labelmaps.regionOfSegment(target, targetId, lattice))
    region = scope.regionOn(target, lattice, filled)
    before = Labelmaps.maskOfSegment(target, targetId, lattice, region)
    accepted = AcceptedVoxels(target).read(targetId, lattice, region)
    proposed = Grids.sample(mask, np.linalg.inv(toLattice), region)
    return _Edit(target, targetId, lattice, region, before, accepted, proposed)


def _counterpart(proposal: Any, segmentId: str, target: Any) -> str:
    """Return the ID of the user's segment that a proposed one is about; of a new one if there is none yet.

    The segmentation from which the proposal took its IDs is asked by ID, as the user may have renamed a segment since;
    any other one by name.
    """
    own = target.GetSegmentation()
    if proposal.GetNodeReference(SOURCE_ROLE) is target and own.GetSegment(segmentId) is not None:
        return segmentId
    found = Labelmaps.idOfName(own, proposal.GetSegmentation().GetSegment(segmentId).GetName())
    return found or str(own.GenerateUniqueSegmentID(segmentId))


def _whyNot(segment: Any) -> str:
    """Return why a segment of the user's must not be changed; "" if it may, or is not there yet."""
    isFinished = segment is not None and _Logic.GetSegmentStatus(segment) == _Logic.Completed
    return _("it is marked as completed") if isFinished else ""
