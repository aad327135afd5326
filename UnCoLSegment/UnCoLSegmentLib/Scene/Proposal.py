"""The engine's proposal: a segmentation of its own, never the user's, with its names, colors and terms."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import slicer
from slicer.i18n import tr as _

from uncol.core.jobs import Structure
from uncol.core.volume import Volume
from UnCoLSegmentLib.Scene import Bridge, Grids, Labelmaps, Terminology
from UnCoLSegmentLib.Scene.Acceptance import SOURCE_ROLE
from UnCoLSegmentLib.Scene.Grids import Region

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
"""Where the user wants a proposal filled: until then its outline lets everything be seen."""
_CLOSED_SURFACE = slicer.vtkSegmentationConverter.GetSegmentationClosedSurfaceRepresentationName()


def putProposal(
    labels: Volume,
    structures: Sequence[Structure],
    volumeNode: Any,
    proposalNode: Any,
    like: Any = None,
    filled: Region | None = None,
    *,
    joins: bool = False,
) -> Any:
    """Show labels as the proposal and return its node.

    Args:
        labels: Unsigned label values on the volume's grid.
        structures: What the values mean; each becomes a segment, also where it was not found.
        volumeNode: The volume; the proposal gets its parent transform and its place in the data tree.
        proposalNode: The proposal so far; None makes a new one.
        like: The user's segmentation; None for none.
        filled: The region that holds all labels, if it is known already: finding it takes a while in a large volume.
        joins: Whether other structures that were proposed before stay.
    """
    node = proposalNode if proposalNode is not None else _newProposal(volumeNode)
    if joins and node.GetNodeReference(SOURCE_ROLE) is not like:
        _identifyAnew(node.GetSegmentation(), like)
    node.SetNodeReferenceID(SOURCE_ROLE, like.GetID() if like is not None else None)
    putSegments(node, labels, structures, volumeNode, like, filled, joins=joins)
    return node


def putSegments(
    node: Any,
    labels: Volume,
    structures: Sequence[Structure],
    volumeNode: Any,
    like: Any,
    filled: Region | None = None,
    *,
    joins: bool = False,
) -> None:
    """Make labels the segments of a segmentation of ours; the arguments are those of `putProposal`.

    Segments that the user's segmentation has under exactly the same name get its ID, color and terminology. Segments of
    the same name that stand already keep what the user chose for showing them; a 3D surface is dropped, as it would
    show the old labels.
    """
    modified = node.StartModify()
    node.SetAndObserveTransformNodeID(volumeNode.GetTransformNodeID())
    node.SetReferenceImageGeometryParameterFromVolumeNode(volumeNode)
    segmentation = node.GetSegmentation()
    segmentation.RemoveRepresentation(_CLOSED_SURFACE)
    voxels = labels.voxels.astype(np.uint8, copy=False)
    part = filled or Grids.nonzeroRegion(voxels)
    image = Labelmaps.orientedImage(voxels, labels.ijk_to_ras, part, (0, 0, 0))  # all these segments share it
    own = like.GetSegmentation() if like is not None else None
    ids = _segmentIds(segmentation, structures, own)
    for segmentId in () if joins else set(segmentation.GetSegmentIDs()) - set(ids):
        segmentation.GetSegment(segmentId).RemoveAllRepresentations()  # or else it is erased for all that share them
        segmentation.RemoveSegment(segmentId)
    for position, (segmentId, structure) in enumerate(zip(ids, structures, strict=True)):
        isNew = _putSegment(segmentation, segmentId, structure, image)
        if not joins:
            segmentation.SetSegmentIndex(segmentId, position)
        pattern = own.GetSegment(Labelmaps.idOfName(own, structure.name)) if own is not None else None
        segment = segmentation.GetSegment(segmentId)
        if pattern is not None:
            Labelmaps.copyLook(pattern, segment)
        elif isNew:
            _color(segment, segmentation.GetSegmentIndex(segmentId))
    node.EndModify(modified)


def _newProposal(volumeNode: Any) -> Any:
    node = slicer.vtkMRMLSegmentationNode()
    node.SetName(_("{volume} proposal").format(volume=volumeNode.GetName()))
    node.SetAttribute(ATTRIBUTE, "1")
    volumeNode.GetScene().AddNode(node)
    node.CreateDefaultDisplayNodes()
    node.GetDisplayNode().SetVisibility2DFill(False)
    node.GetDisplayNode().SetOpacity2DFill(_FILL_OPACITY)
    Bridge.placeInTree(node, volumeNode, isBelow=False)
    return node


def _segmentIds(segmentation: Any, structures: Sequence[Structure], like: Any) -> list[str]:
    """Return a segment ID for each structure: the user's for that name, else the proposal's so far, else a new one."""
    taken: list[str] = []
    for structure in structures:
        known = [Labelmaps.idOfName(each, structure.name) for each in (like, segmentation) if each is not None]
        free = [each for each in known if each and each not in taken]
        taken.append(free[0] if free else _newId(structure.name, taken, segmentation, like))
    return taken


def _identifyAnew(segmentation: Any, like: Any) -> None:
    """Give segments the IDs of the user's with the same names, now that these are of another segmentation."""
    own = like.GetSegmentation() if like is not None else None
    before = {segmentId: segmentation.GetSegment(segmentId) for segmentId in segmentation.GetSegmentIDs()}
    segmentation.RemoveAllSegments()
    for segmentId, segment in before.items():
        sameName = Labelmaps.idOfName(own, segment.GetName()) if own is not None else ""
        isFree = own is None or own.GetSegment(segmentId) is None
        wanted = sameName or (segmentId if isFree else segment.GetName())
        segmentation.AddSegment(segment, wanted if sameName else _newId(wanted, [], segmentation, own))


def _newId(name: str, taken: Sequence[str], segmentation: Any, like: Any) -> str:
    """Return an ID that neither the proposal nor the user's segmentation uses for something else."""
    used = {*taken, *segmentation.GetSegmentIDs(), *(like.GetSegmentIDs() if like else ())}
    number = 1
    while (candidate := name if number == 1 else f"{name}_{number}") in used:
        number += 1
    return candidate


def _putSegment(segmentation: Any, segmentId: str, structure: Structure, image: Any) -> bool:
    """Put a structure's voxels into its segment; say whether that is a new one."""
    found = segmentation.GetSegment(segmentId)
    segment = found or slicer.vtkSegment()
    segment.SetName(structure.name)
    segment.RemoveAllRepresentations()
    segment.AddRepresentation(Labelmaps.BINARY_LABELMAP, image)
    segment.SetLabelValue(structure.value)
    if found is None:
        segmentation.AddSegment(segment, segmentId)
    return found is None


def _color(segment: Any, position: int) -> None:
    """Give a structure that the user has no segment of one of our colors and, if Slicer knows it, its standard term."""
    segment.SetColor(_COLORS[position % len(_COLORS)])
    term = Terminology.entryFor(segment.GetName())
    if term:
        segment.SetTag(slicer.vtkSegment.GetTerminologyEntryTagName(), term)
