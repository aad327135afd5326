"""Nodes for tests, made and read with Slicer's own functions, so that our code is not checked against itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import slicer
import slicer.util
import vtk
from numpy.typing import NDArray

from uncol.core.volume import Volume

TURN = np.array([[0, -1, 0, 0], [1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]], dtype=float)
"""A quarter turn about S: R becomes A, A becomes L."""


def addVolume(volume: Volume, name: str = "CT") -> Any:
    """Add a scalar volume node."""
    return slicer.util.addVolumeFromArray(volume.voxels, ijkToRAS=volume.ijk_to_ras, name=name)


def addTransform(matrix: NDArray[np.float64], *nodes: Any) -> Any:
    """Put nodes under a linear transform."""
    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    transform.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(matrix))
    for node in nodes:
        node.SetAndObserveTransformNodeID(transform.GetID())
    return transform


def addBend(*nodes: Any) -> Any:
    """Put nodes under a transform that is not linear: a thin-plate spline that moves one of five landmarks."""
    points = np.array([[0, 0, 0], [100, 0, 0], [0, 100, 0], [0, 0, 100], [40, 40, 40]], dtype=float)
    moved = points + np.array([[0, 0, 0]] * 4 + [[9, 0, 0]])
    spline = vtk.vtkThinPlateSplineTransform()
    spline.SetBasisToR()
    spline.SetSourceLandmarks(_points(points))
    spline.SetTargetLandmarks(_points(moved))
    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTransformNode", "bend")
    transform.SetAndObserveTransformToParent(spline)
    for node in nodes:
        node.SetAndObserveTransformNodeID(transform.GetID())
    return transform


def addSegmentation(masks: Mapping[str, NDArray[Any]], volumeNode: Any, name: str = "Segmentation") -> Any:
    """Add a segmentation on a volume's grid; the names are segment IDs, too."""
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", name)
    node.CreateDefaultDisplayNodes()
    node.SetReferenceImageGeometryParameterFromVolumeNode(volumeNode)
    for segmentId, mask in masks.items():
        node.GetSegmentation().AddEmptySegment(segmentId, segmentId)
        if mask.any():
            paint(node, segmentId, mask, volumeNode)
    return node


def paint(segmentationNode: Any, segmentId: str, mask: NDArray[Any], volumeNode: Any) -> None:
    """Make a mask (K, J, I) on a volume's grid the whole content of a segment."""
    voxels = np.ascontiguousarray(mask, dtype=np.uint8)
    slicer.util.updateSegmentBinaryLabelmapFromArray(voxels, segmentationNode, segmentId, volumeNode)


def maskOf(segmentationNode: Any, segmentId: str, volumeNode: Any) -> NDArray[np.bool_]:
    """Return a segment's voxels (K, J, I) on a volume's grid, resampled by Slicer."""
    voxels = slicer.util.arrayFromSegmentBinaryLabelmap(segmentationNode, segmentId, volumeNode)
    mask: NDArray[np.bool_] = voxels > 0
    return mask


def segmentOf(segmentationNode: Any, segmentId: str) -> Any:
    """Return a segment."""
    return segmentationNode.GetSegmentation().GetSegment(segmentId)


def worldOf(volumeNode: Any, ijk: NDArray[Any]) -> NDArray[np.float64]:
    """Return the world points (R, A, S) in mm of voxel indices (..., 3) of a volume, through its parent transform."""
    ijkToRAS, toWorld = vtk.vtkMatrix4x4(), vtk.vtkMatrix4x4()
    volumeNode.GetIJKToRASMatrix(ijkToRAS)
    if volumeNode.GetParentTransformNode():
        volumeNode.GetParentTransformNode().GetMatrixTransformToWorld(toWorld)
    matrix = slicer.util.arrayFromVTKMatrix(toWorld) @ slicer.util.arrayFromVTKMatrix(ijkToRAS)
    points: NDArray[np.float64] = np.concatenate([ijk, np.ones((*np.shape(ijk)[:-1], 1))], axis=-1) @ matrix.T
    return points[..., :3]


def _points(points: NDArray[np.float64]) -> Any:
    result = vtk.vtkPoints()
    for point in points:
        result.InsertNextPoint(*point)
    return result
