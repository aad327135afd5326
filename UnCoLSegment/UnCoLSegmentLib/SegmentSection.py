"""The section "Segment": a proposal for the whole volume, from a box, from annotated slices or with a model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import slicer
from slicer.i18n import tr as _

from UnCoLSegmentLib.Buttons import enable
from UnCoLSegmentLib.Logic import Logic
from UnCoLSegmentLib.Message import Message
from UnCoLSegmentLib.ParameterNode import ParameterNode, SegmentFrom
from UnCoLSegmentLib.Run import RunState
from UnCoLSegmentLib.RunStatus import RunStatus


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

    def update(self, parameters: ParameterNode | None) -> None:
        """Show the state of parameters and run."""
        self._parameters = parameters
        isBox = parameters is not None and parameters.segmentFrom is SegmentFrom.BOX
        for widget in (self.ui.roiLabel, self.ui.roiSelector, self.ui.drawBoxButton):
            widget.visible = isBox
        volume = parameters.inputVolume if parameters else None
        enable(
            self.ui.drawBoxButton,
            "" if volume else _("Choose the volume to segment."),
            _("Draw a box in a slice view: click two opposite corners, then pull its faces to the structure"),
        )
        obstacle = self._logic.whyNotSegment(parameters) if parameters else _("Choose the volume to segment.")
        enable(self.ui.segmentButton, obstacle, _("Propose a segmentation of the whole volume"))
        isRunning = self._logic.state is RunState.RUNNING and self.status.isMine
        enable(
            self.ui.cancelSegmentButton,
            "" if isRunning else _("Nothing is being segmented."),
            _("Stop; nothing in the scene is changed"),
        )

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
            name = slicer.mrmlScene.GenerateUniqueName(_("Box"))
            roi = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsROINode", name)
            roi.CreateDefaultDisplayNodes()
            roi.GetDisplayNode().SetFillVisibility(False)
            parameters.roi = roi
        else:
            parameters.roi.RemoveAllControlPoints()
        logic = slicer.modules.markups.logic()
        logic.SetActiveList(parameters.roi)
        logic.StartPlaceMode(False)
