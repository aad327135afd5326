"""The engine's proposal: a segmentation of its own, never the user's, with the names, colors and terms of the user's.

Accepting what is in it is a matter of `Acceptance`; its functions are offered here, too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import slicer
from numpy.typing import NDArray
from slicer.i18n import tr as _

from uncol.core.jobs import Structure
from uncol.core.volume import Volume
from UnCoLSegmentLib.Scene import Bridge, Grids, Labelmaps
from UnCoLSegmentLib.Scene.Acceptance import (
    SOURCE_ROLE,
    AcceptSummary,
    acceptAll,
    acceptSegment,
    acceptSlice,
    isLocked,
    setLocked,
)
from UnCoLSegmentLib.Scene.AcceptHistory import canUndo, undo
from UnCoLSegmentLib.Scene.Grids import Region

__all__ = [
    "ATTRIBUTE",
    "AcceptSummary",
    "acceptAll",
    "acceptSegment",
    "acceptSlice",
    "canUndo",
    "isLocked",
    "putProposal",
    "setLocked",
    "undo",
]

ATTRIBUTE = "UnCoL.Proposal"
"""Set on every proposal, so that a selector can tell it from the user's segmentations."""

_COLORS = (
    (0.34, 0.71, 0.91),
    (0.90, 0.62, 0.00),
    (0.00, 0.62, 0.45),
    (0.80, 0.47, 0.65),
    (0.94, 0.89, 0.26),
    (0.00, 0.45, 0.70),
    (0.84, 0.37, 0.00),
)
"""Colors that people with color blindness tell apart (Okabe and Ito), for structures that the user has not colored."""

_FILL_OPACITY = 0.25
_CLOSED_SURFACE = slicer.vtkSegmentationConverter.GetSegmentationClosedSurfaceRepresentationName()


def putProposal(
    labels: Volume,
    structures: Sequence[Structure],
    volumeNode: Any,
    proposalNode: Any,
    like: Any = None,
    filled: Region | None = None,
) -> Any:
    """Show labels as the proposal and return its node.

    Segments that the user's segmentation has under the same name get its ID, color and terminology. In a proposal that
    stands already, segments of the same name keep what the user chose for showing them; a 3D surface is dropped, as it
    would show the old proposal.

    Args:
        labels: Unsigned label values on the volume's grid.
        structures: What the values mean; each becomes a segment, also where it was not found.
        volumeNode: The volume; the proposal gets its parent transform and its place in the data tree.
        proposalNode: The proposal so far; None makes a new one.
        like: The user's segmentation; None for none.
        filled: The region that holds all labels, if it is known already: finding it takes a while in a large volume.
    """
    node = proposalNode if proposalNode is not None else _newProposal(volumeNode)
    modified = node.StartModify()
    node.SetAndObserveTransformNodeID(volumeNode.GetTransformNodeID())
    node.SetReferenceImageGeometryParameterFromVolumeNode(volumeNode)
    node.SetNodeReferenceID(SOURCE_ROLE, like.GetID() if like is not None else None)
    segmentation = node.GetSegmentation()
    segmentation.RemoveRepresentation(_CLOSED_SURFACE)
    image = _croppedImage(labels, filled)
    ids = _segmentIds(segmentation, structures, like)
    for segmentId in set(segmentation.GetSegmentIDs()) - set(ids):
        segmentation.RemoveSegment(segmentId)
    for position, (segmentId, structure) in enumerate(zip(ids, structures, strict=True)):
        _putSegment(segmentation, segmentId, structure, image)
        _color(segmentation.GetSegment(segmentId), position, _segmentNamed(like, structure.name))
        segmentation.SetSegmentIndex(segmentId, position)
    node.EndModify(modified)
    return node


def _newProposal(volumeNode: Any) -> Any:
    node = slicer.vtkMRMLSegmentationNode()
    node.SetName(_("{volume} proposal").format(volume=volumeNode.GetName()))
    node.SetAttribute(ATTRIBUTE, "1")
    volumeNode.GetScene().AddNode(node)
    node.CreateDefaultDisplayNodes()
    node.GetDisplayNode().SetOpacity2DFill(_FILL_OPACITY)
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(volumeNode.GetScene())
    hierarchy.SetItemParent(Bridge.hierarchyItem(node), hierarchy.GetItemParent(Bridge.hierarchyItem(volumeNode)))
    return node


def _croppedImage(labels: Volume, filled: Region | None) -> Any:
    """Return the part that holds structures as one image; all segments share it."""
    voxels = _smallest(labels.voxels)
    region = filled or Grids.nonzeroRegion(voxels)
    if region is None:
        return Labelmaps.orientedImage(voxels[:0, :0, :0], labels.ijk_to_ras, (0, 0, 0))
    first_ijk = (region[2].start, region[1].start, region[0].start)
    return Labelmaps.orientedImage(voxels[region], labels.ijk_to_ras, first_ijk)


def _smallest(voxels: NDArray[Any]) -> NDArray[np.uint8]:
    return voxels if voxels.dtype == np.uint8 else voxels.astype(np.uint8)


def _segmentIds(segmentation: Any, structures: Sequence[Structure], like: Any) -> list[str]:
    """Return a segment ID for each structure: the user's for that name, else the proposal's so far, else a new one."""
    taken: list[str] = []
    for structure in structures:
        known = [
            each.GetSegmentation().GetSegmentIdBySegmentName(structure.name) for each in (like,) if each is not None
        ]
        known.append(segmentation.GetSegmentIdBySegmentName(structure.name))
        free = [each for each in known if each and each not in taken]
        taken.append(free[0] if free else _newId(structure.name, taken, segmentation, like))
    return taken


def _newId(name: str, taken: Sequence[str], segmentation: Any, like: Any) -> str:
    """Return an ID that neither the proposal nor the user's segmentation uses for something else."""
    used = {*taken, *segmentation.GetSegmentIDs(), *(like.GetSegmentation().GetSegmentIDs() if like else ())}
    number = 1
    while (candidate := name if number == 1 else f"{name}_{number}") in used:
        number += 1
    return candidate


def _segmentNamed(segmentationNode: Any, name: str) -> Any:
    if segmentationNode is None:
        return None
    segmentation = segmentationNode.GetSegmentation()
    return segmentation.GetSegment(segmentation.GetSegmentIdBySegmentName(name))


def _putSegment(segmentation: Any, segmentId: str, structure: Structure, image: Any) -> None:
    segment = segmentation.GetSegment(segmentId)
    isNew = segment is None
    if isNew:
        segment = slicer.vtkSegment()
    segment.SetName(structure.name)
    segment.RemoveAllRepresentations()
    segment.AddRepresentation(Labelmaps.BINARY_LABELMAP, image)
    segment.SetLabelValue(structure.value)
    if isNew:
        segmentation.AddSegment(segment, segmentId)


def _color(segment: Any, position: int, pattern: Any) -> None:
    if pattern is not None:
        Labelmaps.copyLook(pattern, segment)
    elif segment.GetColor() == _UNCOLORED:
        segment.SetColor(_COLORS[position % len(_COLORS)])


_UNCOLORED = slicer.vtkSegment().GetColor()
