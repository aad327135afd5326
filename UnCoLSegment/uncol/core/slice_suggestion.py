"""Which slice to annotate next: where a segmentation is least sure, and not beside what is already known."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from uncol.core.error_detection import bounding_box, within_distance
from uncol.core.jobs import Structure
from uncol.core.slice_scores import SliceScore
from uncol.core.volume import ARRAY_AXIS, Axis, Volume

NEAR_MM = 5.0
"""Uncertainty counts this near to a predicted structure within the slice, and straight above and below it.

Euclidean, as near as `error_detection` means it: a box would count more in oblique slices than in straight ones.
"""
LEAST_DISTANCE = 2
"""Slices to the nearest annotated one where there is a choice: direct neighbors look alike and teach little."""

_PIXEL_MM = 1.5
"""Size of a pixel up to which pixels are left out: what is near and how sure the model is there need no finer ones."""
_ALIKE_DIGITS = 6
_MOST_NAMED = 2
_NAMED_FROM = 0.5
"""Part of the least sure structure's score from which a second one is named as well."""


@dataclass(frozen=True)
class NextSlice:
    """The slice to annotate next.

    Attributes:
        index: Its number along the file's voxel index.
        score: How unsure the segmentation is there, in [0, 1); comparable within one volume only.
        unsure: The structures with the highest scores of their own there, at most two; none without uncertainty.
        distance: Slices to the nearest annotated one; None if there is none.
    """

    index: int
    score: float
    unsure: tuple[str, ...]
    distance: int | None


def score_slices(
    labels: Volume, uncertainty: Volume, structures: Sequence[Structure], axis: Axis
) -> tuple[SliceScore, ...]:
    """Return the scores of the slices along one voxel index, those without a structure nearby left out.

    A slice's score is its summed uncertainty near the predicted structures, divided by the number of
    voxels there plus the number that is typical (the median over the slices with any):

        score = sum(u) / (n + median n)

    The plain sum would always take the slices with the most outline, the plain mean always the last few voxels
    at the end of a structure, which are all border. This one is the mean for large regions and fades for
    small ones. Slices without a structure nearby have no score, however noisy they are; a slice beside the
    predicted end of a structure has one, because that is where an end cut off too early shows.
    """
    spacing = np.delete(labels.spacing_mm[::-1], ARRAY_AXIS[axis])
    steps = np.maximum(1, _PIXEL_MM / spacing).astype(int)
    pixel_mm = (spacing * steps).tolist()
    found, uncertainty_part = (
        np.moveaxis(each.voxels, ARRAY_AXIS[axis], 0)[:, :: steps[0], :: steps[1]] for each in (labels, uncertainty)
    )
    found = np.ascontiguousarray(found)  # slices across the file's rows are several times faster to read once
    sums, sizes = np.zeros((2, len(structures) + 1, len(found)))
    box = bounding_box(found > 0, margin=1 + int(NEAR_MM / min(pixel_mm)))
    found, uncertainty_part = found[box], np.ascontiguousarray(uncertainty_part[box])
    for index in range(len(found)):
        first = max(0, index - 1)
        around = found[first : index + 2]
        for row, mask in enumerate([around > 0, *(around == each.value for each in structures)]):
            near = mask.any(axis=0)
            if near.any():
                near |= within_distance(mask[index - first], pixel_mm, NEAR_MM)
                sizes[row, box[0].start + index] = np.count_nonzero(near)
                sums[row, box[0].start + index] = uncertainty_part[index].sum(where=near, dtype=np.float64)
    typical = np.median(sizes[0][sizes[0] > 0]) if sizes[0].any() else 1.0
    scores = sums / (sizes + typical)
    names = [each.name for each in structures]
    return tuple(
        SliceScore(index, float(scores[0, index]), _least_sure(dict(zip(names, scores[1:, index], strict=True))))
        for index in np.flatnonzero(sizes[0]).tolist()
    )


def score_all_slices(
    labels: Volume, uncertainty: Volume, structures: Sequence[Structure]
) -> dict[str, tuple[SliceScore, ...]]:
    """Return what `score_slices` says along each voxel index, by its letter."""
    return {axis: score_slices(labels, uncertainty, structures, axis) for axis in ARRAY_AXIS}


def next_slice(scores: Sequence[SliceScore], annotated: Collection[int]) -> NextSlice | None:
    """Return the slice whose annotation promises most; None if every slice with a structure nearby is annotated.

    Slices next to an annotated one are left to the end. Of equal scores (to six digits) the one farther from the
    annotated slices is taken, then the one with the lower number in the file.
    """

    def distance(scored: SliceScore) -> int:
        return min((abs(scored.index - each) for each in annotated), default=LEAST_DISTANCE)

    def rank(scored: SliceScore) -> tuple[float, int, int]:
        return round(scored.score, _ALIKE_DIGITS), distance(scored), -scored.index

    candidates = [each for each in scores if each.index not in annotated]
    if not candidates:
        return None
    best = max([each for each in candidates if distance(each) >= LEAST_DISTANCE] or candidates, key=rank)
    return NextSlice(best.index, best.score, best.unsure, distance(best) if annotated else None)


def _least_sure(of_structure: dict[str, float]) -> tuple[str, ...]:
    names = sorted(filter(of_structure.get, of_structure), key=lambda name: -of_structure[name])[:_MOST_NAMED]
    return tuple(name for name in names if of_structure[name] >= _NAMED_FROM * of_structure[names[0]])
