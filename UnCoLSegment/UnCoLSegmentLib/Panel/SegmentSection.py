"""The section "Segment": a proposal for the whole volume, from a box, from annotated slices or with a model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import slicer
from slicer.i18n import tr as _

from UnCoLSegmentLib.Logic import Logic
from UnCoLSegmentLib.Panel.Controls import enable
from UnCoLSegmentLib.Panel.RunSection import RunSection
from UnCoLSegmentLib.ParameterNode import ParameterNode, SegmentFrom


class SegmentSection(RunSection):
    """Starts and stops segmenting."""

    def __init__(self, ui: Any, logic: Logic, prepareEngine: Callable[[], None]) -> None:
        super().__init__(ui, logic, "segment", prepareEngine)
        ui.cancelSegmentButton.connect("clicked(bool)", logic.cancel)
        ui.segmentButton.connect("clicked(bool)", lambda: self._start(logic.segment))
        ui.drawBoxButton.connect("clicked(bool)", self._onDrawBox)
        ui.structureNameEdit.connect("editingFinished()", self._onNamed)

    def update(self, parameters: ParameterNode | None) -> None:
        """Show the state of parameters and run."""
        super().update(parameters)
        self._showBoxControls(parameters)
        obstacle = self._logic.whyNotSegment(parameters) if parameters else self._whyNoVolume()
        enable(obstacle, (self.ui.segmentButton, _("Propose a segmentation of the whole volume")))
        obstacle = self._whyNotCancel(_("Nothing is being segmented."))
        enable(obstacle, (self.ui.cancelSegmentButton, _("Stop; nothing in the scene is changed")))

    def _showBoxControls(self, parameters: ParameterNode | None) -> None:
        ui = self.ui
        isBox = parameters is not None and parameters.segmentFrom is SegmentFrom.BOX
        for widget in (ui.roiLabel, ui.roiSelector, ui.drawBoxButton, ui.structureNameLabel, ui.structureNameEdit):
            widget.visible = isBox
        purpose = _("Draw a box in a slice view: click two opposite corners, then pull its faces to the structure")
        named = _("What is in the box; its segment gets this name")
        enable(self._whyNoVolume(), (ui.drawBoxButton, purpose), (ui.structureNameEdit, named))
        if parameters is not None and parameters.roi is not None and not ui.structureNameEdit.hasFocus():
            ui.structureNameEdit.text = parameters.roi.GetName()

    def _onNamed(self) -> None:
        """The box carries the structure's name, so that it is seen in the views and saved with the scene."""
        name, roi = self.ui.structureNameEdit.text.strip(), self._parameters.roi if self._parameters else None
        if roi is not None and name and name != roi.GetName():
            roi.SetName(name)

    def _nameForNewBox(self) -> str:
        """Return what the user wrote, else the selected segment's name."""
        own = self._parameters.segmentation if self._parameters else None
        segment = own.GetSegmentation().GetSegment(self.ui.segmentEditor.currentSegmentID()) if own else None
        return self.ui.structureNameEdit.text.strip() or (segment.GetName() if segment else _("structure"))

    def _onDrawBox(self) -> None:
        """Make a box that is placed with the next clicks, or let the chosen one be placed anew."""
        parameters = self._given
        if parameters.roi is None:
            roi = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsROINode", self._nameForNewBox())
            roi.CreateDefaultDisplayNodes()
            roi.GetDisplayNode().SetFillVisibility(False)
            parameters.roi = roi
        else:
            parameters.roi.RemoveAllControlPoints()
        logic = slicer.modules.markups.logic()
        logic.SetActiveList(parameters.roi)
        logic.StartPlaceMode(False)
