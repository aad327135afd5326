"""Which slice of a volume the slice views show, and how to make them show another one. Slice nodes only, no Qt."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import slicer
import slicer.util

from uncol.core.volume import Axis, Plane, Volume, plane_of_axis, view_slices
from UnCoLSegmentLib.Scene import Grids
from UnCoLSegmentLib.Scene.Grids import Matrix

_AXES: tuple[Axis, ...] = ("I", "J", "K")
_DIRECTION_LETTERS = ("RL", "AP", "SI")
_LEAST_COSINE = 0.9
"""A view whose normal is nearer to that of the volume's slices shows them; it may be turned by up to 26 degrees."""
_MOST_DRIFT_VOX = 0.5
"""A view that strays no further than this from a slice, anywhere in the volume, is aligned with it."""


def mappedViews() -> list[Any]:
    """Return the nodes of the slice views in the layout; the scene keeps others, of layouts that were shown before."""
    return [node for node in slicer.util.getNodesByClass("vtkMRMLSliceNode") if node.IsMappedInLayout()]


def layersOf(view: Any) -> Any:
    """Return the composite node of a slice view: what it shows in background and foreground."""
    return slicer.vtkMRMLSliceLogic.GetSliceCompositeNode(view)


def shownVolumes() -> list[Any]:
    """Return the volumes in the background of the slice views in the layout."""
    scene = slicer.mrmlScene
    shown = [scene.GetNodeByID(layersOf(view).GetBackgroundVolumeID() or "") for view in mappedViews()]
    return [node for node in shown if node is not None]


def showVolume(volumeNode: Any, applicationLogic: Any) -> None:
    """Put a volume into the background of all slice views in the layout and fit them to it."""
    for view in mappedViews():
        layersOf(view).SetBackgroundVolumeID(volumeNode.GetID())
        applicationLogic.GetSliceLogic(view).FitSliceToBackground()


def shownSlice(volumeNode: Any, plane: Plane) -> tuple[Axis, int] | None:
    """Return the volume's slice in the middle of the view that the user looks at.

    That is a view in the layout, nearly parallel to the slices of that plane, in which a slice of the volume lies. If
    there are several: one that shows the volume rather than one that does not, and of these the one moved last.

    Args:
        volumeNode: Oblique and under a linear transform as it may be.
        plane: "axial", "coronal" or "sagittal": the volume's own plane that is nearest to it.

    Returns:
        The voxel index that counts the slices, and the slice's number; None if no view shows one.
    """
    if volumeNode.GetImageData() is None:
        return None
    axis = axisOf(volumeNode, plane)
    count = volumeNode.GetImageData().GetDimensions()[_AXES.index(axis)]
    shown = {view: _sliceIn(view, volumeNode, axis) for view in mappedViews()}
    candidates = [view for view, index in shown.items() if index is not None and 0 <= index < count]
    if not candidates:
        return None
    view = max(candidates, key=lambda each: (_shows(each, volumeNode), each.GetSliceToRAS().GetMTime()))
    index = shown[view]
    assert index is not None  # or it was no candidate
    return axis, index


def sliceIn(view: Any, volumeNode: Any) -> tuple[Axis, int] | None:
    """Return the slice of a volume in the middle of a view; None if that shows another volume or cuts across slices."""
    if volumeNode.GetImageData() is None or not _shows(view, volumeNode):
        return None
    found = ((axis, _sliceIn(view, volumeNode, axis)) for axis in _AXES)
    return next(((axis, index) for axis, index in found if index is not None), None)


def axisOf(volumeNode: Any, plane: Plane) -> Axis:
    """Return the voxel index that counts the volume's slices of a plane."""
    return view_slices(_inWorld(volumeNode), plane).slice_axis


def unalignedViews(volumeNode: Any) -> list[Any]:
    """Return the views in the layout that show a volume and cut across its slices.

    A stroke of the brush there paints slivers of many slices.
    """
    if volumeNode.GetImageData() is None:
        return []
    gradients = np.linalg.inv(worldFromVoxels(volumeNode))[:3, :3]
    reach_mm = np.linalg.norm(_sidesOf(volumeNode)) / 2
    return [
        view
        for view in mappedViews()
        if _shows(view, volumeNode)
        and np.abs(gradients @ _sliceToRAS(view)[:3, :2]).sum(axis=1).min() * reach_mm > _MOST_DRIFT_VOX
    ]


def rotateToVolume(volumeNode: Any) -> None:
    """Turn the views that cut across the slices of a volume so that each shows one slice."""
    for view in unalignedViews(volumeNode):
        view.RotateToVolumePlane(volumeNode)


def planeOf(volumeNode: Any, axis: Axis) -> str:
    """Return the orientation of the slices that a voxel index counts: "Axial", "Coronal" or "Sagittal"."""
    return plane_of_axis(_inWorld(volumeNode), axis).capitalize()


def positionText(volumeNode: Any, axis: Axis, index: int) -> str:
    """Return where a slice lies in the patient, as the slice views say it: "S 12.5 mm"."""
    place = (worldFromVoxels(volumeNode) @ [*_middle(volumeNode, axis, index), 1])[:3]
    along = int(np.argmax(np.abs(_directions(worldFromVoxels(volumeNode))[:, _AXES.index(axis)])))
    positive, negative = _DIRECTION_LETTERS[along]
    return f"{positive if place[along] >= 0 else negative} {abs(place[along]):.1f} mm"


def middleOfSlice(volumeNode: Any, axis: Axis, index: int) -> tuple[float, float, float]:
    """Return the world point (R, A, S) in mm in the middle of a slice, to jump to; parent transforms are applied."""
    return Grids.toWorld(volumeNode, _middle(volumeNode, axis, index))


def jumpTo(ras: Sequence[float]) -> None:
    """Let all slice views, oblique ones too, cut through a world point (R, A, S) in mm; what is in view stays so."""
    slicer.vtkMRMLSliceNode.JumpAllSlices(slicer.mrmlScene, *ras, slicer.vtkMRMLSliceNode.OffsetJumpSlice)


def centerOn(ras: Sequence[float]) -> None:
    """Bring a world point (R, A, S) in mm into the middle of all slice views, and the crosshair there."""
    slicer.vtkMRMLSliceNode.JumpAllSlices(slicer.mrmlScene, *ras, slicer.vtkMRMLSliceNode.CenteredJumpSlice)
    for crosshair in slicer.util.getNodesByClass("vtkMRMLCrosshairNode"):
        crosshair.SetCrosshairRAS(*ras)


def worldFromVoxels(volumeNode: Any) -> Matrix:
    """Return the matrix (4, 4) from voxel indices to RAS in mm, with linear transforms above the volume."""
    transform = volumeNode.GetParentTransformNode()
    isLinear = transform is not None and transform.IsTransformToWorldLinear()
    above = Grids.filledBy(transform.GetMatrixTransformToWorld) if isLinear else np.eye(4)
    return above @ Grids.ijkToRAS(volumeNode)


def _sliceIn(view: Any, volumeNode: Any, axis: Axis) -> int | None:
    """Return the number of the slice in the middle of a view, in the volume or beyond; None if it lies otherwise."""
    toVoxels, sliceToRAS = np.linalg.inv(worldFromVoxels(volumeNode)), _sliceToRAS(view)
    normal = toVoxels[_AXES.index(axis), :3]
    if abs(normal @ sliceToRAS[:3, 2]) < _LEAST_COSINE * np.linalg.norm(normal):
        return None
    return round(float((toVoxels @ sliceToRAS[:, 3])[_AXES.index(axis)]))


def _shows(view: Any, volumeNode: Any) -> bool:
    layers = layersOf(view)
    return volumeNode.GetID() in (layers.GetBackgroundVolumeID(), layers.GetForegroundVolumeID())


def _sliceToRAS(view: Any) -> Matrix:
    """Return the matrix (4, 4) of a view: to the right, up, its normal, and the middle of the view in RAS in mm."""
    return slicer.util.arrayFromVTKMatrix(view.GetSliceToRAS())


def _inWorld(volumeNode: Any) -> Volume:
    """Return the grid of a volume as it lies in the world, without its voxels."""
    shape_kji = volumeNode.GetImageData().GetDimensions()[::-1]
    return Volume(np.broadcast_to(np.uint8(0), shape_kji), worldFromVoxels(volumeNode))


def _sidesOf(volumeNode: Any) -> Matrix:
    """Return the length of the volume along each voxel index in mm (3,)."""
    sides: Matrix = np.linalg.norm(worldFromVoxels(volumeNode)[:3, :3], axis=0)
    return sides * volumeNode.GetImageData().GetDimensions()


def _middle(volumeNode: Any, axis: Axis, index: int) -> list[float]:
    middle = (np.array(volumeNode.GetImageData().GetDimensions()) - 1) / 2
    middle[_AXES.index(axis)] = index
    return middle.tolist()


def _directions(worldFromIJK: Matrix) -> Matrix:
    axes = worldFromIJK[:3, :3]
    return axes / np.linalg.norm(axes, axis=0)
