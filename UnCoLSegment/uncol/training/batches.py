"""What a step draws, in 2D (slices) and in 3D (patches of volumes).

Shapes below write the 2D case; in 3D, images are (B, 1, D, H, W) and labels (B, D, H, W).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from uncol.core.config import DataConfig
from uncol.core.volume import UNKNOWN_LABEL
from uncol.data.augmentation import RandomAffine, draw_box_mask, jitter_intensity, sample_affine
from uncol.data.cases import Pool
from uncol.inference.predict import memory_format


@dataclass
class Sampler:
    """Draws what a step learns from, moved and changed at random, on the device.

    Attributes:
        pool: Where it is drawn from.
        generator: Source of randomness.
        data: How far it is moved.
        slice_pixels: Distance between slices of a patch, in pixels.
        device: Where it is brought.
    """

    pool: Pool
    generator: torch.Generator
    data: DataConfig
    slice_pixels: float
    device: torch.device

    def affine(self, count: int) -> RandomAffine:
        """Draw poses for `count` slices; slices that are mixed share one, so that anatomy stays in place."""
        extent: tuple[float, ...] = self.pool.size
        if len(extent) == 3:
            extent = (extent[0] * self.slice_pixels, *extent[1:])
        how = self.data
        return sample_affine(count, extent, self.generator, rotation_deg=how.rotation_deg, mirror=how.mirror)

    def labeled(self, affine: RandomAffine) -> tuple[Tensor, Tensor]:
        """Draw annotated slices with neighbors (B, N, H, W) and their labels (B, H, W), moved and changed at random."""
        addresses = self.pool.draw_labeled(len(affine.matrices), self.generator)
        return self.augment(affine, self.pool.inputs(addresses), self.pool.targets(addresses))

    def unlabeled(self, affine: RandomAffine) -> tuple[list[Any], Tensor]:
        """Draw unannotated slices: their addresses, and the images (B, N, H, W) moved and changed at random."""
        addresses = self.pool.draw_unlabeled(len(affine.matrices), self.generator)
        return addresses, self.augment_image(affine, self.pool.inputs(addresses))

    def augment(self, affine: RandomAffine, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Move images and labels alike, change grey values, and bring both to the device."""
        return self.augment_image(affine, images), affine.warp_labels(labels).to(self.device)

    def augment_image(self, affine: RandomAffine, images: Tensor) -> Tensor:
        """Move images, change grey values, and bring them to the device."""
        changed = jitter_intensity(affine.warp_images(images), self.generator)
        return changed.to(self.device, memory_format=memory_format(images.ndim - 2))

    def copy_paste_mask(self, probability: float, side: float) -> Tensor:
        """Draw the copy-paste mask (H, W) of a step, True outside the pasted box; else nothing is pasted."""
        if float(torch.rand(1, generator=self.generator)) >= probability:
            return torch.ones(self.pool.size, dtype=torch.bool, device=self.device)
        return draw_box_mask(self.pool.size, side, self.generator).to(self.device)

    def complete(self, addresses: Sequence[Any], pseudo_labels: Tensor) -> Tensor:
        """Return pseudo-labels (B, H, W) with annotated voxels as they were annotated, and padding unknown."""
        known = self.pool.targets(addresses)
        labeled = torch.where(known == UNKNOWN_LABEL, pseudo_labels.to(torch.uint8), known)
        return torch.where(self.pool.inside(addresses), labeled, UNKNOWN_LABEL)
