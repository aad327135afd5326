"""What is said about single slices of a segmentation: plain data, part of results."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class SliceScore:
    """How unsure a segmentation is in one slice, by the rule of `slice_suggestion`.

    Attributes:
        index: Its number along the file's voxel index.
        score: In [0, 1); comparable within one volume only.
        unsure: The structures with the highest scores of their own there, at most two; none without uncertainty.
    """

    index: int
    score: float
    unsure: tuple[str, ...] = ()
