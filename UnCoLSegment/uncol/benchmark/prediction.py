"""What a method hands back for one image."""

from __future__ import annotations

from dataclasses import dataclass

from uncol.core.volume import Volume


@dataclass(frozen=True)
class Prediction:
    """What a method found in one test case, on the grid of its image.

    Attributes:
        labels: Label map with the values 1, 2, 3, ... of the benchmark's learned structures.
        uncertainty: Normalized entropy in [0, 1]; None from a method that has none.
    """

    labels: Volume
    uncertainty: Volume | None = None
