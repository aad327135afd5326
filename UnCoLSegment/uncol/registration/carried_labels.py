"""What annotated slices say about the slices between and beyond them, carried there by the motion between slices.

From each annotated slice the contours of all structures are carried, as signed distances, to the slices before and
behind it, up to the next annotated one. Between two annotated slices there are two answers for every pixel. Which one
counts is decided by how well the image that was carried along agrees with the slice's own, pixel by pixel, also a pixel
to each side; so it is the image that says where a structure ends that only one of the two slices shows.

Source:
    Coupe, Manjon, Fonov, Pruessner, Robles & Collins, "Patch-based segmentation using expert priors: application to
    hippocampus and ventricle segmentation", NeuroImage 54(2), 2011, doi:10.1016/j.neuroimage.2010.09.018 (weights of
    patches, with the bandwidth taken from the best of them). Motion from slice to slice, and two sides, are ours.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise, product

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from uncol.registration.slice_motion import SliceMotion, warp

Maps = NDArray[np.float32]

_EDGE_PIXELS = 0.5
"""Width of a carried contour's edge."""
_PATCH_PIXELS = 0.8
"""Standard deviation of the weights with which a pixel's neighbors tell how well images agree."""
_SHIFTS = [*product((-1, 0, 1), (-1, 0, 1))]
_SHIFT_PIXELS = 0.7
"""Standard deviation of the weights of shifted answers."""
_LEAST_DIFFERENCE = 3e-4
"""Squared grey value difference, of a window of 1, that noise alone makes."""


@dataclass(frozen=True)
class CarriedSlice:
    """What is carried to one slice: the probability of each structure (N, h, w).

    Attributes:
        index: The slice.
        matched: From both sides, each pixel from where the images agree best.
        forward: From the annotated slice before it; None without one.
        backward: From the one behind it; None without one.
        disagreement: Squared grey value difference (h, w) of the best answer.
    """

    index: int
    matched: Maps
    forward: Maps | None
    backward: Maps | None
    disagreement: Maps


class CarriedLabels:
    """The annotated slices of one volume, and what they say about all others.

    Args:
        motion: The motion between its slices.
        distances: For every annotated slice the signed distance (N, h, w) to each structure's contour, positive inside.
    """

    def __init__(self, motion: SliceMotion, distances: Mapping[int, Maps]) -> None:
        self._motion, self._distances = motion, distances
        self._annotated = sorted(distances)

    def intervals(self) -> list[range]:
        """Return the slices between annotated ones, and those beyond the first and the last."""
        ends = [-1, *self._annotated, len(self._motion)]
        return [range(first + 1, last) for first, last in pairwise(ends) if last - first > 1]

    def carried(self, interval: range) -> Iterator[CarriedSlice]:
        """Yield what is carried to each slice of an interval."""
        place = bisect_left(self._annotated, interval.start)
        before = self._annotated[place - 1] if place else None
        behind = self._annotated[place] if place < len(self._annotated) else None
        forward = {} if before is None else self._sources(before, interval)
        backward = {} if behind is None else self._sources(behind, interval[::-1])
        for index in interval:
            sources = [each[index] for each in (forward, backward) if each]
            nearness = _nearness(index, before, behind)
            matched, disagreement = match(self._motion.image(index), sources, nearness)
            yield CarriedSlice(
                index,
                matched,
                forward[index].probabilities if forward else None,
                backward[index].probabilities if backward else None,
                disagreement,
            )

    def _sources(self, start: int, indices: Sequence[int]) -> dict[int, Source]:
        image, distance, found = self._motion.image(start)[None], self._distances[start], {}
        for index, place in self._motion.follow(start, indices[-1]):
            found[index] = Source(warp(image, place)[0], _inside(warp(distance, place)))
        return found


@dataclass(frozen=True)
class Source:
    """One annotated slice as it is seen from another.

    Attributes:
        image: Its image (h, w), carried there.
        probabilities: Its structures (N, h, w), carried there.
    """

    image: Maps
    probabilities: Maps


def match(image: Maps, sources: Sequence[Source], nearness: Sequence[float]) -> tuple[Maps, Maps]:
    """Fuse carried structures by how well the images carried with them agree with the slice's own.

    Each source answers for every pixel as it is and shifted by one pixel each way; an answer weighs
    `n g exp(-d / (d_min + e))` with its source's nearness n, a Gaussian g of the shift, and the squared difference d of
    the images, averaged over the pixel's neighbors (`d_min`: of the best answer there; e: noise).

    Args:
        image: The slice (h, w) in [0, 1].
        sources: What was carried to it.
        nearness: How near each source's slice is, as its weight.

    Returns:
        Probabilities (N, h, w), and the difference (h, w) of the best answer.
    """
    differences = np.stack(
        [
            gaussian_filter((_shifted(source.image, shift) - image) ** 2, _PATCH_PIXELS, mode="nearest", truncate=2.5)
            for source in sources
            for shift in _SHIFTS
        ]
    )
    best = differences.min(0)
    prior = [near * _gaussian(shift) for near in nearness for shift in _SHIFTS]
    weights = np.exp(-differences / (best + _LEAST_DIFFERENCE)) * np.array(prior, dtype=np.float32)[:, None, None]
    weights /= weights.sum(0)
    fused = np.zeros_like(sources[0].probabilities)
    answers = ((source.probabilities, shift) for source in sources for shift in _SHIFTS)
    for weight, (probabilities, shift) in zip(weights, answers, strict=True):
        fused += weight * _shifted(probabilities, shift)
    return fused, best


def _nearness(index: int, before: int | None, behind: int | None) -> list[float]:
    """Return the weight of each slice that there is: linear between both, 1 for one alone."""
    if before is None or behind is None:
        return [1.0]
    part = (index - before) / (behind - before)
    return [1 - part, part]


def _shifted(maps: Maps, shift: tuple[int, int]) -> Maps:
    """Return maps (..., h, w) of which each pixel shows what lies `shift` rows and columns away, inside the edges."""
    rows, columns = (np.arange(size) + by for size, by in zip(maps.shape[-2:], shift, strict=True))
    return maps[..., rows.clip(0, len(rows) - 1)[:, None], columns.clip(0, len(columns) - 1)]


def _gaussian(shift: tuple[int, int]) -> float:
    return float(np.exp(-(shift[0] ** 2 + shift[1] ** 2) / (2 * _SHIFT_PIXELS**2)))


def _inside(distance: Maps) -> Maps:
    """Return the probability of being inside, from a signed distance in pixels."""
    inside: Maps = 1 / (1 + np.exp(-distance / _EDGE_PIXELS))
    return inside
