"""Whose results are whose: what was found in one volume is never shown as another's, and never taken over for it."""

from __future__ import annotations

from typing import Any

import slicer.util
from slicer.i18n import tr as _

from uncol.core.errors import DataError
from uncol.core.jobs import Structure
from uncol.core.volume import Volume
from UnCoLSegmentLib.Scene import Bridge, DoubtSurface, Proposal

VOLUME_ROLE = "UnCoL.Volume"
"""Node reference of all that was found to the volume in which it was found."""


def volumeOf(node: Any) -> Any:
    """Return the volume in which a proposal or a map was found; None for any other node."""
    isOurs = node is not None and any(map(node.GetAttribute, (Proposal.ATTRIBUTE, Bridge.UNCERTAINTY_ATTRIBUTE)))
    return node.GetNodeReference(VOLUME_ROLE) if isOurs else None


def isAbout(node: Any, volumeNode: Any) -> bool:
    """Say whether a node is still in the volume's scene, and was found in that volume."""
    isThere = node is not None and node.GetScene() is volumeNode.GetScene()
    return isThere and node.GetNodeReference(VOLUME_ROLE) is volumeNode


def proposalAbout(volumeNode: Any, chosen: Any = None) -> Any:
    """Return the proposal about a volume: the chosen one if it is, else the latest; None if there is none."""
    return _latest("vtkMRMLSegmentationNode", Proposal.ATTRIBUTE, volumeNode, chosen)


def mapAbout(volumeNode: Any, chosen: Any = None) -> Any:
    """Return the uncertainty map about a volume: the chosen one if it is, else the latest; None if there is none."""
    return _latest("vtkMRMLScalarVolumeNode", Bridge.UNCERTAINTY_ATTRIBUTE, volumeNode, chosen)


def choose(parameters: Any) -> None:
    """Let the panel's proposal and map be those of its volume; those of others stay in the scene, out of sight."""
    volume = parameters.inputVolume
    if volume is None:
        return
    proposal, before = proposalAbout(volume, parameters.proposal), parameters.proposal
    if proposal is not before:
        for node in (before, proposal):
            if node is not None and node.GetDisplayNode() is not None:
                node.GetDisplayNode().SetVisibility(node is proposal)
        if before is not None and before.GetScene() is not None:
            DoubtSurface.remove(before)
        parameters.proposal = proposal
    shown = mapAbout(volume, parameters.uncertaintyVolume)
    if shown is not parameters.uncertaintyVolume:
        parameters.uncertaintyVolume = shown


def inScene(parameters: Any) -> tuple[Volume, Volume, list[Structure]]:
    """Return proposed labels, uncertainty and structures as they stand in the scene, as after it was loaded.

    Raises:
        DataError: If there is no result yet.
    """
    if parameters.uncertaintyVolume is None or parameters.proposal is None:
        raise DataError(_("There is no uncertainty map yet. Segment the volume first."))
    labels, structures = Bridge.labelsOfAllSegments(parameters.proposal, parameters.inputVolume)
    return labels, Bridge.snapshotVolume(parameters.uncertaintyVolume), structures


def _latest(className: str, attribute: str, volumeNode: Any, chosen: Any) -> Any:
    if isAbout(chosen, volumeNode):
        return chosen
    nodes = [node for node in slicer.util.getNodesByClass(className) if node.GetAttribute(attribute)]
    shown = (node for node in reversed(nodes) if not node.GetHideFromEditors())  # parts of a map are hidden
    return next((node for node in shown if isAbout(node, volumeNode)), None)
