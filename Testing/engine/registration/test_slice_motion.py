"""Displacements between slices: their direction, their composition, and that each is found once."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from uncol.foundation.embeddings import EmbeddingCache
from uncol.registration.slice_motion import SliceMotion, register, warp

SIDE = 48


def disk(row: float, column: float, radius: float = 9.0) -> NDArray[np.float32]:
    rows, columns = np.indices((SIDE, SIDE))
    distance = radius - np.hypot(rows - row, columns - column)
    return (1 / (1 + np.exp(-distance))).astype(np.float32)


class CountingStore(EmbeddingCache):
    """A real cache that counts what it had to keep."""

    kept = 0

    def keep(self, key: str, embedding: Tensor) -> None:
        self.kept += 1
        super().keep(key, embedding)


def motion(slices: list[NDArray[np.float32]], store: EmbeddingCache | None = None) -> SliceMotion:
    return SliceMotion(slices.__getitem__, len(slices), store or EmbeddingCache(None), threads=2)


class TestWarp:
    def test_looks_up_places_and_goes_on_with_the_edge(self) -> None:
        maps = np.array([[[0.0, 1.0, 3.0]]], dtype=np.float32)
        place = np.array([[[0.0, 0.0, 0.0]], [[0.5, 1.5, 7.0]]], dtype=np.float32)

        np.testing.assert_allclose(warp(maps, place), [[[0.5, 2.0, 3.0]]], atol=1e-6)

    def test_a_single_row_or_column_is_no_division_by_zero(self) -> None:
        maps = np.array([[[2.0]]], dtype=np.float32)

        assert warp(maps, np.zeros((2, 1, 1), dtype=np.float32)) == pytest.approx(2.0)


class TestRegister:
    def test_says_where_each_pixel_of_the_fixed_slice_lies_in_the_moving_one(self) -> None:
        fixed, moving = disk(24, 24), disk(27, 22)
        field = register(fixed, moving)

        rows, columns = field[:, (fixed > 0.2) & (fixed < 0.8)].mean(1)
        assert rows > 1  # along a contour there is nothing to see: less than the whole 3
        assert columns < -0.5
        found = warp(moving[None], np.indices(fixed.shape, dtype=np.float32) + field)[0]
        assert np.abs(found - fixed).mean() < 0.1 * np.abs(moving - fixed).mean()


class TestFollow:
    def test_steps_add_up_in_both_directions(self) -> None:
        slices = [disk(18 + 2 * index, 24) for index in range(4)]
        found = dict(motion(slices).follow(0, 3))
        back = dict(motion(slices).follow(3, 0))

        assert list(found) == [1, 2, 3]
        assert list(back) == [2, 1, 0]
        for places, start in ((found, 0), (back, 3)):
            for index, place in places.items():
                carried = warp(slices[start][None], place)[0]
                assert np.abs(carried - slices[index]).mean() < 0.01
                assert np.abs(slices[start] - slices[index]).mean() > 0.02

    def test_it_is_found_once(self) -> None:
        slices = [disk(20 + index % 3, 24) for index in range(20)]
        store = CountingStore(None)

        first = dict(motion(slices, store).follow(0, 19))
        kept = store.kept
        second = dict(motion(slices, store).follow(0, 19))

        assert kept == store.kept == 3  # 8 pairs, 8 and 3
        for index, place in first.items():
            np.testing.assert_array_equal(place, second[index])

    def test_another_image_is_registered_anew(self) -> None:
        store = CountingStore(None)
        for row in (20, 21):
            list(motion([disk(row, 24), disk(24, 24)], store).follow(0, 1))

        assert store.kept == 2

    def test_threads_change_nothing(self) -> None:
        slices = [disk(20 + index % 3, 24) for index in range(8)]
        places = [
            list(SliceMotion(slices.__getitem__, 8, EmbeddingCache(None), threads).follow(0, 7)) for threads in (1, 3)
        ]

        for (_, one), (_, other) in zip(*places, strict=True):
            assert torch.equal(torch.from_numpy(one), torch.from_numpy(other))
