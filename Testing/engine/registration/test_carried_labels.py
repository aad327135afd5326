"""What is carried from annotated slices: structures that move, end, touch, and have holes."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray

from uncol.evaluation.metrics import dice
from uncol.foundation.embeddings import EmbeddingCache
from uncol.registration.carried_labels import CarriedLabels

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


class TestCarriedLabels:
    def test_stretches_are_what_lies_between_and_beyond(self) -> None:
        empty = np.zeros((80, SIDE, SIDE), dtype=bool)
        labels = carried_by([empty], image_of([empty], [0.0]), [2, 3, 7])

        assert labels.stretches() == [range(2), range(4, 7), range(8, 40), range(40, 72), range(72, 80)]
        assert [labels.lies_between(each) for each in labels.stretches()] == [False, True, False, False, False]

    def test_what_is_shown_on_both_hands_is_told_of_slices_between_annotated_ones(self) -> None:
        there, ends = np.stack([disk(24, 30, 7)] * 9), np.stack([disk(10, 10, 6) * (k < 5) for k in range(9)])
        labels = carried_by([there, ends], image_of([there, ends], [0.3, 0.3]), [1, 4, 7])

        assert labels.shown_on_both_hands(2, 3).tolist() == [True, True]
        assert labels.shown_on_both_hands(5, 6).tolist() == [True, False]
        assert labels.shown_on_both_hands(4, 4).tolist() == [True, False]  # as if nobody had annotated slice 4
        assert labels.shown_on_both_hands(0, 0).tolist() == labels.shown_on_both_hands(8, 8).tolist() == [False, False]

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
