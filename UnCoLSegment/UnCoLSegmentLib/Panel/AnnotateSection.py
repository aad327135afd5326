"""The section "Annotate": accept what is right, paint what is not, and say which slices are complete."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import slicer
from slicer.i18n import tr as _

from uncol.core.errors import DataError
from uncol.core.volume import Axis
from UnCoLSegmentLib.Logic import Logic
from UnCoLSegmentLib.Panel.Controls import SlicesTable, enable
from UnCoLSegmentLib.Panel.Section import Section
from UnCoLSegmentLib.ParameterNode import ParameterNode
from UnCoLSegmentLib.Scene import Acceptance, AcceptHistory, AnnotatedSlices, SliceViews
from UnCoLSegmentLib.Scene.AnnotatedSlices import AnnotatedTable


class AnnotateSection(Section):
    """Brings proposal, the user's segmentation and the table of annotated slices together."""

    _during = slicer.util.RenderBlocker

    def __init__(self, ui: Any, logic: Logic) -> None:
        super().__init__(ui, logic, "annotate")
        self._table = SlicesTable(ui.slicesTable, ui.slicesHintLabel, self._onCompleteChanged, self._onJump)
        self._onClicks(
            (ui.acceptSliceButton, self._acceptSlice),
            (ui.acceptSegmentButton, lambda: self._accept(Acceptance.acceptSegment, self._proposedSegmentId())),
            (ui.acceptAllButton, lambda: self._accept(Acceptance.acceptAll)),
            (ui.undoAcceptButton, self._undo),
            (ui.markCompleteButton, lambda: self._onCompleteChanged(*self._shownSlice(), True)),
            (ui.suggestSliceButton, self._suggestSlice),
        )

    def update(self, parameters: ParameterNode | None) -> None:
        """Show the state of the parameters."""
        super().update(parameters)
        self._followInputs(parameters)
        self._table.show(parameters.annotatedSlices if parameters else "", parameters and parameters.inputVolume)
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
        nodes = parameters.segmentation, parameters.proposal, parameters.inputVolume
        with self._message.reporting():
            table = AnnotatedTable.fromText(parameters.annotatedSlices)
            self._keep(AnnotatedSlices.detectAnnotated(*nodes, table))

    def forgetScene(self) -> None:
        """Let go of the nodes of a scene that is being closed."""
        self._message.clear()
        self.ui.segmentEditor.setSegmentationNode(None)
        self.ui.segmentEditor.setMRMLSegmentEditorNode(None)

    def _followInputs(self, parameters: ParameterNode | None) -> None:
        editor = self.ui.segmentEditor
        segmentation = parameters.segmentation if parameters else None
        volume = parameters.inputVolume if parameters else None
        if segmentation is not None and editor.mrmlSegmentEditorNode() is None:
            editor.setMRMLSegmentEditorNode(_segmentEditorNode())
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
        )
        own = parameters.segmentation if parameters else None
        missing = "" if own is not None and AcceptHistory.canUndo(own) else _("Nothing was accepted yet.")
        enable(missing, (self.ui.undoAcceptButton, _("Take back what was accepted last")))

    def _acceptSlice(self) -> None:
        self._accept(Acceptance.acceptSlice, self._given.inputVolume, *self._shownSlice())

    def _accept(self, accept: Callable[..., Acceptance.AcceptSummary], *where: Any) -> None:
        summary = accept(self._given.proposal, self._target(), *where)
        self.update(self._parameters)
        self._message.showInformation(summary.text)

    def _undo(self) -> None:
        AcceptHistory.undo(self._given.segmentation)
        self.update(self._parameters)

    def _suggestSlice(self) -> None:
        suggestion = self._logic.suggestSlice(self._given)
        self._onJump(suggestion.axis, suggestion.index)
        self._message.showInformation(suggestion.reason)

    def _onCompleteChanged(self, axis: Axis, index: int, isComplete: bool) -> None:
        table = AnnotatedTable.fromText(self._given.annotatedSlices)
        self._keep(AnnotatedSlices.markComplete(table, axis, index, isComplete))

    def _onJump(self, axis: Axis, index: int) -> None:
        SliceViews.jumpTo(SliceViews.middleOfSlice(self._given.inputVolume, axis, index))

    def _keep(self, table: AnnotatedTable) -> None:
        text = table.toText()
        if text != self._given.annotatedSlices:
            self._given.annotatedSlices = text

    def _shownSlice(self) -> tuple[Axis, int]:
        plane = self._given.plane
        shown = SliceViews.shownSlice(self._given.inputVolume, plane.value.capitalize())
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
        byName = proposed.GetSegmentIdBySegmentName(segment.GetName()) if segment is not None else ""
        found = selected if proposed.GetSegment(selected) is not None else byName
        if not found:
            message = _("Select a segment in the list that the proposal holds as well, or accept all.")
            raise DataError(message)
        return found


def _segmentEditorNode() -> Any:
    """Return the Segment Editor's parameters for this panel, kept apart from those of the Segment Editor module."""
    tag = "UnCoLSegmentEditor"
    node = slicer.mrmlScene.GetSingletonNode(tag, "vtkMRMLSegmentEditorNode")
    if node is None:
        node = slicer.mrmlScene.CreateNodeByClass("vtkMRMLSegmentEditorNode")
        node.UnRegister(None)
        node.SetSingletonTag(tag)
        node = slicer.mrmlScene.AddNode(node)
    return node
