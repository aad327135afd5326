"""What stage 1 does not learn from although it is annotated, so that both teachers can be scored on it.

Whole cases are held out where all annotated cases are annotated as a whole: the teachers will label other cases, and a
single slice would lie next to slices that stage 1 learned from. Otherwise single slices are held out.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Mapping, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from uncol.core.volume import UNKNOWN_LABEL
from uncol.data.annotations import complete_slices
from uncol.data.cases import FramedCase, SliceIndex

_LEAST_CASES = 3
"""With fewer completely annotated cases none is."""
_STEP = 8
"""One completely annotated case, or one inner annotated slice, in eight is held out: what is held out is missed
(docs/decisions/0016)."""
_LEAST_INNER_SLICES = 8
"""With fewer annotated slices that hold a structure, the first and the last of a case not counted, none is."""

Piece = TypeVar("Piece", bound=Hashable)


def held_out_cases(framed: Sequence[FramedCase], seen: Collection[SliceIndex] = ()) -> list[int]:
    """Return the completely annotated cases that stage 1 does not draw from, none of which was `seen` before."""
    complete = [case for case, each in enumerate(framed) if not (each.native_labels == UNKNOWN_LABEL).any()]
    values = {case: _values_of(each.native_labels) for case, each in enumerate(framed)}
    seen_cases = {each.case for each in seen}
    new = [case for case in complete if case not in seen_cases]
    return _leaving_every_value(_spread(new, len(complete[1::_STEP])) if len(complete) >= _LEAST_CASES else [], values)


def held_out_slices(framed: Sequence[FramedCase], seen: Collection[SliceIndex] = ()) -> list[SliceIndex]:
    """Return the slices that stage 1 does not draw: those of whole cases that hold a structure, or inner ones.

    Slices that were `seen` by a model before are none of them; as many others are as without such a model.
    """
    annotated = [complete_slices(each.native_labels) for each in framed]
    are_whole = all(len(found) in (0, len(each.native_labels)) for found, each in zip(annotated, framed, strict=True))
    cases = held_out_cases(framed, seen) if are_whole else []
    if cases:
        return [
            SliceIndex(case, index)
            for case in cases
            for index, labels in enumerate(framed[case].native_labels)
            if labels.any()
        ]
    inner = [
        SliceIndex(case, index)
        for case, indices in enumerate(annotated)
        for index in indices[1:-1]
        if framed[case].native_labels[index].any()
    ]
    values = {
        SliceIndex(case, index): _values_of(labels)
        for case, each in enumerate(framed)
        for index, labels in enumerate(each.native_labels)
    }
    new = [each for each in inner if each not in seen]
    count = len(inner[1::_STEP]) if len(inner) >= _LEAST_INNER_SLICES else 0
    return _leaving_every_value(_spread(new, count), values)


def _values_of(labels: NDArray[np.uint8]) -> set[int]:
    return set(np.bincount(labels.ravel()).nonzero()[0].tolist()) - {UNKNOWN_LABEL}


def _leaving_every_value(candidates: Sequence[Piece], values: Mapping[Piece, set[int]]) -> list[Piece]:
    """Return the candidates without those that alone show a structure, once the ones before them are gone."""
    chosen: list[Piece] = []
    for candidate in candidates:
        left = set[int]().union(*(shown for piece, shown in values.items() if piece not in {*chosen, candidate}))
        if values[candidate] <= left:
            chosen.append(candidate)
    return chosen


def _spread(items: Sequence[Piece], count: int) -> list[Piece]:
    """Return so many of the items, the second one first, and so far apart as they allow, one in eight at most."""
    step = min(_STEP, max(1, (len(items) - 2) // max(1, count - 1)))
    return list(items[min(1, len(items) - 1) :: step][:count]) if items else []
