"""Segment what boxes show, without a trained model: the frozen foundation teacher, prompted slice by slice."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from uncol.core.errors import DataError
from uncol.core.jobs import Box, Structure
from uncol.core.progress import UNWATCHED, Monitor, Phase
from uncol.core.volume import PLANES, Plane, SliceView, Volume, view_slices
from uncol.data.windows import choose_window
from uncol.foundation.boxes import PixelBox, box_of_mask, box_overlap
from uncol.foundation.embeddings import EmbeddingCache
from uncol.foundation.promptable import PromptableModel
from uncol.foundation.prompting import SlicePredictor
from uncol.foundation.prompting_time import PromptingTime
from uncol.foundation.propagation import PropagatedMask, margin_of, prompt, propagate
from uncol.inference.result import Segmentation, SegmentationBuilder, with_background

_SEED_CANDIDATES = 9
"""Slices in which a 3D box is tried; the surest one starts."""
_ENCODING_PROMPTS = 12
"""As many prompts take as long as a slice is encoded, on two cores (docs/benchmarks/speed.md)."""

SliceProbability = dict[int, NDArray[np.uint8]]
"""One structure's probability in each slice where it is, 0 ... 255, in the teacher's frame (h, w)."""


def acquisition_plane(image: Volume) -> Plane:
    """Return the plane across the largest spacing, the one the image was acquired in; axial when all are alike."""
    return max(PLANES, key=lambda plane: round(view_slices(image, plane).spacing_mm[0], 3))


def segment_from_boxes(
    image: Volume,
    boxes: Sequence[Box],
    teacher: PromptableModel,
    cache: EmbeddingCache,
    *,
    window: tuple[float, float] | None = None,
    monitor: Monitor = UNWATCHED,
) -> Segmentation:
    """Segment one structure per 3D box.

    Each structure starts in the slice where the teacher's answer to the box is surest and is propagated from slice to
    slice, each mask prompting the next, inside the box, until it ends.

    Raises:
        DataError: If a box reaches beyond the image.
        CancelledError: If the monitor says so.
    """
    structures = tuple(Structure(value, box.structure) for value, box in enumerate(boxes, start=1))
    for box in boxes:
        _check_inside(box, image)
    view = view_slices(image, acquisition_plane(image))
    predictor = SlicePredictor.of_volume(image, view, window or choose_window(image.voxels), teacher, cache)
    found: list[SliceProbability] = []
    inside = [_box_in_frame(box, image, view, predictor) for box in boxes]
    time_left, margin = PromptingTime([predictor]), margin_of(predictor, view.spacing_mm[0])
    ends = np.cumsum([0, *_costs([slices for slices, _ in inside])])
    for number, (box, (slices, limits)) in enumerate(zip(boxes, inside, strict=True)):
        still = [slices for slices, _ in inside[number:]]
        new = {index for slices in still for index in slices} - predictor.first_looks_s.keys()
        time_left.expect(len(new), sum(map(_prompts_in, still)))
        part = monitor.timed(time_left.seconds_left).part(*(ends[number : number + 2] / ends[-1]).tolist())
        phase = part.phase(f"Segmenting {box.structure}", _prompts_in(slices))
        found.append(_segment_in_box(predictor, slices, limits, margin, phase))

    builder = SegmentationBuilder(image, view, structures)
    nothing = np.zeros((predictor.frame.rows, predictor.frame.columns), dtype=np.uint8)
    for index in range(len(predictor)):
        if any(index in each for each in found):
            low = torch.from_numpy(np.stack([each.get(index, nothing) for each in found])).float() / 255
            builder.put(index, with_background(predictor.to_native(low)))
    return builder.finish()


def _prompts_in(slices: range) -> int:
    return len(slices) + min(_SEED_CANDIDATES, len(slices)) - 1


def _costs(boxes: Sequence[range]) -> list[int]:
    """Return what each box costs, in prompts: a slice that no box before it had is encoded, too."""
    known: set[int] = set()
    costs = []
    for slices in boxes:
        costs.append(_ENCODING_PROMPTS * len(set(slices) - known) + _prompts_in(slices))
        known.update(slices)
    return costs


def _check_inside(box: Box, image: Volume) -> None:
    size_ijk = image.shape_kji[::-1]
    for name, lower, upper, size in zip("IJK", box.lower_ijk, box.upper_ijk, size_ijk, strict=True):
        if lower < 0 or upper >= size:
            message = (
                f'Box "{box.structure}" reaches from {lower} to {upper} along {name}, '
                f"but the image has the indices 0 to {size - 1} there. Draw the box inside the image."
            )
            raise DataError(message)


def _box_in_frame(box: Box, image: Volume, view: SliceView, predictor: SlicePredictor) -> tuple[range, PixelBox]:
    inside = np.zeros(image.shape_kji, dtype=bool)
    lower, upper = box.lower_ijk[::-1], box.upper_ijk[::-1]
    inside[tuple(slice(start, stop + 1) for start, stop in zip(lower, upper, strict=True))] = True
    stack = view.stack_from(inside)
    slices = np.flatnonzero(stack.any((1, 2)))
    return range(int(slices[0]), int(slices[-1]) + 1), predictor.box_round(stack[slices[0]], 0.0)


def _segment_in_box(
    predictor: SlicePredictor, slices: range, limits: PixelBox, margin: float, phase: Phase
) -> SliceProbability:
    best_index, best, best_score = -1, None, -1.0
    for index in np.unique(np.linspace(slices[0], slices[-1], _SEED_CANDIDATES + 2).round().astype(int)[1:-1]):
        phase.step()
        mask = prompt(predictor, int(index), limits, limits)
        score = 0.0 if mask is None else mask.quality * box_overlap(box_of_mask(mask.mask), limits)
        if mask is not None and score > best_score:
            best_index, best, best_score = int(index), mask, score
    if best is None:
        return {}
    found = {best_index: _as_bytes(best)}
    for way in (range(best_index + 1, slices.stop), range(best_index - 1, slices.start - 1, -1)):
        found |= {index: _as_bytes(mask) for index, mask in propagate(predictor, best, way, limits, margin, phase)}
    return found


def _as_bytes(mask: PropagatedMask) -> NDArray[np.uint8]:
    return np.round(mask.probability * 255).astype(np.uint8)
