"""Who has a say about slices that nobody annotated: whoever lost a structure between two that show it has none."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from uncol.foundation.embeddings import EmbeddingCache
from uncol.inference.fusion import Source
from uncol.inference.stretches import Opinion, fused_slices, without_lost
from uncol.registration.carried_labels import CarriedLabels

SIDE, SLICES, ANNOTATED = 48, 9, [0, 4, 8]


@pytest.mark.parametrize(
    ("rows", "expected", "has_vote"),
    [
        ([[0.4, 0.0], [0.0, 0.6]], True, [True, True]),  # shown in one of its slices
        ([[0.4, 0.0], [0.5, 0.0]], True, [False, False]),
        ([[0.4, 0.0], [0.5, 0.0]], False, [True, True]),  # it may have ended
    ],
)
def test_a_source_abstains_from_what_it_lost(rows: list[list[float]], expected: bool, has_vote: list[bool]) -> None:
    maps = np.array(rows, dtype=np.float32)[:, None, None, :]
    found = without_lost(Source("any", maps, np.ones((2, 1), dtype=np.bool_)), np.array([expected]))

    assert found.has_vote[:, 0].tolist() == has_vote


def test_who_abstained_before_still_does() -> None:
    found = without_lost(Source("any", np.ones((1, 1, 1, 2), np.float32), np.zeros((1, 1), np.bool_)), np.array([True]))

    assert not found.has_vote.any()


def test_spots_that_are_others_in_every_slice_are_those_of_who_sees_them() -> None:
    """Three pixels each: carried from either side they are right nowhere; a second source sees none at all."""
    generator = np.random.default_rng(3)
    spots = np.zeros((SLICES, SIDE, SIDE), dtype=bool)
    for each in spots:
        for j, i in generator.integers(14, 34, (2, 2)):
            each[[j, j, j + 1], [i, i + 1, i]] = True
    image = (0.3 + 0.5 * spots + generator.normal(0, 0.02, spots.shape)).astype(np.float32)
    labels = CarriedLabels(image, spots.astype(np.uint8), ANNOTATED, 1, (1.0, 1.0), EmbeddingCache(None), 1)
    has_vote = np.ones(1, dtype=np.bool_)
    blind = Opinion("blind", lambda _: (torch.zeros(1, SIDE, SIDE), has_vote))
    sees = Opinion("sees", lambda index: (torch.from_numpy(0.9 * spots[index][None].astype(np.float32)), has_vote))

    found = {each.number: each.probabilities[0].numpy() > 0.5 for each in fused_slices(labels, [blind, sees])}

    assert sorted(found) == [index for index in range(SLICES) if index not in ANNOTATED]
    assert all(np.array_equal(found[index], spots[index]) for index in found)
