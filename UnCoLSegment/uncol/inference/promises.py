"""What a segmentation from annotated slices promises: Dice and volume, and what more slices would bring."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from uncol.core.next_slices import NextSlice, NextSlices, best_extra, expected_with
from uncol.core.promise import (
    ExpectedSlice,
    StructureCalibration,
    StructurePromise,
    expected_dice,
    expected_volume,
)
from uncol.core.volume import SliceView
from uncol.inference.calibration import BESIDE, Calibration
from uncol.inference.result import Segmentation

_NAMED = 3
"""How many slices are suggested."""
_MORE = 2
_USUAL_GROWTH = 0.5
"""Of the temperature over a gap between annotated slices, as on development structures."""

Expected = Mapping[int, tuple[NDArray[np.float64], NDArray[np.float64]]]
"""By slice of the stack and structure (N,): voxels expected to be found rightly; found and expected voxels together."""


def promised(
    found: Segmentation, calibration: Calibration, expected: Expected, view: SliceView, annotated: Sequence[int]
) -> Segmentation:
    """Return a segmentation with its calibration, its promises, and the slices to annotate next.

    A structure that is not calibrated has no promise.

    Args:
        found: The segmentation.
        calibration: Its structures' temperatures.
        expected: What is expected of slices that nobody annotated.
        view: How slices are counted.
        annotated: The annotated slices of the stack.
    """
    count = len(view.stack_from(found.labels.voxels))
    slices = [
        tuple(
            ExpectedSlice(view.file_index(index, count), round(float(shared[place]), 2), round(float(size[place]), 2))
            for index, (shared, size) in sorted(expected.items(), key=lambda each: view.file_index(each[0], count))
            if size[place] > 0
        )
        for place in range(len(found.structures))
    ]
    known = sorted(view.file_index(index, count) for index in annotated)
    gap = float(np.median(np.diff(known))) if len(known) > 1 else float(count)
    growth = [_assumed(each, gap) for each in calibration.structures]
    suggestions: list[NextSlice] = []
    while len(suggestions) < _NAMED:
        best = best_extra(slices, growth, known, [each.index for each in suggestions])
        if best is None:
            break
        suggestions.append(best)
    voxel_ml = float(np.prod(found.labels.spacing_mm)) / 1000
    stack, is_annotated = view.stack_from(found.labels.voxels), np.zeros(count, dtype=np.bool_)
    is_annotated[list(annotated)] = True
    promises = []
    for place in range(len(found.structures)):
        check, dice = calibration.left_out[place], expected_dice(slices[place])
        if check is None or dice is None:
            continue
        value = found.structures[place].value
        sizes = np.array([np.count_nonzero(each == value) for each in stack])
        whole, sure = (float(each.sum() * voxel_ml) for each in (sizes, sizes[is_annotated]))
        own = best_two(slices[place], calibration, place, known)
        further = expected_with(slices[place], calibration.structures[place], known, own)
        volume = expected_volume(whole, sure, dice.value)
        name = found.structures[place].name
        promises.append(StructurePromise(name, dice, volume, further, check, slices[place]))
    return replace(
        found,
        calibration=calibration.structures,
        promises=tuple(promises),
        next_slices=NextSlices(view.slice_axis, tuple(suggestions)),
    )


def _assumed(calibration: StructureCalibration, gap: float) -> StructureCalibration:
    """Return a calibration, or what is usual where there is none: something has to be suggested there, too."""
    if calibration.beside is not None:
        return calibration
    return replace(calibration, beside=BESIDE, per_slice=_USUAL_GROWTH / gap)


def best_two(slices: tuple[ExpectedSlice, ...], calibration: Calibration, place: int, known: list[int]) -> list[int]:
    """Return the two slices whose annotation is expected to help a structure most."""
    extra: list[int] = []
    while len(extra) < _MORE:
        best = best_extra([slices], [calibration.structures[place]], known, extra)
        if best is None:
            break
        extra.append(best.index)
    return extra
