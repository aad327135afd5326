"""The section "Annotate": accept what is right, paint what is not, and say which slices are complete."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import slicer
from slicer.i18n import tr as _

from uncol.core.errors import DataError, GeometryError
from uncol.core.volume import Axis
from UnCoLSegmentLib.Logic import Logic
from UnCoLSegmentLib.Panel.Controls import enable
from UnCoLSegmentLib.Panel.Section import Section
from UnCoLSegmentLib.Panel.SlicesTable import SlicesTable, summaryText
from UnCoLSegmentLib.ParameterNode import ParameterNode
from UnCoLSegmentLib.Scene import Acceptance, AnnotatedSlices, Labelmaps, SliceViews
from UnCoLSegmentLib.Scene.AnnotatedSlices import AnnotatedTable


class AnnotateSection(Section):
    """Brings proposal, the user's segmentation and the table of annotated slices together.

    The Segment Editor's Undo is the only one: before each change of ours its state is saved, and the table is kept in
    the segments, so that it follows.
    """

    _during = slicer.util.RenderBlocker

    def __init__(self, ui: Any, logic: Logic) -> None:
        super().__init__(ui, logic, "annotate")
        self._table = SlicesTable(
            ui.slicesTable,
            ui.slicesHintLabel,
            lambda slices, on: self._reporting(lambda: self._markComplete(slices, on))(),
            self._onJump,
        )
        self._shown: object = None
        ui.slicesTable.connect("itemSelectionChanged()", self._updateRemoving)
        self._onClicks(
            (ui.acceptSliceButton, self._acceptSlice),
            (ui.acceptSegmentButton, lambda: self._accept(Acceptance.acceptSegment, self._proposedSegmentId())),
            (ui.acceptAllButton, lambda: self._accept(Acceptance.acceptAll)),
            (ui.sliceIsRightButton, self._sliceIsRight),
            (ui.markCompleteButton, lambda: self._markComplete([self._shownSlice()], True)),
            (ui.suggestSliceButton, self._suggestSlice),
            (ui.removeSliceButton, self._removeSlices),
        )
        self._follow(logic.outdated, self._message.clear)
        self._follow(logic.slicesCompared, self._onSlicesCompared)

    def update(self, parameters: ParameterNode | None) -> None:
        """Show the state of the parameters."""
        super().update(parameters)
        self._followInputs(parameters)
        self._showTable(parameters)
        self._updateAccepting(parameters)
        noSegmentation = "" if parameters and parameters.segmentation else _("Choose or create a segmentation first.")
        purpose = _("The slice that is shown is completely annotated, also when the structure is not in it")
        enable(self._whyNoVolume() or noSegmentation, (self.ui.markCompleteButton, purpose))
        noMap = "" if parameters and parameters.uncertaintyVolume else _("Segment the volume first.")
        purpose = _("Jump to the slice whose annotation promises most")
        enable(self._whyNoVolume() or noMap, (self.ui.suggestSliceButton, purpose))

    def detect(self) -> None:
        """Look which slices the user painted since; called a moment after the last change of the segmentation."""
        parameters = self._parameters
        if parameters is None or parameters.inputVolume is None or parameters.segmentation is None:
            return
        if parameters.inputVolume.GetImageData() is None:
            return
        with self._message.reporting():
            Labelmaps.alignEmptySegments(parameters.segmentation)
            AnnotatedSlices.detectAnnotated(parameters.segmentation, parameters.proposal, parameters.inputVolume)

    def forgetScene(self) -> None:
        """Let go of the nodes of a scene that is being closed."""
        self._message.clear()
        self.ui.segmentEditor.setSegmentationNode(None)
        self.ui.segmentEditor.setMRMLSegmentEditorNode(None)

    def _followInputs(self, parameters: ParameterNode | None) -> None:
        editor = self.ui.segmentEditor
        segmentation = parameters.segmentation if parameters else None
        volume = parameters.inputVolume if parameters else None
        if editor.segmentationNode() is not segmentation:
            editor.setSegmentationNode(segmentation)
        if segmentation is not None and editor.sourceVolumeNode() is not volume:
            editor.setSourceVolumeNode(volume)

    def _updateAccepting(self, parameters: ParameterNode | None) -> None:
        missing = "" if parameters and parameters.proposal else _("There is no proposal yet. Segment the volume first.")
        enable(
            missing,
            (self.ui.acceptSliceButton, _("Take the slice that is shown over into your segmentation")),
            (self.ui.acceptSegmentButton, _("Take the selected segment over into your segmentation")),
            (self.ui.acceptAllButton, _("Take the whole proposal over into your segmentation")),
            (
                self.ui.sliceIsRightButton,
                _("The slice that is shown is right, as proposed or as painted: take it over and mark it complete"),
            ),
        )

    def _showTable(self, parameters: ParameterNode | None) -> None:
        """Show what the segments know of their slices; only if that is new, as the user may be about to tick one."""
        volume = parameters.inputVolume if parameters else None
        table = _tableOf(parameters)
        if (table, volume) != self._shown:
            self._shown = table, volume
            self._table.show(table, volume)
            text = summaryText(table, volume)
            for label in (self.ui.slicesSummaryLabel, self.ui.fineTuneSlicesLabel):
                label.text = text
                label.visible = bool(text)
        self._updateRemoving()

    def _updateRemoving(self) -> None:
        missing = "" if self._table.selected else _("Select a slice in the list.")
        purpose = _("Take the selected slices out of the list; their voxels stay, but they are no annotation")
        enable(missing, (self.ui.removeSliceButton, purpose))

    def _acceptSlice(self) -> None:
        self._accept(Acceptance.acceptSlice, self._given.inputVolume, *self._shownSlice())

    def _accept(self, accept: Callable[..., Acceptance.AcceptSummary], *where: Any) -> None:
        summary = accept(self._given.proposal, self._target(), *where, beforeChange=self._saveForUndo)
        self.update(self._parameters)
        self._message.showInformation(summary.text)

    def _sliceIsRight(self) -> None:
        """Take the shown slice over unless the user painted in it, and mark it complete: one act, one undo."""
        place, parameters, target = self._shownSlice(), self._given, self._target()
        self._saveForUndo()
        table = AnnotatedSlices.detectAnnotated(target, parameters.proposal, parameters.inputVolume)
        if place not in {(row.axis, row.index) for row in table.rows}:
            Acceptance.acceptSlice(parameters.proposal, target, parameters.inputVolume, *place)
        Acceptance.needSegments(parameters.proposal, target)
        AnnotatedSlices.markComplete(target, parameters.inputVolume, *place, True)
        self.update(self._parameters)

    def _markComplete(self, slices: Sequence[tuple[Axis, int]], on: bool) -> None:
        nodes = self._given.segmentation, self._given.inputVolume
        self._saveForUndo()
        AnnotatedSlices.markSlices(*nodes, slices, on)
        self.update(self._parameters)

    def _removeSlices(self) -> None:
        nodes, slices = (self._given.segmentation, self._given.inputVolume), self._table.selected
        self._saveForUndo()
        for place in slices:
            AnnotatedSlices.removeSlice(*nodes, *place)
        self.update(self._parameters)

    def _saveForUndo(self) -> None:
        """Let the Segment Editor's Undo come back to what is there now."""
        self._followInputs(self._parameters)
        self.ui.segmentEditor.saveStateForUndo()

    def _suggestSlice(self) -> None:
        suggestion = self._logic.suggestSlice(self._given)
        if suggestion is None:
            self._message.showInformation(_("The slices are being compared. The next one is shown in a moment."))
            return
        self._onJump(suggestion.axis, suggestion.index)
        self._message.showInformation(suggestion.reason)

    def _onSlicesCompared(self) -> None:
        if self.ui.suggestSliceButton.enabled:
            self._reporting(self._suggestSlice)()

    def _onJump(self, axis: Axis, index: int) -> None:
        SliceViews.jumpTo(SliceViews.middleOfSlice(self._given.inputVolume, axis, index))

    def _shownSlice(self) -> tuple[Axis, int]:
        plane = self._given.plane
        shown = SliceViews.shownSlice(self._given.inputVolume, plane.value)
        if shown is None:
            message = _("No {plane} slice view shows a slice of the volume. Scroll to one, or choose another plane.")
            raise DataError(message.format(plane=plane.label()))
        return shown

    def _target(self) -> Any:
        """Return the user's segmentation; it is made when the first thing is accepted."""
        parameters = self._given
        if parameters.segmentation is None:
            name = _("{volume} segmentation").format(volume=parameters.inputVolume.GetName())
            node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", name)
            node.CreateDefaultDisplayNodes()
            parameters.segmentation = node
        return parameters.segmentation

    def _proposedSegmentId(self) -> str:
        """Return the proposal's segment that has the ID or the name of the one selected in the Segment Editor."""
        selected = self.ui.segmentEditor.currentSegmentID()
        proposed, own = self._given.proposal.GetSegmentation(), self._given.segmentation
        segment = own.GetSegmentation().GetSegment(selected) if own is not None else None
        byName = Labelmaps.idOfName(proposed, segment.GetName()) if segment is not None else ""
        found = selected if proposed.GetSegment(selected) is not None else byName
        if not found:
            message = _("Select a segment in the list that the proposal holds as well, or accept all.")
            raise DataError(message)
        return found


def _tableOf(parameters: ParameterNode | None) -> AnnotatedTable:
    """Return the annotated slices of the chosen nodes; none where a bend lies between these, of which others tell."""
    if parameters is None or parameters.segmentation is None or parameters.inputVolume is None:
        return AnnotatedTable()
    if parameters.inputVolume.GetImageData() is None:
        return AnnotatedTable()
    try:
        return AnnotatedSlices.readTable(parameters.segmentation, parameters.inputVolume)
    except GeometryError:
        return AnnotatedTable()
