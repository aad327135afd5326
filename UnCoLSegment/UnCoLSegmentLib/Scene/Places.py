"""Where to look: outlines and numbers of places in the views, and what is told of a proposal, kept with it. No Qt."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

import numpy as np
import slicer
import slicer.util
from numpy.typing import NDArray
from slicer.i18n import tr as _

from uncol.core.errors import ConfigError
from uncol.core.findings import Findings, Place
from uncol.core.jobs import Structure
from uncol.core.records import from_document, to_document
from uncol.core.volume import Volume
from UnCoLSegmentLib.Scene import Bridge, Grids, Proposal
from UnCoLSegmentLib.Scene.Attributes import jsonOf
from UnCoLSegmentLib.Scene.Results import VOLUME_ROLE

ATTRIBUTE = "UnCoL.Places"
"""Set on the segmentation whose segments are the places, and on the points that carry their numbers."""
_FINDINGS = "UnCoL.Findings"
"""On a proposal: what is told of it, as JSON."""
_COLOR = (0.94, 0.26, 0.65)
_OUTLINE_PX, _TEXT_SCALE, _GLYPH_SCALE = 2, 4.0, 0.8


def findingsOf(proposal: Any) -> Findings:
    """Return what is told of a proposal; nothing of one that a version before this made, or that is damaged."""
    told = jsonOf(proposal, _FINDINGS) if proposal is not None else None
    with suppress(ConfigError):
        return from_document(Findings, told, _FINDINGS)
    return Findings()


def put(volumeNode: Any, proposal: Any, found: Findings, labels: Volume | None, kept: Collection[str]) -> None:
    """Note what is told of a proposal, and draw its places.

    Args:
        volumeNode: The volume.
        proposal: The proposal.
        found: What is told of the structures that were proposed now.
        labels: Numbers of their places; None where none was looked for.
        kept: Names of structures that were proposed before and stay: what was told of them stays, too.
    """
    before = findingsOf(proposal)
    known = [each for each in before.structures if each.name in kept]
    drawn = [(labels.voxels, found.places)] if labels is not None else []
    earlier = _labelsIn(volumeNode) if kept else None
    if earlier is not None:
        drawn.append((earlier, tuple(each for each in before.places if each.structure in kept)))
    ranked = sorted((each for _voxels, places in drawn for each in places), key=lambda each: -each.uncertainty)
    numbers = {id(each): number for number, each in enumerate(ranked, 1)}
    joined = _renumbered(drawn, numbers, Bridge.snapshotVolume(volumeNode).shape_kji)
    places = tuple(replace(each, number=numbers[id(each)]) for each in ranked)
    findings = replace(found, structures=(*known, *found.structures), places=places)
    proposal.SetAttribute(_FINDINGS, json.dumps(to_document(findings)))
    _draw(volumeNode, findings, joined)


def _renumbered(
    drawn: Sequence[tuple[NDArray[np.uint8], tuple[Place, ...]]], numbers: dict[int, int], shape: tuple[int, int, int]
) -> NDArray[np.uint8]:
    """Return all places in one array; only the part of each that holds any is looked at, for volumes are large."""
    joined = np.zeros(shape, np.uint8)
    for voxels, places in drawn:
        table = np.zeros(256, np.uint8)
        for each in places:
            table[each.number] = numbers[id(each)]
        region = Grids.nonzeroRegion(voxels)
        if region is not None:
            here = table[voxels[region]]
            np.copyto(joined[region], here, where=here > 0)
    return joined


def show(volumeNode: Any, isOn: bool) -> None:
    """Show the outlines and numbers of a volume's places, or hide them; those of other volumes are hidden."""
    for node in _nodes():
        isShown = isOn and node.GetNodeReference(VOLUME_ROLE) is volumeNode
        if bool(node.GetDisplayNode().GetVisibility()) != isShown:
            node.GetDisplayNode().SetVisibility(isShown)


def _draw(volumeNode: Any, findings: Findings, voxels: NDArray[np.uint8]) -> None:
    for node in _nodesOf(volumeNode):
        for each in (node.GetDisplayNode(), node.GetStorageNode(), node):
            if each is not None:
                volumeNode.GetScene().RemoveNode(each)
    if not findings.places:
        return
    outlines = _newNode(volumeNode, "vtkMRMLSegmentationNode")
    structures = [Structure(each.number, str(each.number)) for each in findings.places]
    labels = Volume(voxels, Bridge.snapshotVolume(volumeNode).ijk_to_ras)
    Proposal.putSegments(outlines, labels, structures, volumeNode, None)
    for segmentId in outlines.GetSegmentation().GetSegmentIDs():
        outlines.GetSegmentation().GetSegment(segmentId).SetColor(_COLOR)
    display = outlines.GetDisplayNode()
    display.SetVisibility2DFill(False)
    display.SetVisibility3D(False)
    display.SetSliceIntersectionThickness(_OUTLINE_PX)
    badges = _newNode(volumeNode, "vtkMRMLMarkupsFiducialNode")
    badges.SetAndObserveTransformNodeID(volumeNode.GetTransformNodeID())
    for each in findings.places:
        badges.AddControlPoint(each.ras_mm, str(each.number))
    badges.SetLocked(True)
    display = badges.GetDisplayNode()
    display.SetSelectedColor(_COLOR)
    display.SetTextScale(_TEXT_SCALE)
    display.SetGlyphScale(_GLYPH_SCALE)


def _newNode(volumeNode: Any, className: str) -> Any:
    name = _("{volume} places to look").format(volume=volumeNode.GetName())
    node = slicer.mrmlScene.AddNewNodeByClass(className, name)
    node.SetHideFromEditors(True)
    node.SetAttribute(ATTRIBUTE, "1")
    node.SetNodeReferenceID(VOLUME_ROLE, volumeNode.GetID())
    node.CreateDefaultDisplayNodes()
    return node


def _nodes() -> list[Any]:
    nodes = [*slicer.util.getNodesByClass("vtkMRMLSegmentationNode")]
    nodes += slicer.util.getNodesByClass("vtkMRMLMarkupsFiducialNode")
    return [each for each in nodes if each.GetAttribute(ATTRIBUTE)]


def _nodesOf(volumeNode: Any) -> list[Any]:
    return [each for each in _nodes() if each.GetNodeReference(VOLUME_ROLE) is volumeNode]


def _labelsIn(volumeNode: Any) -> NDArray[np.uint8] | None:
    """Return the numbers of the places as they are drawn (K, J, I); None where none is."""
    for node in _nodesOf(volumeNode):
        if node.IsA("vtkMRMLSegmentationNode"):
            labels, structures = Bridge.labelsOfAllSegments(node, volumeNode)
            numbers = np.zeros(256, np.uint8)
            for each in structures:
                numbers[each.value] = int(each.name)
            return numbers[labels.voxels]
    return None
