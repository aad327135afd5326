"""Propagate one structure from slice to slice: each mask of the frozen teacher prompts it in the next slice."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from uncol.core.progress import Phase
from uncol.foundation.boxes import PixelBox, box_of_mask, grow_box, keep_inside
from uncol.foundation.prompting import SlicePredictor

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
class PropagatedMask:
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


def margin_of(predictor: SlicePredictor, slice_mm: float) -> float:
    """Return how many pixels of the teacher's frame a contour may move outwards over `slice_mm`."""
    return max(_LEAST_MARGIN_PIXELS, _STEEPEST_SIDE * slice_mm / predictor.frame.pixel_mm)


def prompt(predictor: SlicePredictor, index: int, box: PixelBox, limits: PixelBox) -> PropagatedMask | None:
    """Segment what a box shows; outside the limits there is nothing. None where the teacher finds nothing."""
    found = predictor.predict(index, box[None])
    return _mask_from(predictor, index, found.probabilities[0].numpy(), float(found.quality[0]), limits)


def annotated_mask(predictor: SlicePredictor, index: int, mask: NDArray[np.bool_]) -> PropagatedMask | None:
    """Return an annotated mask in the image's own pixels (H, W) as one that is certain; None if it vanishes."""
    certain = (predictor.to_frame(torch.from_numpy(mask).float()) > INSIDE).float().numpy()
    return _mask_from(predictor, index, certain, 1.0, predictor.limits)


def propagate(
    predictor: SlicePredictor,
    start: PropagatedMask,
    indices: Iterable[int],
    limits: PixelBox,
    margin: float,
    phase: Phase,
) -> Iterator[tuple[int, PropagatedMask]]:
    """Yield the structure in slice after slice, until it ends.

    Each slice is prompted with the box of the mask before, grown by a margin; what is found may reach beyond that box
    by the margin once more.

    Args:
        predictor: The slices.
        start: The structure in the slice before the first of `indices`.
        indices: Neighboring slices in the order in which it is propagated.
        limits: Where the structure can be, in the teacher's frame.
        margin: Pixels of that frame.
        phase: Told before every slice.
    """
    previous = start
    for index in indices:
        phase.step()
        box = grow_box(box_of_mask(previous.mask), margin, limits)
        found = prompt(predictor, index, box, grow_box(box, margin, limits))
        if found is None or _has_ended(found, previous, start):
            return
        yield index, found
        previous = found


def _mask_from(
    predictor: SlicePredictor, index: int, probability: NDArray[np.float32], quality: float, limits: PixelBox
) -> PropagatedMask | None:
    limited = keep_inside(limits, probability)
    mask = limited > INSIDE
    if not mask.any():
        return None
    grey = predictor.image(index).numpy()[mask]
    return PropagatedMask(limited, mask, quality, float(limited[mask].mean()), float(grey.mean()), float(grey.std()))


def _has_ended(found: PropagatedMask, previous: PropagatedMask, start: PropagatedMask) -> bool:
    return (
        found.quality < _LOWEST_QUALITY
        or found.confidence < _LOWEST_CONFIDENCE
        or not (found.mask & previous.mask).any()
        or abs(found.grey_mean - start.grey_mean) > _LARGEST_GREY_STEP * max(start.grey_deviation, _SMALLEST_DEVIATION)
    )
