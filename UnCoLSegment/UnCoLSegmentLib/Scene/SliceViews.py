"""Which slice of a volume the slice views show, and how to make them show another one. Slice nodes only, no Qt."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import slicer.util

from uncol.core.volume import Axis
from UnCoLSegmentLib.Scene import Grids
from UnCoLSegmentLib.Scene.Grids import Matrix

_AXES: tuple[Axis, ...] = ("I", "J", "K")
_PLANE_NORMALS = {"Axial": (0, 0, 1), "Coronal": (0, 1, 0), "Sagittal": (1, 0, 0)}
_DIRECTION_LETTERS = ("RL", "AP", "SI")


def sliceNodes() -> list[Any]:
    """Return the nodes of all slice views."""
    return slicer.util.getNodesByClass("vtkMRMLSliceNode")


def compositeNodes() -> list[Any]:
    """Return the nodes that say which volumes the slice views show."""
    return slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")


def shownSlice(volumeNode: Any, orientation: str) -> tuple[Axis, int] | None:
    """Return the volume's slice in the middle of the view of an orientation.

    Args:
        volumeNode: Oblique and under a linear transform as it may be.
        orientation: "Axial", "Coronal" or "Sagittal".

    Returns:
        The voxel index that counts the slices, and the slice's number; None if no view shows one.
    """
    views = [node for node in sliceNodes() if node.GetOrientation() == orientation]
    if not views or volumeNode.GetImageData() is None:
        return None
    sliceToRAS = slicer.util.arrayFromVTKMatrix(views[0].GetSliceToRAS())
    worldFromIJK = worldFromVoxels(volumeNode)
    axis = int(np.argmax(np.abs(_directions(worldFromIJK).T @ sliceToRAS[:3, 2])))
    index = round(float((np.linalg.inv(worldFromIJK) @ sliceToRAS[:, 3])[axis]))
    count = volumeNode.GetImageData().GetDimensions()[axis]
    return (_AXES[axis], index) if 0 <= index < count else None


def planeOf(volumeNode: Any, axis: Axis) -> str:
    """Return the orientation of the slices that a voxel index counts: "Axial", "Coronal" or "Sagittal"."""
    direction = _directions(worldFromVoxels(volumeNode))[:, _AXES.index(axis)]
    return max(_PLANE_NORMALS, key=lambda plane: abs(direction @ _PLANE_NORMALS[plane]))


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
    """Let all slice views, oblique ones too, cut through a world point (R, A, S) in mm."""
    for node in sliceNodes():
        node.JumpSliceByOffsetting(*ras)


def worldFromVoxels(volumeNode: Any) -> Matrix:
    """Return the matrix (4, 4) from voxel indices to RAS in mm, with linear transforms above the volume."""
    transform = volumeNode.GetParentTransformNode()
    isLinear = transform is not None and transform.IsTransformToWorldLinear()
    above = Grids.filledBy(transform.GetMatrixTransformToWorld) if isLinear else np.eye(4)
    return above @ Grids.ijkToRAS(volumeNode)


def _middle(volumeNode: Any, axis: Axis, index: int) -> list[float]:
    middle = (np.array(volumeNode.GetImageData().GetDimensions()) - 1) / 2
    middle[_AXES.index(axis)] = index
    return middle.tolist()


def _directions(worldFromIJK: Matrix) -> Matrix:
    axes = worldFromIJK[:3, :3]
    return axes / np.linalg.norm(axes, axis=0)
