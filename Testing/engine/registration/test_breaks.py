"""Where a stack breaks off: blank, shifted and foreign slices, and none where anatomy merely changes."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from uncol.foundation.embeddings import EmbeddingCache
from uncol.registration.breaks import broken_pairs
from uncol.registration.slice_motion import SliceMotion

COUNT, SIDE = 16, 48


def stack() -> NDArray[np.float32]:
    """Two disks that grow and move, in noise, in [0, 1]."""
    k, j, i = np.indices((COUNT, SIDE, SIDE))
    grey = 0.3 + 0.4 * (np.hypot(j - 24, i - 12 - k) < 8) - 0.2 * (np.hypot(j - 12, i - 36) < 4 + 0.3 * k)
    noise = np.random.default_rng(0).normal(0, 0.02, grey.shape)
    return (grey + noise).clip(0, 1).astype(np.float32)


def motion_of(slices: NDArray[np.float32]) -> SliceMotion:
    return SliceMotion(lambda index: slices[index], len(slices), EmbeddingCache(None), 1)


def test_slow_change_breaks_nothing() -> None:
    assert broken_pairs(motion_of(stack()), 0, COUNT - 1) == []


@pytest.mark.parametrize("spoil", ["blank", "shifted", "noise"])
def test_a_foreign_slice_is_connected_with_neither_neighbor(spoil: str) -> None:
    slices = stack()
    foreign = {
        "blank": np.zeros((SIDE, SIDE)),
        "shifted": np.roll(slices[6], 20, axis=1),
        "noise": np.random.default_rng(1).uniform(0, 1, (SIDE, SIDE)),
    }
    slices[6] = foreign[spoil]

    assert broken_pairs(motion_of(slices), 4, 12) == [6, 7]
    assert broken_pairs(motion_of(slices), 7, 12) == []
    assert broken_pairs(motion_of(slices), 6, 12) == [7]


def test_where_everything_lies_elsewhere_from_a_slice_on_one_pair_is_broken() -> None:
    slices = stack()
    slices[9:] = np.roll(slices[9:], 20, axis=2)

    assert broken_pairs(motion_of(slices), 0, COUNT - 1) == [9]
