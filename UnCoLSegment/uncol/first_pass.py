"""Segment without a trained model: the frozen foundation teacher, prompted from boxes or annotated slices."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from uncol.errors import CancelledError, DataError
from uncol.interpolation import ShapeInterpolation, complete_slices
from uncol.job import Box, Progress, Report, ShouldStop, Structure, ignore_progress, never_stop
from uncol.prompts import PixelBox, box_of_mask, box_overlap, grow_box, mask_of_box, scale_box
from uncol.segmentation import Segmentation, SegmentationBuilder, with_background
from uncol.teachers.embeddings import EmbeddingCache, PromptableStack
from uncol.teachers.generalized import GeneralizedTeacher
from uncol.transforms import choose_window, resize_image
from uncol.volume import Plane, SliceView, Volume, view_slices

_SEED_CANDIDATES = 9
"""Slices in which a 3D box is tried; the surest one starts."""
_INSIDE = 0.5
"""Probability from which a pixel belongs to the structure."""
_LOWEST_QUALITY = 0.5
"""Predicted IoU below which the structure has ended."""
_LOWEST_CONFIDENCE = 0.65
"""Mean probability inside the mask below which the structure has ended."""
_LARGEST_GREY_STEP = 2.0
"""Difference of mean grey value to the start, in standard deviations there, beyond which it has ended."""
_STEEPEST_SIDE = 1.0
"""How far a contour may move outwards from slice to slice, as a part of the slice distance."""
_LEAST_MARGIN_PIXELS = 2.0

SliceProbability = dict[int, NDArray[np.uint8]]
"""One structure's probability in each slice where it is, 0 ... 255, in the teacher's frame (h, w)."""


@dataclass(frozen=True)
class _Scene:
    """One image as the teacher sees it."""

    view: SliceView
    prompted: PromptableStack
    limits: PixelBox

    @property
    def margin_pixels(self) -> float:
        reach_mm = _STEEPEST_SIDE * self.view.spacing_mm[0]
        return max(_LEAST_MARGIN_PIXELS, reach_mm / self.prompted.frame.pixel_mm)


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
    report: Report = ignore_progress,
    should_stop: ShouldStop = never_stop,
) -> Segmentation:
    """Segment one structure per 3D box.

    Each structure starts in the slice where the teacher's answer to the box is surest and is
    carried on from slice to slice, each mask prompting the next, inside the box, until it ends.

    Raises:
        DataError: If a box reaches beyond the image.
        CancelledError: If `should_stop` says so.
    """
    structures = tuple(Structure(value, box.structure) for value, box in enumerate(boxes, start=1))
    for box in boxes:
        _check_inside(box, image)
    scene = _look_at(image, acquisition_plane(image), window or choose_window(image.voxels), teacher, cache)
    found: list[SliceProbability] = []
    for number, box in enumerate(boxes):
        slices, limits = _box_in_scene(box, image, scene)
        follow = _Watch(f"Segmenting {box.structure}", number, len(boxes), len(slices), report, should_stop)
        found.append(_segment_in_box(scene, slices, limits, follow))
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
    report: Report = ignore_progress,
    should_stop: ShouldStop = never_stop,
) -> Segmentation:
    """Segment between and beyond a few annotated slices, which stay as they are.

    Between annotated slices the prompts come from shape-based interpolation of their contours;
    beyond the first and the last, each mask prompts the next slice until the structure ends.

    Raises:
        DataError: If no slice is completely annotated.
        CancelledError: If `should_stop` says so.
    """
    scene = _look_at(image, plane, window or choose_window(image.voxels, labels.voxels), teacher, cache)
    label_stack = scene.view.stack_from(labels.voxels)
    annotated = complete_slices(label_stack)
    if not annotated:
        message = "No slice is completely annotated. Annotate at least one whole slice, or give a box instead."
        raise DataError(message)
    found = []
    for number, structure in enumerate(structures):
        shape = ShapeInterpolation.of_structure(label_stack, annotated, structure.value, scene.view.spacing_mm[1:])
        watch = _Watch(
            f"Segmenting {structure.name}", number, len(structures), len(scene.prompted), report, should_stop
        )
        found.append(_segment_between(scene, shape, watch) | _segment_beyond(scene, shape, watch))
    wanted = [each.value for each in structures]
    known = {index: np.where(np.isin(label_stack[index], wanted), label_stack[index], 0) for index in annotated}
    return _assemble(image, scene, tuple(structures), found, known)


@dataclass
class _Watch:
    """Counts slices of one structure for the progress, and stops the work when asked."""

    phase: str
    part: int
    parts: int
    slices: int
    report: Report
    should_stop: ShouldStop
    done: int = 0

    def next_slice(self) -> None:
        if self.should_stop():
            message = "Segmentation was cancelled; nothing was written."
            raise CancelledError(message)
        self.done += 1
        within = min(1.0, self.done / max(1, self.slices))
        self.report(Progress(self.phase, (self.part + within) / self.parts))


def _look_at(
    image: Volume, plane: Plane, window: tuple[float, float], teacher: GeneralizedTeacher, cache: EmbeddingCache
) -> _Scene:
    view = view_slices(image, plane)
    prompted = PromptableStack(view.stack_from(image.voxels), view.spacing_mm[1:], window, teacher, cache)
    return _Scene(view, prompted, np.array([0, 0, prompted.frame.rows, prompted.frame.columns], dtype=np.float32))


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


@dataclass(frozen=True)
class _Answer:
    probability: NDArray[np.float32]
    mask: NDArray[np.bool_]
    quality: float
    confidence: float
    grey_mean: float
    grey_deviation: float


def _ask(scene: _Scene, index: int, box: PixelBox, limits: PixelBox) -> _Answer | None:
    decoded = scene.prompted.decode(index, box[None])
    inside = mask_of_box(limits, scene.prompted.frame.rows, scene.prompted.frame.columns)
    probability = np.where(inside, decoded.probabilities[0].numpy(), 0).astype(np.float32)
    mask = probability > _INSIDE
    if not mask.any():
        return None
    grey = scene.prompted.image(index).numpy()[mask]
    return _Answer(
        probability,
        mask,
        float(decoded.quality[0]),
        float(probability[mask].mean()),
        float(grey.mean()),
        float(grey.std()),
    )


def _segment_in_box(scene: _Scene, slices: range, limits: PixelBox, watch: _Watch) -> SliceProbability:
    best_index, best, best_score = -1, None, -1.0
    for index in np.unique(np.linspace(slices[0], slices[-1], _SEED_CANDIDATES + 2).round().astype(int)[1:-1]):
        watch.next_slice()
        answer = _ask(scene, int(index), limits, limits)
        score = 0.0 if answer is None else answer.quality * box_overlap(box_of_mask(answer.mask), limits)
        if answer is not None and score > best_score:
            best_index, best, best_score = int(index), answer, score
    if best is None:
        return {}
    found = {best_index: _as_bytes(best.probability)}
    found |= _follow(scene, best, range(best_index + 1, slices.stop), limits, watch)
    return found | _follow(scene, best, range(best_index - 1, slices.start - 1, -1), limits, watch)


def _follow(scene: _Scene, start: _Answer, indices: Iterable[int], limits: PixelBox, watch: _Watch) -> SliceProbability:
    found: SliceProbability = {}
    previous = start
    for index in indices:
        watch.next_slice()
        box = grow_box(box_of_mask(previous.mask), scene.margin_pixels, limits)
        answer = _ask(scene, index, box, limits)
        if answer is None or _has_ended(answer, previous, start):
            break
        found[index] = _as_bytes(answer.probability)
        previous = answer
    return found


def _has_ended(answer: _Answer, previous: _Answer, start: _Answer) -> bool:
    return (
        answer.quality < _LOWEST_QUALITY
        or answer.confidence < _LOWEST_CONFIDENCE
        or not (answer.mask & previous.mask).any()
        or abs(answer.grey_mean - start.grey_mean) > _LARGEST_GREY_STEP * max(start.grey_deviation, 0.02)
    )


def _segment_between(scene: _Scene, shape: ShapeInterpolation, watch: _Watch) -> SliceProbability:
    found: SliceProbability = {}
    for index in range(len(scene.prompted)):
        mask = shape.mask(index)
        watch.next_slice()
        if mask is None:
            continue
        box = _box_in_frame(scene, mask)
        answer = _ask(scene, index, box, grow_box(box, scene.margin_pixels, scene.limits))
        if answer is not None:
            found[index] = _as_bytes(answer.probability)
    return found


def _segment_beyond(scene: _Scene, shape: ShapeInterpolation, watch: _Watch) -> SliceProbability:
    found: SliceProbability = {}
    annotated = shape.annotated_slices
    ends = (
        (annotated[0], range(annotated[0] - 1, -1, -1)),
        (annotated[-1], range(annotated[-1] + 1, len(scene.prompted))),
    )
    for index, beyond in ends:
        mask = shape.mask(index)
        if mask is None:
            continue
        start = _ask(scene, index, _box_in_frame(scene, mask), scene.limits)
        if start is not None:
            found |= _follow(scene, start, beyond, scene.limits, watch)
    return found


def _box_in_frame(scene: _Scene, mask: NDArray[np.bool_]) -> PixelBox:
    frame = scene.prompted.frame
    box = scale_box(box_of_mask(mask), frame.rows / mask.shape[0], frame.columns / mask.shape[1])
    return grow_box(box, 1.0, scene.limits)


def _as_bytes(probability: NDArray[np.float32]) -> NDArray[np.uint8]:
    return np.round(probability * 255).astype(np.uint8)


def _assemble(
    image: Volume,
    scene: _Scene,
    structures: tuple[Structure, ...],
    found: Sequence[SliceProbability],
    known: dict[int, NDArray[np.uint8]] | None = None,
) -> Segmentation:
    builder = SegmentationBuilder(image, scene.view, structures)
    frame = scene.prompted.frame
    nothing = np.zeros((frame.rows, frame.columns), dtype=np.uint8)
    for index in range(len(scene.prompted)):
        if known and index in known:
            builder.put_known(index, known[index])
        elif any(index in each for each in found):
            low = torch.from_numpy(np.stack([each.get(index, nothing) for each in found])).float() / 255
            native = resize_image(low[None], scene.prompted.rows, scene.prompted.columns)[0].clamp(0, 1)
            builder.put(index, with_background(native))
    return builder.finish()
