"""Which slices to annotate next: by what that is expected to bring, or by a rule that looks at nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from uncol.core.promise import ExpectedSlice, StructureCalibration, promises_in
from uncol.core.records import from_document
from uncol.core.volume import Axis

Strategy = Literal["expected-gain", "even-spacing", "random"]
"""How the next slice is found."""
_MOST_NAMED = 2
_MOST_TOLD_APART = 3
_NOWHERE = -(10**9)
"""A slice so far away that it helps no other."""


@dataclass(frozen=True)
class NextSlice:
    """A slice that is worth annotating next.

    Attributes:
        index: Its number along the voxel index of `NextSlices`.
        gain: By how much the mean Dice is expected to rise, in the slices that nobody annotated; None where that is not
            known, and the slice is the least sure one.
        structures: The structures that gain most from it, or are least sure there, at most two.
        distance: Slices to the nearest annotated one; None if there is none.
    """

    index: int
    gain: float | None
    structures: tuple[str, ...]
    distance: int | None

    @property
    def sentence(self) -> str:
        """The reason, for the user."""
        return self.sentence_with(f"{self.index}")

    def sentence_with(self, number: str) -> str:
        """Return the reason with the slice's number written in another way, as with its axis in front."""
        names = " and ".join(self.structures)
        reasons = [] if not names else [names if self.gain is not None else f"least sure of {names}"]
        if self.distance is not None:
            reasons.append(f"{self.distance} slice{'s' * (self.distance != 1)} from the nearest annotated one")
        gain = "" if self.gain is None else f"; Dice about +{self.gain:.3f}"
        return f"Slice {number}{': ' * bool(reasons)}{', '.join(reasons)}{gain}."


@dataclass(frozen=True)
class NextSlices:
    """Which slices to annotate next, each after the ones before it.

    Attributes:
        axis: The voxel index that counts them.
        slices: The best first.
    """

    axis: Axis
    slices: tuple[NextSlice, ...] = ()


def expected_with(
    slices: Sequence[ExpectedSlice], calibration: StructureCalibration, annotated: Sequence[int], extra: Sequence[int]
) -> float:
    """Return the Dice that is expected of these slices once further ones are annotated.

    An annotated slice is right; in all others the expected errors shrink as the temperature does with the distance.
    """
    return float(_with_one_more(slices, calibration, annotated, extra, [_NOWHERE])[0])


def best_extra(
    slices: Sequence[Sequence[ExpectedSlice]],
    calibrations: Sequence[StructureCalibration],
    annotated: Sequence[int],
    already: Sequence[int] = (),
) -> NextSlice | None:
    """Return the slice whose annotation is expected to raise the mean Dice over the structures most; None for none.

    Args:
        slices: Of every structure, what is expected of its slices.
        calibrations: How the structures' errors grow with the distance.
        annotated: The slices that are annotated.
        already: Slices that are taken to be annotated besides.
    """
    known = [*annotated, *already]
    candidates = sorted({one.index for each in slices for one in each} - set(known))
    pairs = [pair for pair in zip(slices, calibrations, strict=True) if sum(one.size for one in pair[0]) > 0]
    if not candidates or not pairs:
        return None
    after = np.stack([_with_one_more(*pair, annotated, already, candidates) for pair in pairs])
    gains = after - np.array([[expected_with(*pair, annotated, already)] for pair in pairs])
    best = int(gains.mean(0).argmax())
    own = sorted(((gain, each.structure) for gain, (_, each) in zip(gains[:, best], pairs, strict=True)), reverse=True)
    named = tuple(name for gain, name in own[:_MOST_NAMED] if gain > 0 and gain >= own[0][0] / 2)
    index = candidates[best]
    return NextSlice(index, float(gains[:, best].mean()), named, min(abs(index - each) for each in known))


def _with_one_more(
    slices: Sequence[ExpectedSlice],
    calibration: StructureCalibration,
    annotated: Sequence[int],
    extra: Sequence[int],
    candidates: Sequence[int],
) -> NDArray[np.float64]:
    """Return the Dice (candidates,) that is expected with each candidate, besides further slices."""
    indices = np.array([each.index for each in slices])
    sizes, shared = (np.array([getattr(each, name) for each in slices]) for name in ("size", "shared"))

    def distances(known: Sequence[int]) -> NDArray[np.int64]:
        """Return how far away (known, slices) slices are."""
        return np.abs(indices - np.array(known)[:, None])

    now = distances(annotated).min(0)
    then = np.minimum(distances([*annotated, *extra]).min(0), distances(candidates))
    losses = (sizes - 2 * shared) * calibration.temperature(then) / calibration.temperature(now) * (then > 0)
    return np.asarray(1 - losses.sum(1) / max(sizes.sum(), 1e-9))


def farthest(annotated: Sequence[int], slice_count: int) -> int | None:
    """Return the slice farthest from all annotated ones, the first of several: even spacing; None for none."""
    distances = np.abs(np.arange(slice_count)[:, None] - np.array(annotated)[None]).min(1)
    return int(distances.argmax()) if distances.any() else None


def drawn(annotated: Sequence[int], slice_count: int, generator: np.random.Generator) -> int | None:
    """Return a slice that is not annotated, drawn at random; None where none is left."""
    left = np.setdiff1d(np.arange(slice_count), np.array(annotated))
    return int(generator.choice(left)) if left.size else None


def sentences_of(document: Mapping[str, Any], *, below_a_table: bool = False) -> list[str]:
    """Return what a report says of its promises, of structures without one, and of the next slice.

    Args:
        document: The report, a JSON object.
        below_a_table: Whether Dice and volume are told already, so that only what more slices would bring is left.
    """
    calibrated = [from_document(StructureCalibration, each, "Calibration") for each in document.get("calibration", [])]
    promises = promises_in(document)
    found = [each.beside_its_numbers if below_a_table else each.sentence for each in promises]
    found += without_promise([each for each in calibrated if each.beside is None])
    suggested = document.get("next_slices")
    if not suggested:
        return found
    following = from_document(NextSlices, suggested, "Next slices")
    numbered = ((each, f"{following.axis}:{each.index}") for each in following.slices[:1])
    return found + [f"Annotate next: {each.sentence_with(number)}" for each, number in numbered]


def without_promise(structures: Sequence[StructureCalibration]) -> list[str]:
    """Return what is said of structures that are not calibrated; many of them are one sentence."""
    if len(structures) <= _MOST_TOLD_APART:
        return [each.sentence for each in structures]
    names = ", ".join(f'"{each.structure}"' for each in structures[:_MOST_TOLD_APART])
    more = len(structures) - _MOST_TOLD_APART
    return [
        f"{len(structures)} structures are not calibrated and have no promise ({names} and {more} more): too few of "
        "the annotated slices between others show them. Annotate more of them."
    ]
