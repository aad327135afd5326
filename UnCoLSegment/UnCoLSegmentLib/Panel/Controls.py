"""Buttons that say in their tool tip what is missing, and tables: plain cells, no wasted width, a height that fits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import qt
from slicer.i18n import tr as _

from uncol.core.volume import Axis
from UnCoLSegmentLib.ParameterNode import Plane
from UnCoLSegmentLib.Scene.AnnotatedSlices import AnnotatedTable
from UnCoLSegmentLib.Scene.SliceViews import planeOf, positionText

_MOST_ROWS = 7
"""A longer table is scrolled."""
_HEADER_EXTRA = 8
"""By how much the head and the frame are higher than a row, in pixels."""
_COMPLETE_COLUMN = 3


def enable(obstacle: str, *purposes: tuple[qt.QWidget, str]) -> None:
    """Enable controls unless something is missing.

    Args:
        obstacle: What is missing, as a sentence; "" if nothing is.
        purposes: The controls, and what each is for.
    """
    for control, purpose in purposes:
        control.enabled = not obstacle
        control.toolTip = control.accessibleDescription = obstacle or purpose


def setColumns(table: qt.QTableWidget, *titles: str) -> None:
    """Give a table its columns; the last one takes the width that is left."""
    table.setColumnCount(len(titles))
    table.setHorizontalHeaderLabels(list(titles))
    header = table.horizontalHeader()
    header.setSectionResizeMode(qt.QHeaderView.ResizeToContents)
    header.setStretchLastSection(True)
    header.setHighlightSections(False)
    table.verticalHeader().setVisible(False)


def fill(
    table: qt.QTableWidget,
    rows: Sequence[Sequence[str]],
    hint: qt.QLabel | None = None,
    finish: Callable[[int], None] | None = None,
) -> None:
    """Show rows of text that cannot be edited; the current row stays current. A table without rows is hidden.

    Args:
        table: The widget.
        rows: The text of each cell.
        hint: What to say while there is nothing to show.
        finish: Called with the number of each row; may let the user change a cell.
    """
    current = table.currentRow()
    wasBlocked = table.blockSignals(True)
    table.setRowCount(len(rows))
    for number, row in enumerate(rows):
        for column, text in enumerate(row):
            item = qt.QTableWidgetItem(text)
            item.setFlags(qt.Qt.ItemIsSelectable | qt.Qt.ItemIsEnabled)
            item.setToolTip(text)
            table.setItem(number, column, item)
        if finish is not None:
            finish(number)
    if 0 <= current < len(rows):
        table.setCurrentCell(current, 0)
    table.blockSignals(wasBlocked)
    table.resizeRowsToContents()
    heights = [table.rowHeight(number) for number in range(len(rows))][:_MOST_ROWS]
    if heights:
        table.setFixedHeight(sum(heights) + max(heights) + _HEADER_EXTRA)
    table.visible = bool(rows)
    if hint is not None:
        hint.visible = not rows


class SlicesTable:
    """Shows the rows of an `AnnotatedTable`: where each slice lies, whether it shows a structure, and is complete.

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
        self._table, self._hint, self._onCompleteChanged = table, hint, onCompleteChanged
        self._rows: list[Any] = []
        self._shown: object = None
        setColumns(table, _("Slice"), _("Position"), _("Structure"), _("Complete"))
        table.connect("itemChanged(QTableWidgetItem*)", self._onItemChanged)
        table.connect("itemActivated(QTableWidgetItem*)", lambda item: onJump(*self._sliceOf(item)))

    def show(self, text: str, volumeNode: Any) -> None:
        """Show the table that a parameter node holds as text, sorted by plane and number."""
        if (text, volumeNode) == self._shown:
            return
        self._shown = (text, volumeNode)
        rows = AnnotatedTable.fromText(text).rows if volumeNode is not None and volumeNode.GetImageData() else ()
        self._rows = sorted(rows, key=lambda row: (row.axis, row.index))
        fill(self._table, [_textsOf(row, volumeNode) for row in self._rows], self._hint, self._addCheckBox)

    def _addCheckBox(self, number: int) -> None:
        item = self._table.item(number, _COMPLETE_COLUMN)
        item.setFlags(item.flags() | qt.Qt.ItemIsUserCheckable)
        item.setCheckState(qt.Qt.Checked if self._rows[number].complete else qt.Qt.Unchecked)
        item.setToolTip(_("Tick it when everything that belongs to the structures is painted in this slice"))

    def _sliceOf(self, item: qt.QTableWidgetItem) -> tuple[Axis, int]:
        row = self._rows[item.row()]
        return row.axis, row.index

    def _onItemChanged(self, item: qt.QTableWidgetItem) -> None:
        if item.column() == _COMPLETE_COLUMN:
            self._onCompleteChanged(*self._sliceOf(item), item.checkState() == qt.Qt.Checked)


def _textsOf(row: Any, volumeNode: Any) -> list[str]:
    plane = Plane(planeOf(volumeNode, row.axis).lower()).label()
    name = _("{plane} {number}").format(plane=plane, number=row.index)
    return [name, positionText(volumeNode, row.axis, row.index), _("yes") if row.hasStructure else _("none"), ""]
