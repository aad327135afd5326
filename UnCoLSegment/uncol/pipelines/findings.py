"""What is told of a segmentation: structures in numbers, where to look, what to annotate next."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from uncol.core.findings import Finding, Findings
from uncol.core.jobs import AnnotatedSlices, Structure
from uncol.core.next_slices import NextSlice, NextSlices
from uncol.core.promise import StructurePromise
from uncol.core.slice_suggestion import next_slice, score_slices
from uncol.core.uncertainty_maps import unsure_from
from uncol.core.volume import Axis
from uncol.inference.result import Segmentation, label_statistics
from uncol.report.places import WhereToLook

_NAMED = 3
"""How many slices are suggested."""
_NOT_TRIED = (
    "What Dice to expect is not known here: it is foreseen only where annotated slices of the image are followed to "
    "the others."
)
_NOTHING_LEFT = "There is nothing to foresee: no slice that nobody annotated is expected to show it."


def findings_of(result: Segmentation, look: WhereToLook, axis: Axis, annotated: Sequence[AnnotatedSlices]) -> Findings:
    """Return what there is to tell of a segmentation.

    Args:
        result: The segmentation.
        look: Where to look in it.
        axis: The voxel index that counts its slices.
        annotated: The slices that were annotated.
    """
    counts, mean_uncertainties = label_statistics(result)
    promises = {each.structure: each for each in result.promises}
    voxel_ml = float(np.prod(result.labels.spacing_mm)) / 1000
    reasons = {
        each.structure: _NOTHING_LEFT if each.beside is not None else each.sentence for each in result.calibration
    }
    structures = tuple(
        _finding(
            structure,
            int(counts[structure.value]),
            voxel_ml,
            float(mean_uncertainties[structure.value]),
            (look.sure_parts[place], look.possible_ml[place]),
            promises.get(structure.name) or reasons.get(structure.name, _NOT_TRIED),
        )
        for place, structure in enumerate(result.structures)
    )
    following = result.next_slices or _least_sure(result, axis, annotated)
    return Findings(structures, look.places, following, round(unsure_from(len(result.structures)), 4))


def _finding(
    structure: Structure,
    voxels: int,
    voxel_ml: float,
    mean_uncertainty: float,
    unsure: tuple[float, float],
    promised: StructurePromise | str,
) -> Finding:
    ml = round(voxels * voxel_ml, 3)
    mean = None if np.isnan(mean_uncertainty) else round(mean_uncertainty, 5)
    if isinstance(promised, str):
        sure_part, possible_ml = unsure
        by_map = (round(ml * sure_part, 3), round(ml + possible_ml, 3)) if voxels else None
        return Finding(
            structure.name, structure.value, voxels, ml, mean, by_map, range_rests_on="map", why_no_promise=promised
        )
    dice, volume = promised.dice, promised.volume_ml
    return Finding(
        structure.name,
        structure.value,
        voxels,
        ml,
        mean,
        (round(volume.low, 3), round(volume.high, 3)),
        (dice.value, dice.low, dice.high),
        with_two_more=promised.with_two_more,
        is_enough=promised.is_enough,
    )


def _least_sure(result: Segmentation, axis: Axis, annotated: Sequence[AnnotatedSlices]) -> NextSlices:
    """Return the least sure slices, none beside another one or an annotated one where there is a choice."""
    scores = score_slices(result.labels, result.uncertainty, result.structures, axis)
    known = [index for each in annotated if each.axis == axis for index in each.indices]
    suggested: list[NextSlice] = []
    while len(suggested) < _NAMED:
        best = next_slice(scores, known)
        if best is None:
            break
        suggested.append(NextSlice(best.index, None, best.unsure, best.distance))
        known.append(best.index)
    return NextSlices(axis, tuple(suggested))
