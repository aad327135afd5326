"""Which slice to annotate next: where a segmentation is least sure, and not beside what is already known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from uncol.core.error_detection import within_distance
from uncol.core.errors import DataError
from uncol.core.jobs import Structure
from uncol.core.volume import SliceView
from uncol.inference.result import Segmentation

NEAR_MM = 5.0
"""Doubt counts this near to a predicted structure, within the slice, and straight above and below it."""
LEAST_DISTANCE = 2
"""Slices to the nearest annotated one where there is a choice: direct neighbors look alike and teach little."""

_ALIKE_DIGITS = 6
_MOST_NAMED = 2
_NAMED_FROM = 0.5
"""Part of the least sure structure's score from which a second one is named as well."""


@dataclass(frozen=True)
class NextSlice:
    """The slice to annotate next.

    Attributes:
        file_index: Its number along the file's voxel index `SliceView.slice_axis`.
        stack_index: Its place in the stack of the `SliceView`.
        score: How unsure the segmentation is there, in [0, 1); comparable within one volume only.
        reason: Why this one, in two plain sentences.
    """

    file_index: int
    stack_index: int
    score: float
    reason: str


def suggest_slice(segmentation: Segmentation, view: SliceView, annotated: Sequence[int]) -> NextSlice:
    """Return the slice whose annotation promises most.

    A slice's score is its summed uncertainty near the predicted structures, divided by the number of
    voxels there plus the number that is typical (the median over the slices with any):

        score = sum(u) / (n + median n)

    The plain sum would always take the slices with the most outline, the plain mean always the last few voxels
    at the end of a structure, which are all border. This one is the mean for large regions and fades for
    small ones. Slices without a structure nearby have no score, however noisy they are; a slice beside the
    predicted end of a structure has one, because that is where an end cut off too early shows.

    Slices next to an annotated one are left to the end. Of equal scores (to six digits) the one farther from the
    annotated slices is taken, then the one with the lower number in the file.

    Args:
        segmentation: Labels and uncertainty on the image's grid.
        view: How the slices are counted.
        annotated: Slices that are annotated already, by their number in the file.

    Raises:
        DataError: If no structure was found, or every slice with one is annotated.
    """
    labels = view.stack_from(segmentation.labels.voxels)
    uncertainty = view.stack_from(segmentation.uncertainty.voxels)
    slice_count = len(labels)
    known = {view.stack_index(index, slice_count) for index in annotated}
    near = _near(labels > 0, view)
    sizes = near.sum(axis=(1, 2))
    if not sizes.any():
        message = "The segmentation holds no structure, so no slice can be suggested. Annotate a slice that shows it."
        raise DataError(message)
    typical_size = float(np.median(sizes[sizes > 0]))
    scores = _sum_where(near, uncertainty) / (sizes + typical_size)

    def distance(index: int) -> int:
        return min((abs(index - each) for each in known), default=slice_count)

    def rank(index: int) -> tuple[float, int, int]:
        return round(float(scores[index]), _ALIKE_DIGITS), distance(index), -view.file_index(index, slice_count)

    open_slices = [index for index in np.flatnonzero(sizes).tolist() if index not in known]
    if not open_slices:
        message = "Every slice in which a structure was found is annotated already; there is none left to suggest."
        raise DataError(message)
    best = max([index for index in open_slices if distance(index) >= LEAST_DISTANCE] or open_slices, key=rank)
    names = _least_sure(segmentation.structures, labels, uncertainty, view, best, typical_size)
    return NextSlice(
        file_index=view.file_index(best, slice_count),
        stack_index=best,
        score=float(scores[best]),
        reason=f"{_doubt_text(names)} {_distance_text(distance(best), bool(known))}",
    )


def _near(mask: NDArray[np.bool_], view: SliceView) -> NDArray[np.bool_]:
    """Widen a mask (S, H, W) by `NEAR_MM` in each slice and by one slice, however thick, straight up and down."""
    return within_distance(mask, (NEAR_MM, *view.spacing_mm[1:]), NEAR_MM)


def _sum_where(mask: NDArray[np.bool_], uncertainty: NDArray[Any]) -> NDArray[np.float64]:
    sums: NDArray[np.float64] = uncertainty.sum(axis=(1, 2), dtype=np.float64, where=mask)
    return sums


def _least_sure(
    structures: Sequence[Structure],
    labels: NDArray[Any],
    uncertainty: NDArray[Any],
    view: SliceView,
    index: int,
    typical_size: float,
) -> list[str]:
    """Return the names of the structures with the highest scores of their own in one slice; none without doubt."""
    first = max(0, index - 1)
    around, here = slice(first, index + 2), slice(index - first, index - first + 1)
    scores = {}
    for structure in structures:
        near = _near(labels[around] == structure.value, view)[here]
        doubt = _sum_where(near, uncertainty[index : index + 1]).item()
        scores[structure.name] = doubt / (np.count_nonzero(near) + typical_size)
    highest = max(scores.values())
    named = [name for name, score in scores.items() if score > 0 and score >= _NAMED_FROM * highest]
    return sorted(named, key=lambda name: -scores[name])[:_MOST_NAMED]


def _doubt_text(names: Sequence[str]) -> str:
    return f"Least sure here: {' and '.join(names)}." if names else "The model is sure of every slice that is left."


def _distance_text(distance: int, any_annotated: bool) -> str:
    if not any_annotated:
        return "No slice is annotated yet."
    return f"The nearest annotated slice is {distance} slice{'s' if distance > 1 else ''} away."
