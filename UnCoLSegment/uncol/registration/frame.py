"""The part of a slice in which structures are followed, and the pixels in which that is done."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from uncol.core.grey_values import Window
from uncol.data.shape_interpolation import signed_distance_mm
from uncol.data.transforms import SliceFrame, apply_window, resize_image

LONGEST_SIDE = 160
"""Pixels of the longer side at most."""
_MARGIN = 0.5
"""Around the structures, as a part of their extent: they may be larger where nobody annotated."""
_CELLS = 8
"""A margin is at least an eighth of the slice, and cuts are made between eighths: one more annotated slice rarely
moves them, and what was found is kept."""
_FARTHEST_PIXELS = 12.0
"""Beyond this distance from a contour all pixels are alike."""


@dataclass(frozen=True)
class RegistrationFrame:
    """A cut of every slice, and its own square pixels.

    Attributes:
        rows: Rows of the slice that are cut out.
        columns: Columns likewise.
        shape: Rows and columns (H, W) of the whole slice.
        pixels: The pixels of the cut (h, w).
    """

    rows: slice
    columns: slice
    shape: tuple[int, int]
    pixels: SliceFrame

    @classmethod
    def around(cls, inside: NDArray[np.bool_], spacing_mm: tuple[float, float]) -> Self:
        """Cut round everything that is set in a mask (H, W), at least one pixel, with a margin.

        Args:
            inside: Where any structure is annotated in any slice.
            spacing_mm: Distance between rows and between columns.
        """
        rows, columns = (_cut(np.asarray(inside.any(axis))) for axis in (1, 0))
        height, width = rows.stop - rows.start, columns.stop - columns.start
        longest_mm = max(height * spacing_mm[0], width * spacing_mm[1])
        pixel_mm = max(longest_mm / LONGEST_SIDE, min(spacing_mm))
        shape = (inside.shape[0], inside.shape[1])
        return cls(rows, columns, shape, SliceFrame.fitting(height, width, spacing_mm, pixel_mm))

    def image(self, grey: NDArray[Any], window: Window) -> NDArray[np.float32]:
        """Return a slice of grey values (H, W) windowed to [0, 1], cut and resized (h, w)."""
        cut = torch.from_numpy(grey[self.rows, self.columns].astype(np.float32, order="C"))
        resized: NDArray[np.float32] = self._resized(apply_window(cut, window)[None])[0].numpy()
        return resized

    def distances(self, masks: NDArray[np.bool_]) -> NDArray[np.float32]:
        """Return the signed distance to the contour of masks (N, H, W), positive inside, in own pixels (N, h, w)."""
        cut = torch.from_numpy(masks[:, self.rows, self.columns].astype(np.float32))
        inside = self._resized(cut).numpy() > 0.5  # more than half of the pixel
        return np.stack([_signed_distance(each) for each in inside])

    def from_native(self, probabilities: Tensor) -> NDArray[np.float32]:
        """Cut probabilities (N, H, W) of a whole slice and bring them to own pixels (N, h, w)."""
        resized: NDArray[np.float32] = self._resized(probabilities[:, self.rows, self.columns]).clamp(0, 1).numpy()
        return resized

    def to_native(self, probabilities: NDArray[np.float32]) -> Tensor:
        """Bring probabilities (N, h, w) to the pixels of the whole slice (N, H, W); beyond the cut they are 0."""
        whole = torch.zeros(len(probabilities), *self.shape)
        height, width = self.rows.stop - self.rows.start, self.columns.stop - self.columns.start
        resized = functional.interpolate(torch.from_numpy(probabilities)[None], (height, width), mode="bilinear")
        whole[:, self.rows, self.columns] = resized[0]
        return whole

    def _resized(self, stack: Tensor) -> Tensor:
        return resize_image(stack[:, None], self.pixels.rows, self.pixels.columns)[:, 0]


def _cut(inside: NDArray[np.bool_]) -> slice:
    """Return where to cut an axis: round what is set, with the margin, between eighths."""
    found = np.flatnonzero(inside)
    first, last = int(found[0]), int(found[-1]) + 1
    cell = inside.size / _CELLS
    margin = max(cell, _MARGIN * (last - first))
    lower = int(max(0.0, np.floor((first - margin) / cell) * cell))
    upper = int(min(inside.size, np.ceil((last + margin) / cell) * cell))
    return slice(lower, upper)


def _signed_distance(mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    if not mask.any():
        return np.full(mask.shape, -_FARTHEST_PIXELS, dtype=np.float32)
    clipped: NDArray[np.float32] = signed_distance_mm(mask, (1.0, 1.0)).clip(-_FARTHEST_PIXELS, _FARTHEST_PIXELS)
    return clipped
