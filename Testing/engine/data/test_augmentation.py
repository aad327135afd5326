"""Tests of random changes: image and labels move together, squares stay squares, grey values stay in range."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from uncol.core.volume import UNKNOWN_LABEL
from uncol.data.augmentation import (
    RandomAffine,
    draw_box_mask,
    jitter_intensity,
    sample_affine,
)

IDENTITY = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
ROWS, COLUMNS = 48, 80


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def shifted_by(rows: float, columns: float, height: int, width: int) -> RandomAffine:
    """A affine that moves one slice's content up and left; matrices count in half sides of the slice."""
    return RandomAffine(torch.tensor([[[1, 0, 2 * columns / width], [0, 1, 2 * rows / height]]]))


class TestPose:
    @pytest.mark.parametrize("shape", [(4, 4), (16, 16), (7, 13), (48, 80), (100, 101)])
    def test_the_identity_leaves_labels_bit_equal(self, shape: tuple[int, int]) -> None:
        labels = torch.randint(256, (2, *shape), generator=seeded()).to(torch.uint8)

        assert torch.equal(RandomAffine(IDENTITY.repeat(2, 1, 1)).warp_labels(labels), labels)

    @pytest.mark.parametrize("shape", [(4, 4), (16, 16), (7, 13), (48, 80), (100, 101)])
    def test_the_identity_leaves_images_as_they_are(self, shape: tuple[int, int]) -> None:
        images = torch.rand(2, 3, *shape, generator=seeded())

        # bit-equal but for the rounding of the grid's coordinates, a few 1e-7 of half a side
        torch.testing.assert_close(
            RandomAffine(IDENTITY.repeat(2, 1, 1)).warp_images(images), images, rtol=0, atol=2e-5
        )

    def test_labels_move_by_whole_pixels_and_what_comes_in_is_unknown(self) -> None:
        labels = torch.tensor([[[0, 1], [2, 3]]], dtype=torch.uint8)

        moved = shifted_by(1, 0, 2, 2).warp_labels(labels)

        # the lower row moves up; nobody knows what lies below it
        assert moved.tolist() == [[[2, 3], [UNKNOWN_LABEL, UNKNOWN_LABEL]]]

    def test_images_move_by_whole_pixels_and_their_edge_goes_on(self) -> None:
        image = torch.tensor([[[[0.0, 0.25], [0.5, 1.0]]]])

        moved = shifted_by(0, 1, 2, 2).warp_images(image)

        # the right column moves left and is repeated
        assert moved.flatten().tolist() == pytest.approx([0.25, 0.25, 1.0, 1.0], abs=1e-6)

    def test_unknown_labels_stay_unknown_and_no_label_is_invented(self) -> None:
        labels = torch.tensor([0, 3, 254, UNKNOWN_LABEL], dtype=torch.uint8)[
            torch.randint(4, (6, ROWS, COLUMNS), generator=seeded())
        ]

        moved = sample_affine(6, (ROWS, COLUMNS), seeded(), rotation_deg=12.0, mirror=True).warp_labels(labels)

        assert set(moved.unique().tolist()) == {0, 3, 254, UNKNOWN_LABEL}
        assert moved.dtype == torch.uint8

    @pytest.mark.parametrize("mirror", [False, True])
    def test_an_image_and_its_labels_move_alike(self, *, mirror: bool) -> None:
        # every pixel carries its own column (then its own row), once as a grey value and once as a label
        for ramp in (torch.arange(COLUMNS).expand(ROWS, COLUMNS), torch.arange(ROWS)[:, None].expand(ROWS, COLUMNS)):
            affine = sample_affine(8, (ROWS, COLUMNS), seeded(3), rotation_deg=12.0, mirror=mirror)

            image = affine.warp_images(ramp.float().expand(8, 1, ROWS, COLUMNS))[:, 0]
            labels = affine.warp_labels(ramp.to(torch.uint8).expand(8, ROWS, COLUMNS))

            known = labels != UNKNOWN_LABEL
            # the nearest pixel is at most half a pixel away from the place that the image shows
            assert (image - labels.float())[known].abs().max() <= 0.5 + 1e-3
            assert known.float().mean() > 0.5

    def test_a_moved_blob_is_found_where_its_labels_say(self) -> None:
        row, column = torch.arange(ROWS)[:, None] - 20.5, torch.arange(COLUMNS) - 45.5
        blob = (row**2 + column**2 < 12**2).expand(8, ROWS, COLUMNS)
        affine = sample_affine(8, (ROWS, COLUMNS), seeded(1), rotation_deg=12.0, mirror=True)

        seen = affine.warp_images(blob[:, None].float())[:, 0] > 0.5
        labeled = affine.warp_labels(blob.to(torch.uint8)) == 1

        overlap = 2 * (seen & labeled).sum((1, 2)) / (seen.sum((1, 2)) + labeled.sum((1, 2)))
        assert overlap.min() > 0.97


class TestDrawnPose:
    @staticmethod
    def in_pixels(affine: RandomAffine, rows: int, columns: int) -> Tensor:
        """The linear parts (B, 2, 2) of the matrices with pixels, not half sides, as their unit."""
        half_sides = torch.diag(torch.tensor([columns / 2, rows / 2]))
        return half_sides @ affine.matrices[:, :, :2] @ half_sides.inverse()

    @pytest.mark.parametrize(("rows", "columns"), [(64, 64), (48, 80), (160, 32)])
    @pytest.mark.parametrize("mirror", [False, True])
    def test_a_square_stays_a_square(self, rows: int, columns: int, *, mirror: bool) -> None:
        linear = self.in_pixels(
            sample_affine(50, (rows, columns), seeded(), rotation_deg=12.0, mirror=mirror), rows, columns
        )

        # A^T A = s^2 I: rotation, mirror image and one scale for both directions, nothing else
        product = linear.transpose(1, 2) @ linear
        assert product[:, 0, 1].abs().max() < 1e-5
        torch.testing.assert_close(product[:, 0, 0], product[:, 1, 1], rtol=1e-5, atol=0)

    def test_a_square_stays_a_square_in_the_picture(self) -> None:
        rows, columns = 120, 200
        square = torch.zeros(1, 1, rows, columns)
        square[..., 40:80, 80:120] = 1

        moved = sample_affine(8, (rows, columns), seeded(2), rotation_deg=12.0, mirror=False).warp_images(
            square.expand(8, 1, rows, columns)
        )

        row, column = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
        for each in moved[:, 0]:
            weight = each / each.sum()
            spread = [(weight * (axis - (weight * axis).sum()) ** 2).sum().sqrt() for axis in (row, column)]
            # a square has the same spread in every direction, however it is turned
            assert spread[0].item() == pytest.approx(spread[1].item(), rel=0.01)

    def test_without_mirror_left_stays_left(self) -> None:
        assert (
            self.in_pixels(sample_affine(100, (48, 80), seeded(), rotation_deg=12.0, mirror=False), 48, 80).det() > 0
        ).all()

    def test_with_mirror_about_half_of_the_slices_are_mirrored(self) -> None:
        mirrored = (
            self.in_pixels(sample_affine(400, (48, 80), seeded(), rotation_deg=12.0, mirror=True), 48, 80).det() < 0
        )

        assert 150 < mirrored.sum() < 250

    def test_mirrored_slices_are_not_turned_upside_down(self) -> None:
        linear = self.in_pixels(sample_affine(100, (48, 80), seeded(), rotation_deg=12.0, mirror=True), 48, 80)

        assert (linear[:, 1, 1] > 0.5).all()

    def test_slices_are_turned_as_far_as_asked_for_both_ways(self) -> None:
        linear = self.in_pixels(sample_affine(500, (48, 80), seeded(), rotation_deg=90.0, mirror=False), 48, 80)

        angle_deg = torch.atan2(linear[:, 1, 0], linear[:, 0, 0]).rad2deg()
        assert -90 <= angle_deg.min() < -85
        assert 85 < angle_deg.max() <= 90

    def test_poses_stay_small(self) -> None:
        affine = sample_affine(500, (48, 80), seeded(), rotation_deg=12.0, mirror=False)
        linear = self.in_pixels(affine, 48, 80)

        angle_deg = torch.atan2(linear[:, 1, 0], linear[:, 0, 0]).rad2deg()
        scale = linear.det().sqrt()
        assert 5 < angle_deg.abs().max() <= 30
        assert 0.7 <= scale.min() < 0.95
        assert 1.05 < scale.max() <= 1.4
        # in half sides: at most a tenth of the side
        assert 0.05 < affine.matrices[:, :, 2].abs().max() <= 0.2

    def test_every_slice_gets_a_pose_of_its_own(self) -> None:
        assert len(sample_affine(10, (48, 80), seeded(), rotation_deg=12.0, mirror=False).matrices.unique(dim=0)) == 10

    def test_one_seed_gives_one_pose(self) -> None:
        first, again, other = (
            sample_affine(3, (48, 80), seeded(seed), rotation_deg=12.0, mirror=True).matrices for seed in (5, 5, 6)
        )

        assert torch.equal(first, again)
        assert not torch.equal(first, other)


class TestGreyValues:
    def test_grey_values_stay_in_their_range(self) -> None:
        images = torch.rand(32, 3, 16, 16, generator=seeded()).round(decimals=1)

        changed = jitter_intensity(images, seeded())

        assert changed.shape == images.shape
        assert changed.min() >= 0
        assert changed.max() <= 1

    def test_extreme_images_stay_finite(self) -> None:
        images = torch.stack([torch.zeros(1, 8, 8), torch.ones(1, 8, 8)])

        assert jitter_intensity(images, seeded()).isfinite().all()

    def test_the_order_of_grey_values_survives_but_for_noise(self) -> None:
        ramp = torch.linspace(0, 1, 1024).reshape(1, 1, 32, 32).expand(16, 1, 32, 32)

        changed = jitter_intensity(ramp, seeded())

        dark, bright = changed.flatten(1)[:, :256].mean(1), changed.flatten(1)[:, -256:].mean(1)
        assert (bright - dark > 0.3).all()

    def test_one_seed_gives_one_change_and_leaves_the_original_alone(self) -> None:
        images = torch.rand(2, 3, 8, 8, generator=seeded())
        original = images.clone()

        first, again, other = (jitter_intensity(images, seeded(seed)) for seed in (5, 5, 6))

        assert torch.equal(first, again)
        assert not torch.equal(first, other)
        assert torch.equal(images, original)


class TestCopyPasteMask:
    @pytest.mark.parametrize(
        ("rows", "columns", "side", "height", "width"),
        [
            pytest.param(256, 256, 2 / 3, 170, 170, id="256 as in the paper: floor(170.67)"),
            pytest.param(128, 112, 2 / 3, 85, 74, id="floor(85.33) x floor(74.67)"),
            pytest.param(48, 96, 0.5, 24, 48, id="half"),
            pytest.param(96, 48, 2 / 3, 64, 32, id="exact thirds"),
        ],
    )
    def test_one_box_of_the_right_size_is_cut_out(
        self, rows: int, columns: int, side: float, height: int, width: int
    ) -> None:
        for seed in range(20):
            cut = ~draw_box_mask((rows, columns), side, seeded(seed))

            filled_rows, filled_columns = cut.any(1).nonzero()[:, 0], cut.any(0).nonzero()[:, 0]
            assert cut.shape == (rows, columns)
            assert (len(filled_rows), len(filled_columns)) == (height, width)
            # as many pixels as the rectangle holds, between its first and last row and column: no holes
            assert cut.sum() == height * width
            assert filled_rows[-1] - filled_rows[0] == height - 1
            assert filled_columns[-1] - filled_columns[0] == width - 1

    def test_the_box_reaches_every_corner(self) -> None:
        cut = torch.stack([~draw_box_mask((6, 9), 2 / 3, seeded(seed)) for seed in range(100)]).any(0)

        assert cut.all()

    def test_its_part_of_the_area_is_about_four_ninths(self) -> None:
        cut = ~draw_box_mask((256, 256), 2 / 3, seeded())

        # 170^2 / 256^2 = 0.441
        assert cut.float().mean().item() == pytest.approx(0.441, abs=5e-4)

    def test_one_seed_gives_one_mask(self) -> None:
        first, again, other = (draw_box_mask((30, 40), 0.5, seeded(seed)) for seed in (4, 4, 5))

        assert torch.equal(first, again)
        assert not torch.equal(first, other)


class TestPosesInSpace:
    SIZE = (8, 12, 16)

    def in_voxels(self, affine: RandomAffine) -> Tensor:
        """Return what the matrices (B, 3, 3) do to steps of one voxel along column, row and slice."""
        sides = torch.tensor([16.0, 12.0, 8.0])
        return affine.matrices[:, :, :3] * sides[None, :, None] / sides[None, None, :]

    def test_they_turn_and_scale_without_bending(self) -> None:
        linear = self.in_voxels(sample_affine(50, self.SIZE, seeded(), rotation_deg=12.0, mirror=False))

        scale = linear.det() ** (1 / 3)
        assert ((scale > 0.85) & (scale < 1.15)).all()
        torch.testing.assert_close(linear @ linear.mT, scale[:, None, None] ** 2 * torch.eye(3).repeat(50, 1, 1))

    def test_mirroring_flips_the_columns_of_about_half_of_them(self) -> None:
        linear = self.in_voxels(sample_affine(400, self.SIZE, seeded(), rotation_deg=12.0, mirror=True))

        assert 0.4 < float((linear.det() < 0).float().mean()) < 0.6
        assert (linear[:, 1, 1] > 0).all()
        assert (linear[:, 2, 2] > 0).all()

    def test_an_image_and_its_labels_move_alike(self) -> None:
        ramp = torch.arange(16).expand(self.SIZE)
        affine = sample_affine(4, self.SIZE, seeded(2), rotation_deg=12.0, mirror=True)

        image = affine.warp_images(ramp.float().expand(4, 1, *self.SIZE))[:, 0]
        labels = affine.warp_labels(ramp.byte().expand(4, *self.SIZE).contiguous())

        inside = labels != UNKNOWN_LABEL
        assert inside.float().mean() > 0.6
        assert float((image - labels.float())[inside].abs().max()) < 1.7  # the nearest voxel in space

    def test_nothing_moves_with_the_identity(self) -> None:
        identity = RandomAffine(torch.eye(3, 4)[None])
        labels = torch.randint(3, (1, *self.SIZE), generator=seeded()).byte()

        assert torch.equal(identity.warp_labels(labels), labels)

    def test_the_pasted_box_has_its_part_of_every_side(self) -> None:
        cut = ~draw_box_mask((9, 12, 30), 2 / 3, seeded())

        extents = [cut.flatten(1).any(1).sum(), cut.any(0).any(1).sum(), cut.any(0).any(0).sum()]
        assert [int(each) for each in extents] == [6, 8, 20]
        assert int(cut.sum()) == 6 * 8 * 20
