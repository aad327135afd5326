"""The section "Segment": a proposal for the whole volume, from a box, from annotated slices or with a model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import slicer
from slicer.i18n import tr as _

from UnCoLSegmentLib.Engine.Run import RunState
from UnCoLSegmentLib.Logic import Logic
from UnCoLSegmentLib.Panel.Buttons import enable
from UnCoLSegmentLib.Panel.Message import Message
from UnCoLSegmentLib.Panel.RunStatus import RunStatus
from UnCoLSegmentLib.ParameterNode import ParameterNode, SegmentFrom


class SegmentSection:
    """Starts and stops segmenting.

    Args:
        ui: The panel's widgets by name.
        logic: What does the work.
        prepareEngine: Called before a run; installs what is missing, with consent.
    """

    def __init__(self, ui: Any, logic: Logic, prepareEngine: Callable[[], None]) -> None:
        self.ui, self._logic, self._prepareEngine = ui, logic, prepareEngine
        self._parameters: ParameterNode | None = None
        message = Message(
            ui.segmentMessageFrame, ui.segmentMessageIcon, ui.segmentMessageLabel, ui.segmentMessageDetailsButton
        )
        self.status = RunStatus(logic, ui.segmentProgress, ui.segmentProgressBar, ui.segmentProgressLabel, message)
        ui.segmentButton.connect("clicked(bool)", self._onSegment)
        ui.cancelSegmentButton.connect("clicked(bool)", self._onCancel)
        ui.drawBoxButton.connect("clicked(bool)", self._onDrawBox)
        ui.structureNameEdit.connect("editingFinished()", self._onNamed)

    def update(self, parameters: ParameterNode | None) -> None:
        """Show the state of parameters and run."""
        self._parameters = parameters
        self._showBoxControls(parameters)
        obstacle = self._logic.whyNotSegment(parameters) if parameters else _("Choose the volume to segment.")
        enable(self.ui.segmentButton, obstacle, _("Propose a segmentation of the whole volume"))
        isRunning = self._logic.state is RunState.RUNNING and self.status.isMine
        enable(
            self.ui.cancelSegmentButton,
            "" if isRunning else _("Nothing is being segmented."),
            _("Stop; nothing in the scene is changed"),
        )

    def _showBoxControls(self, parameters: ParameterNode | None) -> None:
        ui = self.ui
        isBox = parameters is not None and parameters.segmentFrom is SegmentFrom.BOX
        for widget in (ui.roiLabel, ui.roiSelector, ui.drawBoxButton, ui.structureNameLabel, ui.structureNameEdit):
            widget.visible = isBox
        missing = "" if parameters and parameters.inputVolume else _("Choose the volume to segment.")
        enable(
            ui.drawBoxButton,
            missing,
            _("Draw a box in a slice view: click two opposite corners, then pull its faces to the structure"),
        )
        enable(ui.structureNameEdit, missing, _("What is in the box; its segment gets this name"))
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

    def _onSegment(self) -> None:
        self.status.start(self._begin)

    def _begin(self) -> None:
        self._prepareEngine()
        self._logic.segment(self._parameters)

    def _onCancel(self) -> None:
        self._logic.cancel()

    def _onDrawBox(self) -> None:
        """Make a box that is placed with the next clicks, or let the chosen one be placed anew."""
        parameters = self._parameters
        assert parameters is not None  # without parameters the button is disabled
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
