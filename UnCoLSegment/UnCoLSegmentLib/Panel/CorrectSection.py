"""The section "Correct": which slices are done, which one comes next, and the Segment Editor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import slicer
from slicer.i18n import tr as _

from uncol.core.errors import DataError, GeometryError
from uncol.core.slice_suggestion import next_slice
from uncol.core.volume import Axis
from UnCoLSegmentLib import Preconditions
from UnCoLSegmentLib.Logic import Logic
from UnCoLSegmentLib.Panel.Controls import enable
from UnCoLSegmentLib.Panel.Editor import Editor
from UnCoLSegmentLib.Panel.Section import Message, Section
from UnCoLSegmentLib.Panel.SliceRuler import SliceRuler, Slices
from UnCoLSegmentLib.Panel.SlicesTable import SlicesTable, summaryText
from UnCoLSegmentLib.ParameterNode import ParameterNode
from UnCoLSegmentLib.Scene import AnnotatedSlices, Cases, Labelmaps, SliceViews
from UnCoLSegmentLib.Scene.AnnotatedSlices import AnnotatedTable
from UnCoLSegmentLib.Scene.Places import findingsOf
from UnCoLSegmentLib.Scene.SliceSuggestion import suggestTold


class CorrectSection(Section):
    """Shows what is known of the slices, and leads to the next one.

    Args:
        ui: The panel's widgets by name.
        logic: What does the work.
        message: Where it is told how clicks ended.
        editor: The Segment Editor, which has the history.
    """

    _during = slicer.util.RenderBlocker

    def __init__(self, ui: Any, logic: Logic, message: Message, editor: Editor) -> None:
        super().__init__(ui, logic, message)
        self._editor, self._shown = editor, None
        self._table = SlicesTable(
            ui.slicesTable,
            ui.slicesHintLabel,
            lambda slices, on: self._reporting(lambda: self._markComplete(slices, on))(),
            self._jump,
        )
        self._ruler = SliceRuler(lambda index: self._jump(self._axis, index))
        self._axis: Axis = "K"
        ui.rulerWidget.layout().addWidget(self._ruler)
        self.table = AnnotatedTable()
        """What is known of the slices of the chosen volume."""
        ui.slicesTable.connect("itemSelectionChanged()", self._updateRemoving)
        self._onClicks((ui.suggestSliceButton, self._suggest), (ui.removeSliceButton, self._removeSlices))
        self._follow(logic.slicesCompared, self._onSlicesCompared)

    def update(self, parameters: ParameterNode | None) -> None:
        """Show the state of the parameters."""
        super().update(parameters)
        self._editor.follow(parameters)
        self._showTable(parameters)
        self.showRuler()
        noMap = "" if parameters and parameters.uncertaintyVolume else _("Segment the volume first.")
        purpose = _("Show the slice whose annotation promises most")
        enable(self._whyNoVolume() or noMap, (self.ui.suggestSliceButton, purpose))

    @property
    def donePlaces(self) -> set[tuple[Axis, int]]:
        """The slices of the chosen volume that are done."""
        return {(row.axis, row.index) for row in self.table.complete}

    def showRuler(self) -> None:
        """Show where the user is among the slices; called also when a view moves."""
        parameters = self._parameters
        hasImage = parameters is not None and not Preconditions.toReadVolume(parameters)
        self.ui.rulerWidget.visible = self.ui.rulerLabel.visible = hasImage
        if not hasImage:
            return
        volume = self._given.inputVolume
        self._axis = SliceViews.axisOf(volume, self._given.plane.value)
        shown = SliceViews.shownSlice(volume, self._given.plane.value)
        rows = [row for row in self.table.complete if row.axis == self._axis]
        scores = self._logic.comparison.known(self._given.uncertaintyVolume, self._axis)
        following = findingsOf(self._given.proposal).next_slices
        done = [row.index for row in rows]
        told = suggestTold(following, self._axis, done) or next_slice(scores, done)
        self._ruler.show_(
            Slices(
                volume.GetImageData().GetDimensions()["IJK".index(self._axis)],
                {each.index: each.score for each in scores},
                done,
                [row.index for row in rows if not row.hasStructure],
                shown[1] if shown else None,
                told.index if told else None,
            )
        )

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

    def goOn(self) -> None:
        """Show the next slice, if it is known which one that is and one is left."""
        self.update(self._parameters)
        if self.ui.suggestSliceButton.enabled:
            try:
                self._suggest()
            except DataError as nothingLeft:
                self._message.showInformation(str(nothingLeft))

    def forgetScene(self) -> None:
        """Let go of the nodes of a scene that is being closed."""
        self._editor.forgetScene()

    def disconnect(self) -> None:
        """Follow logic and effects no more."""
        super().disconnect()
        self._editor.disconnect()

    def _showTable(self, parameters: ParameterNode | None) -> None:
        """Show what the segments know of their slices; only if that is new, as the user may be about to tick one."""
        volume = parameters.inputVolume if parameters else None
        table = _tableOf(parameters)
        if (table, volume) != self._shown:
            self._shown, self.table = (table, volume), table
            if table.rows:
                Cases.note(volume, self._given.segmentation)
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
        self.ui.removeSliceButton.visible = bool(self._table.selected)

    def _markComplete(self, slices: Sequence[tuple[Axis, int]], on: bool) -> None:
        nodes = self._given.segmentation, self._given.inputVolume
        self._editor.saveForUndo(self._parameters)
        AnnotatedSlices.markSlices(*nodes, slices, on)
        self.update(self._parameters)

    def _removeSlices(self) -> None:
        nodes, slices = (self._given.segmentation, self._given.inputVolume), self._table.selected
        self._editor.saveForUndo(self._parameters)
        for place in slices:
            AnnotatedSlices.removeSlice(*nodes, *place)
        self.update(self._parameters)

    def _suggest(self) -> None:
        suggestion = self._logic.suggestSlice(self._given)
        if suggestion is None:
            self._message.showInformation(_("The slices are being compared. The next one is shown in a moment."))
            return
        self._jump(suggestion.axis, suggestion.index)
        self._message.showInformation(suggestion.reason)

    def _onSlicesCompared(self) -> None:
        if self.ui.suggestSliceButton.enabled:
            self._reporting(self._suggest)()

    def _jump(self, axis: Axis, index: int) -> None:
        SliceViews.jumpTo(SliceViews.middleOfSlice(self._given.inputVolume, axis, index))
        self.showRuler()


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
