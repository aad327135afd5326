"""From grey values and slices as acquired to what the networks see, and back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from uncol.core.errors import DataError

MOST_PIXELS, MOST_VOXELS = 1 << 26, 1 << 32
"""Of a slice, and of a volume, as a network sees them."""
_WHOLE_SLICE = 1e-3
"""As near as this, in slices, a place between two slices counts as the slice itself."""


def apply_window(grey: Tensor, window: tuple[float, float]) -> Tensor:
    """Map grey values to float32 in [0, 1]: the window's low end to 0, its high end to 1, clipped."""
    low, high = window
    return ((grey.float() - low) / (high - low)).clamp_(0, 1)


@dataclass(frozen=True)
class SliceFrame:
    """The pixel grid in which a network sees a slice: square pixels, the slice's own proportions.

    Attributes:
        pixel_mm: Side of a pixel.
        rows: Rows that the slice fills.
        columns: Columns that the slice fills.
    """

    pixel_mm: float
    rows: int
    columns: int

    @classmethod
    def fitting(cls, rows: int, columns: int, spacing_mm: tuple[float, float], pixel_mm: float) -> SliceFrame:
        """Return the frame with the given pixel for a slice of `rows` x `columns` of `spacing_mm`.

        Raises:
            DataError: If the pixel is so small that the slice would fill the memory.
        """
        height, width = rows * spacing_mm[0] / pixel_mm, columns * spacing_mm[1] / pixel_mm
        check_voxel_count(height * width, MOST_PIXELS, pixel_mm)
        return cls(pixel_mm, max(1, round(height)), max(1, round(width)))


def check_voxel_count(count: float, most: int, pixel_mm: float) -> None:
    """Refuse an image that would become too large in a network's voxels.

    Raises:
        DataError: If it would.
    """
    if count > most:
        message = (
            f"The model sees pixels of {pixel_mm:g} mm, in which this image would have {count:.1e} voxels. Image and "
            "model do not belong together: choose another model, or check the spacing of the image."
        )
        raise DataError(message)


def frame_with_longest_side(rows: int, columns: int, spacing_mm: tuple[float, float], side: int) -> SliceFrame:
    """Return the frame in which the longest side of a slice has `side` pixels."""
    return SliceFrame.fitting(rows, columns, spacing_mm, max(rows * spacing_mm[0], columns * spacing_mm[1]) / side)


def windowed_in_frame(grey: NDArray[Any], window: tuple[float, float], frame: SliceFrame) -> Tensor:
    """Return slices of grey values (S, H, W) as a network sees them (S, h, w), float32 in [0, 1]."""
    windowed = apply_window(torch.from_numpy(grey.astype(np.float32, order="C")), window)
    return resize_image(windowed[:, None], frame.rows, frame.columns)[:, 0]


def resize_image(image: Tensor, rows: int, columns: int) -> Tensor:
    """Resize images (B, C, H, W) bilinearly, with a low-pass filter where pixels are lost."""
    if image.shape[-2:] == (rows, columns):
        return image
    return functional.interpolate(image, (rows, columns), mode="bilinear", align_corners=False, antialias=True)


def resize_labels(labels: Tensor, rows: int, columns: int) -> Tensor:
    """Resize label maps (S, H, W), uint8, by the nearest pixel."""
    if labels.shape[-2:] == (rows, columns):
        return labels
    return functional.interpolate(labels[:, None], (rows, columns), mode="nearest-exact")[:, 0]


def resize_depth(stack: Tensor, depth: int) -> Tensor:
    """Resize a stack (S, H, W) linearly to another number of slices, with a low-pass filter where some are lost."""
    return resize_image(stack.flatten(1)[None, None], depth, stack[0].numel())[0, 0].unflatten(1, stack.shape[1:])


def neighbor_offsets(neighbor_count: int, slice_mm: float, spacing_mm: float) -> tuple[float, ...]:
    """Return how many slices away the neighbors of a slice lie, the slice itself in the middle.

    Args:
        neighbor_count: Neighbors with the slice itself.
        slice_mm: Distance between neighbors.
        spacing_mm: Distance between the image's own slices.
    """
    reach = neighbor_count // 2
    return tuple(step * slice_mm / spacing_mm for step in range(-reach, reach + 1))


def with_neighbors(slice_at: Callable[[int], Tensor], index: int, offsets: Sequence[float], last: int) -> Tensor:
    """Return a slice with its neighbors (neighbors, H, W): the one input of a 2D student, in training and after.

    Between two slices neighbors are interpolated linearly; beyond the ends the last slice is repeated.

    Args:
        slice_at: Gives one of the slices 0 ... `last` (H, W).
        index: The slice.
        offsets: Where its neighbors lie, in slices (`neighbor_offsets`).
        last: The last slice.
    """
    return torch.stack([_between_slices(slice_at, min(max(index + offset, 0.0), last)) for offset in offsets])


def _between_slices(slice_at: Callable[[int], Tensor], position: float) -> Tensor:
    nearest = round(position)
    if abs(position - nearest) < _WHOLE_SLICE:
        return slice_at(nearest)
    lower = int(position)
    return torch.lerp(slice_at(lower), slice_at(lower + 1), position - lower)


def padded_size(size: Sequence[int], multiple: int) -> tuple[int, ...]:
    """Return the size of images or volumes whose sides are padded to multiples of one number.

    Where each side would be that number itself, the last one is doubled: a network that makes one voxel of so many
    could not normalize its features there, because one voxel has no deviation.
    """
    sides = [-(-each // multiple) * multiple for each in size]
    if max(sides) == multiple:
        sides[-1] = 2 * multiple
    return tuple(sides)


def pad_to_multiple(image: Tensor, multiple: int) -> Tensor:
    """Pad images (B, C, H, W) or (B, C, D, H, W) to `padded_size` at the end of each axis by repeating the edge."""
    sides = image.shape[2:]
    behind = [wanted - size for wanted, size in zip(padded_size(sides, multiple), sides, strict=True)]
    return functional.pad(image, [part for each in reversed(behind) for part in (0, each)], mode="replicate")
