"""Voxel grids in the scene: where a node's voxels lie, how two grids relate, and one grid's voxels read on another.

Arrays are (K, J, I), matrices turn voxel indices (I, J, K, 1) into a node's own RAS coordinates in mm. A parent
transform stands between those and the world.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import numpy as np
import slicer
import slicer.util
import vtk
from numpy.typing import NDArray
from slicer.i18n import tr as _
from vtk.util.numpy_support import numpy_to_vtk, vtk_to_numpy

from uncol.core.errors import GeometryError
from uncol.core.volume import ARRAY_AXIS, Axis

Region = tuple[slice, slice, slice]
"""A block of a grid, as slices along K, J and I with a start and a stop; either may lie outside the array."""

Matrix = NDArray[np.float64]
Mask = NDArray[np.bool_]

_SAME_VOXEL_TOLERANCE = 0.01
"""Two grids whose voxel centers are nearer than this, in voxels, are one grid."""
_MOST_PARTS = 5
"""Along each axis a coarse voxel is read in so many places at most."""


def ijkToRAS(volumeNode: Any) -> Matrix:
    """Return the matrix of a volume node, without its parent transform."""
    return filledBy(volumeNode.GetIJKToRASMatrix)


def filledBy(getter: Callable[[Any], object]) -> Matrix:
    """Return the matrix (4, 4) that a getter of VTK fills in."""
    matrix = vtk.vtkMatrix4x4()
    getter(matrix)
    return slicer.util.arrayFromVTKMatrix(matrix)


def rasToIJK(node: Any, volumeNode: Any) -> Matrix:
    """Return the matrix from a node's own RAS coordinates to a volume's voxel indices, through all parent transforms.

    Raises:
        GeometryError: If a non-linear transform lies between the two.
    """
    return np.linalg.inv(ijkToRAS(volumeNode)) @ matrixBetween(node, volumeNode)


def toWorld(volumeNode: Any, ijk: Iterable[float]) -> tuple[float, float, float]:
    """Return the world point (R, A, S) in mm of a voxel index (I, J, K); parent transforms of any kind are applied."""
    world = [0.0, 0.0, 0.0]
    volumeNode.TransformPointToWorld((ijkToRAS(volumeNode) @ [*ijk, 1.0])[:3].tolist(), world)
    return world[0], world[1], world[2]


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
        message = _(
            'A non-linear transform lies between "{source}" and "{target}". '
            "Harden it in the Transforms module, or put both under the same transform, then try again."
        )
        raise GeometryError(message.format(source=source.GetName(), target=target.GetName()))
    return filledBy(partial(slicer.vtkMRMLTransformNode.GetMatrixTransformBetweenNodes, fromHere, toThere))


def _isLinearBetween(first: Any, second: Any) -> bool:
    """Ask without asking for the matrix, because MRML reports an error where there is none; None is the world."""
    if first is None or second is None:
        other = first or second
        return other is None or bool(other.IsTransformToWorldLinear())
    return bool(first.IsTransformToNodeLinear(second))


def translated(matrix: Matrix, first_ijk: tuple[float, ...]) -> Matrix:
    """Return the matrix of the same grid with voxel `first_ijk` counted as (0, 0, 0)."""
    shifted = matrix.copy()
    shifted[:3, 3] = matrix[:3, :3] @ np.array(first_ijk, dtype=np.float64) + matrix[:3, 3]
    return shifted


def wholeRegion(shape_kji: Iterable[int]) -> Region:
    """Return the region of all voxels of an array."""
    return tuple(slice(0, size) for size in shape_kji)


def sliceRegion(shape_kji: Iterable[int], axis: Axis, index: int) -> Region:
    """Return the region of one slice of an array."""
    region = list(wholeRegion(shape_kji))
    region[ARRAY_AXIS[axis]] = slice(index, index + 1)
    return tuple(region)


def shapeOf(region: Region) -> tuple[int, int, int]:
    """Return how many voxels a region has along K, J and I; 0 where its stop does not lie behind its start."""
    return tuple(max(0, each.stop - each.start) for each in region)


def firstOf(region: Region) -> tuple[int, int, int]:
    """Return the index (I, J, K) of a region's first voxel."""
    return tuple(each.start for each in reversed(region))


def isEmpty(region: Region) -> bool:
    """Say whether a region holds no voxel."""
    return 0 in shapeOf(region)


def unionOf(first: Region | None, second: Region | None) -> Region | None:
    """Return the smallest region that holds both; None stands for no voxels."""
    if first is None or second is None:
        return second if first is None else first
    return tuple(slice(min(a.start, b.start), max(a.stop, b.stop)) for a, b in zip(first, second, strict=True))


def intersectionOf(first: Region, second: Region) -> Region:
    """Return the voxels that are in both, possibly none."""
    return tuple(slice(max(a.start, b.start), min(a.stop, b.stop)) for a, b in zip(first, second, strict=True))


def moved(region: Region, by_kji: Iterable[int]) -> Region:
    """Return a region as many voxels further along K, J and I."""
    return tuple(slice(each.start + by, each.stop + by) for each, by in zip(region, by_kji, strict=True))


def relative(inner: Region, outer: Region) -> Region:
    """Return the first region as slices of an array that holds the second one."""
    return moved(inner, [-each.start for each in outer])


def corners(ends: Iterable[tuple[float, float]]) -> Matrix:
    """Return the corners (8, 4) of a box as points (I, J, K, 1), from its two ends along I, J and K."""
    return np.array([[*corner, 1.0] for corner in itertools.product(*ends)])


def regionOn(matrix: Matrix, shape_kji: tuple[int, ...]) -> Region:
    """Return the region of another grid that holds all of an array's voxels.

    Args:
        matrix: From the array's voxel indices to those of the other grid.
        shape_kji: Shape of the array, not empty.
    """
    ends = (corners([(-0.5, size - 0.5) for size in reversed(shape_kji)]) @ matrix.T)[:, 2::-1]
    lower = np.floor(ends.min(axis=0) + 0.5 + _SAME_VOXEL_TOLERANCE).astype(int).tolist()
    upper = np.ceil(ends.max(axis=0) - 0.5 - _SAME_VOXEL_TOLERANCE).astype(int).tolist()
    return tuple(slice(first, max(first, last) + 1) for first, last in zip(lower, upper, strict=True))


def nonzeroRegion(voxels: NDArray[Any]) -> Region | None:
    """Return the smallest region that holds all voxels other than 0 of an unsigned array; None if there are none."""
    region = [slice(None)] * 3
    for axis in range(3):  # the maximum along two axes is several times faster than `any`
        others = tuple(other for other in range(3) if other != axis)
        filled = np.flatnonzero(voxels[tuple(region)].max(axis=others, initial=0))
        if not filled.size:
            return None
        region[axis] = slice(int(filled[0]), int(filled[-1]) + 1)
    return tuple(region)


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
        wanted = moved(region, shift)
        present = intersectionOf(wanted, wholeRegion(voxels.shape))
        if not isEmpty(present):
            result[relative(present, wanted)] = voxels[present]
        return result
    covered = intersectionOf(region, regionOn(np.linalg.inv(matrix), voxels.shape))
    if not isEmpty(covered):
        result[relative(covered, region)] = _nearest(voxels, matrix, covered)
    return result


def sampleMost(voxels: NDArray[Any], matrix: Matrix, region: Region) -> NDArray[Any]:
    """Return labels on another grid, where a coarser voxel gets the label of most of the voxels that lie in it.

    One of which half is labeled counts as labeled, so that a structure painted in a segmentation finer than the volume
    does not fall to nothing. On a grid that is not coarser this is `sample`.

    Args:
        voxels: Labels; 0 is none.
        matrix: From the other grid's voxel indices to the array's.
        region: Which voxels of the other grid.

    Returns:
        The array's type, shape of the region; 0 outside the array.
    """
    counts = [min(_MOST_PARTS, max(1, round(float(np.linalg.norm(column))))) for column in matrix[:3, :3].T]
    if max(counts) == 1:
        return sample(voxels, matrix, region)
    offsets = [(np.arange(count) + 0.5) / count - 0.5 for count in counts]
    result = np.empty(shapeOf(region), dtype=voxels.dtype)
    for number, k in enumerate(range(region[0].start, region[0].stop)):  # slab by slab: each is read many times
        slab = (slice(k, k + 1), *region[1:])
        parts = [sample(voxels, translated(matrix, offset), slab) for offset in itertools.product(*offsets)]
        result[number] = _mostFrequent(np.concatenate(parts))
    return result


def _mostFrequent(parts: NDArray[Any]) -> NDArray[Any]:
    """Return the label that is most frequent along the first axis, where half of the labels or more are not 0."""
    best, most = np.zeros_like(parts[0]), np.zeros(parts[0].shape, dtype=np.uint16)
    for label in np.unique(parts[parts > 0]):
        count = (parts == label).sum(axis=0, dtype=np.uint16)
        best, most = np.where(count > most, label, best), np.maximum(count, most)
    return np.where(2 * np.count_nonzero(parts, axis=0) >= len(parts), best, 0)


class SliceOfVolume:
    """One slice of a volume, found again on the grid of a segmentation."""

    def __init__(self, volumeNode: Any, axis: Axis, index: int) -> None:
        self._volumeNode, self._row, self._index = volumeNode, "IJK".index(axis), index
        self._slice = sliceRegion(reversed(volumeNode.GetImageData().GetDimensions()), axis, index)

    def regionOn(self, node: Any, lattice: Matrix) -> Region:
        """Return the region of a grid, in a node's own RAS coordinates, that holds the slice."""
        toLattice = translated(np.linalg.inv(self._toIJK(node, lattice)), firstOf(self._slice))
        return regionOn(toLattice, shapeOf(self._slice))

    def maskOn(self, node: Any, lattice: Matrix, region: Region) -> Mask:
        """Return which voxels of a region of that grid have their centers in the slice."""
        row = self._toIJK(node, lattice)[self._row]
        k, j, i = np.ogrid[region]
        isInSlice = np.floor(row[0] * i + row[1] * j + row[2] * k + row[3] + 0.5) == self._index
        return np.broadcast_to(isInSlice, shapeOf(region))

    def _toIJK(self, node: Any, lattice: Matrix) -> Matrix:
        return rasToIJK(node, self._volumeNode) @ lattice


def _wholeShift(matrix: Matrix, region: Region) -> tuple[int, ...] | None:
    """Return how many voxels (K, J, I) further the array's indices are, if the grids differ by no more than that."""
    points = corners([(each.start, each.stop - 1) for each in reversed(region)])
    shifts = (points @ matrix.T - points)[:, 2::-1]
    whole = np.rint(shifts[0])
    return None if np.abs(shifts - whole).max() > _SAME_VOXEL_TOLERANCE else tuple(whole.astype(int).tolist())


def _nearest(voxels: NDArray[Any], matrix: Matrix, region: Region) -> NDArray[Any]:
    """Read a region by VTK's own resampling, in coordinates that are voxel indices on both sides."""
    reslice = vtk.vtkImageReslice()
    reslice.SetInputData(putVoxels(vtk.vtkImageData(), voxels))
    reslice.SetResliceAxes(slicer.util.vtkMatrixFromArray(matrix))
    reslice.SetInterpolationModeToNearestNeighbor()
    reslice.SetOutputOrigin(0, 0, 0)
    reslice.SetOutputSpacing(1, 1, 1)
    reslice.SetOutputExtent(*_extentOf(region))
    reslice.Update()
    found = vtk_to_numpy(reslice.GetOutput().GetPointData().GetScalars())
    return found.reshape(shapeOf(region)).view(voxels.dtype)


def putVoxels(image: Any, voxels: NDArray[Any], first_ijk: Iterable[int] = (0, 0, 0), *, deep: bool = False) -> Any:
    """Put voxels (K, J, I) into an image and return it; unless they are copied (`deep`), they have to live on.

    Args:
        image: A vtkImageData; only its extent and its scalars are set.
        voxels: Numbers, or bools, which become bytes.
        first_ijk: The index in the image of the first voxel.
        deep: Whether to copy.
    """
    image.SetExtent(*_extentOf(moved(wholeRegion(voxels.shape), tuple(first_ijk)[::-1])))
    numbers = voxels.view(np.uint8) if voxels.dtype == np.bool_ else voxels
    scalars = numpy_to_vtk(np.ascontiguousarray(numbers).reshape(-1), deep=deep)
    scalars.SetName("ImageScalars")
    image.GetPointData().SetScalars(scalars)
    return image


def _extentOf(region: Region) -> list[int]:
    return [end for each in reversed(region) for end in (each.start, each.stop - 1)]
