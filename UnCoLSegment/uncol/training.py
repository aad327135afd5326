"""UnCoL fine-tuning: a prompt-free student, taught by a frozen generalist and by its own moving average.

Stage 1 learns from annotated slices, mixed with each other by copy-paste. Stage 2 adds every slice that
nobody annotated: both teachers vote on it, the surer vote wins voxel by voxel, voxels that both doubt do not
count, and annotated and pseudo-labeled slices are mixed both ways.

Source:
    Lu, Hong & Yang, "Harmonizing Generalization and Specialization: Uncertainty-Informed
    Collaborative Learning for Semi-supervised Medical Image Segmentation" (UnCoL), IEEE TMI 2026,
    doi:10.1109/TMI.2026.3664940. Differences are listed in docs/method.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from uncol.augmentation import Pose, change_grey_values, draw_copy_paste_mask, draw_pose
from uncol.checkpoints import Model
from uncol.datasets import SliceAddress
from uncol.devices import autocast
from uncol.job import Report, ShouldStop, ignore_progress, never_stop
from uncol.losses import known_region, region_loss
from uncol.pseudo_labels import (
    Reliability,
    fall_with_distance,
    fuse_pseudo_labels,
    trust_one_teacher,
    trust_threshold,
    where_unasked,
)
from uncol.runs import Run, begin_run, finish_run, resume_run
from uncol.teachers.specialized import update_specialized_teacher
from uncol.training_setup import FineTuneSetup
from uncol.volume import UNKNOWN_LABEL


def fine_tune(
    setup: FineTuneSetup,
    out: Path,
    *,
    resume: bool = False,
    report: Report = ignore_progress,
    should_stop: ShouldStop = never_stop,
) -> Model:
    """Train a student on a few annotated slices and on everything else, and save it as a model.

    Args:
        setup: Cases, structures, configuration, device and teacher.
        out: Model folder; it holds the checkpoint while the run is unfinished.
        resume: Go on from the checkpoint there.
        report: Told about progress and losses.
        should_stop: Asked at every step.

    Raises:
        CancelledError: If `should_stop` says so; the checkpoint allows `resume`.
        UncolError: If the data, the folder or the checkpoint cannot be used.
    """
    run = resume_run(setup, out, report, should_stop) if resume else begin_run(setup, out, report, should_stop)

    while not run.is_over:
        if run.stage == 1 and run.stage1_is_over:
            run.start_stage2()
        if run.prompts_are_due:
            run.prompt_generalized_teacher()

        run.within_memory(take_step)
        update_specialized_teacher(run.specialized_teacher, run.student, run.step, run.config.teachers.ema_decay)
        run.end_step()

    return finish_run(run)


def take_step(run: Run) -> None:
    """Compute the loss of the stage and move the student's weights by it."""
    loss = learn_from_annotated(run) if run.stage == 1 else learn_from_both(run)
    optimize(run, loss)


def learn_from_annotated(run: Run) -> Tensor:
    """Stage 1: annotated slices, some mixed by copy-paste; the loss sees annotated voxels only."""
    pose = draw_common_pose(run, run.batch_size)
    image, label = draw_annotated(run, pose)
    keep = draw_mask(run)
    if not keep.all():
        image_b, label_b = draw_annotated(run, pose)
        image, label = torch.where(keep, image, image_b), torch.where(keep, label, label_b)

    supervised_loss = loss_where(run, predict(run, image), label, torch.ones_like(keep))
    run.note_losses(supervised=supervised_loss)
    return supervised_loss


def learn_from_both(run: Run) -> Tensor:
    """Stage 2: annotated and pseudo-labeled slices are mixed both ways (method, section 5, items 6 to 8)."""
    pose = draw_common_pose(run, max(1, run.batch_size // 2))
    image_a, label_a = draw_annotated(run, pose)
    image_b, label_b = draw_annotated(run, pose)
    image_u, pseudo_u = draw_pseudo_labeled(run, pose)
    image_v, pseudo_v = draw_pseudo_labeled(run, pose)
    keep = draw_mask(run)

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


def draw_annotated(run: Run, pose: Pose) -> tuple[Tensor, Tensor]:
    """Draw annotated slices with neighbors (B, N, H, W) and their labels (B, H, W), moved and changed at random."""
    addresses = run.pool.draw_labeled(len(pose.matrices), run.generator)
    return change_at_random(run, pose, run.pool.inputs(addresses), run.pool.targets(addresses))


def draw_pseudo_labeled(run: Run, pose: Pose) -> tuple[Tensor, Tensor]:
    """Draw unannotated slices, let the teachers label them as they are, then move and change them at random."""
    addresses = run.pool.draw_unlabeled(len(pose.matrices), run.generator)
    slices = run.pool.inputs(addresses)
    return change_at_random(run, pose, slices, label_with_teachers(run, addresses, slices))


def label_with_teachers(run: Run, addresses: Sequence[SliceAddress], slices: Tensor) -> Tensor:
    """Fuse both teachers' votes to class indices (B, H, W); 255 where both doubt, annotated voxels as annotated."""
    teachers = run.config.teachers
    threshold = trust_threshold(run.stage2_fraction, teachers.threshold_start, teachers.threshold_end)
    specialized = run.specialized_probabilities(slices)
    if run.opinions is None:
        fused = trust_one_teacher(specialized, threshold)
    else:
        opinion = run.opinions.about(addresses)
        deserved = fall_with_distance(run.specialized_reliability, run.opinions.gaps_to(addresses))
        reliability = Reliability(opinion.reliability, deserved)
        silent = where_unasked(specialized, opinion.asked)
        fused = fuse_pseudo_labels(opinion.probabilities, specialized, threshold, reliability, silent)
    pseudo = torch.where(fused.trust_mask, fused.label, UNKNOWN_LABEL).to(torch.uint8)
    known = run.pool.targets(addresses)
    labeled = torch.where(known == UNKNOWN_LABEL, pseudo, known)
    return torch.where(run.pool.inside(addresses), labeled, UNKNOWN_LABEL)


def draw_common_pose(run: Run, count: int) -> Pose:
    """Draw poses for `count` slices; slices that are mixed share one, so that anatomy stays in place."""
    rows, columns = run.pool.rows_columns
    return draw_pose(count, rows, columns, run.generator, mirror=run.config.data.mirror)


def change_at_random(run: Run, pose: Pose, slices: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Move slices and labels alike, change grey values, and bring both to the device."""
    changed = change_grey_values(pose.move_images(slices), run.generator)
    return changed.to(run.device, memory_format=torch.channels_last), pose.move_labels(labels).to(run.device)


def draw_mask(run: Run) -> Tensor:
    """Draw the copy-paste mask (H, W) of the step; in a part of the steps nothing is pasted."""
    rows, columns = run.pool.rows_columns
    losses = run.config.losses
    probability = losses.copy_paste_probability[run.stage - 1]
    if float(torch.rand(1, generator=run.generator)) >= probability:
        return torch.ones(rows, columns, dtype=torch.bool, device=run.device)
    return draw_copy_paste_mask(rows, columns, losses.copy_paste_side, run.generator).to(run.device)


def predict(run: Run, slices: Tensor) -> Tensor:
    """Return the student's logits (B, C, H, W), float32."""
    with autocast(run.device, training=True):
        logits: Tensor = run.student(slices)
    return logits.float()


def loss_where(run: Run, logits: Tensor, labels: Tensor, region: Tensor) -> Tensor:
    """Return Dice + cross-entropy where labels are known inside one part of a mixed slice."""
    target, known = known_region(labels, UNKNOWN_LABEL)
    return region_loss(logits, target, known & region, run.class_weights)


def optimize(run: Run, loss: Tensor) -> None:
    """Take one AdamW step with the polynomial learning rate `lr (1 - t/T)^p` and clipped gradients."""
    settings = run.config.optimizer
    for group in run.optimizer.param_groups:
        group["lr"] = settings.learning_rate * (1 - run.fraction) ** settings.poly_power
    run.optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(run.student.parameters(), settings.gradient_clip)
    run.optimizer.step()
