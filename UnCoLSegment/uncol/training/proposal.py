"""What is proposed for the image that was annotated, when training is over.

A model segments any image. For the one that it learned from there is more: the generalized teacher's votes on its
slices, which stage 2 has learned from, and the annotated slices themselves. So the proposal is the last word of both
teachers, fused voxel by voxel as pseudo-labels are (method, section 5), but with a label for every voxel
(docs/decisions/0017).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from uncol.data.cases import SliceAddress
from uncol.inference.predict import predict
from uncol.inference.result import Segmentation, SegmentationBuilder
from uncol.inference.student import in_own_pixels, segment_with_model
from uncol.training.state import Run
from uncol.training.train import fuse_votes

_EVERY_VOXEL = 1.0
"""Entropy up to which a teacher is trusted: even a doubtful voxel gets a label."""


@dataclass(frozen=True)
class Proposal:
    """A segmentation of the annotated image, and whether both teachers made it or the model alone."""

    segmentation: Segmentation
    by_both_teachers: bool


def propose(run: Run) -> Proposal:
    """Segment the first case of a run whose budget is used up and which is not finished yet.

    Annotated voxels stay as they are, in slices of other planes, too. Where one of the teachers has no vote, or with a
    3D student, the model segments alone. A model of which no slice was held out is taken at its word.

    Raises:
        CancelledError: If the run is told to stop; it can be resumed then.
    """
    run.save()
    both_vote = run.opinions is not None and run.opinions.has_votes and run.method.specialized
    if not both_vote or run.config.student.dims == 3:
        return Proposal(_by_the_model_alone(run), by_both_teachers=False)
    stack, model = run.stacks[0], run.model()
    rows, columns = stack.images.shape[1:]
    deserved = run.specialized_reliability if run.held_out_dice else torch.ones_like(run.specialized_reliability)
    builder = SegmentationBuilder(run.setup.cases[0].image, stack.view, model.card.structures)
    for index in run.monitor.each(range(len(stack.images)), "Segmenting"):
        address = SliceAddress(0, index)
        specialized = predict(model.student, run.pool.inputs([address]), run.device)
        fused = fuse_votes(run, [address], specialized, deserved, _EVERY_VOXEL)
        word = fused.probabilities[0, :, :rows, :columns]
        builder.put(index, in_own_pixels(word, *stack.native_labels.shape[1:]))
        builder.put_known(index, stack.native_labels[index])
    builder.remove_islands(model.card.in_one_piece)
    for index, known in enumerate(stack.native_labels):
        builder.put_known(index, known)  # also what was taken for an island
    return Proposal(builder.finish(), by_both_teachers=True)


def _by_the_model_alone(run: Run) -> Segmentation:
    return segment_with_model(run.setup.cases[0].image, run.model(), run.device, run.monitor)
