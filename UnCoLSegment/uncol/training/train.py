"""UnCoL fine-tuning: a prompt-free student, taught by a frozen generalist and by its own moving average.

Stage 1 learns from annotated slices, as they are unless the configuration mixes them by copy-paste. Stage 2 adds
every slice that nobody annotated: both teachers predict it, the more certain one wins voxel by voxel, voxels where
neither is certain do not count, and annotated and pseudo-labeled slices are mixed both ways.

Source:
    Lu, Hong & Yang, "Harmonizing Generalization and Specialization: Uncertainty-Informed
    Collaborative Learning for Semi-supervised Medical Image Segmentation" (UnCoL), IEEE TMI 2026,
    doi:10.1109/TMI.2026.3664940. Differences are listed in docs/method.md.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from uncol.core.methods import PseudoLabels, Stage2Loss
from uncol.core.progress import UNWATCHED, Monitor
from uncol.core.volume import UNKNOWN_LABEL
from uncol.data.augmentation import RandomAffine
from uncol.models.card import Model
from uncol.models.devices import with_memory_fallback
from uncol.training import baselines
from uncol.training.distillation import distillation_loss
from uncol.training.finite import finite_losses
from uncol.training.first_pass import end_first_pass
from uncol.training.losses import annotated_loss, loss_where, student_logits
from uncol.training.pseudo_labels import (
    PseudoLabel,
    Reliability,
    equally_reliable,
    fuse_by_share,
    fuse_pseudo_labels,
    gate_generalized,
    gate_specialized,
    ramp_up,
    reliability_at_distance,
    unprompted_region,
)
from uncol.training.record import finish
from uncol.training.resume import begun, save, watching
from uncol.training.specialized_teacher import update_specialized_teacher
from uncol.training.state import FineTuneSetup, TrainingState

Losses = dict[str, Tensor]
"""Parts of a step's loss by name, before they are weighed."""

_CURVE_POINTS = 100
_PHASES = {1: "Learning from annotated slices", 2: "Learning from all slices"}


def fine_tune(setup: FineTuneSetup, folder: Path, monitor: Monitor = UNWATCHED, *, resume: bool = False) -> Model:
    """Train a student on a few annotated slices and on everything else, and save it as a model; see `train`."""
    return finish(train(setup, folder, monitor, resume=resume), folder, monitor)


def train(setup: FineTuneSetup, folder: Path, monitor: Monitor = UNWATCHED, *, resume: bool = False) -> TrainingState:
    """Begin a training, or go on with the unfinished one in the folder, until the budget is spent; see `go_on`."""
    return go_on(begun(setup, folder, monitor, resume=resume), folder, monitor)


def go_on(state: TrainingState, folder: Path, monitor: Monitor = UNWATCHED) -> TrainingState:
    """Learn from annotated slices (stage 1), then from all slices (stage 2), until the budget is spent.

    Args:
        state: Where to go on from.
        folder: Model folder; it holds the checkpoint while the training is unfinished.
        monitor: Told about progress and losses, and asked at every step whether to stop.

    Raises:
        CancelledError: If the monitor says so; the checkpoint allows `resume`.
        UncolError: If the data, the folder or the checkpoint cannot be used, or a loss is not finite any more.
    """
    monitor = watching(state, folder, monitor)
    if not state.has_begun:
        begin(state, monitor)

    while not state.budget.is_over(state.step):
        if state.stage == 1 and state.stage1_is_over:
            end_first_pass(state, monitor)  # score both teachers on held-out slices, then learn from these, too
            if not put_off(state):
                start_stage2(state)
        if state.stage == 2:
            prompt_if_due(state, monitor)  # the frozen teacher, with fresh boxes

        within_memory(state, learn)
        if state.stage == 1 or state.recipe.ema_moves_in_stage2:
            decay = state.config.teachers.ema_decay
            update_specialized_teacher(state.specialized_teacher, state.student, state.step, decay)

        state.step += 1
        keep_or_stop(state, folder, monitor)  # checkpoint when due; CancelledError after saving

    close(state)
    return state


def learn(state: TrainingState) -> None:
    """Take one step: the losses of the stage, their weighted sum, and the student's weights moved by it.

    Raises:
        NotFiniteError: If a loss is not finite; the weights are not moved.
    """
    losses = stage1_loss(state) if state.stage == 1 else STAGE2_LOSSES[state.recipe.method.stage2_loss](state)
    losses |= distillation_loss(state) | remembered_loss(state)
    state.losses = finite_losses(losses, state.step)
    optimizer_step(state, total(state, losses))


def stage1_loss(state: TrainingState) -> Losses:
    """Stage 1: annotated slices, some mixed by copy-paste; the loss sees annotated voxels only."""
    affine = state.sampler.affine(state.batch_size)
    image, label = state.sampler.labeled(affine)
    keep = copy_paste_mask(state)
    if not keep.all():
        image_b, label_b = state.sampler.labeled(affine)
        image, label = torch.where(keep, image, image_b), torch.where(keep, label, label_b)
    twice = state.recipe.double_softmax_dice
    loss, logits = annotated_loss(state.student, image, label, state.class_weights, double_softmax_dice=twice)
    state.note_found(logits, label)
    return {"supervised": loss}


def remembered_loss(state: TrainingState) -> Losses:
    """Keep what the base finds on an unannotated slice (B = 1), in stage 1, while a structure is added to it."""
    if state.memory is None or state.stage == 2:
        return {}
    affine = state.sampler.affine(1)
    addresses, image = state.sampler.unlabeled(affine)
    labels = state.memory.labels(state.pool.inputs(addresses), state.device)
    is_free = (state.pool.targets(addresses) == UNKNOWN_LABEL) & state.pool.inside(addresses)
    labels = affine.warp_labels(torch.where(is_free, labels, UNKNOWN_LABEL)).to(state.device)
    logits = state.memory.logits(student_logits(state.student, image))
    everywhere, alike = torch.ones_like(labels, dtype=torch.bool), logits.new_ones(logits.shape[1])
    return {"remembered": loss_where(logits, labels, everywhere, alike)}


def stage2_loss(state: TrainingState) -> Losses:
    """Stage 2: annotated and pseudo-labeled slices are mixed both ways (method, section 5, items 6 to 8)."""
    affine = state.sampler.affine(state.batch_size)
    keep = copy_paste_mask(state)
    labeled_a, label_a = labeled_b, label_b = state.sampler.labeled(affine)
    unlabeled_a, pseudo_a = unlabeled_b, pseudo_b = draw_pseudo_labeled(state, affine)
    if not keep.all():
        labeled_b, label_b = state.sampler.labeled(affine)
        unlabeled_b, pseudo_b = draw_pseudo_labeled(state, affine)

    mixed = [torch.where(keep, labeled_a, unlabeled_b), torch.where(keep, unlabeled_a, labeled_b)]
    logits_labeled, logits_unlabeled = student_logits(state.student, torch.cat(mixed)).chunk(2)

    weights = state.class_weights
    return {
        "supervised": 0.5
        * (loss_where(logits_labeled, label_a, keep, weights) + loss_where(logits_unlabeled, label_b, ~keep, weights)),
        "pseudo_label": 0.5
        * (
            loss_where(logits_labeled, pseudo_b, ~keep, weights) + loss_where(logits_unlabeled, pseudo_a, keep, weights)
        ),
    }


def draw_pseudo_labeled(state: TrainingState, affine: RandomAffine) -> tuple[Tensor, Tensor]:
    """Draw unannotated slices (B, N, H, W) and let the teachers label them (B, H, W) as they are, before they move."""
    addresses, image = state.sampler.unlabeled(affine)
    labels = PSEUDO_LABELS[state.recipe.method.pseudo_labels](state, addresses)
    return image, affine.warp_labels(labels).to(state.device)


def fused_pseudo_labels(state: TrainingState, addresses: Sequence[Any]) -> Tensor:
    """Fuse both teachers' predictions to class indices (B, H, W); 255 where neither is certain, annotated ones kept."""
    specialized = state.pool.as_slices(state.specialized_probabilities(addresses))
    fused = fuse_votes(state, addresses, specialized, state.specialized_reliability, state.trust_threshold)
    pseudo = torch.where(fused.trust_mask, fused.label, UNKNOWN_LABEL)
    return state.sampler.complete(addresses, state.pool.from_slices(pseudo))


def fuse_votes(
    state: TrainingState,
    addresses: Sequence[Any],
    specialized: Tensor,
    specialized_reliability: Tensor,
    threshold: float,
) -> PseudoLabel:
    """Let the more certain teacher win voxel by voxel, slice by slice (S, H, W).

    Args:
        state: The training, whose generalized teacher has predictions.
        addresses: The slices, or patches of several.
        specialized: The specialized teacher's class probabilities (S, C, H, W).
        specialized_reliability: Dice (C,) one gap from an annotated slice, by which its certainty is discounted.
        threshold: Entropy up to which a teacher is trusted, in [0, 1]; every one is without gating.
    """
    recipe, teacher = state.recipe, state.generalized_teacher
    method = recipe.method
    if not method.gating:
        threshold = 1.0
    if state.sources is not None:
        generalized, share = state.sources.predictions_for(addresses)
        return fuse_by_share(generalized, specialized, share, threshold)
    if teacher is None:
        return gate_specialized(specialized, threshold)
    prediction = teacher.predictions_for(addresses)
    generalized = prediction.probabilities.softmax(1) if recipe.softmax_of_probabilities else prediction.probabilities
    unprompted = unprompted_region(specialized, prediction.prompted)
    if not method.specialized:
        return gate_generalized(generalized, threshold, prediction.reliability, unprompted)
    far_off = reliability_at_distance(specialized_reliability, teacher.gaps_to(addresses))
    reliability = Reliability(prediction.reliability, far_off)
    if not method.gating or recipe.equal_reliability:
        reliability = equally_reliable(reliability)
    return fuse_pseudo_labels(generalized, specialized, threshold, reliability, unprompted)


def total(state: TrainingState, losses: Losses) -> Tensor:
    """Return the weighted sum of a step's losses."""
    settings = state.config.losses
    weights = {
        "pseudo_label": settings.pseudo_label_weight,
        "consistency": settings.consistency_weight * ramp_up(state.stage2_fraction),
    }
    return sum((weights.get(name, 1.0) * loss for name, loss in losses.items()), torch.zeros(()))


def optimizer_step(state: TrainingState, loss: Tensor) -> None:
    """Take one AdamW step with the polynomial learning rate `lr (1 - t/T)^p` and clipped gradients.

    A student that started from a base model thaws part by part.
    """
    settings = state.config.optimizer
    rate, progress = settings.learning_rate, state.fraction
    if state.stage == 2 and state.recipe.stage2_rate is not None:
        rate, progress = state.recipe.stage2_rate, state.stage2_fraction
    for group in state.optimizer.param_groups:
        group["lr"] = rate * (1 - progress) ** settings.poly_power * state.share_of_rate(group["part"])
    state.optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(state.parameters, settings.gradient_clip)
    state.optimizer.step()


STAGE2_LOSSES: dict[Stage2Loss, Callable[[TrainingState], Losses]] = {
    Stage2Loss.PSEUDO_LABELS: stage2_loss,
    Stage2Loss.CONSISTENCY: baselines.consistency_loss,
}
"""What stage 2 learns from unannotated images."""
PSEUDO_LABELS: dict[PseudoLabels, Callable[[TrainingState, Sequence[Any]], Tensor]] = {
    PseudoLabels.FUSED: fused_pseudo_labels,
    PseudoLabels.LARGEST_COMPONENT: baselines.bcp_pseudo_labels,
}
"""Who writes pseudo-labels."""


def copy_paste_mask(state: TrainingState) -> Tensor:
    """Draw the mask of the step; in a part of the steps nothing is pasted."""
    losses = state.config.losses
    probability = 1.0 if state.recipe.method.always_mixes else losses.copy_paste_probability[state.stage - 1]
    return state.sampler.copy_paste_mask(probability, losses.copy_paste_side)


def begin(state: TrainingState, monitor: Monitor) -> None:
    """Let the generalized teacher propagate annotated slices, then start counting stage 1."""
    if state.prompting is not None:
        state.budget.expected_teacher_s = state.prompting.propagate_annotations(monitor)
    state.budget.start_stage1()
    state.student.train()
    state.has_begun = True


def put_off(state: TrainingState) -> bool:
    """Extend stage 1 while a structure is not found on its own annotated slices: pseudo-labels would bury it.

    Only where registration carries annotated slices, and as far as the budget allows (docs/decisions/0024).
    """
    return bool(state.not_found) and state.budget.extend_stage1()


def start_stage2(state: TrainingState) -> None:
    """Leave stage 1."""
    state.curve.close_point(state.step, state.budget.elapsed_s, state.stage)
    state.stage = 2
    state.budget.start_stage2()


def prompt_if_due(state: TrainingState, monitor: Monitor) -> None:
    """Ask the generalized part about every unannotated slice, with fresh boxes, when the next round has come."""
    rounds, sources = state.prompting, state.sources
    is_due = rounds is not None and rounds.are_due(state.stage2_fraction)
    if rounds is not None and is_due:
        rounds.prompt(state.specialized_slices, state.specialized_reliability, state.budget.spare_s, monitor)
    if sources is not None and (is_due or not sources.has_predictions):
        sources.fuse(state.specialized_slices, monitor if rounds is None else rounds.while_fusing(monitor))
        is_due = True
    if is_due and (rounds is None or rounds.rounds_done == 1):
        state.budget.start_stage2()


def within_memory(state: TrainingState, step: Callable[[TrainingState], None]) -> None:
    """Take a step; when the device's memory is full, go on with fewer slices, then on the CPU, and note it."""

    def take(device: torch.device, batch_size: int) -> None:
        state.batch_size = batch_size
        if device != state.device:
            state.move_to(device)
        step(state)

    with_memory_fallback(take, state.device, state.batch_size, state.notes.append)


def keep_or_stop(state: TrainingState, folder: Path, monitor: Monitor) -> None:
    """Add the step to the learning curve, tell the progress, stop when asked, and save a checkpoint when it is time."""
    state.curve.add(state.losses)
    if state.fraction * _CURVE_POINTS >= len(state.curve.points) + 1:
        state.curve.close_point(state.step, state.budget.elapsed_s, state.stage)
    monitor.step(_PHASES[state.stage], state.fraction)
    if time.monotonic() - state.saved_at_s > state.config.budget.checkpoint_s:
        save(state, folder)


def close(state: TrainingState) -> None:
    """Close learning curve and budget: what comes now is no training."""
    state.curve.close_point(state.step, state.budget.elapsed_s, state.stage)
    state.budget.stop()
