"""What a run brings back: doubt near what was found."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from uncol.core.volume import Volume
from uncol.report.places import NEAR_MM as OF_PLACES
from uncol.report.places import near_structures
from UnCoLSegmentLib.Scene.RunData import NEAR_MM, nearStructures

BLOCK_MM = 3.0


def onGrid(voxels: np.ndarray, *spacing_mm: float) -> Volume:
    return Volume(voxels, np.diag([*spacing_mm, 1.0]))


@pytest.mark.parametrize("spacing_mm", [(0.7, 0.9, 5.0), (1.5, 1.5, 1.0), (4.0, 2.0, 3.0)])
def test_the_map_ends_about_15_mm_from_what_was_found(spacing_mm: tuple[float, float, float]) -> None:
    labels = np.zeros((23, 61, 57), np.uint8)
    labels[11, 30, 5:30] = 3  # as thin as can be
    doubts = np.random.default_rng(0).uniform(0.1, 1, labels.shape).astype(np.float32)

    shown = nearStructures(onGrid(labels, *spacing_mm), onGrid(doubts, *spacing_mm)).voxels

    kept = shown > 0
    assert np.array_equal(shown[kept], doubts[kept])
    assert kept[labels > 0].all()
    exact = near_structures(labels, spacing_mm[::-1])
    distances = [np.argwhere(labels) * spacing_mm[::-1], np.argwhere(kept != exact) * spacing_mm[::-1]]
    off_mm = [np.linalg.norm(distances[0] - each, axis=1).min() for each in distances[1]]
    diagonal_mm = np.sqrt(3) * max(BLOCK_MM, *spacing_mm)
    assert all(abs(each - NEAR_MM) <= diagonal_mm for each in off_mm)
    assert NEAR_MM == OF_PLACES


def test_where_nothing_was_found_the_whole_map_stays(make_volume: Any) -> None:
    doubts = make_volume(np.full((2, 3, 4), 0.5, np.float32))

    assert nearStructures(doubts.with_voxels(np.zeros((2, 3, 4), np.uint8)), doubts) is doubts
