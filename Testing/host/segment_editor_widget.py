"""Stand-in for the Segment Editor widget: list of segments and effect names; its effects need the application."""

from __future__ import annotations

from typing import Any

import mrml_widgets
import qt
import slicer
from PySide6.QtCore import Signal
from PySide6.QtGui import QColor, QIcon, QPixmap

_EFFECTS = ("Paint", "Draw", "Erase", "Level tracing", "Scissors", "Fill between slices")
_COLUMNS = 3


class qMRMLSegmentEditorWidget(mrml_widgets.qMRMLWidget):
    """Shows the segments of a segmentation with their colors and keeps which one is current."""

    currentSegmentIDChanged = Signal(str)
    segmentationNodeSelectorVisible = qt.stored(bool, True, "_refresh")
    sourceVolumeNodeSelectorVisible = qt.stored(bool, True, "_refresh")
    switchToSegmentationsButtonVisible = qt.stored(bool, True, "_refresh")
    maximumNumberOfUndoStates = qt.stored(int, 10, "_refresh")

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._parameters = self._segmentation = self._volume = None
        self._observer: int | None = None
        self.areShortcutsInstalled = self.areViewsObserved = False
        self._list, self._effects = qt.QListWidget(), qt.QWidget()
        self._list.setMaximumHeight(84)
        self._list.setAccessibleName("Segments")
        self._list.currentItemChanged.connect(self._onCurrent)
        layout, grid = qt.QVBoxLayout(self), qt.QGridLayout(self._effects)
        buttons = qt.QHBoxLayout()
        self._add, self._remove = qt.QPushButton("Add"), qt.QPushButton("Remove")
        self._add.clicked.connect(self._addSegment)
        for button in (self._add, self._remove):
            buttons.addWidget(button)
        for position, effect in enumerate(_EFFECTS):
            button = qt.QPushButton(effect)
            button.setCheckable(True)
            grid.addWidget(button, position // _COLUMNS, position % _COLUMNS)
        for each in (layout, grid):
            each.setContentsMargins(0, 0, 0, 0)
        layout.addLayout(buttons)
        layout.addWidget(self._list)
        layout.addWidget(self._effects)
        self._refresh()

    def setMRMLScene(self, scene: Any) -> None:
        """Nothing here lists nodes of the scene."""

    def setMRMLSegmentEditorNode(self, node: Any) -> None:
        self._parameters = node

    def mrmlSegmentEditorNode(self) -> Any:
        return self._parameters

    def setSegmentationNode(self, node: Any) -> None:
        if self._parameters is None and node is not None:
            message = "The Segment Editor has no parameter node yet: call setMRMLSegmentEditorNode first."
            raise RuntimeError(message)
        if self._observer is not None:
            self._segmentation.GetSegmentation().RemoveObserver(self._observer)
        self._segmentation, self._observer = node, None
        if node is not None:
            segmentation = node.GetSegmentation()
            self._observer = segmentation.AddObserver(slicer.vtkSegmentation.SegmentModified, self._refresh)
            for event in (slicer.vtkSegmentation.SegmentAdded, slicer.vtkSegmentation.SegmentRemoved):
                segmentation.AddObserver(event, self._refresh)
        self._refresh()

    def segmentationNode(self) -> Any:
        return self._segmentation

    def setSourceVolumeNode(self, node: Any) -> None:
        self._volume = node
        self._refresh()

    def sourceVolumeNode(self) -> Any:
        return self._volume

    def currentSegmentID(self) -> str:
        item = self._list.currentItem()
        return item.data(qt.Qt.UserRole) if item else ""

    def setCurrentSegmentID(self, segmentId: str) -> None:
        for row in range(self._list.count):
            if self._list.item(row).data(qt.Qt.UserRole) == segmentId:
                self._list.setCurrentRow(row)

    def setActiveEffect(self, effect: None) -> None:
        """Put the current tool away; there is no other effect here."""
        for button in self._effects.findChildren(qt.QPushButton):
            button.setChecked(False)

    def setupViewObservations(self) -> None:
        self.areViewsObserved = True

    def removeViewObservations(self) -> None:
        self.areViewsObserved = False

    def installKeyboardShortcuts(self) -> None:
        self.areShortcutsInstalled = True

    def uninstallKeyboardShortcuts(self) -> None:
        self.areShortcutsInstalled = False

    def _addSegment(self) -> None:
        self._segmentation.GetSegmentation().AddEmptySegment()

    def _refresh(self, *_: object) -> None:
        current = self.currentSegmentID()
        self._list.clear()
        segmentation = self._segmentation.GetSegmentation() if self._segmentation else None
        for segmentId in segmentation.GetSegmentIDs() if segmentation else ():
            segment = segmentation.GetSegment(segmentId)
            picture = QPixmap(14, 14)
            picture.fill(QColor.fromRgbF(*segment.GetColor()))
            item = qt.QListWidgetItem(QIcon(picture), segment.GetName())
            item.setData(qt.Qt.UserRole, segmentId)
            self._list.addItem(item)
        self.setCurrentSegmentID(current)
        if self._list.currentRow < 0 and self._list.count:
            self._list.setCurrentRow(0)
        for button in (self._add, self._remove):
            button.setEnabled(segmentation is not None)
        self._effects.setEnabled(segmentation is not None and self._volume is not None)

    def _onCurrent(self, *_: object) -> None:
        self.currentSegmentIDChanged.emit(self.currentSegmentID())


qt.QUiLoader.widgets["qMRMLSegmentEditorWidget"] = qMRMLSegmentEditorWidget
slicer.qMRMLSegmentEditorWidget = qMRMLSegmentEditorWidget
