"""What is carried from annotated slices: weights by hand, and structures that move, end, touch, and have holes."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray

from uncol.evaluation.metrics import dice
from uncol.foundation.embeddings import EmbeddingCache
from uncol.registration.carried_labels import CarriedLabels, Source, match, mix_alike

SIDE = 48
Masks = NDArray[np.bool_]


def disk(row: float, column: float, radius: float) -> Masks:
    rows, columns = np.indices((SIDE, SIDE))
    return np.hypot(rows - row, columns - column) < radius


def carried_by(structures: list[Masks], image: NDArray[np.float32], annotated: list[int]) -> CarriedLabels:
    """Carry structures, each (S, H, W), from the annotated slices of an image (S, H, W)."""
    classes = sum((value * each for value, each in enumerate(structures, 1)), np.zeros(image.shape)).astype(np.uint8)
    return CarriedLabels(image, classes, annotated, len(structures), (1.0, 1.0), EmbeddingCache(None), 2)


def image_of(structures: list[Masks], greys: list[float]) -> NDArray[np.float32]:
    noise = np.random.default_rng(0).normal(0, 0.02, structures[0].shape)
    image = 0.3 + sum(grey * each for grey, each in zip(greys, structures, strict=True)) + noise
    return image.clip(0, 1).astype(np.float32)


def all_carried(labels: CarriedLabels) -> dict[int, Masks]:
    return {index: maps > 0.5 for index, maps in all_maps(labels).items()}


def all_maps(labels: CarriedLabels) -> dict[int, NDArray[np.float32]]:
    """Return what is carried to each slice (N, H, W), in the slice's own pixels."""
    return {
        index: labels.frame.to_native(maps).numpy()
        for stretch in labels.stretches()
        for index, maps in zip(stretch, labels.carry_to(stretch).probabilities, strict=True)
    }


class TestMatch:
    def test_weights_by_hand(self) -> None:
        """Even images: shifts do not matter. d = 0.01 and 0.04, best 0.01, e = 10 * 0.01 + 0.00001."""
        image = np.full((3, 3), 0.5, dtype=np.float32)
        near = Source(image + np.float32(0.1), np.full((1, 3, 3), 1.0, dtype=np.float32))
        far = Source(image + np.float32(0.2), np.full((1, 3, 3), 0.0, dtype=np.float32))

        fused = match(image, [near, far], [0.25, 0.75])

        first, second = 0.25 * np.exp(-0.01 / 0.11001), 0.75 * np.exp(-0.04 / 0.11001)
        np.testing.assert_allclose(fused, first / (first + second), rtol=1e-4)

    def test_each_pixel_takes_the_side_that_looks_like_it(self) -> None:
        image = np.zeros((9, 24), dtype=np.float32)
        left, right = image.copy(), image.copy()
        left[:, 12:], right[:, :12] = 0.5, 0.5
        ones, zeros = np.ones((1, 9, 24), dtype=np.float32), np.zeros((1, 9, 24), dtype=np.float32)

        fused = match(image, [Source(left, ones), Source(right, zeros)], [0.5, 0.5])

        assert fused[0, :, :9].min() > 0.99
        assert fused[0, :, 15:].max() < 0.01

    def test_a_contour_that_is_a_pixel_off_is_moved(self) -> None:
        shown = np.zeros((16, 16), dtype=np.float32)
        shown[:, 8:] = 1
        carried = np.roll(shown, 1, axis=1)
        carried[:, 0] = 0

        fused = match(shown, [Source(carried, carried[None].copy())], [1.0])

        np.testing.assert_array_equal(fused[0] > 0.5, shown > 0.5)


class TestMixAlike:
    def test_shares_by_hand(self) -> None:
        """Dice 2 * 3 / (4 + 4) = 0.75 of the first structure, so 0.75^12 = 0.03168 and a share of 0.03070; 1 and 0.5
        of the second; 0 of the third.
        """
        first = np.zeros((2, 3, 1, 4), dtype=np.float32)
        second = first.copy()
        first[0, 0], second[0, 0, 0, 1:], second[1, 0, 0, 0] = 1, 1, 1
        first[:, 1, 0, 0], second[:, 1, 0, 0] = 0.9, 0.7
        first[1, 2, 0, :2], second[1, 2, 0, 2:] = 1, 1

        mixed = mix_alike(first, second)

        np.testing.assert_allclose(mixed[0, 0, 0], [1 - 0.03070, 1, 1, 1], atol=1e-5)
        np.testing.assert_allclose(mixed[1, 0, 0], [0.03070, 0, 0, 0], atol=1e-5)
        np.testing.assert_allclose(mixed[:, 1, 0, 0], 0.8, rtol=1e-6)
        np.testing.assert_array_equal(mixed[:, 2], first[:, 2])


class TestCarriedLabels:
    def test_stretches_are_what_lies_between_and_beyond(self) -> None:
        empty = np.zeros((80, SIDE, SIDE), dtype=bool)
        labels = carried_by([empty], image_of([empty], [0.0]), [2, 3, 7])

        assert labels.stretches() == [range(2), range(4, 7), range(8, 40), range(40, 72), range(72, 80)]
        assert [labels.lies_between(each) for each in labels.stretches()] == [False, True, False, False, False]

    def test_a_structure_that_moves_is_followed(self) -> None:
        moving = np.stack([disk(14 + 1.5 * index, 24, 7) for index in range(13)])
        found = all_carried(carried_by([moving], image_of([moving], [0.5]), [0, 12]))

        assert min(dice(found[index][0], moving[index]) for index in found) > 0.9

    def test_two_that_touch_and_a_ring_stay_apart_and_open(self) -> None:
        ring = np.stack([disk(24, 16 + 0.8 * index, 10) & ~disk(24, 16 + 0.8 * index, 6) for index in range(9)])
        core = np.stack([disk(24, 16 + 0.8 * index, 6) for index in range(9)])
        found = all_carried(carried_by([ring, core], image_of([ring, core], [0.3, 0.6]), [0, 8]))

        for index, (outer, inner) in found.items():
            assert not (outer & inner).any()
            assert dice(outer, ring[index]) > 0.85
            assert dice(inner, core[index]) > 0.9

    def test_the_image_says_where_a_structure_ends(self) -> None:
        """It is in the slices 0 to 6; the next annotated slice, 12, does not show it."""
        ended = np.stack([disk(24, 24, 8) & (index < 7) for index in range(13)])
        found = all_carried(carried_by([ended], image_of([ended], [0.5]), [0, 12]))

        shown = [index for index, masks in found.items() if masks[0].sum() > 20]
        assert shown == [1, 2, 3, 4, 5, 6]

    def test_one_annotated_slice_is_carried_both_ways(self) -> None:
        moving = np.stack([disk(18 + index, 24, 8) for index in range(11)])
        labels = carried_by([moving], image_of([moving], [0.5]), [5])
        found = all_carried(labels)

        assert sorted(found) == [0, 1, 2, 3, 4, 6, 7, 8, 9, 10]
        assert min(dice(found[index][0], moving[index]) for index in found) > 0.9

    def test_beyond_the_last_annotated_slice_it_ends_where_it_looks_different(self) -> None:
        ended = np.stack([disk(24, 24, 8) & (index < 9) for index in range(14)])
        found = all_carried(carried_by([ended], image_of([ended], [0.5]), [4]))

        assert [index for index, masks in found.items() if masks.any()] == [0, 1, 2, 3, 5, 6, 7, 8]

    @pytest.mark.parametrize("broken", [5, 6])
    def test_a_blank_slice_costs_its_neighbors_little(self, broken: int) -> None:
        """The slice is all 0: what is carried through it goes straight on, and both sides still meet behind it."""
        moving = np.stack([disk(18 + index, 24, 8) for index in range(13)])
        image = image_of([moving], [0.5])
        image[broken] = 0
        found = all_carried(carried_by([moving], image, [0, 12]))

        assert min(dice(found[index][0], moving[index]) for index in found if index != broken) > 0.75

    @pytest.mark.parametrize(("step", "is_coarse_there"), [(6.0, True), (0.7, False)])
    def test_large_steps_are_found_coarsely_first(self, step: float, is_coarse_there: bool) -> None:
        moving = np.stack([disk(10 + step * index, 24, 6) for index in range(5)])
        labels = carried_by([moving], image_of([moving], [0.5]), [0, 2, 4])
        found = all_carried(labels)

        assert (len(labels._motions) == 2) == is_coarse_there
        assert min(dice(found[index][0], moving[index]) for index in found) > 0.85

    def test_it_is_repeatable(self) -> None:
        moving = np.stack([disk(18 + index, 24, 8) for index in range(7)])
        image = image_of([moving], [0.5])
        first, second = (all_maps(carried_by([moving], image, [0, 6])) for _ in range(2))
        for index, maps in first.items():
            np.testing.assert_array_equal(maps, second[index])

    def test_probabilities_stay_in_their_range(self) -> None:
        moving = np.stack([disk(18 + index, 24, 8) for index in range(7)])
        labels = carried_by([moving], image_of([moving], [0.5]), [0, 6])

        maps = list(all_maps(labels).values())
        assert all(0 <= each.min() <= each.max() <= 1 + 1e-6 for each in maps)
        assert all(np.abs(one - other).max() > 0.1 for one, other in pairwise(maps))
