"""Where to look: outlines and numbers of places in the views, and what is told of a proposal, kept with it. No Qt."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import replace
from typing import Any

import numpy as np
import slicer
import slicer.util
from numpy.typing import NDArray
from slicer.i18n import tr as _

from uncol.core.findings import Findings
from uncol.core.jobs import Structure
from uncol.core.records import from_document, to_document
from uncol.core.volume import Volume
from UnCoLSegmentLib.Scene import Bridge, Proposal
from UnCoLSegmentLib.Scene.UncertaintyParts import VOLUME_ROLE

ATTRIBUTE = "UnCoL.Places"
"""Set on the segmentation whose segments are the places, and on the points that carry their numbers."""
_FINDINGS = "UnCoL.Findings"
"""On a proposal: what is told of it, as JSON."""
_COLOR = (0.94, 0.26, 0.65)
_OUTLINE_PX, _TEXT_SCALE, _GLYPH_SCALE = 2, 4.0, 0.8


def findingsOf(proposal: Any) -> Findings:
    """Return what is told of a proposal; nothing of one that a version before this made."""
    text = proposal.GetAttribute(_FINDINGS) if proposal is not None else None
    return from_document(Findings, json.loads(text), _FINDINGS) if text else Findings()


def put(volumeNode: Any, proposal: Any, found: Findings, labels: Volume | None, kept: Collection[str]) -> None:
    """Note what is told of a proposal, and draw its places.

    Args:
        volumeNode: The volume.
        proposal: The proposal.
        found: What is told of the structures that were proposed now.
        labels: Numbers of their places; None where none was looked for.
        kept: Names of structures that were proposed before and stay: what was told of them stays, too.
    """
    before, own = findingsOf(proposal), labels.voxels if labels is not None else None
    earlier = _labelsIn(volumeNode) if kept else None
    known = [each for each in before.structures if each.name in kept]
    ranked = [(each, own) for each in found.places if own is not None]
    ranked += [(each, earlier) for each in before.places if each.structure in kept and earlier is not None]
    ranked.sort(key=lambda each: -each[0].uncertainty)
    joined: NDArray[np.uint8] = np.zeros(Bridge.snapshotVolume(volumeNode).shape_kji, np.uint8)
    for number, (place, voxels) in enumerate(ranked, 1):
        joined[voxels == place.number] = number
    places = tuple(replace(place, number=number) for number, (place, _voxels) in enumerate(ranked, 1))
    findings = replace(found, structures=(*known, *found.structures), places=places)
    proposal.SetAttribute(_FINDINGS, json.dumps(to_document(findings)))
    _draw(volumeNode, findings, joined)


def show(volumeNode: Any, isOn: bool) -> None:
    """Show the outlines and numbers of a volume's places, or hide them."""
    for node in _nodesOf(volumeNode):
        if bool(node.GetDisplayNode().GetVisibility()) != isOn:
            node.GetDisplayNode().SetVisibility(isOn)


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


def _nodesOf(volumeNode: Any) -> list[Any]:
    nodes = [*slicer.util.getNodesByClass("vtkMRMLSegmentationNode")]
    nodes += slicer.util.getNodesByClass("vtkMRMLMarkupsFiducialNode")
    return [each for each in nodes if each.GetAttribute(ATTRIBUTE) and each.GetNodeReference(VOLUME_ROLE) is volumeNode]


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
