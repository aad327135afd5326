"""Tests of the slice pool: the right neighbors, and slices drawn by what is known about them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from uncol.core.errors import DataError
from uncol.core.volume import UNKNOWN_LABEL, SliceView
from uncol.data.cases import FramedCase, SliceIndex
from uncol.data.slice_dataset import SliceDataset

AXIAL = SliceView("axial", (0, 1, 2), (False, False, False), (3.0, 1.0, 1.0))


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def stack_of(labels: np.ndarray, spacing_mm: float = 3.0) -> FramedCase:
    """A stack whose slice number S is the grey value S/100 everywhere."""
    images = (torch.arange(len(labels)) / 100)[:, None, None].expand(labels.shape)
    view = replace(AXIAL, spacing_mm=(spacing_mm, 1.0, 1.0))
    return FramedCase(view, images, torch.from_numpy(labels), labels)


def labels_by_slice(*values: int, rows: int = 2, columns: int = 2) -> np.ndarray:
    """One label value for each slice."""
    return np.broadcast_to(np.array(values, dtype=np.uint8)[:, None, None], (len(values), rows, columns)).copy()


def pool_of(*labels: np.ndarray, class_count: int = 2, neighbor_count: int = 1, multiple: int = 1) -> SliceDataset:
    return SliceDataset([stack_of(each) for each in labels], class_count, neighbor_count, multiple)


class TestInputs:
    @pytest.mark.parametrize(
        ("index", "expected"),
        [
            pytest.param(0, [0, 0, 0, 1, 2], id="first slice"),
            pytest.param(1, [0, 0, 1, 2, 3], id="second slice"),
            pytest.param(2, [0, 1, 2, 3, 4], id="middle"),
            pytest.param(4, [2, 3, 4, 4, 4], id="last slice"),
        ],
    )
    def test_beyond_the_ends_the_last_slice_is_repeated(self, index: int, expected: list[int]) -> None:
        pool = pool_of(labels_by_slice(1, 0, 255, 255, 255), neighbor_count=5)

        slices = pool.inputs([SliceIndex(0, index)])

        assert slices.shape == (1, 5, 2, 2)
        assert (slices[0, :, 0, 0] * 100).round().int().tolist() == expected

    def test_each_address_gets_its_own_case_and_slice(self) -> None:
        pool = pool_of(labels_by_slice(1, 255), labels_by_slice(255, 255, 0))

        batch = pool.inputs([SliceIndex(1, 2), SliceIndex(0, 1)])

        assert (batch[:, 0, 0, 0] * 100).round().int().tolist() == [2, 1]
        assert pool.targets([SliceIndex(1, 2), SliceIndex(0, 0)])[:, 0, 0].tolist() == [0, 1]

    def test_a_single_slice_is_its_own_neighbor(self) -> None:
        pool = pool_of(labels_by_slice(1), neighbor_count=7)

        assert pool.inputs([SliceIndex(0, 0)]).shape == (1, 7, 2, 2)


class TestCasesOfDifferentSpacing:
    @pytest.mark.parametrize(
        ("spacing_mm", "expected"),
        [
            pytest.param(3.0, [2, 3, 4, 5, 6], id="as trained"),
            # 3 mm are two slices
            pytest.param(1.5, [0, 2, 4, 6, 8], id="thinner"),
            # 3 mm are half a slice
            pytest.param(6.0, [3, 3.5, 4, 4.5, 5], id="thicker: interpolated"),
            # 3 mm are four slices, and there are none before 0 and after 8
            pytest.param(0.75, [0, 0, 4, 8, 8], id="beyond the ends"),
        ],
    )
    def test_neighbors_lie_at_one_distance_in_mm(self, spacing_mm: float, expected: list[float]) -> None:
        first, second = stack_of(labels_by_slice(1, 255)), stack_of(labels_by_slice(*[255] * 9), spacing_mm)
        pool = SliceDataset([first, second], 2, 5, 1, slice_mm=3.0)

        slices = pool.inputs([SliceIndex(1, 4)])

        assert (slices[0, :, 0, 0] * 100).tolist() == pytest.approx(expected)

    def test_neighbors_a_whole_number_of_slices_away_are_those_slices_bit_for_bit(self) -> None:
        # 0.9 / 0.3 is 2.9999999999999996 in floating point.
        stack = stack_of(labels_by_slice(1, *[255] * 8), 0.3)
        pool = SliceDataset([stack], 2, 3, 1, slice_mm=0.9)

        assert torch.equal(pool.inputs([SliceIndex(0, 4)])[0], stack.images[[1, 4, 7]])

    def test_without_a_distance_every_case_keeps_its_own(self) -> None:
        pool = SliceDataset([stack_of(labels_by_slice(1, *[255] * 4), 0.7)], 2, 5, 1)

        assert torch.equal(pool.inputs([SliceIndex(0, 2)])[0], pool.images[0])


class TestCasesOfDifferentSize:
    @pytest.fixture
    def pool(self) -> SliceDataset:
        return pool_of(labels_by_slice(1, 255, rows=2, columns=5), labels_by_slice(0, rows=3, columns=2), multiple=4)

    def test_all_slices_have_the_size_of_the_largest_rounded_up(self, pool: SliceDataset) -> None:
        # 3 rows and 5 columns to multiples of 4
        assert pool.inputs([SliceIndex(0, 0), SliceIndex(1, 0)]).shape == (2, 1, 4, 8)

    def test_small_slices_leave_the_network_more_than_one_pixel(self) -> None:
        # 12 x 14 would be 16 x 16, which the student halves to a single pixel
        pool = pool_of(labels_by_slice(1, rows=12, columns=14), multiple=16)

        assert pool.size == pool.slice_size == (16, 32)
        assert pool.inputs([SliceIndex(0, 0)]).shape == (1, 1, 16, 32)

    def test_what_was_added_is_unknown(self, pool: SliceDataset) -> None:
        first, second = pool.targets([SliceIndex(0, 0), SliceIndex(1, 0)])

        u = UNKNOWN_LABEL
        assert first.tolist() == [[1, 1, 1, 1, 1, u, u, u]] * 2 + [[u] * 8] * 2
        assert second.tolist() == [[0, 0, u, u, u, u, u, u]] * 3 + [[u] * 8]

    def test_the_image_goes_on_with_its_edge(self, pool: SliceDataset) -> None:
        assert (pool.inputs([SliceIndex(0, 1)]) == 0.01).all()

    def test_what_was_added_does_not_make_a_slice_unannotated(self, pool: SliceDataset) -> None:
        assert pool.unlabeled == [SliceIndex(0, 1)]

    def test_only_annotated_voxels_are_counted(self, pool: SliceDataset) -> None:
        # background: 3 x 2 pixels of the second case; structure: 2 x 5 of the first
        assert pool.voxel_counts.tolist() == [6, 10]


class TestDrawing:
    def test_one_seed_draws_the_same_slices(self) -> None:
        pool = pool_of(labels_by_slice(1, 0, 1, 255, 1, 255, 0))

        first, again, other = (pool.draw_labeled(50, seeded(seed)) for seed in (1, 1, 2))

        assert first == again
        assert first != other
        assert pool.draw_unlabeled(50, seeded(1)) == pool.draw_unlabeled(50, seeded(1))

    def test_a_structure_in_one_slice_comes_as_often_as_one_in_nine(self) -> None:
        labels = labels_by_slice(*[1] * 9, 2)
        pool = pool_of(labels, class_count=3)

        drawn = pool.draw_labeled(3000, seeded())

        # there is no background voxel: two classes, half of the draws each; by slices it would be 300
        assert 1400 < drawn.count(SliceIndex(0, 9)) < 1600

    def test_background_takes_its_turn_with_the_structures(self) -> None:
        pool = pool_of(labels_by_slice(1, 0, 1, 1))

        drawn = pool.draw_labeled(3000, seeded())

        assert 1400 < drawn.count(SliceIndex(0, 1)) < 1600

    def test_a_class_nobody_annotated_is_not_drawn(self) -> None:
        pool = pool_of(labels_by_slice(1, 255), class_count=4)

        assert set(pool.draw_labeled(20, seeded())) == {SliceIndex(0, 0)}

    def test_a_slice_annotated_in_part_belongs_to_both_kinds(self) -> None:
        labels = labels_by_slice(255, 255)
        labels[1, 0, 0] = 1
        pool = pool_of(labels)

        assert set(pool.draw_labeled(20, seeded())) == {SliceIndex(0, 1)}
        assert set(pool.draw_unlabeled(50, seeded())) == {SliceIndex(0, 0), SliceIndex(0, 1)}

    def test_slices_without_a_label_are_never_drawn_as_annotated(self) -> None:
        pool = pool_of(labels_by_slice(255, 1, 255, 0), labels_by_slice(255, 255))

        assert set(pool.draw_labeled(100, seeded())) == {SliceIndex(0, 1), SliceIndex(0, 3)}

    def test_unannotated_slices_come_from_all_cases(self) -> None:
        pool = pool_of(labels_by_slice(255, 1), labels_by_slice(255, 255))

        assert set(pool.draw_unlabeled(100, seeded())) == {SliceIndex(0, 0), SliceIndex(1, 0), SliceIndex(1, 1)}

    def test_a_pool_of_fully_annotated_slices_has_no_unannotated_one(self) -> None:
        assert pool_of(labels_by_slice(0, 1)).unlabeled == []

    @pytest.mark.parametrize("values", [pytest.param((0, 255), id="only background"), pytest.param((255,), id="none")])
    def test_without_any_annotated_structure_there_is_nothing_to_learn(self, values: tuple[int, ...]) -> None:
        with pytest.raises(DataError, match=r"No structure is annotated.*Annotate a structure\."):
            pool_of(labels_by_slice(*values))
