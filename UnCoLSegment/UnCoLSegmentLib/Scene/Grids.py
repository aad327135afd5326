"""Voxel grids in the scene: where a node's voxels lie, how two grids relate, and one grid's voxels read on another.

Arrays are (K, J, I), matrices turn voxel indices (I, J, K, 1) into a node's own RAS coordinates in mm. A parent
transform stands between those and the world.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import slicer
import vtk
from numpy.typing import NDArray
from slicer.i18n import tr as _
from vtk.util.numpy_support import numpy_to_vtk, vtk_to_numpy

from uncol.core.errors import GeometryError

Region = tuple[slice, slice, slice]
"""A block of a grid, as slices along K, J and I with a start and a stop; either may lie outside the array."""

Matrix = NDArray[np.float64]

_SAME_VOXEL_TOLERANCE = 0.01
"""Two grids whose voxel centers are nearer than this, in voxels, are one grid."""


def ijkToRAS(volumeNode: Any) -> Matrix:
    """Return the matrix of a volume node, without its parent transform."""
    matrix = vtk.vtkMatrix4x4()
    volumeNode.GetIJKToRASMatrix(matrix)
    return asArray(matrix)


def asArray(matrix: Any) -> Matrix:
    """Return a vtkMatrix4x4 as an array (4, 4)."""
    return np.array([[matrix.GetElement(row, column) for column in range(4)] for row in range(4)])


def asMatrix(array: Matrix) -> Any:
    """Return an array (4, 4) as vtkMatrix4x4."""
    matrix = vtk.vtkMatrix4x4()
    matrix.DeepCopy(np.asarray(array, dtype=np.float64).ravel().tolist())
    return matrix


def matrixBetween(source: Any, target: Any) -> Matrix:
    """Return the matrix from one node's own RAS coordinates to another's, through all parent transforms.

    Args:
        source: Node where the points are given.
        target: Node where they are wanted.

    Raises:
        GeometryError: If a non-linear transform lies between the two. One that is above both does no harm.
    """
    fromHere, toThere = source.GetParentTransformNode(), target.GetParentTransformNode()
    if not _isLinearBetween(fromHere, toThere):
        raise GeometryError(_nonLinearText(source, target))
    matrix = vtk.vtkMatrix4x4()
    slicer.vtkMRMLTransformNode.GetMatrixTransformBetweenNodes(fromHere, toThere, matrix)
    return asArray(matrix)


def _isLinearBetween(first: Any, second: Any) -> bool:
    """Ask without asking for the matrix, because MRML reports an error where there is none; None is the world."""
    if first is None or second is None:
        other = first or second
        return other is None or bool(other.IsTransformToWorldLinear())
    return bool(first.IsTransformToNodeLinear(second))


def _nonLinearText(source: Any, target: Any) -> str:
    message = _(
        'A non-linear transform lies between "{source}" and "{target}". '
        "Harden it in the Transforms module, or put both under the same transform, then try again."
    )
    return message.format(source=source.GetName(), target=target.GetName())


def translated(matrix: Matrix, first_ijk: tuple[int, ...]) -> Matrix:
    """Return the matrix of the same grid with voxel `first_ijk` counted as (0, 0, 0)."""
    shifted = matrix.copy()
    shifted[:3, 3] = matrix[:3, :3] @ np.array(first_ijk, dtype=np.float64) + matrix[:3, 3]
    return shifted


def wholeRegion(shape_kji: tuple[int, ...]) -> Region:
    """Return the region of all voxels of an array."""
    return slice(0, shape_kji[0]), slice(0, shape_kji[1]), slice(0, shape_kji[2])


def shapeOf(region: Region) -> tuple[int, int, int]:
    """Return how many voxels a region has along K, J and I; 0 where its stop does not lie behind its start."""
    k, j, i = (max(0, each.stop - each.start) for each in region)
    return k, j, i


def isEmpty(region: Region) -> bool:
    """Say whether a region holds no voxel."""
    return 0 in shapeOf(region)


def unionOf(first: Region | None, second: Region | None) -> Region | None:
    """Return the smallest region that holds both; None stands for no voxels."""
    if first is None or second is None:
        return second if first is None else first
    k, j, i = (slice(min(a.start, b.start), max(a.stop, b.stop)) for a, b in zip(first, second, strict=True))
    return k, j, i


def intersectionOf(first: Region, second: Region) -> Region:
    """Return the voxels that are in both, possibly none."""
    k, j, i = (slice(max(a.start, b.start), min(a.stop, b.stop)) for a, b in zip(first, second, strict=True))
    return k, j, i


def regionOn(matrix: Matrix, shape_kji: tuple[int, ...]) -> Region:
    """Return the region of another grid that holds all of an array's voxels.

    Args:
        matrix: From the array's voxel indices to those of the other grid.
        shape_kji: Shape of the array, not empty.
    """
    ends = [(-0.5, size - 0.5) for size in reversed(shape_kji)]
    corners = np.array([[*corner, 1.0] for corner in itertools.product(*ends)]) @ matrix.T
    lower = np.floor(corners[:, :3].min(axis=0) + 0.5 + _SAME_VOXEL_TOLERANCE).astype(int).tolist()
    upper = np.ceil(corners[:, :3].max(axis=0) - 0.5 - _SAME_VOXEL_TOLERANCE).astype(int).tolist()
    i, j, k = (slice(first, max(first, last) + 1) for first, last in zip(lower, upper, strict=True))
    return k, j, i


def nonzeroRegion(voxels: NDArray[Any]) -> Region | None:
    """Return the smallest region that holds all voxels other than 0 of an unsigned array; None if there are none."""
    region: list[slice] = []
    rest = voxels
    for axis in range(3):  # the maximum along two axes is several times faster than `any`
        others = tuple(other for other in range(3) if other != axis)
        filled = np.flatnonzero(rest.max(axis=others, initial=0))
        if not filled.size:
            return None
        found = slice(int(filled[0]), int(filled[-1]) + 1)
        region.append(found)
        rest = rest[tuple(found if other == axis else slice(None) for other in range(3))]
    return region[0], region[1], region[2]


def sample(voxels: NDArray[Any], matrix: Matrix, region: Region) -> NDArray[Any]:
    """Return for each voxel of a region of another grid the array's voxel that is nearest to its center.

    Args:
        voxels: The array.
        matrix: From the other grid's voxel indices to the array's.
        region: Which voxels of the other grid.

    Returns:
        The array's type, shape of the region; 0 outside the array.
    """
    result = np.zeros(shapeOf(region), dtype=voxels.dtype)
    if isEmpty(region) or not voxels.size:
        return result
    shift = _wholeShift(matrix, region)
    if shift is not None:
        _copyShifted(voxels, shift, region, result)
        return result
    covered = intersectionOf(region, regionOn(np.linalg.inv(matrix), voxels.shape))
    if not isEmpty(covered):
        inside = relative(covered, region)
        _copyNearest(voxels, matrix, covered, result[inside])
    return result


def _wholeShift(matrix: Matrix, region: Region) -> tuple[int, int, int] | None:
    """Return how many voxels (K, J, I) further the array's indices are, if the grids differ by no more than that."""
    ends = [(each.start, each.stop - 1) for each in reversed(region)]
    corners = np.array([[*corner, 1.0] for corner in itertools.product(*ends)])
    shifts = (corners @ matrix.T - corners)[:, :3]
    whole = np.rint(shifts[0])
    if np.abs(shifts - whole).max() > _SAME_VOXEL_TOLERANCE:
        return None
    i, j, k = (int(each) for each in whole)
    return k, j, i


def _copyShifted(voxels: NDArray[Any], shift: tuple[int, ...], region: Region, result: NDArray[Any]) -> None:
    k, j, i = (slice(each.start + by, each.stop + by) for each, by in zip(region, shift, strict=True))
    wanted = (k, j, i)
    present = intersectionOf(wanted, wholeRegion(voxels.shape))
    if not isEmpty(present):
        result[relative(present, wanted)] = voxels[present]


def relative(inner: Region, outer: Region) -> Region:
    """Return the first region as slices of an array that holds the second one."""
    k, j, i = (slice(a.start - b.start, a.stop - b.start) for a, b in zip(inner, outer, strict=True))
    return k, j, i


def _copyNearest(voxels: NDArray[Any], matrix: Matrix, region: Region, result: NDArray[Any]) -> None:
    """Fill a region by VTK's own resampling, in coordinates that are voxel indices on both sides."""
    reslice = vtk.vtkImageReslice()
    reslice.SetInputData(_imageOf(voxels))
    reslice.SetResliceAxes(asMatrix(matrix))
    reslice.SetInterpolationModeToNearestNeighbor()
    reslice.SetOutputOrigin(0, 0, 0)
    reslice.SetOutputSpacing(1, 1, 1)
    reslice.SetOutputExtent(*(end for each in reversed(region) for end in (each.start, each.stop - 1)))
    reslice.Update()
    found = vtk_to_numpy(reslice.GetOutput().GetPointData().GetScalars())
    result[...] = found.reshape(shapeOf(region)).view(result.dtype)


def _imageOf(voxels: NDArray[Any]) -> Any:
    image = vtk.vtkImageData()
    image.SetDimensions(*reversed(voxels.shape))
    numbers = voxels.view(np.uint8) if voxels.dtype == np.bool_ else voxels
    image.GetPointData().SetScalars(numpy_to_vtk(np.ascontiguousarray(numbers).reshape(-1)))
    return image
