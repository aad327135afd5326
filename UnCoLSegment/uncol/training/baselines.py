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
from uncol.training.losses import loss_where, student_logits
from uncol.training.state import TrainingState

_NOISE = 0.1
_LARGEST_NOISE = 0.2
_PASSES = 8
"""Noisy passes of the moving average whose mean tells how sure it is."""


def consistency_loss(state: TrainingState) -> dict[str, Tensor]:
    """Mean Teacher and UA-MT: annotated images, and consistency with the moving average under other noise."""
    sampler, teacher = state.sampler, state.specialized_teacher
    affine = sampler.affine(state.batch_size)
    image, label = sampler.labeled(affine)
    addresses = state.pool.draw_unlabeled(len(affine.matrices), sampler.generator)
    inside = state.pool.inside(addresses).byte()
    unlabeled, padding = sampler.augment(affine, state.pool.inputs(addresses), inside)

    noisy = add_noise(unlabeled, sampler.generator)
    logits, unlabeled_logits = student_logits(state.student, torch.cat([image, noisy])).chunk(2)
    everywhere = torch.ones_like(label, dtype=torch.bool)

    region = padding == 1
    target = teacher_probabilities(teacher, add_noise(unlabeled, sampler.generator))
    if state.recipe.method.filters_by_uncertainty:
        passes = (add_noise(unlabeled, sampler.generator) for _ in range(_PASSES))
        region = region & is_certain(teacher, passes, state.trust_threshold)
    loss = loss_where(logits, label, everywhere, state.class_weights)
    state.note_found(logits, label)
    return {
        "supervised": loss,
        "consistency": consistency(unlabeled_logits.softmax(1), target, region),
    }


def bcp_pseudo_labels(state: TrainingState, addresses: Sequence[Any]) -> Tensor:
    """BCP: every class's largest piece in the moving average's prediction (B, H, W), all of it trusted."""
    labels = state.specialized_probabilities(addresses).max(1).indices
    pieces = torch.zeros_like(labels)
    for structure in range(1, state.card.class_count):
        for piece, found in zip(pieces, labels == structure, strict=True):
            piece[torch.from_numpy(largest_component(found.numpy()))] = structure
    return state.sampler.complete(addresses, pieces)


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


def is_certain(teacher: nn.Module, noisy: Iterator[Tensor], threshold: float) -> Tensor:
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


def consistency(probabilities: Tensor, target: Tensor, region: Tensor) -> Tensor:
    """Return the mean squared difference of class probabilities inside a region; 0 for an empty region.

    Args:
        probabilities: The student's (B, C, ...).
        target: The moving average's (B, C, ...).
        region: Where it counts (B, ...), bool.
    """
    squares = ((probabilities - target) ** 2).mean(1)
    return (squares * region).sum() / region.sum().clamp_min(1)
