"""What is proposed for the image that was annotated, when training is over.

A model segments any image. For the one that it learned from there is more: the generalized teacher's predictions for
its slices, which stage 2 has learned from, and the annotated slices themselves. So the proposal is what both teachers
predict in the end, fused voxel by voxel as pseudo-labels are (method, section 5), but with a label for every voxel
(docs/decisions/0017).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from uncol.core.progress import UNWATCHED, Monitor
from uncol.data.cases import SliceIndex
from uncol.inference.predict import predict
from uncol.inference.result import Segmentation, SegmentationBuilder
from uncol.inference.student import in_own_pixels, segment_with_model
from uncol.training.record import model_of
from uncol.training.resume import save, watching
from uncol.training.state import TrainingState
from uncol.training.train import fuse_votes

_EVERY_VOXEL = 1.0
"""Entropy up to which a teacher is trusted: even an uncertain voxel gets a label."""


@dataclass(frozen=True)
class Proposal:
    """A segmentation of the annotated image, and whether both teachers made it or the model alone."""

    segmentation: Segmentation
    by_both_teachers: bool


def propose(state: TrainingState, folder: Path, monitor: Monitor = UNWATCHED) -> Proposal:
    """Segment the first case of a training whose budget is spent and which is not finished yet.

    Annotated voxels stay as they are, in slices of other planes, too. Where one teacher predicts nothing, or with a 3D
    student, the model segments alone. A model of which no slice was held out counts as fully reliable.

    Raises:
        CancelledError: If the monitor says so; the training can be resumed then.
    """
    save(state, folder)
    monitor = watching(state, folder, monitor)
    teacher, stack, model = state.generalized_teacher, state.framed[0], model_of(state)
    image = state.setup.cases[0].image
    both_vote = teacher is not None and teacher.has_predictions and state.recipe.method.specialized
    if not both_vote or state.config.student.dims == 3:
        return Proposal(segment_with_model(image, model, state.device, monitor), by_both_teachers=False)
    rows, columns = stack.images.shape[1:]
    reliability = (
        state.specialized_reliability if state.held_out_dice else torch.ones_like(state.specialized_reliability)
    )
    builder = SegmentationBuilder(image, stack.view, model.card.structures)
    for index in monitor.each(range(len(stack.images)), "Segmenting"):
        address = SliceIndex(0, index)
        specialized = predict(model.student, state.pool.inputs([address]), state.device)
        fused = fuse_votes(state, [address], specialized, reliability, _EVERY_VOXEL)
        builder.put(index, in_own_pixels(fused.probabilities[0, :, :rows, :columns], *stack.native_labels.shape[1:]))
        builder.put_known(index, stack.native_labels[index])
    builder.remove_small_components(model.card.is_connected)
    for index, known in enumerate(stack.native_labels):
        builder.put_known(index, known)  # also what was taken for a small component
    return Proposal(builder.finish(), by_both_teachers=True)
