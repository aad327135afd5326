"""What stage 1 does not learn from although it is annotated, so that both teachers can be scored on it.

Whole cases are held out where all annotated cases are annotated as a whole: the teachers will label other cases, and a
single slice would lie next to slices that stage 1 learned from. Otherwise single slices are held out.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from uncol.core.volume import UNKNOWN_LABEL
from uncol.data.annotations import complete_slices
from uncol.data.cases import FramedCase, SliceIndex

_CASE_STEP = 8
"""One completely annotated case in eight is held out."""
_LEAST_CASES = 3
"""With fewer completely annotated cases none is."""
_SLICE_STEP = 8
"""One inner annotated slice in eight is held out: what is held out is missed (docs/decisions/0016)."""
_LEAST_INNER_SLICES = 8
"""With fewer annotated slices that hold a structure, the first and the last of a case not counted, none is."""

Piece = TypeVar("Piece", bound=Hashable)


def held_out_cases(framed: Sequence[FramedCase]) -> list[int]:
    """Return the completely annotated cases that stage 1 does not draw from."""
    complete = [case for case, each in enumerate(framed) if not (each.native_labels == UNKNOWN_LABEL).any()]
    values = {case: _values_of(each.native_labels) for case, each in enumerate(framed)}
    return _leaving_every_value(complete[1::_CASE_STEP] if len(complete) >= _LEAST_CASES else [], values)


def held_out_slices(framed: Sequence[FramedCase]) -> list[SliceIndex]:
    """Return the slices that stage 1 does not draw: those of whole cases that hold a structure, or inner ones."""
    annotated = [complete_slices(each.native_labels) for each in framed]
    are_whole = all(len(found) in (0, len(each.native_labels)) for found, each in zip(annotated, framed, strict=True))
    cases = held_out_cases(framed) if are_whole else []
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
    return _leaving_every_value(inner[1::_SLICE_STEP] if len(inner) >= _LEAST_INNER_SLICES else [], values)


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
