"""How long somebody needs to put a slice right: a plain model of looking, moving the brush and painting."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

JUDGED_S = 0.4
"""To look at a slice and judge it."""
PAINTED_PX_S, TRAVELLED_PX_S = 400.0, 800.0
"""Pixels of the image that are painted, and that the brush is moved over without painting, in a second."""


def correction_seconds(proposed: NDArray[Any], right: NDArray[Any]) -> float:
    """Return how long it takes to put a proposed slice (H, W) right, in s.

    Only what is wrong is painted, piece after piece, the nearest one first; the brush begins in the middle.
    A slice of which nothing is proposed is painted as a whole.
    """
    wrong = proposed != right
    pieces, count = ndimage.label(wrong, np.ones((3, 3)))
    left = np.array(ndimage.center_of_mass(wrong, pieces, range(1, count + 1))).reshape(-1, 2)
    brush, travelled = np.array(wrong.shape) / 2, 0.0
    while len(left):
        distances = np.hypot(*(left - brush).T)
        nearest = int(distances.argmin())
        travelled += float(distances[nearest])
        brush, left = left[nearest], np.delete(left, nearest, 0)
    return JUDGED_S + int(np.count_nonzero(wrong)) / PAINTED_PX_S + travelled / TRAVELLED_PX_S
