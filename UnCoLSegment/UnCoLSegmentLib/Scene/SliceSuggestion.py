"""Which slice to annotate next: scores are computed in a thread when a result comes, so that asking costs nothing.

The rule is that of `uncol.demo.suggestion`, in numpy alone: a slice scores its summed uncertainty near the proposed
structures, divided by the number of voxels there plus the number that is typical. Slices without a structure nearby
have no score; direct neighbors of annotated slices are left to the end, because they look alike and teach little.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from slicer.i18n import tr as _

from uncol.core.errors import DataError
from uncol.core.jobs import Structure
from uncol.core.volume import ARRAY_AXIS, Axis, Volume

NEAR_MM = 5.0
"""Doubt counts this near to a proposed structure, within the slice."""
LEAST_DISTANCE = 2
"""Slices to the nearest annotated one where there is a choice."""

_PIXEL_MM = 1.5
"""Size of a pixel up to which pixels are left out."""
_MOST_NAMED = 2
_NAMED_FROM = 0.5
"""Part of the least sure structure's doubt from which a second one is named as well."""


@dataclass(frozen=True)
class Suggestion:
    """The slice to annotate next: its number along a voxel index of the volume, and why."""

    axis: Axis
    index: int
    reason: str


@dataclass(frozen=True)
class SliceScores:
    """How unsure a result is in each slice along one axis.

    Attributes:
        total: For each slice, in [0, 1); 0 where no structure is near.
        ofStructure: The same by the structures' names.
    """

    total: NDArray[np.float64]
    ofStructure: Mapping[str, NDArray[np.float64]]


def scoreSlices(labels: Volume, uncertainty: Volume, structures: Sequence[Structure], axis: Axis) -> SliceScores:
    """Return the scores of all slices along one voxel index.

    Only the part near the structures is read, and of fine pixels only every second or third: what is near within
    5 mm and how sure the model is there on the whole does not need them.
    """
    part = _partNear(labels)
    found, doubts = (np.moveaxis(each.voxels[part], ARRAY_AXIS[axis], 0) for each in (labels, uncertainty))
    spacing = _inPlaneSpacing(labels, axis)
    steps = [max(1, int(_PIXEL_MM / each)) for each in spacing]
    found, doubts = (each[:, :: steps[0], :: steps[1]] for each in (found, doubts))
    reach = [int(NEAR_MM / (each * step)) for each, step in zip(spacing, steps, strict=True)]
    begin, count = part[ARRAY_AXIS[axis]].start, labels.voxels.shape[ARRAY_AXIS[axis]]
    sums, sizes = np.zeros((2, len(structures) + 1, count))
    for index in range(len(found)):
        around = found[max(0, index - 1) : index + 2]
        masks = [around > 0, *(around == each.value for each in structures)]
        for row, mask in enumerate(masks):
            near = _widened(mask.any(axis=0), reach)
            sizes[row, begin + index] = np.count_nonzero(near)
            sums[row, begin + index] = doubts[index].sum(where=near, dtype=np.float64)
    typical = float(np.median(sizes[0][sizes[0] > 0])) if sizes[0].any() else 1.0
    scores = sums / (sizes + typical)
    return SliceScores(scores[0], {each.name: scores[row + 1] for row, each in enumerate(structures)})


def suggest(scores: SliceScores, axis: Axis, annotated: Collection[int]) -> Suggestion:
    """Return the slice whose annotation promises most.

    Raises:
        DataError: If no structure was found, or every slice with one is annotated.
    """
    if not scores.total.any():
        message = _("The proposal holds no structure, so no slice can be suggested. Annotate a slice that shows it.")
        raise DataError(message)
    candidates = [index for index in np.flatnonzero(scores.total).tolist() if index not in annotated]
    if not candidates:
        message = _("Every slice in which a structure was found is annotated already; there is none left to suggest.")
        raise DataError(message)

    def distance(index: int) -> int:
        return min((abs(index - each) for each in annotated), default=len(scores.total))

    apart = [index for index in candidates if distance(index) >= LEAST_DISTANCE]
    best = max(apart or candidates, key=lambda index: (scores.total[index], distance(index), -index))
    nearest = distance(best) if annotated else None
    return Suggestion(axis, best, f"{_doubtText(scores, best)} {_distanceText(nearest)}")


def _partNear(labels: Volume) -> tuple[slice, slice, slice]:
    """Return the part of the array (K, J, I) that can be near a structure: `NEAR_MM`, and one slice at least."""
    found = [np.flatnonzero(labels.voxels.any(axis=others)) for others in ((1, 2), (0, 2), (0, 1))]
    reach = [max(1, int(NEAR_MM / spacing)) for spacing in reversed(labels.spacing_mm)]
    ends = [(each[0], each[-1] + 1) if len(each) else (0, 0) for each in found]
    kept = [slice(max(0, a - width), b + width if b else 0) for (a, b), width in zip(ends, reach, strict=True)]
    return kept[0], kept[1], kept[2]


def _inPlaneSpacing(volume: Volume, axis: Axis) -> list[float]:
    spacingKJI = list(reversed(volume.spacing_mm))
    del spacingKJI[ARRAY_AXIS[axis]]
    return spacingKJI


def _widened(mask: NDArray[np.bool_], reach: Sequence[int]) -> NDArray[np.bool_]:
    """Widen a mask (H, W) by some pixels along rows and columns; running sums make the width cost nothing."""
    for axis, width in enumerate(reach):
        padding = [(width + 1, width) if each == axis else (0, 0) for each in range(2)]
        counts = np.cumsum(np.pad(mask, padding), axis=axis, dtype=np.int32)
        length = mask.shape[axis]
        upper, lower = (np.take(counts, range(start, start + length), axis) for start in (2 * width + 1, 0))
        mask = upper > lower
    return mask


def _doubtText(scores: SliceScores, index: int) -> str:
    doubts = {name: float(each[index]) for name, each in scores.ofStructure.items() if each[index] > 0}
    named = [name for name, doubt in doubts.items() if doubt >= _NAMED_FROM * max(doubts.values())]
    named = sorted(named, key=lambda name: -doubts[name])[:_MOST_NAMED]
    if not named:
        return _("The model is sure of every slice that is left.")
    return _("Least sure here: {names}.").format(names=", ".join(named))


def _distanceText(distance: int | None) -> str:
    if distance is None:
        return _("No slice is annotated yet.")
    if distance == 1:
        return _("The nearest annotated slice is next to it.")
    return _("The nearest annotated slice is {count} slices away.").format(count=distance)
