"""The part of an image where most moves between two phases of a beat: the heart, found without any label."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from uncol.core.volume import Volume

Window = tuple[slice, slice]
"""Rows and columns of an image (K, J, I)."""


def moving_window(first: NDArray[np.float32], second: NDArray[np.float32], side: int) -> Window:
    """Return the square window round the center of what differs between two images (K, J, I) of the same size.

    The center is that of the squared differences, over all slices; without any, that of the image. The window stays
    inside the image, and is as large as the image along an axis that is shorter than the window.
    """
    energy = np.square(second.astype(np.float64) - first).sum(axis=0)
    if not energy.any():
        energy += 1
    return _along(energy.sum(axis=1), side), _along(energy.sum(axis=0), side)


def _along(energy: NDArray[np.float64], side: int) -> slice:
    center = np.average(np.arange(len(energy)) + 0.5, weights=energy)
    start = min(max(round(float(center) - side / 2), 0), max(len(energy) - side, 0))
    return slice(start, start + min(side, len(energy)))


def cut(volume: Volume, window: Window) -> Volume:
    """Return a window of a volume, in its place in the patient."""
    first_ijk = np.array([window[1].start, window[0].start, 0, 1.0])
    matrix = volume.ijk_to_ras.copy()
    matrix[:, 3] = volume.ijk_to_ras @ first_ijk
    return Volume(volume.voxels[:, *window], matrix)


def put_back(part: Volume, whole: Volume, window: Window) -> Volume:
    """Return what was found in a window as a volume on the grid of the whole, 0 outside."""
    voxels = np.zeros(whole.shape_kji, dtype=part.voxels.dtype)
    voxels[:, *window] = part.voxels
    return whole.with_voxels(voxels)
