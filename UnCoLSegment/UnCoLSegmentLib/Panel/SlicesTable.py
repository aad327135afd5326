"""The table of annotated slices: where each lies, whether it shows a structure, and whether it is complete."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import qt
from slicer.i18n import tr as _

from uncol.core.volume import Axis
from UnCoLSegmentLib.Panel.Tables import fill, setColumns
from UnCoLSegmentLib.ParameterNode import Plane
from UnCoLSegmentLib.Scene.AnnotatedSlices import AnnotatedTable
from UnCoLSegmentLib.Scene.SliceViews import planeOf, positionText

_COMPLETE_COLUMN = 3


class SlicesTable:
    """Shows the rows of an `AnnotatedTable`.

    Args:
        table: The widget.
        hint: What to say while there is nothing to show.
        onCompleteChanged: Called with axis, index and the new state when the user ticks a slice.
        onJump: Called with axis and index when the user wants to see a slice.
    """

    def __init__(
        self,
        table: qt.QTableWidget,
        hint: qt.QLabel,
        onCompleteChanged: Callable[[Axis, int, bool], None],
        onJump: Callable[[Axis, int], None],
    ) -> None:
        self._table, self._hint = table, hint
        self._onCompleteChanged, self._onJump = onCompleteChanged, onJump
        self._slices: list[tuple[Axis, int]] = []
        self._shown: object = None
        setColumns(table, [_("Slice"), _("Position"), _("Structure"), _("Complete")])
        table.connect("itemChanged(QTableWidgetItem*)", self._onItemChanged)
        table.connect("itemActivated(QTableWidgetItem*)", self._onItemActivated)

    def show(self, text: str, volumeNode: Any) -> None:
        """Show the table that a parameter node holds as text, sorted by plane and number."""
        if (text, volumeNode) == self._shown:
            return
        self._shown = (text, volumeNode)
        rows = AnnotatedTable.fromText(text).rows if volumeNode is not None and volumeNode.GetImageData() else ()
        rows = sorted(rows, key=lambda row: (row.axis, row.index))
        self._slices = [(row.axis, row.index) for row in rows]
        wasBlocked = self._table.blockSignals(True)
        fill(self._table, [self._texts(volumeNode, row) for row in rows])
        for number, row in enumerate(rows):
            item = self._table.item(number, _COMPLETE_COLUMN)
            item.setFlags(item.flags() | qt.Qt.ItemIsUserCheckable)
            item.setCheckState(qt.Qt.Checked if row.complete else qt.Qt.Unchecked)
            item.setToolTip(_("Tick it when everything that belongs to the structures is painted in this slice"))
        self._table.blockSignals(wasBlocked)
        self._table.visible, self._hint.visible = bool(rows), not rows

    def _texts(self, volumeNode: Any, row: Any) -> list[str]:
        plane = Plane(planeOf(volumeNode, row.axis).lower()).label()
        name = _("{plane} {number}").format(plane=plane, number=row.index)
        return [name, positionText(volumeNode, row.axis, row.index), _("yes") if row.hasStructure else _("none"), ""]

    def _onItemChanged(self, item: qt.QTableWidgetItem) -> None:
        if item.column() == _COMPLETE_COLUMN:
            self._onCompleteChanged(*self._slices[item.row()], item.checkState() == qt.Qt.Checked)

    def _onItemActivated(self, item: qt.QTableWidgetItem) -> None:
        self._onJump(*self._slices[item.row()])
