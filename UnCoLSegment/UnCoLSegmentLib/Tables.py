"""What the tables of the panel have in common: plain cells and no wasted width."""

from __future__ import annotations

from collections.abc import Sequence

import qt


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
