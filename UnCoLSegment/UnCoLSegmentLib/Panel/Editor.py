"""The Segment Editor in the panel, trimmed to what annotating needs; its Undo is the only one."""

from __future__ import annotations

from typing import Any

import slicer

from UnCoLSegmentLib.ParameterNode import ParameterNode

_EFFECTS = ("Paint", "Erase", "Draw", "Level tracing", "Scissors", "Fill between slices")
"""What is needed to paint slices; the module Segment Editor has all others and works on the same segmentation."""


class Editor:
    """Keeps the Segment Editor on what is chosen in the panel, and its keys and views while the panel is open.

    Args:
        ui: The panel's widgets by name.
    """

    def __init__(self, ui: Any) -> None:
        self.ui, self._effects = ui, slicer.qSlicerSegmentEditorEffectFactory.instance()
        self.takeParameters()
        ui.segmentEditor.setEffectNameOrder(_EFFECTS)
        self._effects.connect("effectRegistered(QString)", self._updateEffects)

    def takeParameters(self) -> None:
        """Give the editor its own node of the scene: it must have one before a segmentation comes."""
        self.ui.segmentEditor.setMRMLSegmentEditorNode(_parametersInScene())
        self.ui.segmentEditor.setSegmentationNode(None)  # one that came with the scene would keep the undo of the last

    def follow(self, parameters: ParameterNode | None) -> None:
        """Edit the chosen segmentation over the chosen volume."""
        editor = self.ui.segmentEditor
        segmentation = parameters.segmentation if parameters else None
        volume = parameters.inputVolume if parameters else None
        if editor.segmentationNode() is not segmentation:
            editor.setSegmentationNode(segmentation)
        if segmentation is not None and editor.sourceVolumeNode() is not volume:
            editor.setSourceVolumeNode(volume)

    def saveForUndo(self, parameters: ParameterNode | None) -> None:
        """Let the editor's Undo come back to what is there now."""
        self.follow(parameters)
        self.ui.segmentEditor.saveStateForUndo()

    def forgetScene(self) -> None:
        """Let go of the nodes of a scene that is being closed."""
        self.ui.segmentEditor.setSegmentationNode(None)
        self.ui.segmentEditor.setMRMLSegmentEditorNode(None)

    def enter(self) -> None:
        """The user comes: take views and keys."""
        self.ui.segmentEditor.setupViewObservations()
        self.ui.segmentEditor.installKeyboardShortcuts()

    def leave(self) -> None:
        """Let go of views and keys: an editor that keeps its keys makes those of the next one ambiguous."""
        self.ui.segmentEditor.setActiveEffect(None)
        self.ui.segmentEditor.uninstallKeyboardShortcuts()
        self.ui.segmentEditor.removeViewObservations()

    def disconnect(self) -> None:
        """Follow the effects no more."""
        self._effects.disconnect("effectRegistered(QString)", self._updateEffects)

    def _updateEffects(self) -> None:
        """Effects may come after this panel was made, as when this is the startup module."""
        self.ui.segmentEditor.updateEffectList()


def _parametersInScene() -> Any:
    """Return the Segment Editor's parameters for this panel, kept apart from those of the Segment Editor module."""
    tag = "UnCoLSegmentEditor"
    node = slicer.mrmlScene.GetSingletonNode(tag, "vtkMRMLSegmentEditorNode")
    if node is None:
        node = slicer.mrmlScene.CreateNodeByClass("vtkMRMLSegmentEditorNode")
        node.UnRegister(None)
        node.SetSingletonTag(tag)
        node = slicer.mrmlScene.AddNode(node)
    return node
