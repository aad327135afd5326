"""What is found so far: a segmentation of its own, thinly outlined, that goes when the run ends.

It is never accepted, and not saved either, so that nobody finds it later and takes it for a result.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import slicer
import slicer.util
from slicer.i18n import tr as _

from uncol.core.jobs import Structure
from uncol.core.volume import Volume
from UnCoLSegmentLib.Scene import Proposal
from UnCoLSegmentLib.Scene.Results import VOLUME_ROLE

ATTRIBUTE = "UnCoL.Preview"
"""Set on every preview, so that a selector can tell it from other segmentations."""

_OUTLINE_PX = 1


class Preview:
    """The preview of one run about a volume.

    A user who removes its node has seen enough: no other one is made in this run.
    """

    def __init__(self, volumeNode: Any) -> None:
        self._volume, self._node, self._isOver = volumeNode, None, False

    @property
    def isShown(self) -> bool:
        """Whether it is in the scene."""
        return self._node is not None and self._node.GetScene() is not None

    def show(self, labels: Volume, structures: Sequence[Structure], step: int, like: Any) -> None:
        """Show labels (values on the volume's grid), found after so many steps of learning, in the colors of `like`."""
        if self._isOver or (self._node is not None and not self.isShown):
            return
        if self._node is None:
            self._node = _newNode(self._volume)
        name = _("{volume} preview, step {step}") if step else _("{volume} preview")
        self._node.SetName(name.format(volume=self._volume.GetName(), step=step))
        Proposal.putSegments(self._node, labels, structures, self._volume, like)

    def end(self) -> None:
        """Remove the preview; what comes too late is not shown any more."""
        self._isOver = True
        node, self._node = self._node, None
        scene = node.GetScene() if node is not None else None
        if scene is not None:
            for each in (node.GetDisplayNode(), node):  # a scene does not remove the former with the latter
                scene.RemoveNode(each)


def showOnlyOf(volumeNode: Any) -> None:
    """Show the preview of a volume, and hide those of others, which would lie over it."""
    for node in slicer.util.getNodesByClass("vtkMRMLSegmentationNode"):
        if node.GetAttribute(ATTRIBUTE) and node.GetDisplayNode() is not None:
            isShown = node.GetNodeReference(VOLUME_ROLE) is volumeNode
            if bool(node.GetDisplayNode().GetVisibility()) != isShown:
                node.GetDisplayNode().SetVisibility(isShown)


def _newNode(volumeNode: Any) -> Any:
    node = slicer.vtkMRMLSegmentationNode()
    node.SetAttribute(ATTRIBUTE, "1")
    node.SetNodeReferenceID(VOLUME_ROLE, volumeNode.GetID())
    node.SetSaveWithScene(False)
    volumeNode.GetScene().AddNode(node)
    node.CreateDefaultDisplayNodes()
    display = node.GetDisplayNode()
    display.SetSaveWithScene(False)
    display.SetVisibility2DFill(False)
    display.SetVisibility3D(False)
    display.SetSliceIntersectionThickness(_OUTLINE_PX)
    return node
