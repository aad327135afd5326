"""What is proposed for an image that was annotated, when training is over.

A model segments any image. For the one that it learned from there is more: its annotated slices, carried to the others
by registration, and what the foundation model says. All of them are fused with the model by how far they agree
(docs/decisions/0024), and how sure they may be is tried on annotated slices first (docs/decisions/0028). Without
registration, as in the paper, the proposal is what both teachers predict in the end, fused voxel by voxel as
pseudo-labels are (method, section 5), but with a label for every voxel (docs/decisions/0017).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from uncol.core.progress import UNWATCHED, Monitor
from uncol.core.uncertainty_maps import DISAGREEMENT, MapName
from uncol.data.cases import SliceIndex
from uncol.inference.calibration import calibrate
from uncol.inference.predict import predict
from uncol.inference.promises import promised
from uncol.inference.result import Segmentation, SegmentationBuilder, Shares, with_background
from uncol.inference.student import in_own_pixels, segment_with_model
from uncol.training.generalized_sources import GeneralizedSources
from uncol.training.record import model_of, which_are_connected
from uncol.training.resume import save, watching
from uncol.training.specialized_teacher import SpecializedSlices, make_specialized_teacher
from uncol.training.state import TrainingState
from uncol.training.train import fuse_votes

_EVERY_VOXEL = 1.0
"""Entropy up to which a teacher is trusted: even an uncertain voxel gets a label."""


@dataclass(frozen=True)
class Proposal:
    """A segmentation of the annotated image, and whether both teachers made it or the model alone."""

    segmentation: Segmentation
    by_both_teachers: bool


def propose(
    state: TrainingState, folder: Path, monitor: Monitor = UNWATCHED, maps: Collection[MapName] = (), case: int = 0
) -> Proposal:
    """Segment a case of a training whose budget is spent and which is not finished yet.

    Annotated voxels stay as they are, in slices of other planes, too. Where nothing can be carried and one teacher
    predicts nothing, or with a 3D student, the model segments alone; without registration, one of which no slice was
    held out counts as fully reliable.

    Args:
        state: The training.
        folder: Where its checkpoint is kept.
        monitor: Told about the progress, and asked at every slice.
        maps: Which maps are wanted beside the entropy; a note says so where there is no such map.
        case: Number of the case, from 0.

    Raises:
        CancelledError: If the monitor says so; the training can be resumed then.
    """
    save(state, folder)
    monitor = watching(state, folder, monitor)
    if state.sources is not None and state.sources.carries(case):
        found = _by_all_sources(state, state.sources, state.result.eval(), monitor, case, maps=maps)
        return Proposal(found, by_both_teachers=True)
    by_both_teachers = _both_vote(state) and state.config.student.dims == 2
    if by_both_teachers:
        found = _by_both_teachers(state, monitor, case)
    else:
        found = segment_with_model(state.setup.cases[case].image, model_of(state), state.device, monitor)
    left_out = tuple(f"There is no map of {each}: no annotated slice is followed to others here." for each in maps)
    return Proposal(replace(found, notes=(*found.notes, *left_out)), by_both_teachers)


def found_so_far(
    state: TrainingState, sources: GeneralizedSources, monitor: Monitor = UNWATCHED, case: int = 0
) -> Segmentation:
    """Segment a case, whose annotated slices are carried, by what all sources say up to now.

    The training stays as it is: nobody is asked anything, and the model is a copy.

    Raises:
        CancelledError: If the monitor says so.
    """
    return _by_all_sources(state, sources, make_specialized_teacher(state.result), monitor, case, asks=False)


def _by_all_sources(
    state: TrainingState,
    sources: GeneralizedSources,
    network: nn.Module,
    monitor: Monitor,
    case: int,
    *,
    maps: Collection[MapName] = (),
    asks: bool = True,
) -> Segmentation:
    """Segment a case by registration, foundation model and model, each as far as the others agree with it.

    Calibrated, and with a promise, unless nobody is asked: a first look needs none.
    """
    proposed, view = _Proposed(state, case, maps), state.framed[case].view
    calibration = None
    if asks:
        calibration = calibrate(sources.left_out_slices(case, monitor), state.card.structures, view.spacing_mm[1:])
    model = SpecializedSlices(network, state.pool, state.framed, state.device)
    for each in sources.fused_slices(case, model, monitor, asks=asks):
        calibrated = None
        if calibration is not None:
            nearest = sources.distance(case, each.number)
            calibrated = with_background(calibration.apply(each.probabilities, nearest))
        proposed.put(each.number, with_background(each.probabilities), each.shares, calibrated)
        proposed.builder.put_map(DISAGREEMENT, each.number, each.disagreement)
    found = proposed.finish(sources.breaks_of(case))
    if calibration is None:
        return found
    return promised(found, calibration, proposed.builder.expected, view, sources.annotated_in(case))


def _both_vote(state: TrainingState) -> bool:
    teacher = state.generalized_teacher
    return teacher is not None and teacher.has_predictions and state.recipe.method.specialized


def _by_both_teachers(state: TrainingState, monitor: Monitor, case: int) -> Segmentation:
    """Segment a case as pseudo-labels are made, but with a label for every voxel."""
    stack, student = state.framed[case], model_of(state).student
    rows, columns = stack.images.shape[1:]
    reliability = (
        state.specialized_reliability if state.held_out_dice else torch.ones_like(state.specialized_reliability)
    )
    proposed = _Proposed(state, case)
    for index in monitor.each(range(len(stack.images)), "Segmenting"):
        address = SliceIndex(case, index)
        specialized = predict(student, state.pool.inputs([address]), state.device)
        fused = fuse_votes(state, [address], specialized, reliability, _EVERY_VOXEL)
        proposed.put(index, in_own_pixels(fused.probabilities[0, :, :rows, :columns], *stack.native_labels.shape[1:]))
    return proposed.finish()


class _Proposed:
    """The segmentation of a case, in which annotated voxels stay as they are."""

    def __init__(self, state: TrainingState, case: int, maps: Collection[MapName] = ()) -> None:
        self._labels = state.framed[case].native_labels
        self._is_connected = which_are_connected(state.framed, state.card.class_count)
        image, view = state.setup.cases[case].image, state.framed[case].view
        self.builder = SegmentationBuilder(image, view, state.card.structures, maps)

    def put(
        self, index: int, probabilities: Tensor, shares: Shares | None = None, calibrated: Tensor | None = None
    ) -> None:
        """Enter class probabilities (C, H, W) of a slice, and by source its part in each structure (N,)."""
        self.builder.put(index, probabilities, calibrated)
        self.builder.count_sources(index, shares or {})

    def finish(self, breaks: Sequence[int] = ()) -> Segmentation:
        """Remove small components, but none that was annotated; note where the stack breaks off."""
        self._keep_annotated()
        self.builder.remove_small_components(self._is_connected)
        self._keep_annotated()
        self.builder.note_open_ends()
        self.builder.note_breaks(breaks)
        return self.builder.finish()

    def _keep_annotated(self) -> None:
        for index, known in enumerate(self._labels):
            self.builder.put_known(index, known)
