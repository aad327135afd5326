"""A box (ROI) that the user places with two clicks in a slice view, or leaves as it was."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import qt
import slicer

from UnCoLSegmentLib.Scene.Bridge import isPlaced


class BoxPlacing:
    """Puts the views into Slicer's place mode and follows until that ends: with the second click, Escape or elsewhere.

    `vtkSlicerMarkupsLogic::StartPlaceMode` would let the clicks place a point list: in Slicer 5.10 to 5.13 it sets the
    class to place anew, whatever node is active.

    Args:
        window: A widget in the window whose Escape key ends placing.
        onChanged: Called when placing begins and when it has ended.
    """

    def __init__(self, window: qt.QWidget, onChanged: Callable[[], None]) -> None:
        self._window, self._onChanged = window, onChanged
        self._roi: Any = None
        self._before: Any = None
        self._escape: qt.QShortcut | None = None
        self._interaction = slicer.mrmlScene.GetNodeByID("vtkMRMLInteractionNodeSingleton")
        changed = self._interaction.InteractionModeChangedEvent
        self._tag = self._interaction.AddObserver(changed, self._onModeChanged)

    @property
    def isActive(self) -> bool:
        """Whether the next clicks in a view place a box."""
        return self._roi is not None

    def start(self, roi: Any) -> None:
        """Let the next two clicks be opposite corners of a box; a box that is not placed to its end stays as it was."""
        self.stop()
        self._before = slicer.vtkMRMLMarkupsROINode()
        self._before.CopyContent(roi)
        roi.RemoveAllControlPoints()
        slicer.modules.markups.logic().SetActiveList(roi)
        self._interaction.SetPlaceModePersistence(0)
        self._interaction.SetCurrentInteractionMode(self._interaction.Place)
        self._roi = roi
        self._escape = qt.QShortcut(self._window.window())
        self._escape.setContext(qt.Qt.ApplicationShortcut)
        self._escape.setKey(qt.QKeySequence("Escape"))
        self._escape.connect("activated()", self.stop)
        self._onChanged()

    def stop(self) -> None:
        """End placing, if it is under way."""
        if self.isActive:
            self._interaction.SetCurrentInteractionMode(self._interaction.ViewTransform)
            self._finish()

    def close(self) -> None:
        """End placing and follow no more; nobody is told."""
        self._onChanged = lambda: None
        self.stop()
        self._interaction.RemoveObserver(self._tag)

    def _onModeChanged(self, _interaction: Any, _event: str) -> None:
        """Wait for the views: when place mode ends, they first take back the point under the mouse."""
        if self.isActive:
            qt.QTimer.singleShot(0, self._finish)

    def _finish(self) -> None:
        if not self.isActive or self._interaction.GetCurrentInteractionMode() == self._interaction.Place:
            return
        roi, self._roi = self._roi, None
        if not isPlaced(roi) and roi.GetScene() is not None:
            roi.CopyContent(self._before)
        self._before = None
        self._escape.deleteLater()
        self._onChanged()
