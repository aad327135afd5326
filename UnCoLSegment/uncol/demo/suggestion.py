"""Which slice to annotate next, in words; `uncol.core.slice_suggestion` has the rule."""

from __future__ import annotations

from collections.abc import Sequence

from uncol.core import slice_suggestion
from uncol.core.volume import ARRAY_AXIS, SliceView
from uncol.inference.result import Segmentation
from uncol.report.results import Suggestion


def suggest_slice(segmentation: Segmentation, view: SliceView, annotated: Sequence[int]) -> Suggestion | None:
    """Return the slice whose annotation promises most; None if there is no structure, or every slice is annotated.

    Args:
        segmentation: Labels and uncertainty on the image's grid.
        view: How the slices are counted.
        annotated: Slices that are annotated already, by their number in the file.
    """
    labels, axis = segmentation.labels, view.slice_axis
    scores = slice_suggestion.score_slices(labels, segmentation.uncertainty, segmentation.structures, axis)
    found = slice_suggestion.next_slice(scores, annotated)
    if found is None:
        return None
    reason = f"{_uncertainty_text(found.unsure)} {_distance_text(found.distance)}"
    slice_count = labels.voxels.shape[ARRAY_AXIS[axis]]
    return Suggestion(found.index, view.stack_index(found.index, slice_count), found.score, reason)


def _uncertainty_text(names: Sequence[str]) -> str:
    return f"Least sure here: {' and '.join(names)}." if names else "The model is sure of every slice that is left."


def _distance_text(distance: int | None) -> str:
    if distance is None:
        return "No slice is annotated yet."
    return f"The nearest annotated slice is {distance} slice{'s' if distance > 1 else ''} away."
