"""What accepted proposals put into a segmentation, remembered beside it, so that it is not taken for painting.

The memory is a hidden segmentation node that is saved with the scene. Its voxels are in the segmentation's own RAS
coordinates, so that a transform put above the segmentation later changes nothing.
"""

from __future__ import annotations

from typing import Any

import slicer

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
