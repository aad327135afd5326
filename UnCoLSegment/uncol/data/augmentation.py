"""Random changes of slices and volumes that leave the anatomy possible: pose, size and grey values.

Images and everything that belongs to them (labels, pseudo-labels, trust) are moved together, after
the teachers have spoken about the unmoved slice.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from uncol.core.volume import UNKNOWN_LABEL

_SCALE = 0.15
_SHIFT = 0.06
"""Largest shift as a part of the slice's side."""
_CONTRAST = 0.2
_BRIGHTNESS = 0.08
_GAMMA = 0.25
_NOISE = 0.04
_TURNED_AXES = {2: [(0, 1)], 3: [(1, 2), (0, 2), (0, 1)]}
"""The pairs of axes (column, row, slice) that rotations turn into each other, in 2D and in 3D."""


@dataclass(frozen=True)
class RandomAffine:
    """How each slice or volume of a batch is moved: matrices (B, 2, 3) or (B, 3, 4) for `affine_grid`."""

    matrices: Tensor

    def warp_images(self, images: Tensor) -> Tensor:
        """Move images (B, C, H, W) or (B, C, D, H, W) linearly; the edge goes on outside."""
        grid = functional.affine_grid(self.matrices, list(images.shape), align_corners=False)
        return functional.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)

    def warp_labels(self, labels: Tensor) -> Tensor:
        """Move label maps (B, H, W) or (B, D, H, W), uint8, by the nearest voxel; outside lies the unknown."""
        grid = functional.affine_grid(self.matrices, [len(labels), 1, *labels.shape[1:]], align_corners=False)
        shifted = labels[:, None].float() - UNKNOWN_LABEL
        moved = functional.grid_sample(shifted, grid, mode="nearest", padding_mode="zeros", align_corners=False)
        return (moved[:, 0] + UNKNOWN_LABEL).to(torch.uint8)


def sample_affine(
    count: int, size: Sequence[float], generator: torch.Generator, *, rotation_deg: float, mirror: bool
) -> RandomAffine:
    """Draw a rotation about every axis, a scale and a shift for each of `count` slices or volumes.

    Args:
        count: Slices or volumes.
        size: Their extent along (slices,) rows and columns, all in the same length: in pixels, not in thick slices.
        generator: Source of randomness.
        rotation_deg: Largest rotation about each axis, in degrees; slices turn about one axis only.
        mirror: Whether half of them are mirrored along the columns, left-right.
    """
    dims, largest = len(size), math.radians(rotation_deg)
    turns = [_rotation(dims, *axes, _between(-largest, largest, count, generator)) for axes in _TURNED_AXES[dims]]
    scale = 1 + _between(-_SCALE, _SCALE, count, generator)
    shift = _between(-2 * _SHIFT, 2 * _SHIFT, dims * count, generator).reshape(count, dims, 1)
    turned = functools.reduce(torch.matmul, turns) * scale[:, None, None]
    if mirror:
        turned[:, :, 0] *= 1 - 2 * torch.randint(2, (count, 1), generator=generator).float()
    wide = torch.tensor(size[::-1], dtype=torch.float32).expand(dims, dims)
    high = wide.T
    if dims == 2:  # the same, with one ratio: the diagonal stays as it is to the last bit
        ratio = size[0] / size[1]
        wide, high = torch.tensor([[1, ratio], [1, 1]]), torch.tensor([[1, 1], [ratio, 1]])
    return RandomAffine(torch.cat([turned * wide / high, shift], 2))


def _rotation(dims: int, first: int, second: int, angle: Tensor) -> Tensor:
    """Return matrices (B, dims, dims) that turn two of the axes (column, row, slice) into each other by angles (B,)."""
    matrix = torch.eye(dims).repeat(len(angle), 1, 1)
    matrix[:, first, first] = matrix[:, second, second] = angle.cos()
    matrix[:, first, second], matrix[:, second, first] = -angle.sin(), angle.sin()
    return matrix


def jitter_intensity(images: Tensor, generator: torch.Generator) -> Tensor:
    """Change contrast, brightness, gamma and noise of windowed images (B, C, ...) in [0, 1]."""
    count = len(images)
    contrast = 1 + _between(-_CONTRAST, _CONTRAST, count, generator)
    brightness = _between(-_BRIGHTNESS, _BRIGHTNESS, count, generator)
    gamma = torch.exp(_between(-_GAMMA, _GAMMA, count, generator))
    noise_level = _between(0, _NOISE, count, generator)
    noise = torch.randn(images.shape, generator=generator)
    contrast, brightness, gamma, noise_level = (
        each.view(-1, *[1] * (images.ndim - 1)) for each in (contrast, brightness, gamma, noise_level)
    )
    return ((images**gamma - 0.5) * contrast + 0.5 + brightness + noise_level * noise).clamp_(0, 1)


def draw_box_mask(size: Sequence[int], side: float, generator: torch.Generator) -> Tensor:
    """Draw the mask M (H, W) or (D, H, W), bool: True everywhere except in one random box of `side` times each side.

    The mixed image is `a * M + b * (1 - M)` (method, section 4).
    """
    mask = torch.ones(*size, dtype=torch.bool)
    mask[tuple(_random_part(whole, int(whole * side), generator) for whole in size)] = False
    return mask


def _random_part(whole: int, part: int, generator: torch.Generator) -> slice:
    start = int(torch.randint(whole - part + 1, (1,), generator=generator))
    return slice(start, start + part)


def _between(low: float, high: float, count: int, generator: torch.Generator) -> Tensor:
    return low + (high - low) * torch.rand(count, generator=generator)
