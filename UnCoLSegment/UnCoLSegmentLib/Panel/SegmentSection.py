"""The section "Segment": a proposal for the whole volume, from a box, from annotated slices or with a model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import slicer
from slicer.i18n import tr as _

from UnCoLSegmentLib.Engine.Run import RunState
from UnCoLSegmentLib.Logic import Logic
from UnCoLSegmentLib.Panel.BoxPlacing import BoxPlacing
from UnCoLSegmentLib.Panel.Controls import enable
from UnCoLSegmentLib.Panel.RunSection import RunSection
from UnCoLSegmentLib.Panel.Section import Message
from UnCoLSegmentLib.ParameterNode import ParameterNode, SegmentFrom
from UnCoLSegmentLib.Scene.Bridge import isPlaced


class SegmentSection(RunSection):
    """Starts segmenting, and lets a box be drawn where nothing else says what to segment.

    Args:
        ui: The panel's widgets by name.
        logic: Whose runs these are.
        message: Where it is told how clicks ended.
        prepareEngine: Called before a run; installs what is missing, with consent.
        changed: Called when drawing a box begins and when it has ended.
    """

    def __init__(
        self,
        ui: Any,
        logic: Logic,
        message: Message,
        prepareEngine: Callable[[], None],
        changed: Callable[[], None],
    ) -> None:
        super().__init__(ui, logic, message, prepareEngine)
        self._changed = changed
        self._placing = BoxPlacing(ui.drawBoxButton, self._onPlacingChanged)
        self._from = {
            SegmentFrom.BOX: ui.fromBoxButton,
            SegmentFrom.SLICES: ui.fromSlicesButton,
            SegmentFrom.MODEL: ui.fromModelButton,
        }
        for source, button in self._from.items():
            button.connect("clicked(bool)", self._choosing("segmentFrom", source))
        ui.segmentButton.connect("clicked(bool)", self._segment)
        ui.drawBoxButton.connect("clicked(bool)", lambda isOn: self._drawBox() if isOn else self._placing.stop())
        ui.boxShownCheckBox.connect("clicked(bool)", self._showBox)
        ui.structureNameEdit.connect("editingFinished()", self._onNamed)
        self._follow(logic.finished, lambda _result: self._showBox(False))  # it has done its work

    @property
    def isPlacing(self) -> bool:
        """Whether the next clicks in a view place a box."""
        return self._placing.isActive

    def update(self, parameters: ParameterNode | None) -> None:
        """Show the state of parameters and run."""
        super().update(parameters)
        self._showBoxControls(parameters)
        enable(self._whyNotRead(), (self.ui.segmentButton, _("Propose a segmentation of the whole volume")))
        for source, button in self._from.items():
            button.checked = parameters is not None and parameters.segmentFrom is source
            button.enabled = parameters is not None

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

    def _segment(self) -> None:
        """Start a run; where a box, slices or a model is missing, let a box be drawn instead."""
        missing = self._logic.whyNotSegment(self._given)
        if self._logic.state is not RunState.IDLE or (missing and self._placing.isActive):
            return
        self._placing.stop()
        if not missing or self._whyNotRead():
            self._start(self._logic.segment)
            return
        self._message.clear()
        if self._given.segmentFrom is not SegmentFrom.BOX:
            self._message.showInformation(_("{missing} Or draw a box.").format(missing=missing))
        self._given.segmentFrom = SegmentFrom.BOX
        self._drawBox()

    def _showBoxControls(self, parameters: ParameterNode | None) -> None:
        ui = self.ui
        source = parameters.segmentFrom if parameters is not None else SegmentFrom.BOX
        for widget in (ui.roiLabel, ui.boxControls, ui.structureNameLabel, ui.structureNameEdit):
            widget.visible = source is SegmentFrom.BOX
        ui.modelLabel.visible = ui.modelComboBox.visible = source is SegmentFrom.MODEL
        roi = parameters.roi if parameters is not None else None
        purpose = _("Draw a box in a slice view: click two opposite corners, then pull its faces to the structure")
        if self._placing.isActive:
            purpose = _("Stop drawing; the box stays as it was")
        named = _("What is in the box; its segment gets this name")
        enable(self._whyNoVolume(), (ui.drawBoxButton, purpose), (ui.structureNameEdit, named))
        isBox = roi is not None and isPlaced(roi)
        enable("" if isBox else _("Draw a box first."), (ui.boxShownCheckBox, _("Show the box in all views")))
        ui.boxShownCheckBox.visible = ui.boxSizeLabel.visible = isBox
        ui.boxShownCheckBox.checked = isBox and bool(_displayOf(roi).GetVisibility())
        ui.boxSizeLabel.text = _("{0:.0f} x {1:.0f} x {2:.0f} mm").format(*roi.GetSize()) if isBox else ""
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
        if not self._placing.isActive:
            self._message.clear()
            self.ui.segmentEditor.installKeyboardShortcuts()
        self.update(self._parameters)
        self._changed()

    def _showBox(self, isShown: bool) -> None:
        if self._parameters is not None and self._parameters.roi is not None:
            _displayOf(self._parameters.roi).SetVisibility(isShown)
            self.ui.boxShownCheckBox.checked = isShown


def _displayOf(roi: Any) -> Any:
    if roi.GetDisplayNode() is None:
        roi.CreateDefaultDisplayNodes()
    return roi.GetDisplayNode()
