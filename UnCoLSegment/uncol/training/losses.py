"""Losses over a region of an image: what is annotated, or what both teachers' predictions made trustworthy.

MONAI's nearest relatives are `DiceCELoss` and `MaskedDiceLoss`: the first knows no region, the
second multiplies logits by the mask before the softmax, so that masked voxels still count.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from monai.losses import DiceLoss
from torch import Tensor, nn
from torch.nn import functional

from uncol.core.volume import UNKNOWN_LABEL
from uncol.models.devices import autocast
from uncol.models.paper_student import PaperStudent

_SMOOTHING = 1e-5
"""Keeps Dice and IoU defined for classes that are neither there nor predicted (method, section 4)."""
_DICE = DiceLoss(smooth_nr=_SMOOTHING, smooth_dr=_SMOOTHING)
_IOU = DiceLoss(jaccard=True, smooth_nr=2 * _SMOOTHING, smooth_dr=2 * _SMOOTHING)  # MONAI doubles both sums
_FOCUS = 2.0
"""Gamma of the focal loss (method, section 4)."""


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
    probabilities, truth = _inside(logits.softmax(1), target, region)
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


@torch.no_grad()
def class_dice(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the Dice (C,) of the most probable classes where labels are known; NaN for a class that is not there.

    Args:
        logits: Student output (B, C, ...).
        labels: Their labels (B, ...), 255 unknown.
    """
    count = logits.shape[1]
    target, known = known_region(labels)
    pairs = torch.bincount((target * count + logits.argmax(1))[known], minlength=count**2).view(count, count)
    dice = 2 * pairs.diagonal() / (pairs.sum(0) + pairs.sum(1))
    return torch.where(pairs.sum(1) > 0, dice, torch.nan)


def known_region(labels: Tensor) -> tuple[Tensor, Tensor]:
    """Split a label map (B, ...), 255 unknown, into class indices, int64, and where they are known, bool."""
    known = labels != UNKNOWN_LABEL
    return torch.where(known, labels, 0).long(), known


def student_logits(student: nn.Module, images: Tensor) -> Tensor:
    """Return the student's logits (B, C, ...), float32, of images (B, N, ...) in training."""
    with autocast(images.device, dims=images.ndim - 2, training=True):
        logits: Tensor = student(images)
    return logits.float()


def loss_where(logits: Tensor, labels: Tensor, region: Tensor, weights: Tensor) -> Tensor:
    """Return Dice + cross-entropy where labels (B, ...) are known in one part of a mixed slice; 0 for an empty part."""
    if not region.any():
        return logits.new_zeros(())
    target, known = known_region(labels)
    return region_loss(logits, target, known & region, weights)


def annotated_loss(
    student: nn.Module, images: Tensor, labels: Tensor, weights: Tensor, *, double_softmax_dice: bool = False
) -> tuple[Tensor, Tensor]:
    """Return the loss of stage 1 where labels are known, and the logits (B, C, ...).

    It is Dice + cross-entropy, or one loss for each of four heads, of which the one with the Dice loss is returned.

    Args:
        student: What is trained.
        images: Slices with neighbors (B, N, H, W), or patches.
        labels: Their labels (B, H, W), 255 unknown.
        weights: Weight of each class (C,); the four heads weigh all alike.
        double_softmax_dice: See `four_head_loss`.
    """
    if not isinstance(student, PaperStudent):
        logits = student_logits(student, images)
        return loss_where(logits, labels, torch.ones_like(labels, dtype=torch.bool), weights), logits
    target, known = known_region(labels)
    with autocast(images.device, dims=images.ndim - 2, training=True):
        head_logits = student.explain(images).head_logits
    return four_head_loss(head_logits, target, known, double_softmax_dice=double_softmax_dice), head_logits[1]


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
    return _DICE(*_inside(logits.softmax(1), target, region))


def twice_softmaxed_dice(logits: Tensor, target: Tensor, region: Tensor) -> Tensor:
    """Return `soft_dice` of probabilities taken for logits: it never comes near 0, and its gradient is weaker."""
    return _DICE(*_inside(logits.softmax(1).softmax(1), target, region))


def soft_iou(logits: Tensor, target: Tensor, region: Tensor) -> Tensor:
    """Return 1 - IoU, averaged over the classes with background and over the samples."""
    return _IOU(*_inside(logits.softmax(1), target, region))


def _inside(probabilities: Tensor, target: Tensor, region: Tensor) -> tuple[Tensor, Tensor]:
    """Return probabilities and one-hot target (B, C, ...), both 0 outside a region: there nothing overlaps."""
    truth = functional.one_hot(target, probabilities.shape[1]).movedim(-1, 1)
    return probabilities * region[:, None], truth * region[:, None]


def _mean_inside(losses: Tensor, region: Tensor) -> Tensor:
    return (losses * region).sum() / region.sum().clamp_min(1)
