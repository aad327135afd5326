"""Losses over a region of an image: what is annotated, or what both teachers' votes made trustworthy.

MONAI's nearest relatives are `DiceCELoss` and `MaskedDiceLoss`: the first knows no region, the
second multiplies logits by the mask before the softmax, so that masked voxels still count.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

_SMOOTHING = 1e-5
"""Keeps Dice defined for empty classes (method, section 4)."""


def class_weights(voxel_counts: Tensor, cap: float) -> Tensor:
    """Return how much a voxel of each class counts: rare classes more, background 1.

    Weight of class c: sqrt(total / voxels of c), divided by that of background, at most `cap`
    (method, section 10). A class without voxels gets the cap.

    Args:
        voxel_counts: Annotated voxels of each class (C,), background first.
        cap: Largest weight.
    """
    counts = voxel_counts.double()
    rarity = (counts.sum() / counts.clamp_min(1)).sqrt()
    relative = (rarity / rarity[0]).clamp(max=cap)
    return torch.where(counts > 0, relative, cap).float()


def region_cross_entropy(logits: Tensor, target: Tensor, region: Tensor, weights: Tensor) -> Tensor:
    """Return the class-weighted cross-entropy per voxel of a region; 0 for an empty region.

    Args:
        logits: Student output (B, C, ...).
        target: Class indices (B, ...), int64; any valid class outside the region.
        region: Where the loss counts (B, ...), bool.
        weights: Weight of each class (C,).
    """
    losses = functional.cross_entropy(logits, target, weight=weights, reduction="none")
    voxel_weights = weights[target] * region
    return (losses * region).sum() / voxel_weights.sum().clamp_min(_SMOOTHING)


def region_dice(logits: Tensor, target: Tensor, region: Tensor) -> Tensor:
    """Return 1 - Dice inside a region, averaged over the classes present there; 0 for an empty region.

    Sums run over the whole batch; the denominator is not squared (method, section 4).

    Args:
        logits: Student output (B, C, ...).
        target: Class indices (B, ...), int64; any valid class outside the region.
        region: Where the loss counts (B, ...), bool.
    """
    class_count = logits.shape[1]
    inside = region[:, None]
    probabilities = logits.softmax(1) * inside
    truth = functional.one_hot(target, class_count).movedim(-1, 1) * inside
    axes = [0, *range(2, logits.ndim)]
    intersection = (probabilities * truth).sum(axes)
    sizes = probabilities.sum(axes) + truth.sum(axes)
    dice = (2 * intersection + _SMOOTHING) / (sizes + _SMOOTHING)
    present = truth.sum(axes) > 0
    return ((1 - dice) * present).sum() / present.sum().clamp_min(1)


def region_loss(logits: Tensor, target: Tensor, region: Tensor, weights: Tensor) -> Tensor:
    """Return Dice + cross-entropy inside a region (method, section 5, item 7).

    Args:
        logits: Student output (B, C, ...).
        target: Class indices (B, ...), int64; any valid class outside the region.
        region: Where the loss counts (B, ...), bool.
        weights: Weight of each class (C,).
    """
    logits = logits.float()
    return region_dice(logits, target, region) + region_cross_entropy(logits, target, region, weights)


def known_region(labels: Tensor, unknown: int) -> tuple[Tensor, Tensor]:
    """Split a label map (B, ...) into class indices, int64, and where they are known, bool."""
    known = labels != unknown
    return torch.where(known, labels, 0).long(), known
