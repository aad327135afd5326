"""What can be chosen as volume and as segmentation, which volume is obvious, and the views of the chosen one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import slicer
import slicer.util
from slicer.i18n import tr as _

from UnCoLSegmentLib.Panel.Controls import enable
from UnCoLSegmentLib.ParameterNode import ParameterNode
from UnCoLSegmentLib.Scene import Bridge, Cases, Places, Preview, Proposal, ProposalBefore, Results, SliceViews
from UnCoLSegmentLib.Scene.ResultDisplay import fillLightly

_VOLUME, _SEGMENTATION = "vtkMRMLScalarVolumeNode", "vtkMRMLSegmentationNode"
_OURS = {
    _VOLUME: (Bridge.UNCERTAINTY_ATTRIBUTE,),
    _SEGMENTATION: (Proposal.ATTRIBUTE, ProposalBefore.ATTRIBUTE, Preview.ATTRIBUTE, Places.ATTRIBUTE),
}
"""Attributes of nodes that the engine writes: nobody segments or annotates them."""


class Inputs:
    """Keeps the selectors free of what the engine made, and shows a volume that the user chooses.

    Args:
        ui: The panel's widgets by name.
    """

    def __init__(self, ui: Any) -> None:
        self.ui, self._volume = ui, None
        ui.inputVolumeSelector.connect("nodeActivated(vtkMRMLNode*)", _show)
        ui.segmentationSelector.connect("nodeAddedByUser(vtkMRMLNode*)", fillLightly)
        ui.alignViewsButton.connect("clicked(bool)", self._alignViews)

    def update(self, parameters: ParameterNode | None) -> None:
        """Take what belongs to the chosen volume; show what can be chosen, and whether views cut across its slices."""
        volume = parameters.inputVolume if parameters else None
        if parameters is not None:
            if volume is not None and volume is not self._volume:
                self._volume = volume  # what follows comes here again
                Cases.takeAnnotations(parameters)
            Results.choose(parameters)
            Preview.showOnlyOf(volume)
        _hide(self.ui.inputVolumeSelector, _VOLUME)
        _hide(self.ui.segmentationSelector, _SEGMENTATION)
        self._volume = volume
        purpose = _("Turn the slice views so that each shows one slice of the volume")
        enable("", (self.ui.alignViewsButton, purpose))
        self.ui.alignViewsRow.visible = self._volume is not None and bool(SliceViews.unalignedViews(self._volume))

    def choose(self, parameters: ParameterNode) -> None:
        """Choose a volume if none is chosen: the one that the views show, else the only one that there is."""
        if parameters.inputVolume is not None:
            return
        images = Cases.images()
        shown = [node for node in SliceViews.shownVolumes() if node in images]
        if shown or len(images) == 1:
            parameters.inputVolume = (shown or images)[0]

    def _alignViews(self) -> None:
        SliceViews.rotateToVolume(self._volume)
        self.ui.alignViewsRow.visible = False


def _show(volumeNode: Any) -> None:
    if volumeNode is not None and volumeNode.GetImageData() and volumeNode not in SliceViews.shownVolumes():
        SliceViews.showVolume(volumeNode, slicer.app.applicationLogic())


def _isOurs(node: Any, attributes: Sequence[str]) -> bool:
    return any(node.GetAttribute(name) is not None for name in attributes)


def _hide(selector: Any, kind: str) -> None:
    """Hide nodes by ID: a selector can ask for an attribute, but not for its absence."""
    hidden = [node.GetID() for node in slicer.util.getNodesByClass(kind) if _isOurs(node, _OURS[kind])]
    model = selector.sortFilterProxyModel()
    if list(model.hiddenNodeIDs) != hidden:
        model.hiddenNodeIDs = hidden
