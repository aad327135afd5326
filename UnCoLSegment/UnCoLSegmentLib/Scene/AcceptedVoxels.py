"""What accepted proposals put into a segmentation, remembered beside it, so that it is not taken for painting.

The memory is a hidden segmentation node that is saved with the scene. Its voxels are in the segmentation's own RAS
coordinates, so that a transform put above the segmentation later changes nothing.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import slicer
from numpy.typing import NDArray

from UnCoLSegmentLib.Scene import Grids, Labelmaps
from UnCoLSegmentLib.Scene.Grids import Matrix, Region

_ROLE = "UnCoL.Baseline"


def baselineOf(segmentation: Any) -> Any:
    """Return the hidden node that remembers what was accepted into a segmentation; None if nothing ever was."""
    return segmentation.GetNodeReference(_ROLE)


def needBaseline(segmentation: Any) -> Any:
    """Return that node, a new and empty one if there is none yet."""
    baseline = baselineOf(segmentation)
    if baseline is None:
        name = f"{segmentation.GetName()} before painting"
        baseline = slicer.vtkMRMLSegmentationNode()
        baseline.SetName(name)
        baseline.SetHideFromEditors(True)
        segmentation.GetScene().AddNode(baseline)
        segmentation.SetNodeReferenceID(_ROLE, baseline.GetID())
    return baseline


def takeAsBaseline(segmentation: Any) -> None:
    """Take all that a segmentation holds now for no painting, as after another program's result was loaded."""
    needBaseline(segmentation).GetSegmentation().DeepCopy(segmentation.GetSegmentation())


def read(segmentation: Any, segmentId: str, lattice: Matrix, region: Region) -> NDArray[np.bool_]:
    """Return which voxels of a region of a grid, in the segmentation's own coordinates, were accepted."""
    baseline = baselineOf(segmentation)
    if baseline is None:
        return np.zeros(Grids.shapeOf(region), dtype=bool)
    return Labelmaps.maskOfSegment(baseline, segmentId, np.linalg.inv(lattice), region)


def write(segmentation: Any, segmentId: str, accepted: NDArray[np.bool_], lattice: Matrix, region: Region) -> None:
    """Remember what of a region is accepted now; nothing changes outside the region."""
    baseline = needBaseline(segmentation)
    whole = Grids.unionOf(region, Labelmaps.regionOfSegment(baseline, segmentId, lattice))
    assert whole is not None  # it holds the region
    remembered = Labelmaps.maskOfSegment(baseline, segmentId, np.linalg.inv(lattice), whole)
    remembered[Grids.relative(region, whole)] = accepted
    segment = Labelmaps.needSegment(baseline, segmentId, segmentation.GetSegmentation().GetSegment(segmentId))
    Labelmaps.setOwnVoxels(segment, remembered, lattice, whole)
