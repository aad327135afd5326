"""Opens the real panel and works it like a user: mouse, keyboard, eyes, camera."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ctk  # noqa: F401  # these add their widgets to what a .ui file may hold
import mrml_widgets  # noqa: F401
import plot_widget  # noqa: F401
import qt
import segment_editor_widget  # noqa: F401
from as_slicer_waits import waitAsSlicer
from host import Host
from PySide6.QtCore import QCoreApplication, QEvent, QItemSelectionModel, QPoint, Qt
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QLineEdit, QWidget
from slicer.ScriptedLoadableModule import ModuleWidgetParent

import UnCoLSegment
import UnCoLSegmentLib.Logic

PANEL_WIDTH = 400  # pixels, about the application's module panel
_INDICATOR = 12  # pixels from the left edge of a check box to the middle of its square

SECTIONS = ("segment", "result", "correct", "fineTune", "models", "advanced")


class Panel:
    """The panel on the scene of a host.

    Args:
        host: Has the scene.
        engine: What stands in for the engine's process; None takes the real one.
    """

    def __init__(self, host: Host, engine: Any = None) -> None:
        self.host = host
        realProcess = UnCoLSegmentLib.Logic.EngineProcess
        if engine is not None:
            UnCoLSegmentLib.Logic.EngineProcess = lambda _command, _environment: engine
        self.window = ModuleWidgetParent()
        self.moduleWidget = UnCoLSegment.UnCoLSegmentWidget(self.window)
        self.moduleWidget.setup()
        UnCoLSegmentLib.Logic.EngineProcess = realProcess
        self.widget = self.moduleWidget.panel
        self.logic, self.ui = self.widget.logic, self.widget.ui
        self.window.isEntered = True
        self.moduleWidget.enter()
        self.window.resize(PANEL_WIDTH, 900)
        self.window.show()
        self.window.activateWindow()  # shortcuts work in the active window only
        self.settle()

    @property
    def parameters(self) -> Any:
        return self.widget.parameters

    def close(self) -> None:
        """What the application does when it unloads a module."""
        self.moduleWidget.exit()
        self.moduleWidget.cleanup()
        self.window.close()
        self.window.deleteLater()
        QCoreApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)
        self.settle()

    def settle(self) -> None:
        """Let Qt do what is due."""
        for _ in range(3):
            qt.application.processEvents()

    def wait(self, isReached: Callable[[], object], timeout_s: float = 10.0) -> None:
        """Let time pass until something is the case; fail if it does not come."""
        end = time.monotonic() + timeout_s
        while not isReached():
            assert time.monotonic() < end, f"waited {timeout_s} s in vain"
            qt.application.processEvents()
            waitAsSlicer(10)

    def waitForDetection(self) -> None:
        """Wait until the panel has looked which slices were painted."""
        self.wait(lambda: not self.widget._detectTimer.active)
        self.settle()

    def click(self, name: str) -> None:
        """Click a button with the mouse; it must be visible and enabled, as for a user."""
        button = getattr(self.ui, name)
        self.reveal(button)
        assert button.isVisible(), f"{name} is not visible"
        assert button.isEnabled(), f"{name} is disabled: {button.toolTip}"
        if button.isCheckable():
            QTest.mouseClick(button, Qt.LeftButton, pos=QPoint(_INDICATOR, button.height // 2))
        else:
            QTest.mouseClick(button, Qt.LeftButton)
        self.settle()

    def choose(self, name: str, text: str) -> None:
        """Choose an entry of a combo box with the keyboard."""
        box = getattr(self.ui, name)
        self.reveal(box)
        box = getattr(box, "_combo", box)
        index = box.findText(text)
        assert index >= 0, f"{name} has no entry {text}"
        box.setFocus()
        key = Qt.Key_Down if index > box.currentIndex else Qt.Key_Up
        for _ in range(box.count):
            if box.currentIndex != index:
                QTest.keyClick(box, key)
        assert box.currentIndex == index, f"{text} cannot be chosen in {name}"
        box.activated.emit(index)
        self.settle()

    def reveal(self, widget: Any) -> None:
        """Unfold the section of a widget by clicking its head."""
        for name in SECTIONS:
            section = getattr(self.ui, f"{name}CollapsibleButton")
            if section.isAncestorOf(widget) and section.collapsed:
                QTest.mouseClick(section, Qt.LeftButton, pos=QPoint(60, 12))
                self.settle()

    def unfold(self, *names: str) -> None:
        """Leave these sections open and fold the others, by clicking their heads."""
        for name in SECTIONS:
            section = getattr(self.ui, f"{name}CollapsibleButton")
            if section.collapsed == (name in names):
                QTest.mouseClick(section, Qt.LeftButton, pos=QPoint(60, 12))
        self.settle()

    def clickCell(self, tableName: str, row: int, column: int) -> None:
        """Click a cell of a table; on a check box its square is hit."""
        table = getattr(self.ui, tableName)
        self.reveal(table)
        area = table.visualRect(table.model().index(row, column))
        isChecked = table.item(row, column).flags() & Qt.ItemIsUserCheckable
        place = QPoint(area.left() + _INDICATOR, area.center().y()) if isChecked else area.center()
        QTest.mouseClick(table.viewport(), Qt.LeftButton, pos=place)
        self.settle()

    def activateCell(self, tableName: str, row: int, column: int) -> None:
        """Click a cell of a table and press Enter."""
        self.clickCell(tableName, row, column)
        QTest.keyClick(getattr(self.ui, tableName), Qt.Key_Return)
        self.settle()

    def pressKey(self, text: str) -> None:
        """Press a key while no text field has the focus."""
        self.window.activateWindow()
        self.window.setFocus()
        QTest.keyClick(self.window, text)
        self.settle()

    def tickSelected(self, tableName: str, column: int) -> None:
        """Press Space on the check box of the last selected row, which leaves the selection as it is."""
        table = getattr(self.ui, tableName)
        row = table.selectionModel().selectedRows()[-1].row()
        table.selectionModel().setCurrentIndex(table.model().index(row, column), QItemSelectionModel.NoUpdate)
        table.setFocus()
        QTest.keyClick(table, Qt.Key_Space)
        self.settle()

    def typeText(self, name: str, text: str) -> None:
        """Replace the text of a line by typing, and press Enter."""
        edit = getattr(self.ui, name)
        self.reveal(edit)
        edit.setFocus()
        edit.selectAll()
        QTest.keyClicks(edit, text)
        QTest.keyClick(edit, Qt.Key_Return)
        self.settle()

    def typeInto(self, tableName: str, text: str) -> None:
        """Replace the text of the cell that is being edited, and press Enter."""
        editor = getattr(self.ui, tableName).viewport().findChild(QLineEdit)
        assert editor is not None, f"no cell of {tableName} is being edited"
        editor.selectAll()
        QTest.keyClicks(editor, text)
        QTest.keyClick(editor, Qt.Key_Return)
        self.settle()

    def cells(self, tableName: str) -> list[list[str]]:
        """Return what a table shows; a check box counts as "[x]", "[-]" (partly) or "[ ]", its text after it."""
        table = getattr(self.ui, tableName)
        return [
            [_cellText(table.item(row, column)) for column in range(table.columnCount)] for row in range(table.rowCount)
        ]

    def shown(self) -> str:
        """Return the message in the strip; "" if there is none."""
        return self.ui.messageLabel.text if not self.ui.messageFrame.isHidden() else ""

    def fit(self, width: int = PANEL_WIDTH) -> None:
        """Make the window so wide, and so high that nothing needs to be scrolled."""
        for _ in range(3):
            self.settle()
            area, contents = self.ui.sectionsArea, self.ui.sectionsContents
            layout, inner = contents.layout(), area.viewport().width()
            wanted = max(layout.totalHeightForWidth(inner), 0) or layout.totalSizeHint().height()
            self.window.resize(width, self.window.height - area.height + wanted)
        self.settle()

    def photograph(self, name: str) -> Path:
        """Save what the panel looks like, as narrow as in the application and as high as it wants to be."""
        self.fit()
        folder = Path(os.environ.get("UNCOL_SCREENSHOTS") or self.host.folder / "screenshots")
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{name}.png"
        assert self.window.grab().save(str(path)), path
        widest = max(self.window.findChildren(QWidget), key=lambda each: each.isVisible() and each.sizeHint().width())
        assert self.window.width == PANEL_WIDTH, f"the panel needs {self.window.width} pixels; {widest} is widest"
        return path


def _cellText(item: Any) -> str:
    if item.flags() & Qt.ItemIsUserCheckable:
        return {Qt.Checked: "[x]", Qt.PartiallyChecked: "[-]"}.get(item.checkState(), "[ ]") + item.text()
    return item.text()
