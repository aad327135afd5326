"""What was proposed before the last run: kept out of sight, to compare with it; never saved. No Qt."""

from __future__ import annotations

from typing import Any

import slicer
import slicer.util
from slicer.i18n import tr as _

from UnCoLSegmentLib.Scene import Labelmaps
from UnCoLSegmentLib.Scene.Results import VOLUME_ROLE

ATTRIBUTE = "UnCoL.ProposalBefore"
"""Set on each of them, so that a selector can tell them from the user's segmentations."""


def of(volumeNode: Any) -> Any:
    """Return what was proposed for a volume before its last run; None if nothing was, or no volume is given."""
    nodes = slicer.util.getNodesByClass("vtkMRMLSegmentationNode") if volumeNode is not None else ()
    ours = (each for each in nodes if each.GetAttribute(ATTRIBUTE))
    return next((each for each in ours if each.GetNodeReference(VOLUME_ROLE) is volumeNode), None)


def keep(proposal: Any, volumeNode: Any) -> None:
    """Keep what is proposed now; call it before a result takes its place.

    Voxels are shared and not copied: a result brings its own (see `Proposal.putSegments`).
    """
    node = of(volumeNode) or _newNode(volumeNode)
    modified = node.StartModify()
    node.SetAndObserveTransformNodeID(volumeNode.GetTransformNodeID())
    node.SetReferenceImageGeometryParameterFromVolumeNode(volumeNode)
    segmentation = node.GetSegmentation()
    segmentation.RemoveAllSegments()
    for segmentId, segment in Labelmaps.segmentsOf(proposal).items():
        voxels, kept = segment.GetRepresentation(Labelmaps.BINARY_LABELMAP), slicer.vtkSegment()
        if voxels is not None:
            kept.SetName(segment.GetName())
            kept.SetColor(segment.GetColor())
            kept.AddRepresentation(Labelmaps.BINARY_LABELMAP, voxels)
            kept.SetLabelValue(segment.GetLabelValue())
            segmentation.AddSegment(kept, segmentId)
    shown, before = proposal.GetDisplayNode(), node.GetDisplayNode()
    if shown is not None:
        before.SetVisibility2DFill(shown.GetVisibility2DFill())
        before.SetOpacity2DFill(shown.GetOpacity2DFill())
    node.EndModify(modified)


def _newNode(volumeNode: Any) -> Any:
    node = slicer.vtkMRMLSegmentationNode()
    node.SetName(_("{volume} proposal before").format(volume=volumeNode.GetName()))
    node.SetAttribute(ATTRIBUTE, "1")
    node.SetNodeReferenceID(VOLUME_ROLE, volumeNode.GetID())
    node.SetHideFromEditors(True)
    node.SetSaveWithScene(False)
    volumeNode.GetScene().AddNode(node)
    node.CreateDefaultDisplayNodes()
    display = node.GetDisplayNode()
    display.SetSaveWithScene(False)
    display.SetVisibility3D(False)
    display.SetVisibility(False)
    return node
