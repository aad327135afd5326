"""Several sources say what a stretch of slices shows; each counts as far as the others agree with it.

Agreement is measured structure by structure, without any reference, in the very slices where it is used, so also for a
structure that was annotated once; a source that is alone with its errors is outvoted. The rule is ours, not the
paper's (docs/method.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from uncol.evaluation.metrics import dice

_INSIDE = 0.5
_SHARPNESS = 4
"""A source weighs its agreement to this power."""
_LEAST_AGREEMENT = 0.05
_TORN = 0.1
"""Mean Dice between the parts of a source, or with other sources, below which they show different places."""
_VOICES_OF_TORN = 0.05


@dataclass(frozen=True)
class Source:
    """What one source says about a stretch of slices.

    Attributes:
        name: What it is called in reports.
        probabilities: Of every structure (L, N, h, w), float32 in [0, 1].
        has_vote: Where it has a say (L, N), bool; elsewhere it abstains.
        voices: As how many it counts.
        parts: What it was made of itself, each (L, N, h, w), if it was made of several that may disagree.
        part_weights: The part of each of them in every slice (parts, L); the sum over the parts is 1.
    """

    name: str
    probabilities: NDArray[np.float32]
    has_vote: NDArray[np.bool_]
    voices: float = 1.0
    parts: tuple[NDArray[np.float32], ...] = ()
    part_weights: NDArray[np.float64] | None = None

    def spread_round(self, center: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the mean squared distance (L, N, h, w) of what it says, or of its parts, from other probabilities."""
        if self.part_weights is None:
            return np.asarray((self.probabilities - center) ** 2)
        spread = np.zeros_like(center)
        for part, weight in zip(self.parts, self.part_weights.astype(np.float32), strict=True):
            spread += weight[:, None, None, None] * (part - center) ** 2
        return spread


def weigh(sources: Sequence[Source]) -> NDArray[np.float64]:
    """Return the weight of each source for every structure (sources, N): `voices * max(agreement, 0.05)^4`.

    A source that shares no slice with another one agrees with itself: 1. One whose parts show a structure in different
    places, none of which is where others show it, has 0.05 voices there: so registration shows spots that are others in
    every slice.
    """
    agreement = agreement_between(sources)
    known = np.where(np.isnan(agreement), 1.0, agreement)
    is_lost = np.stack([is_torn(each) for each in sources]) & (known < _TORN)
    voices = np.where(is_lost, _VOICES_OF_TORN, np.array([[each.voices] for each in sources]))
    weights: NDArray[np.float64] = known.clip(_LEAST_AGREEMENT) ** _SHARPNESS * voices
    return weights


def is_torn(source: Source) -> NDArray[np.bool_]:
    """Return for which structures (N,) the parts of a source that show them share less than a Dice of 0.1."""
    torn = np.zeros(source.has_vote.shape[1], dtype=np.bool_)
    for structure in range(len(torn)):
        shown = [mask for part in source.parts if (mask := part[:, structure] > _INSIDE).any()]
        overlaps = [dice(first, second) for first, second in combinations(shown, 2)]
        torn[structure] = bool(overlaps) and sum(overlaps) < _TORN * len(overlaps)
    return torn


def average(sources: Sequence[Source], weights: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return the weighted mean (L, N, h, w) of those sources that have a say; 0 where none has."""
    total = np.zeros(sources[0].has_vote.shape)
    fused = np.zeros_like(sources[0].probabilities)
    for source, weight in zip(sources, weights, strict=True):
        own = source.has_vote * weight
        fused += own[..., None, None].astype(np.float32) * source.probabilities
        total += own
    fused /= np.where(total > 0, total, 1)[..., None, None].astype(np.float32)
    return fused


def shares(sources: Sequence[Source], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the part of each source in every slice and structure (sources, L, N), in [0, 1]; 0 where it abstains."""
    own = np.stack([each.has_vote * weight for each, weight in zip(sources, weights, strict=True)])
    parts: NDArray[np.float64] = own / np.where(own.sum(0) > 0, own.sum(0), 1)
    return parts


def disagreement(
    sources: Sequence[Source], weights: NDArray[np.float64], fused: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Return how far apart the sources are, pixel by pixel (L, h, w), float32 in [0, 1].

    It is twice the standard deviation of what they say round their weighted mean, of the structure with the largest:
    0 where all say the same, 1 where one half is sure of a structure and the other half is sure that it is not there.
    A source that was made of several counts as these: registration as what each annotated side says.

    Args:
        sources: The sources.
        weights: Their weights (sources, N).
        fused: Their weighted mean (L, N, h, w), see `average`.
    """
    variance = np.zeros_like(fused)
    for source, share in zip(sources, shares(sources, weights).astype(np.float32), strict=True):
        variance += share[..., None, None] * source.spread_round(fused)
    spread: NDArray[np.float32] = np.minimum(2 * np.sqrt(variance.max(1)), 1)
    return spread


def agreement_between(sources: Sequence[Source]) -> NDArray[np.float64]:
    """Return each source's mean Dice with all others (sources, N), over the slices where both have a say.

    NaN where a source shares no slice with another.
    """
    count, structures = len(sources), sources[0].has_vote.shape[1]
    pairs = np.full((count, count, structures), np.nan)
    masks = [each.probabilities > _INSIDE for each in sources]
    for first in range(count):
        for second in range(first):
            both = sources[first].has_vote & sources[second].has_vote
            for structure in np.flatnonzero(both.any(0)):
                shared = both[:, structure]
                found = dice(masks[first][shared, structure], masks[second][shared, structure])
                pairs[first, second, structure] = pairs[second, first, structure] = found
    partners = (~np.isnan(pairs)).sum(1)
    sums = np.nansum(pairs, 1)
    agreement: NDArray[np.float64] = np.where(partners > 0, sums / partners.clip(1), np.nan)
    return agreement
