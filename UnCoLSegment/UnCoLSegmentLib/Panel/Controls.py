"""Buttons that say what is missing, the one that stands out, and tables: plain cells, a height that fits."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import qt

_MOST_ROWS = 7
"""A longer table is scrolled."""
_PRIMARY, _PRIMARY_TEXT = (8, 56, 104), (255, 255, 255)
"""Qt draws buttons lighter than their color."""
_TINT = 0.14
"""Part of the color in the ground of a tinted frame."""
_HEADER_EXTRA = 8
"""By how much the head and the frame are higher than a row, in pixels."""


def enable(obstacle: str, *purposes: tuple[qt.QWidget, str]) -> None:
    """Enable controls unless something is missing.

    Args:
        obstacle: What is missing, as a sentence; "" if nothing is.
        purposes: The controls, and what each is for.
    """
    for control, purpose in purposes:
        control.enabled = not obstacle
        control.toolTip = control.accessibleDescription = obstacle or purpose


def makePrimary(button: qt.QPushButton, isPrimary: bool) -> None:
    """Let a button stand out as the next step, in colors that are read in light and dark; or let it be as others."""
    if isPrimary == bool(button.property("isPrimary")):
        return
    button.setProperty("isPrimary", isPrimary)
    palette = qt.QPalette(button.palette) if isPrimary else qt.QPalette()
    if isPrimary:
        palette.setColor(qt.QPalette.Button, qt.QColor(*_PRIMARY))
        palette.setColor(qt.QPalette.ButtonText, qt.QColor(*_PRIMARY_TEXT))
    button.setPalette(palette)
    font = qt.QFont(button.font)
    font.setBold(isPrimary)
    button.setFont(font)


def tint(frame: qt.QFrame, color: tuple[int, int, int] | None) -> None:
    """Color the ground of a frame a little, so that its text stays as legible as before; None for no color."""
    ground = frame.parentWidget().palette.color(qt.QPalette.Window)
    parts = (ground.red(), ground.green(), ground.blue())
    mixed = [round(own + _TINT * (new - own)) for own, new in zip(parts, color or parts, strict=True)]
    palette = qt.QPalette(frame.parentWidget().palette)
    palette.setColor(qt.QPalette.Window, qt.QColor(*mixed))
    frame.setPalette(palette)


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
