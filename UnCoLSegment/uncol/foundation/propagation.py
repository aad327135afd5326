"""Carry one structure from slice to slice: each mask of the frozen teacher prompts it in the next slice."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from uncol.core.progress import Phase
from uncol.data.transforms import resize_image
from uncol.foundation.boxes import PixelBox, box_of_mask, grow_box, mask_of_box, scale_box
from uncol.foundation.embeddings import PromptableStack

INSIDE = 0.5
"""Probability from which a pixel belongs to the structure."""
_LOWEST_QUALITY = 0.5
"""Predicted IoU below which the structure has ended."""
_LOWEST_CONFIDENCE = 0.65
"""Mean probability inside the mask below which the structure has ended."""
_LARGEST_GREY_STEP = 2.0
"""Difference of mean grey value to the start, in standard deviations there, beyond which it has ended."""
_SMALLEST_DEVIATION = 0.02
"""Standard deviation, as a part of the window, that even an even structure is granted."""
_STEEPEST_SIDE = 1.0
"""How far a contour may move outwards from slice to slice, as a part of the slice distance."""
_LEAST_MARGIN_PIXELS = 2.0


@dataclass(frozen=True)
class Answer:
    """One structure in one slice, in the teacher's frame (h, w).

    Attributes:
        probability: float32 in [0, 1].
        mask: Where it is inside.
        quality: IoU that the teacher predicts for its own answer.
        confidence: Mean probability inside the mask.
        grey_mean: Mean windowed grey value inside the mask.
        grey_deviation: Standard deviation there.
    """

    probability: NDArray[np.float32]
    mask: NDArray[np.bool_]
    quality: float
    confidence: float
    grey_mean: float
    grey_deviation: float


def whole_frame(prompted: PromptableStack) -> PixelBox:
    """Return the box that holds a whole slice in the teacher's frame."""
    return np.array([0, 0, prompted.frame.rows, prompted.frame.columns], dtype=np.float32)


def margin_of(prompted: PromptableStack, slice_mm: float) -> float:
    """Return how many pixels of the teacher's frame a contour may move outwards over `slice_mm`."""
    return max(_LEAST_MARGIN_PIXELS, _STEEPEST_SIDE * slice_mm / prompted.frame.pixel_mm)


def box_in_frame(prompted: PromptableStack, mask: NDArray[np.bool_], margin: float) -> PixelBox:
    """Return the box of a mask in the image's own pixels (H, W), in the teacher's frame and with a margin there."""
    frame = prompted.frame
    box = scale_box(box_of_mask(mask), frame.rows / mask.shape[0], frame.columns / mask.shape[1])
    return grow_box(box, margin, whole_frame(prompted))


def ask(prompted: PromptableStack, index: int, box: PixelBox, limits: PixelBox) -> Answer | None:
    """Ask the teacher for what a box shows; outside the limits there is nothing. None where it finds nothing."""
    probability = prompted.decode(index, box[None])
    return _answer(prompted, index, probability.probabilities[0].numpy(), float(probability.quality[0]), limits)


def known(prompted: PromptableStack, index: int, mask: NDArray[np.bool_]) -> Answer | None:
    """Return an annotated mask in the image's own pixels (H, W) as an answer that is certain; None if it vanishes."""
    frame = prompted.frame
    resized = resize_image(torch.from_numpy(mask).float()[None, None], frame.rows, frame.columns)[0, 0].numpy()
    certain = (resized > INSIDE).astype(np.float32)
    return _answer(prompted, index, certain, 1.0, whole_frame(prompted))


def carry(
    prompted: PromptableStack,
    start: Answer,
    indices: Iterable[int],
    limits: PixelBox,
    margin: float,
    phase: Phase,
) -> Iterator[tuple[int, Answer]]:
    """Yield the structure in slice after slice, until it ends.

    In each slice the box of the mask before, grown by a margin, is asked about; the answer may reach beyond that box
    by the margin once more.

    Args:
        prompted: The slices.
        start: The structure in the slice before the first of `indices`.
        indices: Neighboring slices in the order in which it is carried.
        limits: Where the structure can be, in the teacher's frame.
        margin: Pixels of that frame.
        phase: Told before every slice.
    """
    previous = start
    for index in indices:
        phase.step()
        box = grow_box(box_of_mask(previous.mask), margin, limits)
        answer = ask(prompted, index, box, grow_box(box, margin, limits))
        if answer is None or _has_ended(answer, previous, start):
            return
        yield index, answer
        previous = answer


def _answer(
    prompted: PromptableStack, index: int, probability: NDArray[np.float32], quality: float, limits: PixelBox
) -> Answer | None:
    inside = mask_of_box(limits, prompted.frame.rows, prompted.frame.columns)
    limited = np.where(inside, probability, 0).astype(np.float32)
    mask = limited > INSIDE
    if not mask.any():
        return None
    grey = prompted.image(index).numpy()[mask]
    return Answer(limited, mask, quality, float(limited[mask].mean()), float(grey.mean()), float(grey.std()))


def _has_ended(answer: Answer, previous: Answer, start: Answer) -> bool:
    return (
        answer.quality < _LOWEST_QUALITY
        or answer.confidence < _LOWEST_CONFIDENCE
        or not (answer.mask & previous.mask).any()
        or abs(answer.grey_mean - start.grey_mean) > _LARGEST_GREY_STEP * max(start.grey_deviation, _SMALLEST_DEVIATION)
    )
