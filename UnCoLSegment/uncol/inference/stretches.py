"""Slices that nobody annotated, stretch by stretch, and what every source says about them, alone and together.

The same of annotated slices that are left out, as if nobody had annotated them: there it is known what is right.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from uncol.core.progress import UNWATCHED, Monitor
from uncol.inference.calibration import LeftOutSlice
from uncol.inference.fusion import Source, average, disagreement, shares, weigh
from uncol.registration.carried_labels import Carried, CarriedLabels

REGISTRATION, FOUNDATION, STUDENT = "registration", "foundation model", "student"
VOICES_BETWEEN, VOICES_BEYOND = 5.0, 1.5
"""Of registration between two annotated slices, and from one alone, where two others together can say that a structure
has ended (docs/decisions/0024)."""
_PHASE = "Following structures from annotated slices"
_MOST_LEFT_OUT = 24
"""Annotated slices that are left out at most, spread evenly: more cost time and say little more."""


@dataclass(frozen=True)
class Opinion:
    """What a source says about single slices of the volume.

    Attributes:
        name: What it is called in reports.
        of_slice: Given a slice, returns the probability (N, H, W) of each structure in the image's own pixels, and for
            which structures it has a say (N,), bool.
        voices: As how many it counts.
        of_left_out: The same for an annotated slice, as if nobody had annotated it; None where that is `of_slice`.
    """

    name: str
    of_slice: Callable[[int], tuple[Tensor, NDArray[np.bool_]]]
    voices: float = 1.0
    of_left_out: Callable[[int], tuple[Tensor, NDArray[np.bool_]]] | None = None


def sources_of_stretches(
    carried: CarriedLabels, opinions: Sequence[Opinion], monitor: Monitor = UNWATCHED
) -> Iterator[tuple[range, list[Source]]]:
    """Yield stretch after stretch of slices that nobody annotated, and what every source says about them.

    Registration comes first, then the opinions in their order, in the pixels of `carried.frame`.

    Args:
        carried: The annotated slices, carried to the others.
        opinions: What else there is.
        monitor: Told about the progress, and asked at every slice.
    """
    stretches, done = carried.stretches(), 0
    count = sum(map(len, stretches))
    for stretch in stretches:
        monitor.step(_PHASE, done / count)
        voices = VOICES_BETWEEN if carried.lies_between(stretch) else VOICES_BEYOND
        sources = [registration_source(carried.carry_to(stretch), voices)]
        for opinion in opinions:
            said = [opinion.of_slice(index) for index in monitor.checked(stretch)]
            own = np.stack([carried.frame.from_native(probabilities) for probabilities, _ in said])
            sources.append(Source(opinion.name, own, np.stack([has_vote for _, has_vote in said]), opinion.voices))
        expected = carried.shown_on_both_hands(stretch[0], stretch[-1])
        yield stretch, [without_lost(each, expected) for each in sources]
        done += len(stretch)


def without_lost(source: Source, expected: NDArray[np.bool_]) -> Source:
    """Let a source abstain from structures that it shows nowhere in a stretch though they are expected (N,) there."""
    is_shown = (source.probabilities > 0.5).any((0, 2, 3))  # inside
    return replace(source, has_vote=source.has_vote & (is_shown | ~expected))


def registration_source(found: Carried, voices: float) -> Source:
    """Return what registration says about a stretch of slices as a source that counts as so many."""
    has_vote = np.ones(found.probabilities.shape[:2], dtype=np.bool_)
    return Source(REGISTRATION, found.probabilities, has_vote, voices, found.sides, found.nearness)


class FusedSlice(NamedTuple):
    """What all sources say together about a slice.

    Attributes:
        number: Which one.
        probabilities: Of every structure (N, H, W), in its own pixels.
        shares: By source, its part in each structure (N,), in [0, 1].
        disagreement: How far apart they are (H, W), float32 in [0, 1].
    """

    number: int
    probabilities: Tensor
    shares: dict[str, NDArray[np.float64]]
    disagreement: Tensor


def fused_slices(
    carried: CarriedLabels, opinions: Sequence[Opinion] = (), monitor: Monitor = UNWATCHED
) -> Iterator[FusedSlice]:
    """Yield each slice that nobody annotated."""
    for stretch, sources in sources_of_stretches(carried, opinions, monitor):
        names, weights = [each.name for each in sources], weigh(sources)
        fused, parts = average(sources, weights), shares(sources, weights).swapaxes(0, 1)
        spread = disagreement(sources, weights, fused)
        for index, probabilities, each, apart in zip(stretch, fused, parts, spread, strict=True):
            own = carried.frame.to_native(probabilities)
            spread_there = carried.frame.to_native(apart[None])[0]
            yield FusedSlice(index, own, dict(zip(names, each, strict=True)), spread_there)


def left_out_slices(
    carried: CarriedLabels, classes: NDArray[np.uint8], opinions: Sequence[Opinion] = (), monitor: Monitor = UNWATCHED
) -> Iterator[LeftOutSlice]:
    """Yield annotated slices between others, as all sources together predict them from the others.

    Args:
        carried: The annotated slices, carried to the others.
        classes: Class indices (S, H, W), 255 unknown.
        opinions: What else there is; nobody who has learned from these slices.
        monitor: Asked at every slice.
    """
    inner = carried.inner if carried.stretches() else []
    for index in monitor.checked(inner[:: -(-len(inner) // _MOST_LEFT_OUT) or 1]):
        sources = [registration_source(carried.carry_to_left_out(index), VOICES_BETWEEN)]
        for opinion in opinions:
            said, has_vote = (opinion.of_left_out or opinion.of_slice)(index)
            sources.append(Source(opinion.name, carried.frame.from_native(said)[None], has_vote[None], opinion.voices))
        expected = carried.shown_on_both_hands(index, index)
        sources = [without_lost(each, expected) for each in sources]
        fused = carried.frame.to_native(average(sources, weigh(sources))[0]).numpy()
        truth = np.stack([classes[index] == place + 1 for place in range(len(fused))])
        yield LeftOutSlice(carried.distance(index), fused, truth)
