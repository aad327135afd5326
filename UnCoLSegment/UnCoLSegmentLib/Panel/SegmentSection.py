"""The section "Segment": a proposal for the whole volume, from a box, from annotated slices or with a model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import slicer
from slicer.i18n import tr as _

from UnCoLSegmentLib.Engine.Run import RunResult
from UnCoLSegmentLib.Logic import Logic
from UnCoLSegmentLib.Panel.BoxPlacing import BoxPlacing
from UnCoLSegmentLib.Panel.Controls import enable
from UnCoLSegmentLib.Panel.ProposalControls import ProposalControls
from UnCoLSegmentLib.Panel.RunSection import RunSection
from UnCoLSegmentLib.ParameterNode import ParameterNode, SegmentFrom


class SegmentSection(RunSection):
    """Starts and stops segmenting; lets a box be drawn, and the proposal be looked at."""

    def __init__(self, ui: Any, logic: Logic, prepareEngine: Callable[[], None]) -> None:
        super().__init__(ui, logic, "segment", prepareEngine)
        ui.cancelSegmentButton.connect("clicked(bool)", logic.cancel)
        ui.segmentButton.connect("clicked(bool)", lambda: self._start(logic.segment))
        self._placing = BoxPlacing(ui.drawBoxButton, self._onPlacingChanged)
        self._proposalControls = ProposalControls(ui)
        ui.drawBoxButton.connect("clicked(bool)", lambda isOn: self._drawBox() if isOn else self._placing.stop())
        ui.boxShownCheckBox.connect("clicked(bool)", self._showBox)
        ui.structureNameEdit.connect("editingFinished()", self._onNamed)
        self._follow(logic.finished, self._onResult)

    def update(self, parameters: ParameterNode | None) -> None:
        """Show the state of parameters and run."""
        super().update(parameters)
        self._showBoxControls(parameters)
        self._proposalControls.update(parameters.proposal if parameters else None)
        obstacle = self._logic.whyNotSegment(parameters) if parameters else self._whyNoVolume()
        enable(obstacle, (self.ui.segmentButton, _("Propose a segmentation of the whole volume")))
        obstacle = self._whyNotCancel(_("Nothing to cancel."))
        enable(obstacle, (self.ui.cancelSegmentButton, _("Stop; nothing in the scene is changed")))

    def leave(self) -> None:
        """The user goes to another module: the next clicks there are for something else."""
        self._placing.stop()

    def forgetScene(self) -> None:
        """Let go of the nodes of a scene that is being closed."""
        self._placing.stop()

    def disconnect(self) -> None:
        """Follow logic and views no more."""
        super().disconnect()
        self._placing.close()

    def _showBoxControls(self, parameters: ParameterNode | None) -> None:
        ui = self.ui
        isBox = parameters is not None and parameters.segmentFrom is SegmentFrom.BOX
        for widget in (ui.roiLabel, ui.boxControls, ui.structureNameLabel, ui.structureNameEdit):
            widget.visible = isBox
        roi = parameters.roi if parameters is not None else None
        purpose = _("Draw a box in a slice view: click two opposite corners, then pull its faces to the structure")
        if self._placing.isActive:
            purpose = _("Stop drawing; the box stays as it was")
        named = _("What is in the box; its segment gets this name")
        enable(self._whyNoVolume(), (ui.drawBoxButton, purpose), (ui.structureNameEdit, named))
        noBox = "" if roi is not None else _("Draw a box (ROI) round the structure first.")
        enable(noBox, (ui.boxShownCheckBox, _("Show the box in all views")))
        ui.boxShownCheckBox.checked = roi is not None and bool(_displayOf(roi).GetVisibility())
        if roi is not None and not ui.structureNameEdit.hasFocus():
            ui.structureNameEdit.text = roi.GetName()

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

    def _drawBox(self) -> None:
        """Make a box that is placed with the next clicks, or let the chosen one be placed anew."""
        parameters = self._given
        if parameters.roi is None:
            roi = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsROINode", self._nameForNewBox())
            _displayOf(roi).SetFillVisibility(False)
            parameters.roi = roi
        self.ui.segmentEditor.setActiveEffect(None)  # a brush would take the clicks
        self.ui.segmentEditor.uninstallKeyboardShortcuts()  # Escape is one of them
        self._showBox(True)
        self._placing.start(parameters.roi)

    def _onPlacingChanged(self) -> None:
        self.ui.drawBoxButton.checked = self._placing.isActive
        if self._placing.isActive:
            text = _("Click two opposite corners of the structure in a slice view. Escape leaves the box as it was.")
            self._message.showInformation(text)
        else:
            self._message.clear()
            self.ui.segmentEditor.installKeyboardShortcuts()
        self.update(self._parameters)

    def _showBox(self, isShown: bool) -> None:
        if self._parameters is not None and self._parameters.roi is not None:
            _displayOf(self._parameters.roi).SetVisibility(isShown)
            self.ui.boxShownCheckBox.checked = isShown

    def _onResult(self, _result: RunResult) -> None:
        """Clear the view for the proposal: the box has done its work. A surface would show the proposal before."""
        self._showBox(False)
        self._proposalControls.showAnew()


def _displayOf(roi: Any) -> Any:
    if roi.GetDisplayNode() is None:
        roi.CreateDefaultDisplayNodes()
    return roi.GetDisplayNode()
