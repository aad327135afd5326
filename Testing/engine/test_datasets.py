"""Tests of the slice pool: the right stack, the right neighbors, and slices drawn by what is known about them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from uncol.datasets import LabeledCase, SliceAddress, SlicePool, SliceStack, class_indices, finest_pixel_mm, stack_case
from uncol.errors import DataError
from uncol.job import Structure
from uncol.volume import UNKNOWN_LABEL, SliceView, Volume, view_slices

AXIAL = SliceView("axial", (0, 1, 2), (False, False, False), (3.0, 1.0, 1.0))


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def stack_of(labels: np.ndarray) -> SliceStack:
    """A stack whose slice number S is the grey value S/100 everywhere."""
    images = (torch.arange(len(labels)) / 100)[:, None, None].expand(labels.shape)
    return SliceStack(AXIAL, images, torch.from_numpy(labels), labels)


def labels_by_slice(*values: int, rows: int = 2, columns: int = 2) -> np.ndarray:
    """One label value for each slice."""
    return np.broadcast_to(np.array(values, dtype=np.uint8)[:, None, None], (len(values), rows, columns)).copy()


def pool_of(*labels: np.ndarray, class_count: int = 2, neighbor_count: int = 1, multiple: int = 1) -> SlicePool:
    return SlicePool([stack_of(each) for each in labels], class_count, neighbor_count, multiple)


class TestClassIndices:
    def test_structures_count_from_1_in_their_order(self) -> None:
        structures = [Structure(7, "liver"), Structure(3, "spleen")]

        # 9 is no structure of this job
        indices = class_indices(np.array([0, 7, 3, 9, 255], dtype=np.uint8), structures)

        assert indices.tolist() == [0, 1, 2, 0, UNKNOWN_LABEL]
        assert indices.dtype == np.uint8

    def test_unknown_stays_unknown_without_structures(self) -> None:
        assert class_indices(np.array([255, 254], dtype=np.uint8), []).tolist() == [255, 0]


class TestStackCase:
    # 0 ... 23 in the file's order, so that a voxel's value tells where it came from: 12 k + 4 j + i
    STRUCTURE = (Structure(1, "left half"),)

    def stack(self, volume: Volume, plane: str, pixel_mm: float) -> SliceStack:
        labels = volume.with_voxels((np.arange(24).reshape(2, 3, 4) >= 12).astype(np.uint8))
        return stack_case(LabeledCase(volume, labels), self.STRUCTURE, plane, pixel_mm, (0.0, 23.0))  # type: ignore[arg-type]  # a plane's name

    def test_a_sagittal_acquisition_is_its_own_sagittal_stack(self, make_volume: Callable[..., Volume]) -> None:
        volume = make_volume(geometry="sagittal")  # 0.5 mm, 0.8 mm, 4 mm along I, J, K

        stack = self.stack(volume, "sagittal", 0.1)

        # 3 rows of 0.8 mm and 4 columns of 0.5 mm in pixels of 0.1 mm
        assert stack.images.shape == (2, 24, 20)
        assert stack.view.spacing_mm == pytest.approx((4.0, 0.8, 0.5))
        # the corners of the frame are the corner voxels
        corners = stack.images[:, [0, 0, -1, -1], [0, -1, 0, -1]] * 23
        assert corners.tolist() == [pytest.approx([0, 3, 8, 11]), pytest.approx([12, 15, 20, 23])]

    def test_a_sagittal_acquisition_is_cut_across_for_an_axial_stack(self, make_volume: Callable[..., Volume]) -> None:
        volume = make_volume(geometry="sagittal")

        stack = self.stack(volume, "axial", 0.5)

        # Slices go up, against J; rows to the back, along I; columns to the left, along K:
        # stack[s, r, c] = voxels[c, 2 - s, r] = 12 c + 4 (2 - s) + r
        assert stack.view.spacing_mm == pytest.approx((0.8, 0.5, 4.0))
        assert stack.images.shape == (3, 4, 16)  # 4 rows of 0.5 mm, 2 columns of 4 mm
        for s in range(3):
            left, right = stack.images[s, :, 0] * 23, stack.images[s, :, -1] * 23
            assert left.tolist() == pytest.approx([4 * (2 - s) + r for r in range(4)], abs=1e-4)
            assert right.tolist() == pytest.approx([12 + 4 * (2 - s) + r for r in range(4)], abs=1e-4)
        # labels: k = 1 is the structure, the right half of every row
        assert stack.labels.tolist() == [[[0] * 8 + [1] * 8] * 4] * 3
        assert stack.native_labels.tolist() == [[[0, 1]] * 4] * 3

    def test_columns_that_run_to_the_right_are_flipped(self, make_volume: Callable[..., Volume]) -> None:
        volume = make_volume(geometry="left-handed")

        stack = stack_case(
            LabeledCase(volume, volume.with_voxels((volume.voxels % 4 == 0).astype(np.uint8))),
            [Structure(1, "first column of the file")],
            "axial",
            0.7,
            (0.0, 23.0),
        )

        assert stack.native_labels.tolist() == [[[0, 0, 0, 1]] * 3] * 2
        np.testing.assert_allclose(stack.images[:, 0, :] * 23, [[3, 2, 1, 0], [15, 14, 13, 12]], atol=1e-4)

    def test_every_geometry_gives_image_and_labels_of_one_size(self, nasty_volume: Volume) -> None:
        stack = self.stack(nasty_volume, "coronal", 0.3)

        assert stack.images.shape == stack.labels.shape
        assert stack.native_labels.shape == view_slices(nasty_volume, "coronal").stack_from(nasty_volume.voxels).shape
        assert stack.images.dtype == torch.float32
        assert stack.labels.dtype == torch.uint8

    def test_grey_values_are_windowed_and_clipped(self, make_volume: Callable[..., Volume]) -> None:
        volume = make_volume(geometry="sagittal")
        case = LabeledCase(volume, volume.with_voxels(np.zeros((2, 3, 4), dtype=np.uint8)))

        images = stack_case(case, [], "sagittal", 0.1, (8.0, 16.0)).images

        # corners 0, 11 | 12, 23 between 8 and 16: 0, 3/8 | 4/8, 1
        assert images[:, [0, -1], [0, -1]].tolist() == [pytest.approx([0, 0.375]), pytest.approx([0.5, 1])]

    def test_many_slices_keep_their_order(self) -> None:
        voxels = np.broadcast_to(np.arange(70, dtype=np.int16)[:, None, None], (70, 3, 4))
        volume = Volume(voxels, np.diag([-1.0, -1.0, 1.0, 1.0]))
        labels = volume.with_voxels((voxels + 1).astype(np.uint8))

        stack = stack_case(LabeledCase(volume, labels), [Structure(41, "slice 40")], "axial", 0.5, (0.0, 69.0))

        assert (stack.images[:, 0, 0] * 69).round().int().tolist() == list(range(70))
        assert (stack.labels == 1).any(2).any(1).nonzero().flatten().tolist() == [40]

    def test_an_integer_volume_of_the_other_byte_order_is_read(self) -> None:
        volume = Volume(np.arange(24, dtype=">i2").reshape(2, 3, 4), np.diag([-1.0, -1.0, 1.0, 1.0]))
        case = LabeledCase(volume, volume.with_voxels(np.zeros((2, 3, 4), dtype=np.uint8)))

        images = stack_case(case, [], "axial", 1.0, (0.0, 23.0)).images

        assert (images.flatten() * 23).round().int().tolist() == list(range(24))


class TestPixelSize:
    VIEW = SliceView("axial", (0, 1, 2), (False, False, False), (3.0, 0.8, 0.5))

    def test_it_is_the_finer_spacing_where_the_slice_is_small_enough(self) -> None:
        # 100 * 0.8 = 80 mm, 400 * 0.5 = 200 mm, 200 / 1000 = 0.2 mm is finer than needed
        assert finest_pixel_mm(self.VIEW, 100, 400, 1000) == 0.5

    def test_it_grows_until_the_longest_side_fits(self) -> None:
        # 200 mm / 256 pixels
        assert finest_pixel_mm(self.VIEW, 100, 400, 256) == pytest.approx(0.78125)


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

        slices = pool.inputs([SliceAddress(0, index)])

        assert slices.shape == (1, 5, 2, 2)
        assert (slices[0, :, 0, 0] * 100).round().int().tolist() == expected

    def test_each_address_gets_its_own_case_and_slice(self) -> None:
        pool = pool_of(labels_by_slice(1, 255), labels_by_slice(255, 255, 0))

        batch = pool.inputs([SliceAddress(1, 2), SliceAddress(0, 1)])

        assert (batch[:, 0, 0, 0] * 100).round().int().tolist() == [2, 1]
        assert pool.targets([SliceAddress(1, 2), SliceAddress(0, 0)])[:, 0, 0].tolist() == [0, 1]

    def test_a_single_slice_is_its_own_neighbor(self) -> None:
        pool = pool_of(labels_by_slice(1), neighbor_count=7)

        assert pool.inputs([SliceAddress(0, 0)]).shape == (1, 7, 2, 2)


class TestCasesOfDifferentSize:
    @pytest.fixture
    def pool(self) -> SlicePool:
        return pool_of(labels_by_slice(1, 255, rows=2, columns=5), labels_by_slice(0, rows=3, columns=2), multiple=4)

    def test_all_slices_have_the_size_of_the_largest_rounded_up(self, pool: SlicePool) -> None:
        # 3 rows and 5 columns to multiples of 4
        assert pool.inputs([SliceAddress(0, 0), SliceAddress(1, 0)]).shape == (2, 1, 4, 8)

    def test_what_was_added_is_unknown(self, pool: SlicePool) -> None:
        first, second = pool.targets([SliceAddress(0, 0), SliceAddress(1, 0)])

        u = UNKNOWN_LABEL
        assert first.tolist() == [[1, 1, 1, 1, 1, u, u, u]] * 2 + [[u] * 8] * 2
        assert second.tolist() == [[0, 0, u, u, u, u, u, u]] * 3 + [[u] * 8]

    def test_the_image_goes_on_with_its_edge(self, pool: SlicePool) -> None:
        assert (pool.inputs([SliceAddress(0, 1)]) == 0.01).all()

    def test_what_was_added_does_not_make_a_slice_unannotated(self, pool: SlicePool) -> None:
        assert pool.unlabeled == [SliceAddress(0, 1)]

    def test_only_annotated_voxels_are_counted(self, pool: SlicePool) -> None:
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
        assert 1400 < drawn.count(SliceAddress(0, 9)) < 1600

    def test_background_takes_its_turn_with_the_structures(self) -> None:
        pool = pool_of(labels_by_slice(1, 0, 1, 1))

        drawn = pool.draw_labeled(3000, seeded())

        assert 1400 < drawn.count(SliceAddress(0, 1)) < 1600

    def test_a_class_nobody_annotated_is_not_drawn(self) -> None:
        pool = pool_of(labels_by_slice(1, 255), class_count=4)

        assert set(pool.draw_labeled(20, seeded())) == {SliceAddress(0, 0)}

    def test_a_slice_annotated_in_part_belongs_to_both_kinds(self) -> None:
        labels = labels_by_slice(255, 255)
        labels[1, 0, 0] = 1
        pool = pool_of(labels)

        assert set(pool.draw_labeled(20, seeded())) == {SliceAddress(0, 1)}
        assert set(pool.draw_unlabeled(50, seeded())) == {SliceAddress(0, 0), SliceAddress(0, 1)}

    def test_slices_without_a_label_are_never_drawn_as_annotated(self) -> None:
        pool = pool_of(labels_by_slice(255, 1, 255, 0), labels_by_slice(255, 255))

        assert set(pool.draw_labeled(100, seeded())) == {SliceAddress(0, 1), SliceAddress(0, 3)}

    def test_unannotated_slices_come_from_all_cases(self) -> None:
        pool = pool_of(labels_by_slice(255, 1), labels_by_slice(255, 255))

        assert set(pool.draw_unlabeled(100, seeded())) == {SliceAddress(0, 0), SliceAddress(1, 0), SliceAddress(1, 1)}

    def test_a_pool_of_fully_annotated_slices_has_no_unannotated_one(self) -> None:
        assert pool_of(labels_by_slice(0, 1)).unlabeled == []

    @pytest.mark.parametrize("values", [pytest.param((0, 255), id="only background"), pytest.param((255,), id="none")])
    def test_without_any_annotated_structure_there_is_nothing_to_learn(self, values: tuple[int, ...]) -> None:
        with pytest.raises(DataError, match=r"No structure is annotated.*Annotate a structure\."):
            pool_of(labels_by_slice(*values))
