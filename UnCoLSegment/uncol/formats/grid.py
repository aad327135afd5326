"""Voxel grids as files state them: axes at right angles, a believable spacing, RAS instead of LPS."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from uncol.core.errors import GeometryError

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
_SPACING_LIMITS_MM = (0.001, 1000.0)
ROUNDED_COSINE = 5e-4
"""Axes that differ this little from right angles were rounded to four digits in the file."""
_EXACT_COSINE = 1e-6  # the same for 32-bit numbers


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


def irregular(subject: str) -> str:
    """Return the sentence about a grid whose axes are not at right angles, or have no length."""
    return (
        f"{subject} has axes that are not at right angles or no valid spacing. "
        "Resample it to a regular grid and export it again."
    )


def tuple_text(numbers: NDArray[np.float64]) -> str:
    """Return numbers as messages show them, rounded to six decimals."""
    return f"({', '.join(f'{number:.7g}' for number in numbers.round(6) + 0.0)})"
