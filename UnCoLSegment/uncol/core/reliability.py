"""How confidence and accuracy compare, bin by bin: what a reliability diagram shows. Plain data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class ReliabilityBin:
    """Voxels of about the same confidence.

    Attributes:
        confidence: Their mean claimed probability of being right, in [0, 1].
        accuracy: The part of them that is right, in [0, 1].
        voxels: How many they are.
    """

    confidence: float
    accuracy: float
    voxels: int


def calibration_error(bins: Sequence[ReliabilityBin]) -> float | None:
    """Return the mean gap between confidence and accuracy over all voxels, in [0, 1]; None where there are none."""
    voxels = sum(each.voxels for each in bins)
    return sum(each.voxels * abs(each.confidence - each.accuracy) for each in bins) / voxels if voxels else None
