"""Where the labels of a slice can come from, and how reliable each source is, by its Dice on annotated slices."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

_LEAST_DICE = 0.01

Scores = dict[tuple[int, int], list[float]]
"""Dice of single slices by (structure, source)."""


class Source(IntEnum):
    """Where a candidate comes from; the order of every array here."""

    PROMPTED = 0
    """The frozen teacher, prompted with the box of the contour that is interpolated there."""
    FORWARD = 1
    """The frozen teacher, propagated from the annotated slice before it."""
    BACKWARD = 2
    """The same from the one behind it."""
    INTERPOLATED = 3
    """The interpolated contour itself, which knows nothing of the image."""


@dataclass(frozen=True)
class SourceReliability:
    """How reliable the sources are.

    Attributes:
        near: Dice (N, 4) of each structure and source next to an annotated slice.
        far: The same at the distance of one gap between annotated slices.
    """

    near: NDArray[np.float32]
    far: NDArray[np.float32]

    def at(self, structure: int, source: int, gaps: float) -> float:
        """Return a source's reliability so many gaps away from the annotated slice it comes from; it falls linearly."""
        near, far = float(self.near[structure, source]), float(self.far[structure, source])
        return max(_LEAST_DICE, near + (far - near) * min(1.0, gaps))


@dataclass(frozen=True)
class ValidationScores:
    """Dice of each source on annotated slices, predicted as if nobody had annotated them.

    Attributes:
        is_whole: Whether the case is annotated as a whole: a gap there is one slice, and says little about wider ones.
        near: Beside an annotated slice.
        far: One gap away.
    """

    is_whole: bool = False
    near: Scores = field(default_factory=lambda: defaultdict(list))
    far: Scores = field(default_factory=lambda: defaultdict(list))

    @classmethod
    def pooled(cls, cases: Sequence[ValidationScores]) -> ValidationScores:
        """Join the scores of cases; whole cases count only for structures that were tried in no other case."""
        tried = {key[0] for each in cases if not each.is_whole for key in (*each.near, *each.far)}
        joined = cls()
        for case in cases:
            for own, found in ((joined.near, case.near), (joined.far, case.far)):
                for key, scores in found.items():
                    if not case.is_whole or key[0] not in tried:
                        own[key] += scores
        return joined

    def reliability(self, structure_count: int) -> SourceReliability:
        """Average over slices.

        A source that could not be tried on a structure is as reliable there as it is on the others.
        """
        near, far = _means(self.near, structure_count, otherwise=1.0), _means(self.far, structure_count)
        return SourceReliability(near, np.where(np.isnan(far), near, np.minimum(far, near)))


def _means(scores: Scores, structure_count: int, otherwise: float = np.nan) -> NDArray[np.float32]:
    means = np.full((structure_count, len(Source)), np.nan, dtype=np.float32)
    for key, each in scores.items():
        means[key] = np.mean(each)
    for column in means.T:
        measured = column[~np.isnan(column)]
        column[np.isnan(column)] = measured.mean() if measured.size else otherwise
    return means
