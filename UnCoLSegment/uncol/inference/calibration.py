"""Confidence brought in line with what was right on annotated slices that were left out.

Every annotated slice between two others is predicted from the others, as if nobody had annotated it. Whoever has
learned from that slice has no part in this. It lies farther from the nearest annotated slice than any other slice does,
so that a temperature found there would be too high nearer by; therefore it grows with the distance, from a fixed value
beside an annotated slice to what the left-out slices say at theirs.

Source:
    Guo, Pleiss, Sun & Weinberger, "On calibration of modern neural networks", ICML 2017 (temperature scaling); that it
    grows with the distance is ours (docs/method.md).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from uncol.core.error_detection import BAND_MM, label_boundary, within_distance
from uncol.core.jobs import Structure
from uncol.core.promise import LeftOutCheck, StructureCalibration
from uncol.core.reliability import ReliabilityBin
from uncol.evaluation.metrics import reliability

BESIDE = 0.3
"""Temperature beside an annotated slice, chosen on development structures: contours are surer there than they say."""
_HIGHEST = 1.5
"""Temperature of left-out slices at most: a structure that was lost altogether says little about the others."""
_STEPS = 24
LEAST_SLICES = 2
"""Left-out slices in which some of a structure must be found."""
_LEAST_PROBABILITY = 1e-6
_INSIDE = 0.5
_BINS = 10


@dataclass(frozen=True)
class LeftOutSlice:
    """An annotated slice as the others predict it.

    Attributes:
        distance: How many slices away the nearest annotated slice is.
        probabilities: Of every structure (N, H, W), float32 in [0, 1].
        truth: What is annotated (N, H, W).
    """

    distance: int
    probabilities: NDArray[np.float32]
    truth: NDArray[np.bool_]


@dataclass(frozen=True)
class Calibration:
    """The temperatures of all structures.

    Attributes:
        per_slice: By how much the temperature of each structure grows from slice to slice (N,); NaN: not calibrated.
        structures: The same and what it rests on, in the words of results.
        left_out: How the Dice of left-out slices was foreseen, by structure; None where it is not calibrated.
    """

    per_slice: NDArray[np.float64]
    structures: tuple[StructureCalibration, ...]
    left_out: tuple[LeftOutCheck | None, ...]

    def apply(self, probabilities: Tensor, distance: int) -> Tensor:
        """Return calibrated probabilities (N, H, W) of a slice so many slices away from the nearest annotated one."""
        return sharpened(probabilities, self.temperatures(distance))

    def temperatures(self, distance: int) -> NDArray[np.float64]:
        """Return the temperature of each structure (N,) there; 1 where it is not calibrated."""
        return np.where(np.isnan(self.per_slice), 1.0, BESIDE + np.nan_to_num(self.per_slice) * distance)


def sharpened(probabilities: Tensor, temperatures: NDArray[np.float64]) -> Tensor:
    """Return probabilities (N, H, W) whose log-odds are divided by the temperatures (N,); 0.5 stays 0.5."""
    odds = torch.logit(probabilities, eps=_LEAST_PROBABILITY)
    return torch.sigmoid(odds / torch.from_numpy(temperatures).to(odds)[:, None, None])


def calibrate(
    slices: Iterable[LeftOutSlice], structures: Sequence[Structure], spacing_mm: tuple[float, float]
) -> Calibration:
    """Find each structure's temperature on left-out slices, by the least Brier score within 5 mm of contours.

    Args:
        slices: Annotated slices as the others predict them.
        structures: The structures, in the order of the probabilities.
        spacing_mm: Distance between rows and between columns.
    """
    seen = [_Seen() for _ in structures]
    for each in slices:
        for place, own in enumerate(seen):
            own.add(each, place, spacing_mm)
    found = [own.growth() for own in seen]
    return Calibration(
        np.array([np.nan if each is None else each for each in found]),
        tuple(
            own.described(structure.name, each) for structure, own, each in zip(structures, seen, found, strict=True)
        ),
        tuple(None if each is None else own.check(each) for own, each in zip(seen, found, strict=True)),
    )


@dataclass
class _Seen:
    """The pixels near one structure's contours in the left-out slices that show it."""

    odds: list[NDArray[np.float32]] = field(default_factory=list)
    truth: list[NDArray[np.bool_]] = field(default_factory=list)
    inside: list[int] = field(default_factory=list)
    """Predicted pixels that are not near a contour."""
    distances: list[int] = field(default_factory=list)
    overlaps: list[tuple[int, int]] = field(default_factory=list)
    """Twice the pixels that are right, and all that are predicted or annotated, in the whole slice."""

    def add(self, seen: LeftOutSlice, place: int, spacing_mm: tuple[float, float]) -> None:
        probabilities, truth = seen.probabilities[place], seen.truth[place]
        mask = probabilities > _INSIDE
        boundary = label_boundary(mask) | label_boundary(truth)
        if not boundary.any():
            return
        band = within_distance(boundary, spacing_mm, BAND_MM)
        clipped = probabilities.clip(_LEAST_PROBABILITY, 1 - _LEAST_PROBABILITY)
        odds = np.log(clipped / (1 - clipped))
        self.odds.append(odds[band])
        self.truth.append(truth[band])
        self.inside.append(int(np.count_nonzero(mask & ~band)))
        self.distances.append(seen.distance)
        overlap = 2 * int(np.count_nonzero(mask & truth))
        self.overlaps.append((overlap, int(np.count_nonzero(mask) + np.count_nonzero(truth))))

    def growth(self) -> float | None:
        """Return by how much the temperature grows from slice to slice; None where too few slices show it."""
        if sum(shared > 0 for shared, _ in self.overlaps) < LEAST_SLICES:
            return None
        middle = float(np.median(self.distances))
        tried = (np.geomspace(BESIDE, _HIGHEST, _STEPS) - BESIDE) / middle
        return float(tried[int(np.argmin([self._brier(each) for each in tried]))])

    def described(self, name: str, growth: float | None) -> StructureCalibration:
        count = len(self.distances)
        if growth is None:
            return StructureCalibration(name, count)
        before, after = (self._reliability(each) for each in (None, growth))
        return StructureCalibration(name, count, BESIDE, growth, float(np.median(self.distances)), before, after)

    def check(self, growth: float) -> LeftOutCheck:
        shared = size = 0.0
        for claimed, odds, inside in zip(self._claimed(growth), self.odds, self.inside, strict=True):
            mask = odds > 0
            shared += float(claimed[mask].sum()) + inside
            size += float(np.count_nonzero(mask) + claimed.sum()) + 2 * inside
        found, both = np.sum(self.overlaps, 0)
        return LeftOutCheck(len(self.distances), 2 * shared / size if size else 0.0, float(found / both))

    def _claimed(self, growth: float | None) -> list[NDArray[np.float32]]:
        temperatures = [1.0 if growth is None else BESIDE + growth * each for each in self.distances]
        return [1 / (1 + np.exp(-odds / t)) for odds, t in zip(self.odds, temperatures, strict=True)]

    def _brier(self, growth: float) -> float:
        claimed, truth = self._where_found(self._claimed(growth)), self._where_found(self.truth)
        return float(np.mean((claimed - truth) ** 2))

    def _where_found(self, parts: Sequence[NDArray[Any]]) -> NDArray[Any]:
        """Join what belongs to slices in which some of the structure was found: others say nothing of sharpness."""
        return np.concatenate([each for each, (shared, _) in zip(parts, self.overlaps, strict=True) if shared])

    def _reliability(self, growth: float | None) -> tuple[ReliabilityBin, ...]:
        claimed, truth = np.concatenate(self._claimed(growth)), np.concatenate(self.truth)
        return reliability(np.maximum(claimed, 1 - claimed), (claimed > _INSIDE) == truth, _BINS)
