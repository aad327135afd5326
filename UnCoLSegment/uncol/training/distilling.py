"""Dual-path distillation in training: the paper's student learns to see as the generalized teacher does.

The paper distills on the mixed images of a step, which the foundation model must encode anew. Here it is done on
slices of their own, as they are but for their pose: each is encoded once, and its features are moved along.
"""

from __future__ import annotations

import torch
from torch import Tensor

from uncol.core.ablations import ATTACHED_SEMANTIC_TARGET, DOUBLE_SOFTMAX_DICE
from uncol.core.volume import UNKNOWN_LABEL
from uncol.data.augmentation import Pose
from uncol.models.devices import autocast
from uncol.models.paper_student import PaperStudent, StudentOutput
from uncol.training.batches import change_at_random, draw_common_pose
from uncol.training.distillation import Projector, distillation_weight, semantic_loss, visual_loss
from uncol.training.head_losses import four_head_loss
from uncol.training.losses import known_region
from uncol.training.state import Run

_STAGE2_WEIGHT = 0.1
"""Weight of the visual path in stage 2 (method, section 5, item 8)."""


def distill(run: Run) -> Tensor:
    """Return the loss of distillation for one slice or patch; 0 where the teacher may not be asked about it."""
    if run.features is None or not isinstance(run.student, PaperStudent):
        return torch.zeros(())
    return distill_annotated(run, run.student) if run.stage == 1 else distill_unannotated(run, run.student)


def distill_annotated(run: Run, student: PaperStudent) -> Tensor:
    """Stage 1: both paths; the teacher's knowledge takes the place of the prior, and the segmentation trains it."""
    (address,) = run.pool.draw_labeled(1, run.generator)
    if run.features is None or not run.features.has(address):
        return torch.zeros(())
    pose = draw_common_pose(run, 1)
    image, label = change_at_random(run, pose, run.pool.inputs([address]), run.pool.targets([address]))
    tokens = run.features.tokens([address])
    moved = moved_features(run, pose, tokens.flatten(1, 2)).unflatten(1, tokens.shape[1:3])
    knowledge = run.helpers["aligner"](moved, run.features.grid)
    output = explain(run, student, image, knowledge)

    target, known = known_region(label, UNKNOWN_LABEL)
    twice = DOUBLE_SOFTMAX_DICE in run.config.ablations
    supervised_loss = four_head_loss(output.head_logits, target, known, double_softmax_dice=twice)
    attached = ATTACHED_SEMANTIC_TARGET in run.config.ablations
    semantic = semantic_loss(output.prior.float(), knowledge, attached_target=attached)
    visual = visual_path(run, pose, address, output)
    return supervised_loss + distillation_weight(run.stage1_fraction) * (semantic + visual)


def distill_unannotated(run: Run, student: PaperStudent) -> Tensor:
    """Stage 2: the visual path."""
    (address,) = run.pool.draw_unlabeled(1, run.generator)
    if run.features is None or not run.features.has(address):
        return torch.zeros(())
    pose = draw_common_pose(run, 1)
    image, _ = change_at_random(run, pose, run.pool.inputs([address]), run.pool.targets([address]))
    return _STAGE2_WEIGHT * visual_path(run, pose, address, explain(run, student, image, None))


def visual_path(run: Run, pose: Pose, address: object, output: StudentOutput) -> Tensor:
    """Return the loss between the teacher's maps, moved like the image, and the student's tokens."""
    if run.features is None:
        return torch.zeros(())
    projector = run.helpers["projector"]
    assert isinstance(projector, Projector)  # `training.setup.helpers_for` puts it there
    maps = [moved_features(run, pose, each) for each in run.features.maps([address])]
    return visual_loss(projector, maps, [each.float() for each in output.token_maps])


def moved_features(run: Run, pose: Pose, features: Tensor) -> Tensor:
    """Move features (B, C, *grid) as the image was moved, and bring them to the device."""
    return pose.move_images(features).to(run.device)


def explain(run: Run, student: PaperStudent, image: Tensor, knowledge: Tensor | None) -> StudentOutput:
    """Return what the student predicts and sees, with the teacher's knowledge or with its own prior."""
    with autocast(run.device, dims=run.config.student.dims, training=True):
        return student.explain(image, knowledge)
