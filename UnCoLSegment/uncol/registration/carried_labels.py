"""What annotated slices say about the slices between and beyond them, carried there by the motion between slices.

From each annotated slice the contours of all structures are carried, as signed distances, to the slices before and
behind it, up to the next annotated one. Between two annotated slices there are two answers for every pixel. Which one
counts is decided by how well the image that was carried along agrees with the slice's own, pixel by pixel, also a pixel
to each side; so it is the image that says where a structure ends that only one of the two slices shows. Nothing is
carried across a break of the stack, such as a blank slice; what neither side reaches is interpolated.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from uncol.core.grey_values import Window
from uncol.core.volume import UNKNOWN_LABEL
from uncol.data.windows import grey_values_of, own_window
from uncol.evaluation.metrics import dice
from uncol.registration.breaks import broken_pairs
from uncol.registration.frame import RegistrationFrame
from uncol.registration.matching import Maps, Source, inside, match, mix_alike
from uncol.registration.slice_motion import FieldStore, SliceMotion, warp

_WINDOW_HU = (-1000.0, 1000.0)
_IMAGES_IN_MEMORY = 64
_LONGEST_STRETCH = 32
"""Slices that are carried to, and fused, together."""
_LARGEST_GREY_STEP = 5.0
"""Difference of mean grey values, in standard deviations, beyond which a structure that is carried on has ended."""
_LEAST_DEVIATION = 0.02
"""Standard deviation, as a part of the window, that even an even structure is granted."""
_TRIED_GAPS, _LEAST_ADVANTAGE = 2, 0.03
"""On how many gaps between annotated slices two ways to register are compared, and what the slower one has to gain."""


class CarriedLabels:
    """The annotated slices of one volume, and what they say about all others.

    Args:
        stack: Grey values (S, H, W).
        classes: Class indices (S, H, W) of as many structures as `structure_count`; 255 is unknown.
        annotated: The slices whose labels are carried: completely annotated, at least one, in ascending order.
        structure_count: Structures, N.
        spacing_mm: Distance between rows and between columns.
        store: Where displacements are kept.
        threads: How many pairs of slices are registered at once.
    """

    def __init__(
        self,
        stack: NDArray[Any],
        classes: NDArray[np.uint8],
        annotated: Sequence[int],
        structure_count: int,
        spacing_mm: tuple[float, float],
        store: FieldStore,
        threads: int,
    ) -> None:
        known = classes[list(annotated)]
        self.frame = RegistrationFrame.around(_where_structures_are(known), spacing_mm)
        """The part of a slice, and its pixels (h, w), in which structures are followed."""
        self.annotated: Sequence[int] = list(annotated)
        """The slices whose labels are carried, in ascending order."""
        window = motion_window(stack)
        self._distances = {
            index: self.frame.distances(np.stack([labels == value + 1 for value in range(structure_count)]))
            for index, labels in zip(annotated, known, strict=True)
        }
        values = np.arange(1, structure_count + 1)
        self._shown = [np.isin(values, labels) for labels in known]
        image = lru_cache(_IMAGES_IN_MEMORY)(lambda index: self.frame.image(stack[index], window))
        self._motion = SliceMotion(image, len(stack), store, threads)
        self._coarse = SliceMotion(image, len(stack), store, threads, is_coarse_first=True)
        self._breaks_between: dict[tuple[int, int], list[int]] = {}

    def stretches(self) -> list[range]:
        """Return all slices that are not annotated, in stretches without an annotated one, short enough to be held."""
        ends = [-1, *self.annotated, len(self._motion)]
        return [
            range(start, min(start + _LONGEST_STRETCH, last))
            for first, last in pairwise(ends)
            for start in range(first + 1, last, _LONGEST_STRETCH)
        ]

    @property
    def inner(self) -> Sequence[int]:
        """The annotated slices that lie between others."""
        return self.annotated[1:-1]

    def distance(self, index: int) -> int:
        """Return how many slices away the nearest annotated slice is, other than the slice itself."""
        return min(abs(index - each) for each in self.annotated if each != index)

    def shown_on_both_hands(self, first: int, last: int) -> NDArray[np.bool_]:
        """Return which structures (N,) both annotated slices show between which some slices lie; none beyond them."""
        before, behind = bisect_left(self.annotated, first) - 1, bisect_right(self.annotated, last)
        if before < 0 or behind == len(self.annotated):
            return np.zeros(len(self._shown[0]), dtype=np.bool_)
        return self._shown[before] & self._shown[behind]

    def carry_to(self, stretch: range) -> Carried:
        """Return what is said about the slices of a stretch that nobody annotated."""
        return self._carry_to(stretch, *self._sides_of(stretch))

    def carry_to_left_out(self, index: int) -> Carried:
        """Return what the others say about one of the `inner` annotated slices, as if nobody had annotated it."""
        place = self.annotated.index(index)
        return self._carry_to(range(index, index + 1), self.annotated[place - 1], self.annotated[place + 1])

    def _carry_to(self, stretch: range, before: int | None, behind: int | None) -> Carried:
        is_between = None not in (before, behind)
        sides = [
            (self._carried(start, indices, motion, is_between=is_between), nearness_of)
            for motion in self._motions
            for start, indices, nearness_of in ((before, stretch, 0), (behind, stretch[::-1], -1))
            if start is not None
        ]
        interpolated = (
            self._interpolated(stretch, before, behind) if before is not None and behind is not None else None
        )
        found, weights = [], np.zeros((len(sides), len(stretch)))
        for place, index in enumerate(stretch):
            nearness = self._unbroken(index, before, behind)
            weights[:, place] = [nearness[which] for _, which in sides]
            seen = [side[index] for side, _ in sides]
            if weights[:, place].any():
                found.append(match(self._motion.image(index), seen, weights[:, place]))
            else:
                found.append(np.zeros_like(seen[0].probabilities) if interpolated is None else interpolated[place])
        carried = np.stack(found)
        alone = tuple(np.stack([side[index].probabilities for index in stretch]) for side, _ in sides)
        total = weights.sum(0)
        mixed = carried if interpolated is None else mix_alike(carried, interpolated)
        return Carried(mixed, alone, weights / np.where(total > 0, total, 1))

    def _unbroken(self, index: int, before: int | None, behind: int | None) -> list[float]:
        """Return the weight of each side's slice by its nearness; 0 if the stack breaks off on the way."""
        sides = [side for side in (before, behind) if side is not None]
        first, last = min(*sides, index), max(*sides, index)
        if (first, last) not in self._breaks_between:
            self._breaks_between[first, last] = broken_pairs(self._motion, first, last)
        breaks = self._breaks_between[first, last]
        return [
            part if not any(min(side, index) < each <= max(side, index) for each in breaks) else 0.0
            for side, part in zip(sides, _nearness(index, before, behind), strict=True)
        ]

    @property
    def breaks(self) -> list[int]:
        """The slices that nothing connects with the slice before them, as far as labels were carried; ascending."""
        return sorted({each for breaks in self._breaks_between.values() for each in breaks})

    def _interpolated(self, stretch: range, before: int, behind: int) -> Maps:
        """Return what two annotated slices say of those between them if only shapes change (L, N, h, w)."""
        parts = [_nearness(index, before, behind) for index in stretch]
        first, second = self._distances[before], self._distances[behind]
        return np.stack([inside(part * first + other * second) for part, other in parts])

    @cached_property
    def _motions(self) -> list[SliceMotion]:
        """The motion, and beside it the one that is found coarsely first, where that one carries contours better.

        It does where slices lie far apart. Contours are carried over the gaps in the middle to the annotated slice on
        the other side, and compared with that.
        """
        gaps = list(pairwise(self.annotated))
        middle = gaps[max(0, (len(gaps) - _TRIED_GAPS) // 2) :][:_TRIED_GAPS]
        fine, coarse = ([self._dice_over(gap, motion) for gap in middle] for motion in (self._motion, self._coarse))
        is_better = bool(middle) and np.mean(coarse) > np.mean(fine) + _LEAST_ADVANTAGE
        return [self._motion, self._coarse] if is_better else [self._motion]

    def _dice_over(self, gap: tuple[int, int], motion: SliceMotion) -> float:
        """Return the mean Dice of contours carried over a gap, both ways, with the annotated ones; 1 for none."""
        scores = []
        for start, stop in (gap, gap[::-1]):
            *_, (_, place) = motion.follow(start, stop)
            pairs = zip(warp(self._distances[start], place) > 0, self._distances[stop] > 0, strict=True)
            scores += [dice(found, truth) for found, truth in pairs if found.any() or truth.any()]
        return float(np.mean(scores)) if scores else 1.0

    def lies_between(self, stretch: range) -> bool:
        """Whether a stretch lies between two annotated slices, so that it is seen from two sides."""
        return None not in self._sides_of(stretch)

    def _sides_of(self, stretch: range) -> tuple[int | None, int | None]:
        place = bisect_left(self.annotated, stretch.start)
        before = self.annotated[place - 1] if place else None
        return before, self.annotated[place] if place < len(self.annotated) else None

    def _carried(
        self, start: int, indices: Sequence[int], motion: SliceMotion, *, is_between: bool
    ) -> dict[int, Source]:
        """Return an annotated slice as it is seen from others, in ascending distance.

        Beyond the annotated slices a structure has ended, once and for all, where its grey values become others.
        """
        image, distance, found = self._motion.image(start), self._distances[start], {}
        looks = [_Look.of(image, each > 0) for each in distance]
        has_ended = np.zeros(len(distance), dtype=np.bool_)
        for index, place in motion.follow(start, indices[-1]):
            probabilities = inside(warp(distance, place))
            if not is_between:
                masks = probabilities > 0.5  # inside
                has_ended |= [
                    look.is_gone(self._motion.image(index), mask) for look, mask in zip(looks, masks, strict=True)
                ]
                probabilities[has_ended] = 0
            if index in indices:
                found[index] = Source(warp(image[None], place)[0], probabilities)
        return found


@dataclass(frozen=True)
class Carried:
    """What annotated slices say about a stretch of others.

    Attributes:
        probabilities: Of every structure (L, N, h, w), float32 in [0, 1].
        sides: What each side alone carried there, likewise; there may be two ways to register from each side.
        nearness: How near each side's annotated slice is (sides, L); the sum over the sides is 1,
            or 0 where the stack breaks off on the way from each of them.
    """

    probabilities: Maps
    sides: tuple[Maps, ...]
    nearness: NDArray[np.float64]


@dataclass(frozen=True)
class _Look:
    """Mean and standard deviation of a structure's grey values in an annotated slice; 0 where it is not there."""

    mean: float
    deviation: float

    @classmethod
    def of(cls, image: Maps, mask: NDArray[np.bool_]) -> _Look:
        grey = image[mask]
        return cls(float(grey.mean()), float(grey.std())) if grey.size else cls(0.0, 0.0)

    def is_gone(self, image: Maps, mask: NDArray[np.bool_]) -> bool:
        """Whether what a mask shows, carried from there, looks quite different."""
        if not mask.any():
            return False
        step = abs(float(image[mask].mean()) - self.mean)
        return step > _LARGEST_GREY_STEP * max(self.deviation, _LEAST_DEVIATION)


def motion_window(stack: NDArray[Any]) -> Window:
    """Return the grey values between which motion is looked for: in a CT from air to bone, else the image's own.

    Annotations do not change it, so that what was registered once stays valid.
    """
    return _WINDOW_HU if grey_values_of(stack) == "hounsfield" else own_window(stack)


def _where_structures_are(classes: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Return where any structure is (H, W) in label stacks (S, H, W); everywhere if they show none."""
    found = np.asarray(((classes > 0) & (classes != UNKNOWN_LABEL)).any(0))
    return found if found.any() else np.ones_like(found)


def _nearness(index: int, before: int | None, behind: int | None) -> list[float]:
    """Return the weight of each slice that there is: linear between both, 1 for one alone."""
    if before is None or behind is None:
        return [1.0]
    part = (index - before) / (behind - before)
    return [1 - part, part]
