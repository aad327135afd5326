"""Where a stack of slices breaks off: neighbors that no motion brings together, such as a blank or a shifted slice."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from uncol.registration.slice_motion import SliceMotion, warp

_AROUND = 8
"""Pairs of neighbors on each side that a pair is compared with."""
_TIMES_MEDIAN, _LEAST = 6.0, 0.002
"""A pair is broken if its mean squared difference (grey values in [0, 1]) is so many times the median, and so large."""


def broken_pairs(motion: SliceMotion, first: int, last: int) -> list[int]:
    """Return the slices between two others that nothing connects with the slice before them.

    Args:
        motion: What moves from slice to slice.
        first: A slice.
        last: One behind it.

    Returns:
        Slices in `first + 1 ... last`, ascending, whose image differs from the one carried over from the slice before
        much more than usual thereabouts.
    """
    start, stop = max(1, first + 1 - _AROUND), min(len(motion), last + 1 + _AROUND)
    differences = {index: _difference(motion, index) for index in range(start, stop)}
    limit = max(_TIMES_MEDIAN * float(np.median(list(differences.values()))), _LEAST)
    return [index for index in range(first + 1, last + 1) if differences[index] > limit]


def _difference(motion: SliceMotion, index: int) -> float:
    """Return the mean squared difference between a slice and the one before it, brought over."""
    ((_, place),) = motion.follow(index - 1, index)
    carried: NDArray[np.float32] = warp(motion.image(index - 1)[None], place)[0]
    return float(((carried - motion.image(index)) ** 2).mean())
