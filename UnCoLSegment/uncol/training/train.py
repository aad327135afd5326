"""UnCoL fine-tuning: a prompt-free student, taught by a frozen generalist and by its own moving average.

Stage 1 learns from annotated slices, as they are unless the configuration mixes them by copy-paste. Stage 2 adds
every slice that nobody annotated: both teachers vote on it, the surer vote wins voxel by voxel, voxels that both
doubt do not count, and annotated and pseudo-labeled slices are mixed both ways.

Source:
    Lu, Hong & Yang, "Harmonizing Generalization and Specialization: Uncertainty-Informed
    Collaborative Learning for Semi-supervised Medical Image Segmentation" (UnCoL), IEEE TMI 2026,
    doi:10.1109/TMI.2026.3664940. Differences are listed in docs/method.md.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from uncol.core.ablations import ADAMW_LR_001, EQUAL_TEACHERS, FROZEN_EMA, SOFTMAX_OF_PROBABILITIES
from uncol.core.methods import Labeler, Lesson
from uncol.core.progress import UNWATCHED, Monitor
from uncol.core.volume import UNKNOWN_LABEL
from uncol.data.augmentation import Pose
from uncol.models.checkpoints import Model
from uncol.training.baselines import label_with_largest_component, learn_to_agree
from uncol.training.batches import (
    annotated_loss,
    complete_labels,
    draw_annotated,
    draw_common_pose,
    draw_mask,
    draw_unannotated,
    loss_where,
    predict,
)
from uncol.training.distilling import distill
from uncol.training.pseudo_labels import (
    PseudoLabel,
    Reliability,
    equally_reliable,
    fall_with_distance,
    fuse_pseudo_labels,
    trust_generalized_teacher,
    trust_one_teacher,
    trust_threshold,
    where_unasked,
)
from uncol.training.setup import FineTuneSetup
from uncol.training.specialized_teacher import update_specialized_teacher
from uncol.training.state import Run, begin_run, finish_run, resume_run


def fine_tune(
    setup: FineTuneSetup,
    out: Path,
    monitor: Monitor = UNWATCHED,
    *,
    resume: bool = False,
) -> Model:
    """Train a student on a few annotated slices and on everything else, and save it as a model; see `train`."""
    return finish_run(train(setup, out, monitor, resume=resume))


def train(
    setup: FineTuneSetup,
    out: Path,
    monitor: Monitor = UNWATCHED,
    *,
    resume: bool = False,
) -> Run:
    """Train a student on a few annotated slices and on everything else until its budget is used up.

    Args:
        setup: Cases, structures, configuration, device and teacher.
        out: Model folder; it holds the checkpoint while the run is unfinished.
        monitor: Told about progress and losses, and asked at every step whether to stop.
        resume: Go on from the checkpoint there.

    Raises:
        CancelledError: If the monitor says so; the checkpoint allows `resume`.
        UncolError: If the data, the folder or the checkpoint cannot be used.
    """
    run = resume_run(setup, out, monitor) if resume else begin_run(setup, out, monitor)

    while not run.is_over:
        if run.stage == 1 and run.stage1_is_over:
            run.start_stage2()
        if run.prompts_are_due:
            run.prompt_generalized_teacher()

        run.within_memory(take_step)
        if run.stage == 1 or FROZEN_EMA not in run.config.ablations:
            update_specialized_teacher(run.specialized_teacher, run.student, run.step, run.config.teachers.ema_decay)
        run.end_step()

    run.end()
    return run


def take_step(run: Run) -> None:
    """Compute the loss of the stage and move the student's weights by it."""
    loss = learn_from_annotated(run) if run.stage == 1 else _LESSONS[run.method.lesson](run)
    if run.features is not None:
        distillation_loss = distill(run)
        run.note_losses(distillation=distillation_loss)
        loss = loss + distillation_loss
    optimize(run, loss)


def learn_from_annotated(run: Run) -> Tensor:
    """Stage 1: annotated slices, some mixed by copy-paste; the loss sees annotated voxels only."""
    pose = draw_common_pose(run, run.batch_size)
    image, label = draw_annotated(run, pose)
    keep = draw_mask(run)
    if not keep.all():
        image_b, label_b = draw_annotated(run, pose)
        image, label = torch.where(keep, image, image_b), torch.where(keep, label, label_b)

    supervised_loss = annotated_loss(run, image, label)
    run.note_losses(supervised=supervised_loss)
    return supervised_loss


def learn_from_both(run: Run) -> Tensor:
    """Stage 2: annotated and pseudo-labeled slices are mixed both ways (method, section 5, items 6 to 8)."""
    pose = draw_common_pose(run, run.batch_size)
    keep = draw_mask(run)
    image_a, label_a = image_b, label_b = draw_annotated(run, pose)
    image_v, pseudo_v = image_u, pseudo_u = draw_pseudo_labeled(run, pose)
    if not keep.all():
        image_b, label_b = draw_annotated(run, pose)
        image_u, pseudo_u = draw_pseudo_labeled(run, pose)

    mixed_labeled = torch.where(keep, image_a, image_u)
    mixed_unlabeled = torch.where(keep, image_v, image_b)
    logits_labeled, logits_unlabeled = predict(run, torch.cat([mixed_labeled, mixed_unlabeled])).chunk(2)

    supervised_loss = 0.5 * (
        loss_where(run, logits_labeled, label_a, keep) + loss_where(run, logits_unlabeled, label_b, ~keep)
    )
    pseudo_label_loss = 0.5 * (
        loss_where(run, logits_labeled, pseudo_u, ~keep) + loss_where(run, logits_unlabeled, pseudo_v, keep)
    )
    run.note_losses(supervised=supervised_loss, pseudo_label=pseudo_label_loss)
    return supervised_loss + run.config.losses.pseudo_label_weight * pseudo_label_loss


def draw_pseudo_labeled(run: Run, pose: Pose) -> tuple[Tensor, Tensor]:
    """Draw unannotated slices (B, N, H, W) and let the teachers label them (B, H, W) as they are, before they move."""
    addresses, image = draw_unannotated(run, pose)
    labels = _LABELERS[run.method.labeler](run, addresses, run.pool.inputs(addresses))
    return image, pose.move_labels(labels).to(run.device)


def label_with_teachers(run: Run, addresses: Sequence[Any], slices: Tensor) -> Tensor:
    """Fuse both teachers' votes to class indices (B, H, W); 255 where both doubt, annotated voxels as annotated."""
    teachers = run.config.teachers
    threshold = trust_threshold(run.stage2_fraction, teachers.threshold_start, teachers.threshold_end)
    specialized = run.pool.as_slices(run.specialized_probabilities(slices))
    fused = fuse_votes(run, addresses, specialized, run.specialized_reliability, threshold)
    pseudo = torch.where(fused.trust_mask, fused.label, UNKNOWN_LABEL)
    return complete_labels(run, addresses, run.pool.from_slices(pseudo))


def fuse_votes(
    run: Run, addresses: Sequence[Any], specialized: Tensor, specialized_reliability: Tensor, threshold: float
) -> PseudoLabel:
    """Let the surer teacher win voxel by voxel, slice by slice (S, H, W).

    Args:
        run: The run, whose generalized teacher has voted.
        addresses: The slices, or patches of several.
        specialized: The specialized teacher's class probabilities (S, C, H, W).
        specialized_reliability: How much of its certainty it deserves (C,) one gap from an annotated slice.
        threshold: Entropy up to which a teacher is trusted, in [0, 1]; every one is without gating.
    """
    method = run.method
    if not method.gating:
        threshold = 1.0
    if run.opinions is None:
        return trust_one_teacher(specialized, threshold)
    opinion = run.opinions.about(addresses)
    generalized = opinion.probabilities
    if SOFTMAX_OF_PROBABILITIES in run.config.ablations:
        generalized = generalized.softmax(1)
    silent = where_unasked(specialized, opinion.asked)
    if not method.specialized:
        return trust_generalized_teacher(generalized, threshold, opinion.reliability, silent)
    deserved = fall_with_distance(specialized_reliability, run.opinions.gaps_to(addresses))
    reliability = Reliability(opinion.reliability, deserved)
    if not method.gating or EQUAL_TEACHERS in run.config.ablations:
        reliability = equally_reliable(reliability)
    return fuse_pseudo_labels(generalized, specialized, threshold, reliability, silent)


def optimize(run: Run, loss: Tensor) -> None:
    """Take one AdamW step with the polynomial learning rate `lr (1 - t/T)^p` and clipped gradients."""
    settings = run.config.optimizer
    rate, progress = settings.learning_rate, run.fraction
    if run.stage == 2 and ADAMW_LR_001 in run.config.ablations:
        rate, progress = _RELEASED_RATE, run.stage2_fraction
    for group in run.optimizer.param_groups:
        group["lr"] = rate * (1 - progress) ** settings.poly_power
    run.optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(run.trained_parameters(), settings.gradient_clip)
    run.optimizer.step()


_RELEASED_RATE = 0.01
"""What the released code's AdamW effectively starts stage 2 with, falling to 0 (method, section 7, row 3)."""
_LESSONS: dict[Lesson, Callable[[Run], Tensor]] = {"pseudo-labels": learn_from_both, "agreement": learn_to_agree}
"""What stage 2 learns from unannotated images."""
_LABELERS: dict[Labeler, Callable[[Run, Sequence[Any], Tensor], Tensor]] = {
    "both-teachers": label_with_teachers,
    "largest-component": label_with_largest_component,
}
"""Who writes pseudo-labels."""
