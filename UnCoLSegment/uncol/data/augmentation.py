"""Random changes of slices and volumes that leave the anatomy possible: pose, size and grey values.

Images and everything that belongs to them (labels, pseudo-labels, trust) are moved together, after
the teachers have spoken about the unmoved slice.
"""

from __future__ import annotations

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


@dataclass(frozen=True)
class Pose:
    """How each slice or volume of a batch is moved: matrices (B, 2, 3) or (B, 3, 4) for `affine_grid`."""

    matrices: Tensor

    def move_images(self, images: Tensor) -> Tensor:
        """Move images (B, C, H, W) or (B, C, D, H, W) linearly; the edge goes on outside."""
        grid = functional.affine_grid(self.matrices, list(images.shape), align_corners=False)
        return functional.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)

    def move_labels(self, labels: Tensor) -> Tensor:
        """Move label maps (B, H, W) or (B, D, H, W), uint8, by the nearest voxel; outside lies the unknown."""
        grid = functional.affine_grid(self.matrices, [len(labels), 1, *labels.shape[1:]], align_corners=False)
        shifted = labels[:, None].float() - UNKNOWN_LABEL
        moved = functional.grid_sample(shifted, grid, mode="nearest", padding_mode="zeros", align_corners=False)
        return (moved[:, 0] + UNKNOWN_LABEL).to(torch.uint8)


def draw_pose(
    count: int, rows: int, columns: int, generator: torch.Generator, *, rotation_deg: float, mirror: bool
) -> Pose:
    """Draw a rotation, a scale and a shift for each of `count` slices of `rows` x `columns` pixels."""
    angle = _between(-math.radians(rotation_deg), math.radians(rotation_deg), count, generator)
    scale = 1 + _between(-_SCALE, _SCALE, count, generator)
    shift = _between(-2 * _SHIFT, 2 * _SHIFT, 2 * count, generator).reshape(count, 2, 1)
    side = torch.ones(count)
    if mirror:
        side = 1 - 2 * torch.randint(2, (count,), generator=generator).float()
    cosine, sine, ratio = angle.cos() * scale, angle.sin() * scale, rows / columns
    first = torch.stack([cosine * side, -sine * ratio], 1)
    second = torch.stack([sine / ratio * side, cosine], 1)
    return Pose(torch.cat([torch.stack([first, second], 1), shift], 2))


def draw_pose_3d(
    count: int, size: Sequence[float], generator: torch.Generator, *, rotation_deg: float, mirror: bool
) -> Pose:
    """Draw a rotation about every axis, a scale and a shift for each of `count` volumes.

    Args:
        count: Volumes.
        size: Their extent along slices, rows and columns, all three in the same length: in pixels, not in thick slices.
        generator: Source of randomness.
        rotation_deg: Largest rotation about each axis, in degrees.
        mirror: Whether half of them are mirrored along the columns, left-right.
    """
    slices, rows, columns = size
    about_column, about_row, about_slice = (
        _between(-math.radians(rotation_deg), math.radians(rotation_deg), count, generator) for _ in range(3)
    )
    scale = 1 + _between(-_SCALE, _SCALE, count, generator)
    shift = _between(-2 * _SHIFT, 2 * _SHIFT, 3 * count, generator).reshape(count, 3, 1)
    side = torch.ones(count)
    if mirror:
        side = 1 - 2 * torch.randint(2, (count,), generator=generator).float()
    turned = _rotation(about_column, 1, 2) @ _rotation(about_row, 0, 2) @ _rotation(about_slice, 0, 1)
    turned = turned * scale[:, None, None]
    turned[:, :, 0] *= side[:, None]
    extent = torch.tensor([columns, rows, slices], dtype=torch.float32)
    return Pose(torch.cat([turned * extent[None, None, :] / extent[None, :, None], shift], 2))


def _rotation(angle: Tensor, first: int, second: int) -> Tensor:
    """Return matrices (B, 3, 3) that turn two of the axes (column, row, slice) into each other by angles (B,)."""
    matrix = torch.eye(3).repeat(len(angle), 1, 1)
    matrix[:, first, first] = matrix[:, second, second] = angle.cos()
    matrix[:, first, second], matrix[:, second, first] = -angle.sin(), angle.sin()
    return matrix


def change_grey_values(images: Tensor, generator: torch.Generator) -> Tensor:
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
