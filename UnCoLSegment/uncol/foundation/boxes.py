"""Boxes for the generalized teacher: where they come from and how far they reach.

A box is (row0, column0, row1, column1) along the outer edges of pixels: the box of the single
pixel (0, 0) is (0, 0, 1, 1).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

PixelBox = NDArray[np.float32]
LEAST_MASK_PIXELS = 8
"""A mask smaller than this prompts nothing (method, section 10)."""


def can_prompt(mask: NDArray[np.bool_]) -> bool:
    """Say whether a mask in the image's own pixels is large enough to prompt with."""
    return int(mask.sum()) >= LEAST_MASK_PIXELS


def box_of_mask(mask: NDArray[np.bool_]) -> PixelBox:
    """Return the smallest box round a mask (H, W) with at least one pixel set."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return np.array([rows[0], columns[0], rows[-1] + 1, columns[-1] + 1], dtype=np.float32)


def grow_box(box: PixelBox, margin: float, limits: PixelBox) -> PixelBox:
    """Move each side outwards by a margin, but not beyond the limits."""
    grown = box + np.array([-margin, -margin, margin, margin], dtype=np.float32)
    return intersect(grown, limits)


def intersect(box: PixelBox, limits: PixelBox) -> PixelBox:
    """Return the part of a box that lies inside the limits."""
    return np.concatenate([np.maximum(box[:2], limits[:2]), np.minimum(box[2:], limits[2:])])


def scale_box(box: PixelBox, rows: float, columns: float) -> PixelBox:
    """Scale a box from one pixel grid to another; `rows` and `columns` are new pixels per old one."""
    return box * np.array([rows, columns, rows, columns], dtype=np.float32)


def box_overlap(first: PixelBox, second: PixelBox) -> float:
    """Return the intersection over union of two boxes."""
    common = intersect(first, second)
    shared = max(0.0, common[2] - common[0]) * max(0.0, common[3] - common[1])
    areas = [(each[2] - each[0]) * (each[3] - each[1]) for each in (first, second)]
    return float(shared / (sum(areas) - shared))


def mask_of_box(box: PixelBox, rows: int, columns: int) -> NDArray[np.bool_]:
    """Return the pixels (H, W) whose centers lie inside a box."""
    row, column = np.arange(rows) + 0.5, np.arange(columns) + 0.5
    return ((row >= box[0]) & (row < box[2]))[:, None] & ((column >= box[1]) & (column < box[3]))[None, :]


def keep_inside(box: PixelBox, probability: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return a probability (H, W) with 0 outside a box."""
    return np.where(mask_of_box(box, *probability.shape), probability, 0).astype(np.float32)
