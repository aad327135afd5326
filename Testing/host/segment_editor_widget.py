"""Stand-in for the Segment Editor widget: the list of segments, names of effects, and Slicer's own logic behind them.

Undo, redo, the current segment and the source volume are those of `vtkSlicerSegmentEditorLogic`; the effects need the
application. What the logic refuses there, it refuses here: its error texts fail a test.
"""

from __future__ import annotations

from typing import Any

import mrml_widgets
import qt
import shiboken6
import slicer
import vtk
from PySide6.QtCore import Signal
from PySide6.QtGui import QColor, QIcon, QPixmap

_EFFECTS = (
    "Threshold", "Paint", "Draw", "Erase", "Level tracing", "Grow from seeds", "Fill between slices", "Margin",
    "Hollow", "Smoothing", "Scissors", "Islands", "Logical operators", "Mask volume",
)  # fmt: skip
"""Those of Slicer, in its order."""
_LEAST_WIDTH = 40
"""Pixels; in Slicer these are tool buttons, no wider than their icons."""
_KEYS = {"z": "undo", "Ctrl+Z": "undo", "y": "redo", "Ctrl+Y": "redo"}


class qMRMLSegmentEditorWidget(mrml_widgets.qMRMLWidget):
    """Shows the segments of a segmentation with their colors and keeps which one is current."""

    currentSegmentIDChanged = Signal(str)
    segmentationNodeSelectorVisible = qt.stored(bool, True, "_refresh")
    sourceVolumeNodeSelectorVisible = qt.stored(bool, True, "_refresh")
    switchToSegmentationsButtonVisible = qt.stored(bool, True, "_refresh")
    specifyGeometryButtonVisible = qt.stored(bool, True, "_refresh")
    show3DButtonVisible = qt.stored(bool, True, "_refresh")
    maskingSectionVisible = qt.stored(bool, True, "_refresh")
    unorderedEffectsVisible = qt.stored(bool, True, "_showEffects")
    effectColumnCount = qt.stored(int, 2, "_showEffects")
    maximumNumberOfUndoStates = qt.stored(int, 10, "_limitUndo")

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._editor = slicer.vtkSlicerSegmentEditorLogic()
        self._editor.SetMRMLApplicationLogic(slicer.app.applicationLogic())
        self._editor.AddObserver(self._editor.SegmentationHistoryChangedEvent, self._refreshUndo)
        self._observed: list[tuple[Any, int]] = []
        self._shortcuts: list[Any] = []
        self.areViewsObserved = False
        self.effectListUpdates = 0
        self._list, self._effects = qt.QListWidget(), qt.QWidget()
        self._list.setMaximumHeight(84)
        self._list.setAccessibleName("Segments")
        self._list.currentItemChanged.connect(self._onCurrent)
        layout, grid, buttons = qt.QVBoxLayout(self), qt.QGridLayout(self._effects), qt.QHBoxLayout()
        self._buttons = {name: qt.QPushButton(name) for name in ("Add", "Remove", "Undo", "Redo")}
        actions = (self._addSegment, self._removeSegment, self.undo, self.redo)
        for button, action in zip(self._buttons.values(), actions, strict=True):
            button.clicked.connect(action)
            buttons.addWidget(button)
        self._grid, self._order = grid, ()
        self._buttonOf = {effect: qt.QPushButton(effect, self._effects) for effect in _EFFECTS}
        for button in self._buttonOf.values():
            button.setCheckable(True)
        for button in (*self._buttonOf.values(), *self._buttons.values()):
            button.setSizePolicy(qt.QSizePolicy.Ignored, qt.QSizePolicy.Fixed)
            button.setMinimumWidth(_LEAST_WIDTH)
        self._showEffects()
        for each in (layout, grid):
            each.setContentsMargins(0, 0, 0, 0)
        layout.addLayout(buttons)
        layout.addWidget(self._list)
        layout.addWidget(self._effects)
        self._refresh()

    def setEffectNameOrder(self, names: Any) -> None:
        self._order = tuple(names)
        self._showEffects()

    def _showEffects(self) -> None:
        """Show the effects in their order, and those that are not in it if they are wanted."""
        others = [each for each in _EFFECTS if each not in self._order] if self.unorderedEffectsVisible else []
        shown = [*filter(_EFFECTS.__contains__, self._order), *others]
        for effect, button in self._buttonOf.items():
            self._grid.removeWidget(button)
            button.setVisible(effect in shown)
            if effect in shown:
                position = shown.index(effect)
                self._grid.addWidget(button, position // self.effectColumnCount, position % self.effectColumnCount)

    def setMRMLScene(self, scene: Any) -> None:
        """The real one's hidden selector chooses a segmentation once there is one, and needs its node for that."""
        if self._editor.GetMRMLScene() is not scene:
            self._editor.SetMRMLScene(scene)
            scene.AddObserver(scene.NodeAddedEvent, self._onNodeAdded)

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def _onNodeAdded(self, _scene: Any, _event: str, node: Any) -> None:
        isAlive = shiboken6.isValid(self)  # an observer outlives a deleted widget
        if isAlive and node.IsA("vtkMRMLSegmentationNode") and self._editor.GetSegmentEditorNode() is None:
            self._editor.SetSegmentationNode(node)  # an error of VTK's

    def setMRMLSegmentEditorNode(self, node: Any) -> None:
        self._editor.SetSegmentEditorNode(node)
        self._follow()

    def mrmlSegmentEditorNode(self) -> Any:
        return self._editor.GetSegmentEditorNode()

    def setSegmentationNode(self, node: Any) -> None:
        if self._editor.GetSegmentEditorNode() is None and node is None:
            return
        self._editor.SetSegmentationNode(node)
        self._follow()

    def segmentationNode(self) -> Any:
        return self._editor.GetSegmentationNode()

    def setSourceVolumeNode(self, node: Any) -> None:
        self._editor.SetSourceVolumeNode(node)
        self._refresh()

    def sourceVolumeNode(self) -> Any:
        return self._editor.GetSourceVolumeNode()

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

    def saveStateForUndo(self) -> None:
        self._editor.SaveStateForUndo()

    def undo(self) -> None:
        self._editor.Undo()

    def redo(self) -> None:
        self._editor.Redo()

    def updateEffectList(self) -> None:
        self.effectListUpdates += 1

    def setupViewObservations(self) -> None:
        self.areViewsObserved = True

    def removeViewObservations(self) -> None:
        self.areViewsObserved = False

    @property
    def areShortcutsInstalled(self) -> bool:
        return bool(self._shortcuts)

    def installKeyboardShortcuts(self) -> None:
        """Install the keys of undo and redo on the window; a second time, Qt would call them ambiguous."""
        self.uninstallKeyboardShortcuts()
        for keys, action in _KEYS.items():
            shortcut = qt.QShortcut(self.window())
            shortcut.setKey(qt.QKeySequence(keys))
            shortcut.activated.connect(getattr(self, action))
            self._shortcuts.append(shortcut)

    def uninstallKeyboardShortcuts(self) -> None:
        for shortcut in self._shortcuts:
            shortcut.setParent(None)
        self._shortcuts = []

    def _limitUndo(self) -> None:
        self._editor.SetMaximumNumberOfUndoStates(self.maximumNumberOfUndoStates)

    def _addSegment(self) -> None:
        self.saveStateForUndo()
        self._editor.AddEmptySegment()

    def _removeSegment(self) -> None:
        self._editor.SetCurrentSegmentID(self.currentSegmentID())
        self.saveStateForUndo()
        self._editor.RemoveSelectedSegment()

    def _follow(self) -> None:
        for observed, tag in self._observed:
            observed.RemoveObserver(tag)
        node = self.segmentationNode()
        events = (slicer.vtkSegmentation.SegmentModified, slicer.vtkSegmentation.SegmentAdded)
        events = (*events, slicer.vtkSegmentation.SegmentRemoved) if node is not None else ()
        self._observed = [
            (node.GetSegmentation(), node.GetSegmentation().AddObserver(event, self._refresh)) for event in events
        ]
        self._refresh()

    def _refresh(self, *_: object) -> None:
        current = self.currentSegmentID()
        self._list.clear()
        segmentation = self.segmentationNode().GetSegmentation() if self.segmentationNode() else None
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
        for name in ("Add", "Remove"):
            self._buttons[name].setEnabled(segmentation is not None)
        self._effects.setEnabled(segmentation is not None and self.sourceVolumeNode() is not None)
        self._refreshUndo()

    def _refreshUndo(self, *_: object) -> None:
        self._buttons["Undo"].setEnabled(self._editor.CanUndo())
        self._buttons["Redo"].setEnabled(self._editor.CanRedo())

    def _onCurrent(self, *_: object) -> None:
        self.currentSegmentIDChanged.emit(self.currentSegmentID())


qt.QUiLoader.widgets["qMRMLSegmentEditorWidget"] = qMRMLSegmentEditorWidget
slicer.qMRMLSegmentEditorWidget = qMRMLSegmentEditorWidget
