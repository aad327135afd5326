"""What the methods that UnCoL is measured against do with unannotated images, over the same shared parts.

Source:
    Mean Teacher: Tarvainen & Valpola, "Mean teachers are better role models", NeurIPS 2017.
    UA-MT: Yu et al., "Uncertainty-aware self-ensembling model for semi-supervised 3D left atrium
    segmentation", MICCAI 2019: eight noisy passes, the ramps, their weight of 0.1, noise of 0.1 cut at 0.2.
    BCP: Bai et al., "Bidirectional copy-paste for semi-supervised medical image segmentation", CVPR 2023.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from uncol.data.connected_components import largest_component
from uncol.inference.uncertainty import entropy_between_two
from uncol.models.devices import autocast
from uncol.training.batches import (
    change_at_random,
    complete_labels,
    draw_annotated,
    draw_common_pose,
    loss_where,
    predict,
)
from uncol.training.pseudo_labels import ramp_up, trust_threshold
from uncol.training.state import Run

_NOISE = 0.1
_LARGEST_NOISE = 0.2
_PASSES = 8
"""Noisy passes of the moving average whose mean tells how sure it is."""


def learn_to_agree(run: Run) -> Tensor:
    """Mean Teacher and UA-MT: annotated images, and agreement with the moving average under other noise."""
    pose = draw_common_pose(run, run.batch_size)
    image, label = draw_annotated(run, pose)
    addresses = run.pool.draw_unlabeled(len(pose.matrices), run.generator)
    unlabeled, padding = change_at_random(run, pose, run.pool.inputs(addresses), run.pool.inside(addresses).byte())

    logits, unlabeled_logits = predict(run, torch.cat([image, add_noise(unlabeled, run.generator)])).chunk(2)
    supervised_loss = loss_where(run, logits, label, torch.ones_like(label, dtype=torch.bool))

    region = padding == 1
    target = teacher_probabilities(run.specialized_teacher, add_noise(unlabeled, run.generator))
    if run.method.only_sure_agreement:
        teachers = run.config.teachers
        threshold = trust_threshold(run.stage2_fraction, teachers.threshold_start, teachers.threshold_end)
        noisy = (add_noise(unlabeled, run.generator) for _ in range(_PASSES))
        region = region & is_sure(run.specialized_teacher, noisy, threshold)
    agreement_loss = agreement(unlabeled_logits.softmax(1), target, region)

    run.note_losses(supervised=supervised_loss, agreement=agreement_loss)
    return supervised_loss + run.config.losses.consistency_weight * ramp_up(run.stage2_fraction) * agreement_loss


def add_noise(images: Tensor, generator: torch.Generator) -> Tensor:
    """Add normal noise of deviation 0.1, cut at 0.2, to images in [0, 1]."""
    noise = torch.randn(images.shape, generator=generator) * _NOISE
    return images + noise.clamp_(-_LARGEST_NOISE, _LARGEST_NOISE).to(images.device)


@torch.no_grad()
def teacher_probabilities(teacher: nn.Module, images: Tensor) -> Tensor:
    """Return the moving average's class probabilities (B, C, ...) of images (B, N, ...)."""
    with autocast(images.device):
        logits: Tensor = teacher(images)
    return logits.float().softmax(1)


def is_sure(teacher: nn.Module, noisy: Iterator[Tensor], threshold: float) -> Tensor:
    """Return where the mean of the teacher's passes with dropout over noisy images has an entropy below the threshold.

    Args:
        teacher: The moving average.
        noisy: The same images (B, N, ...) with other noise each time.
        threshold: Entropy between two classes, in [0, 1].
    """
    with dropping_out(teacher):
        passes = [teacher_probabilities(teacher, each) for each in noisy]
    return entropy_between_two(torch.stack(passes).mean(0)) < threshold


@contextmanager
def dropping_out(network: nn.Module) -> Iterator[None]:
    """Let a network in evaluation mode drop features out, as in training; everything else stays as it is."""
    dropouts = [each for each in network.modules() if isinstance(each, nn.modules.dropout._DropoutNd)]
    for each in dropouts:
        each.train()
    try:
        yield
    finally:
        for each in dropouts:
            each.eval()


def agreement(probabilities: Tensor, target: Tensor, region: Tensor) -> Tensor:
    """Return the mean squared difference of class probabilities inside a region; 0 for an empty region.

    Args:
        probabilities: The student's (B, C, ...).
        target: The moving average's (B, C, ...).
        region: Where agreement counts (B, ...), bool.
    """
    squares = ((probabilities - target) ** 2).mean(1)
    return (squares * region).sum() / region.sum().clamp_min(1)


def label_with_largest_component(run: Run, addresses: Sequence[Any], images: Tensor) -> Tensor:
    """BCP: every class's largest piece in the moving average's prediction (B, H, W), all of it trusted."""
    labels = run.specialized_probabilities(images).argmax(1)
    pieces = torch.zeros_like(labels)
    for structure in range(1, run.card.class_count):
        for piece, found in zip(pieces, labels == structure, strict=True):
            piece[torch.from_numpy(largest_component(found.numpy()))] = structure
    return complete_labels(run, addresses, pieces)
