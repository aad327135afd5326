"""Undoing what was accepted: all segments as they were before, but what the user painted since stays.

A step keeps the segmentation's state in Slicer's own `vtkSegmentationHistory`. The steps live and die with the node.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import slicer

from UnCoLSegmentLib.Scene import Grids, Labelmaps
from UnCoLSegmentLib.Scene.Grids import Mask, Matrix, Region
from UnCoLSegmentLib.Scene.Painting import AcceptedVoxels

MOST_STEPS = 5
"""Steps that can be undone; each holds the voxels of all segments."""

_STEPS = "_uncolAcceptSteps"


class Step:
    """One act of accepting: the segmentation as it was before, and as accepting left it.

    Args:
        target: The segmentation, which is about to be changed.
    """

    def __init__(self, target: Any) -> None:
        self._target = target
        self._before = slicer.vtkSegmentationHistory()
        self._before.SetSegmentation(target.GetSegmentation())
        self._before.SaveState()
        self._acceptedBefore = _copyOf(AcceptedVoxels(target).needNode())
        self._after: Any = None

    def end(self) -> None:
        """Note how accepting left the segmentation; from now on the step can be undone."""
        self._after = _copyOf(self._target)
        steps = _stepsOf(self._target)
        steps.append(self)
        del steps[:-MOST_STEPS]

    def undo(self) -> None:
        """Bring back the segmentation as it was before, then what was painted since."""
        painted = list(filter(None, map(self._paintedSince, self._target.GetSegmentation().GetSegmentIDs())))
        self._before.RestorePreviousState()
        accepted = AcceptedVoxels(self._target).needNode()
        accepted.GetSegmentation().DeepCopy(self._acceptedBefore.GetSegmentation())
        for each in painted:
            each.putBack(self._target, self._after.GetSegmentation().GetSegment(each.segmentId))

    def _paintedSince(self, segmentId: str) -> _Painted | None:
        lattice = Labelmaps.workingLattice(self._target, segmentId)
        if lattice is None or self._after.GetSegmentation().GetSegment(segmentId) is None:
            return None
        nodes = self._target, self._after
        region = Grids.unionOf(*(Labelmaps.regionOfSegment(node, segmentId, lattice) for node in nodes))
        if region is None:
            return None
        now, then = (Labelmaps.maskOfSegment(node, segmentId, lattice, region) for node in nodes)
        changed = now != then
        return _Painted(segmentId, lattice, region, now, changed) if changed.any() else None


@dataclass(frozen=True)
class _Painted:
    """What the user painted into a segment, or erased from it, after they had accepted."""

    segmentId: str
    lattice: Matrix
    region: Region
    now: Mask
    changed: Mask

    def putBack(self, target: Any, pattern: Any) -> None:
        Labelmaps.needSegment(target, self.segmentId, pattern)
        before = Labelmaps.maskOfSegment(target, self.segmentId, self.lattice, self.region)
        result = np.where(self.changed, self.now, before)
        Labelmaps.patchSegment(target, self.segmentId, result, before, self.lattice, self.region)


def canUndo(target: Any) -> bool:
    """Say whether something was accepted that can be taken back."""
    return bool(_stepsOf(target))


def undo(target: Any) -> bool:
    """Take back what was accepted last, in all segments; say whether there was something to take back."""
    steps = _stepsOf(target)
    if not steps:
        return False
    steps.pop().undo()
    return True


def _stepsOf(target: Any) -> list[Step]:
    """Return the steps, the last one at the end; VTK keeps an attribute of a node as long as the node itself."""
    return vars(target).setdefault(_STEPS, [])


def _copyOf(segmentation: Any) -> Any:
    """Return a copy outside the scene; its voxels are its own."""
    copy = slicer.vtkMRMLSegmentationNode()
    copy.GetSegmentation().DeepCopy(segmentation.GetSegmentation())
    return copy
