"""Whether a volume lies on the grid of another one, and in words what differs."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from uncol.core.errors import GeometryError
from uncol.core.volume import GRID_TOLERANCE, Volume, grid_distance_mm
from uncol.formats.grid import tuple_text

_LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True)
class Grid:
    """The grid that is asked for.

    Attributes:
        reference: A volume that lies on it.
        subject: What messages call that volume.
        same_size: What to do about one with as many voxels, of which the header alone may be wrong.
        other_size: What to do about others.
    """

    reference: Volume
    subject: str
    same_size: str
    other_size: str


def check_grid(volume: Volume, subject: str, grid: Grid) -> None:
    """Make sure that a volume lies on a grid; its voxels are not looked at.

    Raises:
        GeometryError: If it does not; it says what differs.
    """
    reference = grid.reference
    if volume.fits(reference):
        if not (volume.is_placed and reference.is_placed):
            _LOGGER.warning("%s is taken to lie on %s: both have the same size.", subject, grid.subject)
        return
    own, other = _different_facts(volume, reference)
    if volume.shape_kji != reference.shape_kji:
        message = f"{subject} has {own} but {grid.subject} has {other}. {grid.other_size}"
        raise GeometryError(message)
    distance_mm = grid_distance_mm(volume.ijk_to_ras, reference.ijk_to_ras, volume.shape_kji)
    message = (
        f"{subject} has {own} but {grid.subject} has {other}, so that they lie up to {distance_mm:.3g} mm apart. "
        f"{grid.same_size}"
    )
    raise GeometryError(message)


def _different_facts(volume: Volume, reference: Volume) -> tuple[str, str]:
    """Return for each of two volumes, in the words of messages, what differs by more than rounding."""
    own, other = _grid_facts(volume), _grid_facts(reference)
    extent = np.array(reference.shape_kji[::-1]) - 1
    turned = np.linalg.norm(own["axis directions"] - other["axis directions"], axis=1)
    moved_mm = {  # how far a corner moves if this alone differs
        "size": np.inf if volume.shape_kji != reference.shape_kji else 0.0,
        "spacing": np.abs((own["spacing"] - other["spacing"]) * extent).max(),
        "origin": np.linalg.norm(own["origin"] - other["origin"]),
        "axis directions": (turned * reference.spacing_mm * extent).max(),
    }
    rounding_mm = GRID_TOLERANCE * min(*volume.spacing_mm, *reference.spacing_mm)
    limit_mm = min(rounding_mm, max(moved_mm.values()))  # several that are rounding each can add up
    units = {"size": " voxels", "spacing": " mm", "origin": " mm", "axis directions": ""}
    different = [fact for fact, moved in moved_mm.items() if moved >= limit_mm]
    first, second = (
        " and ".join(f"{fact} {tuple_text(facts[fact].ravel())}{units[fact]}" for fact in different)
        for facts in (own, other)
    )
    return first, second


def _grid_facts(volume: Volume) -> dict[str, NDArray[np.float64]]:
    matrix, spacing = volume.ijk_to_ras, np.array(volume.spacing_mm)
    size = np.array(volume.shape_kji[::-1], dtype=np.float64)
    directions = (matrix[:3, :3] / spacing).T  # one axis after the other
    return {"size": size, "spacing": spacing, "origin": matrix[:3, 3], "axis directions": directions}
