"""Segment a volume of which a few slices are annotated: by motion alone at first, then by all sources together.

Registration needs seconds and no network, so its answer is shown at once. What others say, the frozen foundation
model or a student, is fused with it stretch by stretch (`fusion`), in the pixels in which structures are followed.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Sequence
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from uncol.core.errors import DataError
from uncol.core.grey_values import Window
from uncol.core.jobs import Structure
from uncol.core.progress import UNWATCHED, Monitor
from uncol.core.uncertainty_maps import DISAGREEMENT, MapName
from uncol.core.volume import PLANES, Plane, SliceView, Volume, view_slices
from uncol.data.annotations import complete_slices
from uncol.data.cases import class_indices
from uncol.data.windows import choose_window
from uncol.foundation.embeddings import EmbeddingCache
from uncol.foundation.label_propagation import PropagatedLabels
from uncol.foundation.promptable import PromptableModel
from uncol.foundation.prompting import SlicePredictor
from uncol.foundation.prompting_time import PromptingTime
from uncol.foundation.source_reliability import Source as Prompt
from uncol.foundation.source_reliability import SourceReliability
from uncol.inference.calibration import LeftOutSlice, calibrate
from uncol.inference.promises import promised
from uncol.inference.result import Segmentation, SegmentationBuilder, Show, with_background
from uncol.inference.stretches import (
    FOUNDATION,
    REGISTRATION,
    VOICES_BEYOND,
    FusedSlice,
    Opinion,
    fused_slices,
    left_out_slices,
)
from uncol.registration.carried_labels import CarriedLabels

LEAST_DICE_WITH_TRUE_BOXES = 0.8
"""A foundation model that does not find a structure even in the box of its annotated contour has no vote on it."""
_FIRST_SLICES_S = 1.5
"""After this time the slices that are ready are shown."""
_CONTOUR_MARGIN_PIXELS = 1.0
"""How far the box of an interpolated contour reaches beyond it, in a frame of 256 pixels."""


class FewSlices:
    """A volume of which a few slices are annotated; these stay as they are.

    Args:
        image: The image.
        labels: Its annotated slices, 255 where unknown.
        structures: What to segment.
        cache: Where embeddings and displacements are kept.
        plane: Plane of the slices.
        maps: Which maps are wanted beside the entropy.

    Raises:
        DataError: If no slice is completely annotated.
    """

    def __init__(
        self,
        image: Volume,
        labels: Volume,
        structures: Sequence[Structure],
        cache: EmbeddingCache,
        *,
        plane: Plane,
        maps: Collection[MapName] = (),
    ) -> None:
        self._image, self._structures, self._cache, self._maps = image, tuple(structures), cache, maps
        self._known, self._view = class_indices(labels.voxels, structures), view_slices(image, plane)
        self._classes = self._view.stack_from(self._known)
        self._carried = carry_annotated(image, self._view, self._classes, len(structures), cache)
        self._others = opinions_from_other_planes(image, self._known, len(structures), plane, cache)

    def by_registration(
        self, show: Show = lambda *_: None, monitor: Monitor = UNWATCHED, *, calibrates: bool = True
    ) -> Segmentation:
        """Segment by motion alone.

        Args:
            show: Told the slices that are ready after the first seconds.
            monitor: Told about the progress, and asked at every slice.
            calibrates: Whether annotated slices are left out to calibrate the uncertainty; a first look needs none.

        Raises:
            CancelledError: If the monitor says so.
        """
        left_out = left_out_slices(self._carried, self._classes, self._others, monitor) if calibrates else None
        return self._segmented(fused_slices(self._carried, self._others, monitor), left_out, show)

    def with_foundation_model(
        self,
        teacher: PromptableModel,
        window: Window | None = None,
        monitor: Monitor = UNWATCHED,
        *,
        calibrates: bool = True,
    ) -> Segmentation:
        """Segment by motion and by what the foundation model says.

        Args:
            teacher: The foundation model.
            window: Grey values for it; None chooses them.
            monitor: Told about the progress, and asked at every slice.
            calibrates: Whether annotated slices are left out to calibrate the uncertainty.

        Raises:
            CancelledError: If the monitor says so.
        """
        window = window or choose_window(self._image.voxels, self._known)
        predictor = SlicePredictor.of_volume(self._image, self._view, window, teacher, self._cache)
        count = len(self._structures)
        propagated = PropagatedLabels(predictor, self._classes, self._view.spacing_mm, count, _CONTOUR_MARGIN_PIXELS)
        time_left, contours = PromptingTime([predictor]), _expected_contours(self._classes, count)
        looks, monitor = propagated.expected_looks, monitor.timed(time_left.seconds_left)
        time_left.expect(len({*looks} - predictor.first_looks_s.keys()), len(looks) + contours)
        phase = monitor.part(0.0, 0.7).phase("Propagating annotated slices", len(looks))
        reliability = propagated.propagate_and_validate(phase, LEAST_DICE_WITH_TRUE_BOXES).reliability(count)
        time_left.expect(0, contours)
        opinion = foundation_opinion(propagated, reliability)
        opinions = [*self._others, opinion]
        left_out = left_out_slices(self._carried, self._classes, opinions, monitor) if calibrates else None
        return self._segmented(fused_slices(self._carried, opinions, monitor.part(0.7, 1.0)), left_out)

    def _segmented(
        self, fused: Iterable[FusedSlice], left_out: Iterable[LeftOutSlice] | None, show: Show | None = None
    ) -> Segmentation:
        builder = SegmentationBuilder(self._image, self._view, self._structures, self._maps)
        show_after_s = time.monotonic() + _FIRST_SLICES_S
        for index, each in enumerate(self._classes):
            builder.put_known(index, each)
        calibration = None
        if left_out is not None:
            calibration = calibrate(left_out, self._structures, self._view.spacing_mm[1:])
        for each in fused:
            calibrated = None
            if calibration is not None:
                nearest = self._carried.distance(each.number)
                calibrated = with_background(calibration.apply(each.probabilities, nearest))
            builder.put(each.number, with_background(each.probabilities), calibrated)
            builder.count_sources(each.number, each.shares)
            builder.put_map(DISAGREEMENT, each.number, each.disagreement)
            builder.put_known(each.number, self._classes[each.number])
            if show is not None and time.monotonic() > show_after_s:
                show(builder.labels, None)
                show = None
        builder.note_open_ends()
        builder.note_breaks(self._carried.breaks)
        found = builder.finish()
        if calibration is None:
            return found
        return promised(found, calibration, builder.expected, self._view, self._carried.annotated)


def _expected_contours(classes: NDArray[np.uint8], structure_count: int) -> int:
    """Return between how many annotated contours of a stack (S, H, W) an interpolated one prompts."""
    annotated, count = complete_slices(classes), 0
    for value in range(1, structure_count + 1):
        shown = [index for index in annotated if (classes[index] == value).any()]
        count += sum(1 for index in range(shown[0], shown[-1]) if index not in annotated) if shown else 0
    return count


def segment_from_labels(
    image: Volume,
    labels: Volume,
    structures: Sequence[Structure],
    teacher: PromptableModel | None,
    cache: EmbeddingCache,
    *,
    plane: Plane,
    window: Window | None = None,
    monitor: Monitor = UNWATCHED,
) -> Segmentation:
    """Segment between and beyond a few annotated slices with a foundation model that is loaded, or without one.

    Args:
        image: The image.
        labels: Its annotated slices, 255 where unknown.
        structures: What to segment.
        teacher: The foundation model; None registers only.
        cache: Where embeddings and displacements are kept.
        plane: Plane of the slices.
        window: Grey values for the foundation model; None chooses them.
        monitor: Told about the progress, and asked at every slice.

    Raises:
        DataError: If no slice is completely annotated.
        CancelledError: If the monitor says so.
    """
    slices = FewSlices(image, labels, structures, cache, plane=plane)
    if teacher is None:
        return slices.by_registration(monitor=monitor)
    return slices.with_foundation_model(teacher, window, monitor)


def carry_annotated(
    image: Volume, view: SliceView, classes: NDArray[np.uint8], structure_count: int, cache: EmbeddingCache
) -> CarriedLabels:
    """Return the completely annotated slices of an image, to be carried to the others.

    Args:
        image: The image.
        view: How its slices are counted.
        classes: Class indices (S, H, W) in that order, 255 unknown.
        structure_count: Structures, N.
        cache: Where displacements are kept.

    Raises:
        DataError: If no slice is completely annotated.
    """
    annotated = complete_slices(classes)
    if not annotated:
        message = "No slice is completely annotated. Annotate at least one whole slice, or give a box instead."
        raise DataError(message)
    stack, spacing_mm = view.stack_from(image.voxels), view.spacing_mm[1:]
    return CarriedLabels(stack, classes, annotated, structure_count, spacing_mm, cache, torch.get_num_threads())


def opinions_from_other_planes(
    image: Volume, known: NDArray[np.uint8], structure_count: int, plane: Plane, cache: EmbeddingCache
) -> list[Opinion]:
    """Return what is carried from completely annotated slices of other planes, each along its own axis.

    Nothing is carried before the first slice is asked for.

    Args:
        image: The image.
        known: Class indices (K, J, I), 255 unknown.
        structure_count: Structures, N.
        plane: The plane that is fused in.
        cache: Where displacements are kept.
    """
    main = view_slices(image, plane)
    always: NDArray[np.bool_] = np.ones(structure_count, dtype=np.bool_)

    def carried_along(view: SliceView) -> Opinion:
        @lru_cache(1)
        def maps() -> NDArray[np.uint8]:
            found = np.zeros((structure_count, *image.shape_kji), dtype=np.uint8)
            stacks, classes = [view.stack_from(each) for each in found], view.stack_from(known)
            for value, stack in enumerate(stacks, start=1):
                stack[classes == value] = 255
            for found_there in fused_slices(carry_annotated(image, view, classes, structure_count, cache)):
                for stack, each in zip(stacks, found_there.probabilities.numpy(), strict=True):
                    stack[found_there.number] = np.round(each * 255)
            return np.stack([main.stack_from(each) for each in found])

        def of_slice(index: int) -> tuple[Tensor, NDArray[np.bool_]]:
            return torch.from_numpy(maps()[:, index].astype(np.float32)) / 255, always

        return Opinion(f"{REGISTRATION}, {view.plane}", of_slice, VOICES_BEYOND)

    views = [view_slices(image, other) for other in PLANES if other != plane]
    return [carried_along(view) for view in views if complete_slices(view.stack_from(known))]


def foundation_opinion(propagated: PropagatedLabels, reliability: SourceReliability, *, asks: bool = True) -> Opinion:
    """Return what the foundation model says, prompted from annotated slices and between them.

    Args:
        propagated: What was propagated from annotated slices.
        reliability: Of its sources; without a Dice of 0.8 in the boxes of annotated contours there is no vote.
        asks: Whether it is prompted between annotated slices now; else only what it said before counts.
    """
    is_good = (reliability.near[:, Prompt.PROMPTED] >= LEAST_DICE_WITH_TRUE_BOXES) & propagated.is_propagated

    def as_asked_before(index: int) -> tuple[Tensor, NDArray[np.bool_]]:
        has_vote = is_good & propagated.has_candidate[index].any(-1)
        if not has_vote.any():
            return torch.zeros(len(has_vote), propagated.predictor.rows, propagated.predictor.columns), has_vote
        probabilities, _ = propagated.fuse(index, reliability)
        return propagated.predictor.to_native(probabilities), has_vote

    def of_slice(index: int) -> tuple[Tensor, NDArray[np.bool_]]:
        for structure in np.flatnonzero(is_good).tolist():
            contour = propagated.contour(index, structure)
            if contour is not None:
                propagated.prompt_with_mask(index, structure, contour)
        probabilities, found = propagated.fuse(index, reliability)
        return propagated.predictor.to_native(probabilities), is_good & (found.numpy() > 0)

    def of_left_out(index: int) -> tuple[Tensor, NDArray[np.bool_]]:
        probabilities, found = propagated.fuse(index, reliability, is_left_out=True)
        return propagated.predictor.to_native(probabilities), is_good & (found.numpy() > 0)

    return Opinion(FOUNDATION, of_slice if asks else as_asked_before, of_left_out=of_left_out)
