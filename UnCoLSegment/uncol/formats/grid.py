"""Voxel grids as files state them: axes at right angles, a believable spacing, RAS instead of LPS."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from nibabel.orientations import apply_orientation, inv_ornt_aff, io_orientation
from numpy.typing import NDArray

from uncol.core.errors import DataError, GeometryError
from uncol.core.volume import Volume, grids_agree

NOT_PLACED = (
    "%s does not say how it lies in the patient: what is missing is taken as straight axes from the origin and 1 mm "
    "between voxels. Places and volumes of results may be wrong."
)
"""The warning about a file that says too little of its grid."""
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
_SPACING_LIMITS_MM = (0.001, 1000.0)
ROUNDED_COSINE = 5e-4
"""Axes that differ this little from right angles were rounded to four digits in the file."""
_EXACT_COSINE = 1e-6  # the same for 32-bit numbers
_MM_NAMES = {
    1.0: ("", "?", "mm", "millimeter", "millimeters", "millimetre", "millimetres"),
    0.001: ("um", "\N{MICRO SIGN}m", "\N{GREEK SMALL LETTER MU}m", "micron", "microns", "micrometer", "micrometers"),
    10.0: ("cm", "centimeter", "centimeters"),
    1000.0: ("m", "meter", "meters"),
}
_MM = {name: length for length, names in _MM_NAMES.items() for name in names}

CheckGrid = Callable[[Volume], None]
"""Looks at size and place of a volume before its voxels are read, and raises where they will not do."""


def accept_any(_volume: Volume) -> None:
    """Take every grid."""


def without_voxels(
    shape_kji: tuple[int, int, int],
    ijk_to_ras: NDArray[np.float64],
    other_grids: tuple[NDArray[np.float64], ...] = (),
    *,
    is_placed: bool,
) -> Volume:
    """Return a volume as its header tells of it; its voxels are one 0 that stands for all, whatever the size.

    Raises:
        MemoryError: If there are more of them than any memory holds.
    """
    if math.prod(shape_kji) > np.iinfo(np.intp).max:
        raise MemoryError
    return Volume(np.broadcast_to(np.uint8(0), shape_kji), ijk_to_ras, other_grids, is_placed)


def regular_grid(ijk_to_ras: NDArray[np.float64], subject: str) -> NDArray[np.float64]:
    """Return a matrix (4, 4) whose axes are exactly at right angles; a slant up to 5e-4 is taken for rounding.

    Raises:
        GeometryError: If an axis has no length, if the slant is larger, or if the spacing is not 0.001 to 1000 mm.
    """
    spacing = np.linalg.norm(ijk_to_ras[:3, :3], axis=0)
    if not np.isfinite(ijk_to_ras).all() or not spacing.all():
        raise GeometryError(irregular(subject))
    smallest, largest = _SPACING_LIMITS_MM
    if not ((smallest <= spacing) & (spacing <= largest)).all():
        message = (
            f"{subject} has spacing {tuple_text(spacing)} mm; each must be {smallest:g} to {largest:g} mm. "
            "The units are probably mixed up (micrometers or meters taken for mm): export it again in mm."
        )
        raise GeometryError(message)
    directions = ijk_to_ras[:3, :3] / spacing
    slant = slant_of(ijk_to_ras)
    if slant > ROUNDED_COSINE:
        raise GeometryError(irregular(subject))
    if slant > _EXACT_COSINE:  # make the axes as orthogonal as NIfTI results will be, so that both share one grid
        left, _, right = np.linalg.svd(directions)
        ijk_to_ras = ijk_to_ras.copy()
        ijk_to_ras[:3, :3] = left @ right * spacing
    return ijk_to_ras


def slant_of(ijk_to_ras: NDArray[np.float64]) -> float:
    """Return the largest cosine between two axes of a matrix (4, 4): 0 for right angles."""
    directions = ijk_to_ras[:3, :3] / np.linalg.norm(ijk_to_ras[:3, :3], axis=0)
    return float(np.abs(directions.T @ directions - np.eye(3)).max())


def lps_to_ras(ijk_to_lps: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return a matrix (4, 4) to RAS coordinates instead of LPS; what is not finite stays so."""
    return LPS_TO_RAS.diagonal()[:, None] * ijk_to_lps + 0.0  # + 0.0 turns -0.0 into 0.0


def turned(volume: Volume, ijk_to_ras: NDArray[np.float64], shape_kji: tuple[int, int, int]) -> NDArray[Any] | None:
    """Return a volume's voxels (K, J, I) on a grid that has the same ones, counted in other directions or order.

    Args:
        volume: The volume.
        ijk_to_ras: Matrix (4, 4) of the grid, from voxel indices to RAS in mm.
        shape_kji: Size of the grid.

    Returns:
        A view; None where the grid has other voxels: `grids_agree` says what is the same.
    """
    turns = io_orientation(np.linalg.inv(ijk_to_ras) @ volume.ijk_to_ras)
    if np.isnan(turns).any():
        return None
    voxels = apply_orientation(volume.voxels.T, turns).T
    matrix = volume.ijk_to_ras @ inv_ornt_aff(turns, volume.voxels.T.shape)
    is_same = voxels.shape == shape_kji and grids_agree(matrix, ijk_to_ras, shape_kji)
    return voxels if is_same else None


def length_in_mm(unit: str, subject: str) -> float:
    """Return how many mm a unit of length is, by the name that a file gives it; without a name it is mm.

    Raises:
        DataError: If the name is not known.
    """
    if unit.strip().lower() not in _MM:
        message = f'{subject} states its lengths in "{unit}", which is not a known unit. Export it again in mm.'
        raise DataError(message)
    return _MM[unit.strip().lower()]


def irregular(subject: str) -> str:
    """Return the sentence about a grid whose axes are not at right angles, or have no length."""
    return (
        f"{subject} has axes that are not at right angles or no valid spacing. "
        "Resample it to a regular grid and export it again."
    )


def tuple_text(numbers: NDArray[np.float64]) -> str:
    """Return numbers as messages show them, rounded to six decimals."""
    return f"({', '.join(f'{number:.7g}' for number in numbers.round(6) + 0.0)})"
