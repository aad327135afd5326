"""What the tables of the panel have in common: plain cells, no wasted width, a height that fits."""

from __future__ import annotations

from collections.abc import Sequence

import qt

_MOST_ROWS = 7
"""A longer table is scrolled."""
_HEADER_EXTRA = 8
"""By how much the head and the frame are higher than a row, in pixels."""


def setColumns(table: qt.QTableWidget, titles: Sequence[str]) -> None:
    """Give a table its columns; the last one takes the width that is left."""
    table.setColumnCount(len(titles))
    table.setHorizontalHeaderLabels(list(titles))
    header = table.horizontalHeader()
    header.setSectionResizeMode(qt.QHeaderView.ResizeToContents)
    header.setStretchLastSection(True)
    header.setHighlightSections(False)
    table.verticalHeader().setVisible(False)


def fill(table: qt.QTableWidget, rows: Sequence[Sequence[str]]) -> None:
    """Show rows of text that cannot be edited; the current row stays current."""
    current = table.currentRow()
    wasBlocked = table.blockSignals(True)
    table.setRowCount(len(rows))
    for number, row in enumerate(rows):
        for column, text in enumerate(row):
            item = qt.QTableWidgetItem(text)
            item.setFlags(qt.Qt.ItemIsSelectable | qt.Qt.ItemIsEnabled)
            item.setToolTip(text)
            table.setItem(number, column, item)
    if 0 <= current < len(rows):
        table.setCurrentCell(current, 0)
    table.blockSignals(wasBlocked)
    table.resizeRowsToContents()
    heights = [table.rowHeight(number) for number in range(len(rows))][:_MOST_ROWS]
    if heights:
        table.setFixedHeight(sum(heights) + max(heights) + _HEADER_EXTRA)
