"""Which slice to annotate next, in words; `uncol.core.slice_suggestion` has the rule."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from slicer.i18n import tr as _

from uncol.core.errors import DataError
from uncol.core.next_slices import NextSlices
from uncol.core.slice_scores import SliceScore
from uncol.core.slice_suggestion import NextSlice, next_slice
from uncol.core.volume import Axis


@dataclass(frozen=True)
class Suggestion:
    """The slice to annotate next: its number along a voxel index of the volume, and why."""

    axis: Axis
    index: int
    reason: str


def suggestTold(following: NextSlices | None, axis: Axis, annotated: Collection[int]) -> Suggestion | None:
    """Return the best slice of those that a result names and that are not annotated yet; None if there is none."""
    named = following.slices if following is not None and following.axis == axis else ()
    left = (each for each in named if each.index not in annotated)
    return next((Suggestion(axis, each.index, each.sentence) for each in left), None)


def suggest(scores: Sequence[SliceScore], axis: Axis, annotated: Collection[int]) -> Suggestion:
    """Return the slice whose annotation promises most.

    Raises:
        DataError: If no structure was found, or every slice with one is annotated.
    """
    if not scores:
        message = _("The proposal holds no structure, so no slice can be suggested. Annotate a slice that shows it.")
        raise DataError(message)
    found = next_slice(scores, annotated)
    if found is None:
        message = _("Every slice in which a structure was found is annotated already; there is none left to suggest.")
        raise DataError(message)
    return Suggestion(axis, found.index, f"{_uncertaintyText(found)} {_distanceText(found.distance)}")


def _uncertaintyText(found: NextSlice) -> str:
    if not found.unsure:
        return _("The model is sure of every slice that is left.")
    return _("Least sure here: {names}.").format(names=", ".join(found.unsure))


def _distanceText(distance: int | None) -> str:
    if distance is None:
        return _("No slice is annotated yet.")
    if distance == 1:
        return _("The nearest annotated slice is next to it.")
    return _("The nearest annotated slice is {count} slices away.").format(count=distance)
