"""An uncertainty map in the foreground of the slice views that show its volume, and back to what was there. No Qt.

What was in the foreground before is kept on the composite node itself, so that it survives saving and loading.
"""

from __future__ import annotations

from typing import Any

import slicer
import slicer.util
import vtk

from UnCoLSegmentLib.Scene.Bridge import UNCERTAINTY_ATTRIBUTE

_OPACITY_ATTRIBUTE = "UnCoL.OpacityBefore"
"""On a composite node that got a map: how opaque its foreground was before."""
_BEFORE_ROLE, _MAP_ROLE = "UnCoL.ForegroundBefore", "UnCoL.Map"
"""References of such a composite node: to what was in its foreground, and to the map that it got."""


class Overlay:
    """Keeps a map over its volume: in all slice views with the volume in the background, also in those that come later.

    A view in which the user puts something else over the volume is left alone until the map is shown anew.

    Args:
        scene: The MRML scene.
    """

    def __init__(self, scene: Any) -> None:
        self._scene = scene
        self._volume: Any = None
        self._map: Any = None
        self._opacity: float | None = None
        self._sceneTag = scene.AddObserver(scene.NodeAddedEvent, self._onNodeAdded)
        self._tags: dict[str, int] = {}  # by ID, because a reference would keep a node that was removed
        for layers in _composites():
            self._follow(layers)

    def show(self, volumeNode: Any, mapNode: Any, opacity: float) -> None:
        """Lay a map over a volume, or only change how opaque it is.

        Args:
            volumeNode: The image.
            mapNode: The map.
            opacity: 0 hides the map, 1 hides the image beneath it.
        """
        hasChanged = opacity != self._opacity and self._opacity is not None
        self._volume, self._map, self._opacity = volumeNode, mapNode, opacity
        for layers in _composites():
            self._lay(layers)
            if hasChanged and layers.GetForegroundVolumeID() == mapNode.GetID():
                layers.SetForegroundOpacity(opacity)

    def hide(self) -> None:
        """Give all views back what was in their foreground before."""
        self._volume = self._map = self._opacity = None
        for layers in _composites():
            _lift(layers)

    def forget(self) -> None:
        """Let go of the nodes of a scene that is being closed."""
        self._volume = self._map = self._opacity = None

    def close(self) -> None:
        """Follow the scene no more; the map stays where it is."""
        self._scene.RemoveObserver(self._sceneTag)
        for nodeId, tag in self._tags.items():
            node = self._scene.GetNodeByID(nodeId)
            if node is not None:
                node.RemoveObserver(tag)

    def _follow(self, layers: Any) -> None:
        self._tags[layers.GetID()] = layers.AddObserver(vtk.vtkCommand.ModifiedEvent, self._onModified)

    def _lay(self, layers: Any) -> None:
        if layers.GetBackgroundVolumeID() != self._volume.GetID():
            _lift(layers)
        elif layers.GetNodeReference(_MAP_ROLE) is not self._map:
            modified = layers.StartModify()
            _remember(layers)
            layers.SetNodeReferenceID(_MAP_ROLE, self._map.GetID())
            layers.SetForegroundVolumeID(self._map.GetID())
            layers.SetForegroundOpacity(self._opacity)
            layers.EndModify(modified)

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def _onNodeAdded(self, _scene: Any, _event: str, node: Any) -> None:
        if node.IsA("vtkMRMLSliceCompositeNode"):
            self._follow(node)
            self._onModified(node, "")

    def _onModified(self, layers: Any, _event: str) -> None:
        if self._map is None or self._map.GetScene() is not self._scene:
            return
        self._lay(layers)
        legend = slicer.vtkSlicerColorLogic.GetColorLegendDisplayNode(self._map)
        if legend is not None:
            legend.Modified()  # a view looks only then whether it still shows the map


def _composites() -> list[Any]:
    return slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")


def _remember(layers: Any) -> None:
    """Note what is in the foreground, unless that is a map of ours."""
    if layers.GetAttribute(_OPACITY_ATTRIBUTE) is not None:
        return
    before = layers.GetScene().GetNodeByID(layers.GetForegroundVolumeID() or "")
    isMap = before is not None and before.GetAttribute(UNCERTAINTY_ATTRIBUTE) is not None
    layers.SetAttribute(_OPACITY_ATTRIBUTE, str(layers.GetForegroundOpacity()))
    layers.SetNodeReferenceID(_BEFORE_ROLE, before.GetID() if before is not None and not isMap else None)


def _lift(layers: Any) -> None:
    """Put back what was in the foreground, unless the user has put something else there since."""
    opacity = layers.GetAttribute(_OPACITY_ATTRIBUTE)
    if opacity is None:
        return
    before, mapNode = layers.GetNodeReference(_BEFORE_ROLE), layers.GetNodeReference(_MAP_ROLE)
    isOurs = layers.GetForegroundVolumeID() in (None, "", mapNode.GetID() if mapNode is not None else None)
    modified = layers.StartModify()
    layers.RemoveAttribute(_OPACITY_ATTRIBUTE)
    layers.SetNodeReferenceID(_BEFORE_ROLE, None)
    layers.SetNodeReferenceID(_MAP_ROLE, None)
    if isOurs:
        layers.SetForegroundVolumeID(before.GetID() if before is not None else None)
        layers.SetForegroundOpacity(float(opacity))
    layers.EndModify(modified)
