"""Supervised loss of stage 1 for a student with four heads: each head learns from a loss of its own.

MONAI's nearest relatives are `DiceLoss` (with `jaccard=True` for soft IoU), and `FocalLoss`, whose factor carries
gradient and whose mean is C times too large with `ignore_index`. Here every loss counts in a region only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional

_SMOOTHING = 1e-5
"""Keeps Dice and IoU defined for classes that are neither there nor predicted (method, section 4)."""
_FOCUS = 2.0
"""Gamma of the focal loss (method, section 4)."""


def four_head_loss(
    head_logits: Sequence[Tensor], target: Tensor, region: Tensor, *, double_softmax_dice: bool = False
) -> Tensor:
    """Return `L_seg = 1/4 (CE(head 0) + Dice(head 1) + Focal(head 2) + SoftIoU(head 3))` inside a region.

    Args:
        head_logits: Logits of the four heads, each (B, C, ...).
        target: Class indices (B, ...), int64; any valid class outside the region.
        region: Where the loss counts (B, ...), bool; an empty region gives 0.
        double_softmax_dice: Apply softmax twice before Dice, as the released code does (ablation
            `double-softmax-dice`; method, section 7, row 4).

    Source:
        Method, section 4 (UnCoL, IEEE TMI 2026, doi:10.1109/TMI.2026.3664940).
    """
    losses: list[Callable[[Tensor, Tensor, Tensor], Tensor]] = [
        cross_entropy,
        twice_softmaxed_dice if double_softmax_dice else soft_dice,
        focal,
        soft_iou,
    ]
    each = [loss(logits.float(), target, region) for loss, logits in zip(losses, head_logits, strict=True)]
    return torch.stack(each).mean()


def cross_entropy(logits: Tensor, target: Tensor, region: Tensor) -> Tensor:
    """Return the cross-entropy per voxel of the region."""
    return _mean_inside(functional.cross_entropy(logits, target, reduction="none"), region)


def focal(logits: Tensor, target: Tensor, region: Tensor) -> Tensor:
    """Return the cross-entropy per voxel, weighted by `(1 - p_t)^2`; the weight carries no gradient.

    Source:
        Lin et al., "Focal loss for dense object detection" (2017), without class weights.
    """
    losses = functional.cross_entropy(logits, target, reduction="none")
    focus = (1 - (-losses.detach()).exp()) ** _FOCUS
    return _mean_inside(focus * losses, region)


def soft_dice(logits: Tensor, target: Tensor, region: Tensor) -> Tensor:
    """Return 1 - Dice, averaged over the classes with background and over the samples."""
    return _dice_of(logits.softmax(1), target, region)


def twice_softmaxed_dice(logits: Tensor, target: Tensor, region: Tensor) -> Tensor:
    """Return `soft_dice` of probabilities taken for logits: it never comes near 0, and its gradient is weaker."""
    return _dice_of(logits.softmax(1).softmax(1), target, region)


def soft_iou(logits: Tensor, target: Tensor, region: Tensor) -> Tensor:
    """Return 1 - IoU, averaged over the classes with background and over the samples."""
    both, sizes = _overlap(logits.softmax(1), target, region)
    return 1 - ((both + _SMOOTHING) / (sizes - both + _SMOOTHING)).mean()


def _dice_of(probabilities: Tensor, target: Tensor, region: Tensor) -> Tensor:
    both, sizes = _overlap(probabilities, target, region)
    return 1 - ((2 * both + _SMOOTHING) / (sizes + _SMOOTHING)).mean()


def _overlap(probabilities: Tensor, target: Tensor, region: Tensor) -> tuple[Tensor, Tensor]:
    """Return the intersection and the sum of sizes of each sample and class (B, C), not squared."""
    truth = functional.one_hot(target, probabilities.shape[1]).movedim(-1, 1)
    inside = region[:, None]
    axes = tuple(range(2, probabilities.ndim))
    both = (probabilities * truth * inside).sum(axes)
    return both, ((probabilities + truth) * inside).sum(axes)


def _mean_inside(losses: Tensor, region: Tensor) -> Tensor:
    return (losses * region).sum() / region.sum().clamp_min(1)
