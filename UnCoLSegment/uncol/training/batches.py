"""What every method draws, predicts and measures in a step, in 2D (slices) and in 3D (patches of volumes).

Shapes below write the 2D case; in 3D, images are (B, 1, D, H, W) and labels (B, D, H, W).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from uncol.core.ablations import DOUBLE_SOFTMAX_DICE
from uncol.core.volume import UNKNOWN_LABEL
from uncol.data.augmentation import Pose, change_grey_values, draw_box_mask, draw_pose
from uncol.models.devices import autocast
from uncol.models.paper_student import PaperStudent
from uncol.training.head_losses import four_head_loss
from uncol.training.losses import known_region, region_loss
from uncol.training.state import Run


def draw_annotated(run: Run, pose: Pose) -> tuple[Tensor, Tensor]:
    """Draw annotated slices with neighbors (B, N, H, W) and their labels (B, H, W), moved and changed at random."""
    addresses = run.pool.draw_labeled(len(pose.matrices), run.generator)
    return change_at_random(run, pose, run.pool.inputs(addresses), run.pool.targets(addresses))


def draw_unannotated(run: Run, pose: Pose) -> tuple[list[Any], Tensor]:
    """Draw unannotated slices: their addresses, and the images (B, N, H, W) moved and changed at random."""
    addresses = run.pool.draw_unlabeled(len(pose.matrices), run.generator)
    return addresses, change_image_at_random(run, pose, run.pool.inputs(addresses))


def draw_common_pose(run: Run, count: int) -> Pose:
    """Draw poses for `count` slices; slices that are mixed share one, so that anatomy stays in place."""
    data = run.config.data
    extent: tuple[float, ...] = run.pool.size
    if len(extent) == 3:
        extent = (extent[0] * run.card.slice_mm / run.card.pixel_mm, *extent[1:])
    return draw_pose(count, extent, run.generator, rotation_deg=data.rotation_deg, mirror=data.mirror)


def change_at_random(run: Run, pose: Pose, slices: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Move slices and labels alike, change grey values, and bring both to the device."""
    return change_image_at_random(run, pose, slices), pose.move_labels(labels).to(run.device)


def change_image_at_random(run: Run, pose: Pose, slices: Tensor) -> Tensor:
    """Move slices, change grey values, and bring them to the device."""
    changed = change_grey_values(pose.move_images(slices), run.generator)
    return changed.to(run.device, memory_format=run.memory_format)


def draw_mask(run: Run) -> Tensor:
    """Draw the copy-paste mask (H, W) of the step; in a part of the steps nothing is pasted."""
    losses = run.config.losses
    probability = 1.0 if run.method.always_mixes else losses.copy_paste_probability[run.stage - 1]
    if float(torch.rand(1, generator=run.generator)) >= probability:
        return torch.ones(run.pool.size, dtype=torch.bool, device=run.device)
    return draw_box_mask(run.pool.size, losses.copy_paste_side, run.generator).to(run.device)


def predict(run: Run, slices: Tensor) -> Tensor:
    """Return the student's logits (B, C, H, W), float32."""
    with autocast(run.device, dims=run.config.student.dims, training=True):
        logits: Tensor = run.student(slices)
    return logits.float()


def annotated_loss(run: Run, slices: Tensor, labels: Tensor) -> Tensor:
    """Return the loss of stage 1 where labels are known: Dice + cross-entropy, or one loss for each of four heads."""
    if not isinstance(run.student, PaperStudent):
        return loss_where(run, predict(run, slices), labels, torch.ones_like(labels, dtype=torch.bool))
    target, known = known_region(labels, UNKNOWN_LABEL)
    with autocast(run.device, dims=run.config.student.dims, training=True):
        head_logits = run.student.explain(slices).head_logits
    twice = DOUBLE_SOFTMAX_DICE in run.config.ablations
    return four_head_loss(head_logits, target, known, double_softmax_dice=twice)


def loss_where(run: Run, logits: Tensor, labels: Tensor, region: Tensor) -> Tensor:
    """Return Dice + cross-entropy where labels are known inside one part of a mixed slice; 0 for an empty part."""
    if not region.any():
        return logits.new_zeros(())
    target, known = known_region(labels, UNKNOWN_LABEL)
    return region_loss(logits, target, known & region, run.class_weights)


def complete_labels(run: Run, addresses: Sequence[Any], pseudo_labels: Tensor) -> Tensor:
    """Return pseudo-labels (B, H, W) with annotated voxels as they were annotated, and padding unknown."""
    known = run.pool.targets(addresses)
    labeled = torch.where(known == UNKNOWN_LABEL, pseudo_labels.to(torch.uint8), known)
    return torch.where(run.pool.inside(addresses), labeled, UNKNOWN_LABEL)
