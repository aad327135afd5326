"""What the user says of a slice, and what they accept: each one act, and one step in the Segment Editor's history."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import slicer
from slicer.i18n import tr as _

from uncol.core.errors import DataError
from uncol.core.volume import Axis
from UnCoLSegmentLib.Logic import Logic
from UnCoLSegmentLib.Panel.Controls import enable
from UnCoLSegmentLib.Panel.Editor import Editor
from UnCoLSegmentLib.Panel.Section import Message, Section
from UnCoLSegmentLib.ParameterNode import ParameterNode
from UnCoLSegmentLib.Scene import Acceptance, AnnotatedSlices, Labelmaps, SliceViews
from UnCoLSegmentLib.Scene.ResultDisplay import fillLightly


class VerdictSection(Section):
    """Takes the proposal over into the user's segmentation, and notes which slices are done.

    Before each change the editor's state is saved, and what is known of slices is kept in the segments, so that it
    follows the editor's Undo.

    Args:
        ui: The panel's widgets by name.
        logic: What does the work.
        message: Where it is told how clicks ended.
        editor: Has the history.
        goOn: Called when a slice is done: shows the next one.
    """

    _during = slicer.util.RenderBlocker

    def __init__(self, ui: Any, logic: Logic, message: Message, editor: Editor, goOn: Callable[[], None]) -> None:
        super().__init__(ui, logic, message)
        self._editor, self._goOn = editor, goOn
        self._onClicks(
            (ui.acceptSliceButton, self._acceptSlice),
            (ui.acceptSegmentButton, lambda: self._accept(Acceptance.acceptSegment, self._proposedSegmentId())),
            (ui.acceptAllButton, lambda: self._accept(Acceptance.acceptAll)),
            (ui.sliceIsRightButton, self._sliceIsRight),
            (ui.sliceIsEmptyButton, self._sliceIsEmpty),
        )

    def update(self, parameters: ParameterNode | None) -> None:
        """Show the state of the parameters."""
        super().update(parameters)
        ui = self.ui
        hasProposal = bool(parameters and parameters.proposal)
        missing = "" if hasProposal else _("There is no proposal yet. Segment the volume first.")
        enable(
            missing,
            (ui.acceptSliceButton, _("Take the slice that is shown over into your segmentation")),
            (ui.acceptSegmentButton, _("Take the selected segment over into your segmentation")),
            (ui.acceptAllButton, _("Take the whole proposal over into your segmentation")),
        )
        hasSegments = bool(parameters and parameters.segmentation and Labelmaps.segmentsOf(parameters.segmentation))
        nothing = "" if hasProposal or hasSegments else _("There is nothing in this slice yet. Segment or paint first.")
        enable(
            self._whyNoVolume() or nothing,
            (
                ui.sliceIsRightButton,
                _("The slice that is shown is right, as proposed or as painted: take it over, mark it done, go on"),
            ),
        )
        purpose = _("No structure is in the slice that is shown: empty it, mark it done, go on")
        enable(self._whyNoVolume(), (ui.sliceIsEmptyButton, purpose))

    def _acceptSlice(self) -> None:
        self._accept(Acceptance.acceptSlice, self._given.inputVolume, *self._shownSlice())

    def _accept(self, accept: Callable[..., Acceptance.AcceptSummary], *where: Any) -> None:
        summary = accept(self._given.proposal, self._target(), *where, beforeChange=self._saveForUndo)
        self._message.showInformation(summary.text)

    def _sliceIsRight(self) -> None:
        """Take the shown slice over unless the user painted in it, and mark it complete: one act, one undo."""
        place, parameters, target = self._shownSlice(), self._given, self._target()
        saveOnce = functools.cache(self._saveForUndo)
        table = AnnotatedSlices.detectAnnotated(target, parameters.proposal, parameters.inputVolume)
        if parameters.proposal is not None:
            if place not in {(row.axis, row.index) for row in table.rows}:
                Acceptance.acceptSlice(parameters.proposal, target, parameters.inputVolume, *place, saveOnce)
            Acceptance.needSegments(parameters.proposal, target, saveOnce)
        AnnotatedSlices.markSlices(target, parameters.inputVolume, [place], True, saveOnce)
        self._goOn()

    def _sliceIsEmpty(self) -> None:
        """Take everything out of the shown slice, and mark it complete: one act, one undo."""
        place, parameters, target = self._shownSlice(), self._given, self._target()
        saveOnce = functools.cache(self._saveForUndo)
        if parameters.proposal is not None:
            Acceptance.needSegments(parameters.proposal, target, saveOnce)
        if not Labelmaps.segmentsOf(target):
            saveOnce()
            target.GetSegmentation().AddEmptySegment("", self.ui.structureNameEdit.text.strip() or _("structure"))
        Acceptance.emptySlice(target, parameters.inputVolume, *place, saveOnce)
        AnnotatedSlices.markSlices(target, parameters.inputVolume, [place], True, saveOnce)
        self._goOn()

    def _saveForUndo(self) -> None:
        self._editor.saveForUndo(self._parameters)

    def _shownSlice(self) -> tuple[Axis, int]:
        plane = self._given.plane
        shown = SliceViews.shownSlice(self._given.inputVolume, plane.value)
        if shown is None:
            message = _("No {plane} slice view shows a slice of the volume. Scroll to one, or choose another plane.")
            raise DataError(message.format(plane=plane.label()))
        return shown

    def _target(self) -> Any:
        """Return the user's segmentation; it is made when it is needed first."""
        parameters = self._given
        if parameters.segmentation is None:
            name = _("{volume} segmentation").format(volume=parameters.inputVolume.GetName())
            node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", name)
            fillLightly(node)
            node.SetReferenceImageGeometryParameterFromVolumeNode(parameters.inputVolume)
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
