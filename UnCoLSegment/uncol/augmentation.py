"""Random changes of slices that leave the anatomy possible: pose, size and grey values.

Images and everything that belongs to them (labels, pseudo-labels, trust) are moved together, after
the teachers have spoken about the unmoved slice.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from uncol.volume import UNKNOWN_LABEL

_ROTATION_DEG = 12.0
_SCALE = 0.15
_SHIFT = 0.06
"""Largest shift as a part of the slice's side."""
_CONTRAST = 0.2
_BRIGHTNESS = 0.08
_GAMMA = 0.25
_NOISE = 0.04


@dataclass(frozen=True)
class Pose:
    """How each slice of a batch is moved: matrices (B, 2, 3) for `affine_grid`."""

    matrices: Tensor

    def move_images(self, images: Tensor) -> Tensor:
        """Move images (B, C, H, W) bilinearly; the edge goes on outside."""
        grid = functional.affine_grid(self.matrices, list(images.shape), align_corners=False)
        return functional.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)

    def move_labels(self, labels: Tensor) -> Tensor:
        """Move label maps (B, H, W), uint8, by the nearest pixel; what comes from outside is unknown."""
        grid = functional.affine_grid(self.matrices, [len(labels), 1, *labels.shape[1:]], align_corners=False)
        shifted = labels[:, None].float() - UNKNOWN_LABEL
        moved = functional.grid_sample(shifted, grid, mode="nearest", padding_mode="zeros", align_corners=False)
        return (moved[:, 0] + UNKNOWN_LABEL).to(torch.uint8)


def draw_pose(count: int, rows: int, columns: int, generator: torch.Generator, *, mirror: bool) -> Pose:
    """Draw a rotation, a scale and a shift for each of `count` slices of `rows` x `columns` pixels."""
    angle = _between(-math.radians(_ROTATION_DEG), math.radians(_ROTATION_DEG), count, generator)
    scale = 1 + _between(-_SCALE, _SCALE, count, generator)
    shift = _between(-2 * _SHIFT, 2 * _SHIFT, 2 * count, generator).reshape(count, 2, 1)
    side = torch.ones(count)
    if mirror:
        side = 1 - 2 * torch.randint(2, (count,), generator=generator).float()
    cosine, sine, ratio = angle.cos() * scale, angle.sin() * scale, rows / columns
    first = torch.stack([cosine * side, -sine * ratio], 1)
    second = torch.stack([sine / ratio * side, cosine], 1)
    return Pose(torch.cat([torch.stack([first, second], 1), shift], 2))


def change_grey_values(images: Tensor, generator: torch.Generator) -> Tensor:
    """Change contrast, brightness, gamma and noise of windowed images (B, C, H, W) in [0, 1]."""
    count = len(images)
    contrast = 1 + _between(-_CONTRAST, _CONTRAST, count, generator)
    brightness = _between(-_BRIGHTNESS, _BRIGHTNESS, count, generator)
    gamma = torch.exp(_between(-_GAMMA, _GAMMA, count, generator))
    noise_level = _between(0, _NOISE, count, generator)
    noise = torch.randn(images.shape, generator=generator)
    contrast, brightness, gamma, noise_level = (
        each[:, None, None, None] for each in (contrast, brightness, gamma, noise_level)
    )
    return ((images**gamma - 0.5) * contrast + 0.5 + brightness + noise_level * noise).clamp_(0, 1)


def draw_copy_paste_mask(rows: int, columns: int, side: float, generator: torch.Generator) -> Tensor:
    """Draw the mask M (H, W), bool: True everywhere except in one random box of `side` times the slice's side.

    The mixed slice is `a * M + b * (1 - M)` (method, section 4).
    """
    height, width = int(rows * side), int(columns * side)
    row = int(torch.randint(rows - height + 1, (1,), generator=generator))
    column = int(torch.randint(columns - width + 1, (1,), generator=generator))
    mask = torch.ones(rows, columns, dtype=torch.bool)
    mask[row : row + height, column : column + width] = False
    return mask


def _between(low: float, high: float, count: int, generator: torch.Generator) -> Tensor:
    return low + (high - low) * torch.rand(count, generator=generator)
