"""Tests of how a case comes into the student's frame: the right stack, class indices, pixels and grey values."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from uncol.core.jobs import Structure
from uncol.core.volume import UNKNOWN_LABEL, SliceView, Volume, view_slices
from uncol.data.cases import FramedCase, LabeledCase, class_indices, finest_pixel_mm, frame_case

AXIAL = SliceView("axial", (0, 1, 2), (False, False, False), (3.0, 1.0, 1.0))


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


class TestClassIndices:
    def test_structures_count_from_1_in_their_order(self) -> None:
        structures = [Structure(7, "liver"), Structure(3, "spleen")]

        # 9 is no structure of this job
        indices = class_indices(np.array([0, 7, 3, 9, 255], dtype=np.uint8), structures)

        assert indices.tolist() == [0, 1, 2, 0, UNKNOWN_LABEL]
        assert indices.dtype == np.uint8

    @pytest.mark.parametrize(("value", "is_copied"), [(1, False), (2, True)])
    def test_labels_that_are_class_indices_already_are_not_copied(self, value: int, is_copied: bool) -> None:
        labels = np.array([[[0, value], [255, 0]]], dtype=np.uint8)

        indices = class_indices(labels, [Structure(value, "liver")])

        assert np.array_equal(indices, [[[0, 1], [255, 0]]])
        assert (indices is not labels) == is_copied

    def test_unknown_stays_unknown_without_structures(self) -> None:
        assert class_indices(np.array([255, 254], dtype=np.uint8), []).tolist() == [255, 0]


class TestStackCase:
    # 0 ... 23 in the file's order, so that a voxel's value tells where it came from: 12 k + 4 j + i
    STRUCTURE = (Structure(1, "left half"),)

    def stack(self, volume: Volume, plane: str, pixel_mm: float) -> FramedCase:
        labels = volume.with_voxels((np.arange(24).reshape(2, 3, 4) >= 12).astype(np.uint8))
        return frame_case(LabeledCase(volume, labels), self.STRUCTURE, plane, pixel_mm, (0.0, 23.0))  # type: ignore[arg-type]  # a plane's name

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

        stack = frame_case(
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

        images = frame_case(case, [], "sagittal", 0.1, (8.0, 16.0)).images

        # corners 0, 11 | 12, 23 between 8 and 16: 0, 3/8 | 4/8, 1
        assert images[:, [0, -1], [0, -1]].tolist() == [pytest.approx([0, 0.375]), pytest.approx([0.5, 1])]

    def test_many_slices_keep_their_order(self) -> None:
        voxels = np.broadcast_to(np.arange(70, dtype=np.int16)[:, None, None], (70, 3, 4))
        volume = Volume(voxels, np.diag([-1.0, -1.0, 1.0, 1.0]))
        labels = volume.with_voxels((voxels + 1).astype(np.uint8))

        stack = frame_case(LabeledCase(volume, labels), [Structure(41, "slice 40")], "axial", 0.5, (0.0, 69.0))

        assert (stack.images[:, 0, 0] * 69).round().int().tolist() == list(range(70))
        assert (stack.labels == 1).any(2).any(1).nonzero().flatten().tolist() == [40]

    def test_an_integer_volume_of_the_other_byte_order_is_read(self) -> None:
        volume = Volume(np.arange(24, dtype=">i2").reshape(2, 3, 4), np.diag([-1.0, -1.0, 1.0, 1.0]))
        case = LabeledCase(volume, volume.with_voxels(np.zeros((2, 3, 4), dtype=np.uint8)))

        images = frame_case(case, [], "axial", 1.0, (0.0, 23.0)).images

        assert (images.flatten() * 23).round().int().tolist() == list(range(24))


class TestPixelSize:
    VIEW = SliceView("axial", (0, 1, 2), (False, False, False), (3.0, 0.8, 0.5))

    def test_it_is_the_finer_spacing_where_the_slice_is_small_enough(self) -> None:
        # 100 * 0.8 = 80 mm, 400 * 0.5 = 200 mm, 200 / 1000 = 0.2 mm is finer than needed
        assert finest_pixel_mm(self.VIEW, 100, 400, 1000) == 0.5

    def test_it_grows_until_the_longest_side_fits(self) -> None:
        # 200 mm / 256 pixels
        assert finest_pixel_mm(self.VIEW, 100, 400, 256) == pytest.approx(0.78125)
