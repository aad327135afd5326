"""How confidence and accuracy compare, bin by bin: what a reliability diagram shows. Plain data."""

from __future__ import annotations

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
