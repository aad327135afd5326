"""Segment without a trained model: the frozen foundation teacher, prompted from boxes or annotated slices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from uncol.core.errors import DataError
from uncol.core.jobs import Box, Structure
from uncol.core.progress import UNWATCHED, Monitor, Phase
from uncol.core.volume import Plane, SliceView, Volume, view_slices
from uncol.data.cases import class_indices
from uncol.data.transforms import choose_window, resize_image
from uncol.foundation.boxes import PixelBox, box_of_mask, box_overlap, scale_box
from uncol.foundation.embeddings import EmbeddingCache, PromptableStack
from uncol.foundation.label_propagation import CaseVotes, SourceDice
from uncol.foundation.promptable import GeneralizedTeacher
from uncol.foundation.propagation import ask, carry, margin_of
from uncol.inference.result import Segmentation, SegmentationBuilder, with_background

_SEED_CANDIDATES = 9
"""Slices in which a 3D box is tried; the surest one starts."""
_CONTOUR_MARGIN_PIXELS = 1.0
"""How far the box of an interpolated contour reaches beyond it, in the teacher's frame."""

SliceProbability = dict[int, NDArray[np.uint8]]
"""One structure's probability in each slice where it is, 0 ... 255, in the teacher's frame (h, w)."""


@dataclass(frozen=True)
class _Scene:
    """One image as the teacher sees it."""

    view: SliceView
    prompted: PromptableStack

    @property
    def margin_pixels(self) -> float:
        return margin_of(self.prompted, self.view.spacing_mm[0])


def acquisition_plane(image: Volume) -> Plane:
    """Return the plane across the largest spacing, the one the image was acquired in; axial when all are alike."""
    planes: tuple[Plane, ...] = ("axial", "coronal", "sagittal")
    return max(planes, key=lambda plane: round(view_slices(image, plane).spacing_mm[0], 3))


def segment_from_boxes(
    image: Volume,
    boxes: Sequence[Box],
    teacher: GeneralizedTeacher,
    cache: EmbeddingCache,
    *,
    window: tuple[float, float] | None = None,
    monitor: Monitor = UNWATCHED,
) -> Segmentation:
    """Segment one structure per 3D box.

    Each structure starts in the slice where the teacher's answer to the box is surest and is
    carried on from slice to slice, each mask prompting the next, inside the box, until it ends.

    Raises:
        DataError: If a box reaches beyond the image.
        CancelledError: If the monitor says so.
    """
    structures = tuple(Structure(value, box.structure) for value, box in enumerate(boxes, start=1))
    for box in boxes:
        _check_inside(box, image)
    scene = _look_at(image, acquisition_plane(image), window or choose_window(image.voxels), teacher, cache)
    found: list[SliceProbability] = []
    for number, box in enumerate(boxes):
        slices, limits = _box_in_scene(box, image, scene)
        part = monitor.part(number / len(boxes), (number + 1) / len(boxes))
        phase = part.phase(f"Segmenting {box.structure}", len(slices))
        found.append(_segment_in_box(scene, slices, limits, phase))
    return _assemble(image, scene, structures, found)


def segment_from_labels(
    image: Volume,
    labels: Volume,
    structures: Sequence[Structure],
    teacher: GeneralizedTeacher,
    cache: EmbeddingCache,
    *,
    plane: Plane,
    window: tuple[float, float] | None = None,
    monitor: Monitor = UNWATCHED,
) -> Segmentation:
    """Segment between and beyond a few annotated slices, which stay as they are.

    Every structure is carried from its annotated slices both ways, and between them the teacher is asked with
    interpolated contours; all that counts as it does on annotated slices themselves (`votes`).

    Raises:
        DataError: If no slice is completely annotated.
        CancelledError: If the monitor says so.
    """
    known = class_indices(labels.voxels, structures)
    scene = _look_at(image, plane, window or choose_window(image.voxels, known), teacher, cache)
    classes = scene.view.stack_from(known)
    votes = CaseVotes(scene.prompted, classes, scene.view.spacing_mm, len(structures), _CONTOUR_MARGIN_PIXELS)
    if not votes.annotated:
        message = "No slice is completely annotated. Annotate at least one whole slice, or give a box instead."
        raise DataError(message)
    carrying = monitor.phase("Carrying annotated slices on", 3 * len(structures) * len(classes))
    dice_of = SourceDice.of_scores(*votes.carry_and_score(carrying))
    builder = SegmentationBuilder(image, scene.view, tuple(structures))
    for index in monitor.each(range(len(classes)), "Asking between annotated slices"):
        if index in votes.annotated:
            builder.put_known(index, classes[index])
            continue
        _ask_with_contours(votes, index, len(structures))
        probabilities, _ = votes.votes_on(index, dice_of)
        builder.put(index, with_background(_to_native(scene, probabilities)))
    return builder.finish()


def _ask_with_contours(votes: CaseVotes, index: int, structure_count: int) -> None:
    for structure in range(structure_count):
        contour = votes.contour(index, structure)
        if contour is not None:
            votes.ask_with_mask(index, structure, contour)


def _look_at(
    image: Volume, plane: Plane, window: tuple[float, float], teacher: GeneralizedTeacher, cache: EmbeddingCache
) -> _Scene:
    view = view_slices(image, plane)
    prompted = PromptableStack(view.stack_from(image.voxels), view.spacing_mm[1:], window, teacher, cache)
    return _Scene(view, prompted)


def _check_inside(box: Box, image: Volume) -> None:
    size_ijk = image.shape_kji[::-1]
    for name, lower, upper, size in zip("IJK", box.lower_ijk, box.upper_ijk, size_ijk, strict=True):
        if lower < 0 or upper >= size:
            message = (
                f'Box "{box.structure}" reaches from {lower} to {upper} along {name}, '
                f"but the image has the indices 0 to {size - 1} there. Draw the box inside the image."
            )
            raise DataError(message)


def _box_in_scene(box: Box, image: Volume, scene: _Scene) -> tuple[range, PixelBox]:
    inside = np.zeros(image.shape_kji, dtype=bool)
    lower, upper = box.lower_ijk[::-1], box.upper_ijk[::-1]
    inside[tuple(slice(start, stop + 1) for start, stop in zip(lower, upper, strict=True))] = True
    stack = scene.view.stack_from(inside)
    slices = np.flatnonzero(stack.any((1, 2)))
    native = box_of_mask(stack[slices[0]])
    frame = scene.prompted.frame
    scaled = scale_box(native, frame.rows / scene.prompted.rows, frame.columns / scene.prompted.columns)
    return range(int(slices[0]), int(slices[-1]) + 1), scaled


def _segment_in_box(scene: _Scene, slices: range, limits: PixelBox, phase: Phase) -> SliceProbability:
    best_index, best, best_score = -1, None, -1.0
    for index in np.unique(np.linspace(slices[0], slices[-1], _SEED_CANDIDATES + 2).round().astype(int)[1:-1]):
        phase.step()
        answer = ask(scene.prompted, int(index), limits, limits)
        score = 0.0 if answer is None else answer.quality * box_overlap(box_of_mask(answer.mask), limits)
        if answer is not None and score > best_score:
            best_index, best, best_score = int(index), answer, score
    if best is None:
        return {}
    found = {best_index: _as_bytes(best.probability)}
    for way in (range(best_index + 1, slices.stop), range(best_index - 1, slices.start - 1, -1)):
        for index, answer in carry(scene.prompted, best, way, limits, scene.margin_pixels, phase):
            found[index] = _as_bytes(answer.probability)
    return found


def _as_bytes(probability: NDArray[np.float32]) -> NDArray[np.uint8]:
    return np.round(probability * 255).astype(np.uint8)


def _assemble(
    image: Volume, scene: _Scene, structures: tuple[Structure, ...], found: Sequence[SliceProbability]
) -> Segmentation:
    builder = SegmentationBuilder(image, scene.view, structures)
    frame = scene.prompted.frame
    nothing = np.zeros((frame.rows, frame.columns), dtype=np.uint8)
    for index in range(len(scene.prompted)):
        if any(index in each for each in found):
            low = torch.from_numpy(np.stack([each.get(index, nothing) for each in found])).float() / 255
            builder.put(index, with_background(_to_native(scene, low)))
    return builder.finish()


def _to_native(scene: _Scene, probabilities: Tensor) -> Tensor:
    """Bring probabilities (N, h, w) from the teacher's frame to the slice's own pixels (N, H, W)."""
    return resize_image(probabilities[None], scene.prompted.rows, scene.prompted.columns)[0].clamp(0, 1)
