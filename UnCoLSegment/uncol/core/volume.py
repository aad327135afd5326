"""Voxels that never travel without their geometry, and the same voxels seen as a stack of slices."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import permutations, product
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from uncol.core.errors import GeometryError

Axis = Literal["I", "J", "K"]
Plane = Literal["axial", "coronal", "sagittal"]
PLANES: tuple[Plane, ...] = get_args(Plane)

UNKNOWN_LABEL = 255
"""Label value of a voxel that nobody annotated; it never enters a supervised loss."""

ARRAY_AXIS: dict[Axis, int] = {"K": 0, "J": 1, "I": 2}
"""Where each voxel index of the file stands in a (K, J, I) array."""

PLANE_DIRECTIONS: dict[Plane, str] = {"axial": "SPL", "coronal": "AIL", "sagittal": "LIP"}
"""Anatomical directions in which slice, row and column of a `FramedCase` increase.

Rows and columns run as radiologists look at them (axial: down is posterior, right is the patient's left).
"""

_DIRECTION_VECTORS = {"R": (1, 0, 0), "L": (-1, 0, 0), "A": (0, 1, 0), "P": (0, -1, 0), "S": (0, 0, 1), "I": (0, 0, -1)}
GRID_TOLERANCE = 0.02
"""Part of the smallest spacing by which two grids may differ at their corners and still count as one: programs round."""


@dataclass(frozen=True)
class Volume:
    """An image or label map with its place in the patient.

    Attributes:
        voxels: Array (K, J, I): slice, row, column of the file.
        ijk_to_ras: Matrix (4, 4), float64, from voxel indices (I, J, K, 1) to RAS coordinates in mm.
        other_grids: Further such matrices that the file states for the same voxels; `ijk_to_ras` counts.
        is_placed: Whether the file says how it lies; if not, `ijk_to_ras` was made up.
    """

    voxels: NDArray[Any]
    ijk_to_ras: NDArray[np.float64]
    other_grids: tuple[NDArray[np.float64], ...] = ()
    is_placed: bool = True

    def __post_init__(self) -> None:
        if self.voxels.ndim != 3:
            message = f"A volume needs three axes (K, J, I), got an array of shape {self.voxels.shape}."
            raise GeometryError(message)
        if self.ijk_to_ras.shape != (4, 4) or not np.isfinite(self.ijk_to_ras).all():
            message = "The matrix from voxel indices to RAS must be 4 x 4 and finite."
            raise GeometryError(message)
        if abs(np.linalg.det(self.ijk_to_ras[:3, :3])) < np.finfo(np.float64).tiny:
            message = "The image has two parallel axes or a spacing of 0 mm; export it again with a valid geometry."
            raise GeometryError(message)

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Distance between neighboring voxel centers along I, J and K, in mm."""
        lengths = np.linalg.norm(self.ijk_to_ras[:3, :3], axis=0)
        return float(lengths[0]), float(lengths[1]), float(lengths[2])

    @property
    def shape_kji(self) -> tuple[int, int, int]:
        """Number of voxels along K, J and I."""
        slices, rows, columns = self.voxels.shape
        return slices, rows, columns

    def with_voxels(self, voxels: NDArray[Any]) -> Volume:
        """Return other voxels (K, J, I) on the same grid."""
        if voxels.shape != self.voxels.shape:
            message = f"Voxels of shape {voxels.shape} do not fit the grid {self.voxels.shape}."
            raise GeometryError(message)
        return replace(self, voxels=voxels)

    def shares_grid_with(self, other: Volume) -> bool:
        """Say whether both have the same size and their corners lie within 2 % of a voxel (`GRID_TOLERANCE`)."""
        return self.shape_kji == other.shape_kji and grids_agree(self.ijk_to_ras, other.ijk_to_ras, self.shape_kji)

    def fits(self, other: Volume) -> bool:
        """Say whether both have the same size and any of the grids of their files is the same, as far as files say."""
        if self.shape_kji != other.shape_kji:
            return False
        if not (self.is_placed and other.is_placed):
            return True
        grids = ((each.ijk_to_ras, *each.other_grids) for each in (self, other))
        return any(grids_agree(own, others, self.shape_kji) for own, others in product(*grids))


def grids_agree(first: NDArray[np.float64], second: NDArray[np.float64], shape_kji: tuple[int, int, int]) -> bool:
    """Say whether two matrices (4, 4) put the corners of a grid within 2 % of the smallest spacing of each other."""
    smallest_mm = min(np.linalg.norm(matrix[:3, :3], axis=0).min() for matrix in (first, second))
    return bool(grid_distance_mm(first, second, shape_kji) <= GRID_TOLERANCE * smallest_mm)


def grid_distance_mm(first: NDArray[np.float64], second: NDArray[np.float64], shape_kji: tuple[int, int, int]) -> float:
    """Return how far apart two matrices (4, 4) put that corner of a grid of which they differ most."""
    corners_ijk = np.array([*product(*((0, size - 1) for size in shape_kji[::-1]))], dtype=np.float64)
    offsets_mm = corners_ijk @ (first - second)[:3, :3].T + (first - second)[:3, 3]
    return float(np.linalg.norm(offsets_mm, axis=1).max())


@dataclass(frozen=True)
class SliceView:
    """How a (K, J, I) array is read as a stack of slices in one anatomical plane.

    Attributes:
        plane: The plane whose directions the stack follows as closely as the grid allows.
        order: For slice, row and column of the stack: the axis of the (K, J, I) array.
        flips: For slice, row and column: whether the array runs against the plane's direction.
        spacing_mm: Distance between slices, rows and columns, in mm.
    """

    plane: Plane
    order: tuple[int, int, int]
    flips: tuple[bool, bool, bool]
    spacing_mm: tuple[float, float, float]

    def stack_from(self, array_kji: NDArray[Any]) -> NDArray[Any]:
        """Return the array as (slice, row, column), without copying."""
        stack = array_kji.transpose(self.order)
        return stack[tuple(slice(None, None, -1 if flip else 1) for flip in self.flips)]

    @property
    def slice_axis(self) -> Axis:
        """The file's voxel index that counts the slices of the stack."""
        return _axis_name(self.order[0])

    def stack_index(self, file_index: int, slice_count: int) -> int:
        """Return where the file's slice `file_index` lies in the stack."""
        return slice_count - 1 - file_index if self.flips[0] else file_index

    file_index = stack_index
    """Return which slice of the file the stack's slice is; the flip is its own inverse."""


def view_slices(volume: Volume, plane: Plane) -> SliceView:
    """Match the axes of a grid, oblique or left-handed as it may be, with an anatomical plane.

    The assignment of array axes to slice, row and column is the permutation whose directions
    agree best with the plane; each axis is then flipped if it runs the other way.
    """
    directions = _array_directions(volume)
    wanted = np.array([_DIRECTION_VECTORS[code] for code in PLANE_DIRECTIONS[plane]], dtype=np.float64)
    agreement = wanted @ directions.T
    order = max(permutations(range(3)), key=lambda p: sum(abs(agreement[row, axis]) for row, axis in enumerate(p)))
    spacing_kji = volume.spacing_mm[::-1]
    return SliceView(
        plane=plane,
        order=(order[0], order[1], order[2]),
        flips=(bool(agreement[0, order[0]] < 0), bool(agreement[1, order[1]] < 0), bool(agreement[2, order[2]] < 0)),
        spacing_mm=(spacing_kji[order[0]], spacing_kji[order[1]], spacing_kji[order[2]]),
    )


def plane_of_axis(volume: Volume, axis: Axis) -> Plane:
    """Return the anatomical plane whose slices are counted by the file's voxel index `axis`."""
    return next(plane for plane in PLANES if view_slices(volume, plane).slice_axis == axis)


def _array_directions(volume: Volume) -> NDArray[np.float64]:
    columns = volume.ijk_to_ras[:3, :3] / np.linalg.norm(volume.ijk_to_ras[:3, :3], axis=0)
    directions: NDArray[np.float64] = columns.T[::-1]
    return directions


def _axis_name(array_axis: int) -> Axis:
    return next(name for name, axis in ARRAY_AXIS.items() if axis == array_axis)
