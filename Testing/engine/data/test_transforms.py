"""Tests of windows, frames and resizing: what the networks see, and that no label is invented on the way."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from uncol.data.transforms import (
    SliceFrame,
    apply_window,
    frame_with_longest_side,
    pad_to_multiple,
    padded_size,
    resize_image,
    resize_labels,
    windowed_in_frame,
)


class TestApplyWindow:
    @pytest.mark.parametrize(
        ("grey", "expected"),
        [
            pytest.param(-160, 0.0, id="low end"),
            pytest.param(240, 1.0, id="high end"),
            pytest.param(40, 0.5, id="center: 200 of 400"),
            pytest.param(-60, 0.25, id="100 of 400"),
            pytest.param(-1000, 0.0, id="air"),
            pytest.param(3000, 1.0, id="metal"),
        ],
    )
    def test_grey_values_are_spread_over_0_to_1(self, grey: int, expected: float) -> None:
        windowed = apply_window(torch.tensor([grey], dtype=torch.int16), (-160, 240))

        assert windowed.tolist() == [pytest.approx(expected)]
        assert windowed.dtype == torch.float32

    def test_the_original_is_left_alone(self) -> None:
        grey = torch.tensor([-1000.0, 3000.0])

        apply_window(grey, (0, 1))

        assert grey.tolist() == [-1000, 3000]


class TestSliceFrame:
    @pytest.mark.parametrize(
        ("rows", "columns", "spacing_mm", "pixel_mm", "expected"),
        [
            pytest.param(100, 120, (0.8, 0.8), 0.8, (100, 120), id="its own pixels"),
            # 100 * 3 / 1.5 = 200, 120 * 0.75 / 1.5 = 60
            pytest.param(100, 120, (3.0, 0.75), 1.5, (200, 60), id="rows four times as far apart as columns"),
            # 103 * 0.6 / 1 = 61.8 and 97 * 0.6 / 1 = 58.2
            pytest.param(103, 97, (0.6, 0.6), 1.0, (62, 58), id="rounded to whole pixels"),
            pytest.param(1, 100, (0.1, 1.0), 1.0, (1, 100), id="never without a row"),
        ],
    )
    def test_its_pixels_are_square_whatever_the_spacing(
        self, rows: int, columns: int, spacing_mm: tuple[float, float], pixel_mm: float, expected: tuple[int, int]
    ) -> None:
        frame = SliceFrame.fitting(rows, columns, spacing_mm, pixel_mm)

        assert (frame.rows, frame.columns, frame.pixel_mm) == (*expected, pixel_mm)

    def test_the_longest_side_gets_all_pixels_and_the_other_its_proportion(self) -> None:
        frame = frame_with_longest_side(100, 140, (1.5, 0.8), 256)

        # 150 mm x 112 mm: 150 / 256 = 0.585938 mm per pixel, 112 / 0.585938 = 191.1 columns
        assert (frame.rows, frame.columns) == (256, 191)
        assert frame.pixel_mm == pytest.approx(0.585938, abs=1e-6)

    def test_small_slices_are_enlarged(self) -> None:
        frame = frame_with_longest_side(16, 32, (2.0, 2.0), 256)

        assert (frame.rows, frame.columns, frame.pixel_mm) == (128, 256, 0.25)

    @pytest.mark.parametrize("seed", range(20))
    def test_the_longest_side_is_exact_for_odd_sizes(self, seed: int) -> None:
        random = np.random.default_rng(seed)
        rows, columns = (int(each) for each in random.integers(20, 700, 2))
        spacing_mm = tuple(random.uniform(0.2, 5, 2))

        frame = frame_with_longest_side(rows, columns, spacing_mm, 256)

        assert max(frame.rows, frame.columns) == 256


@pytest.mark.parametrize("dtype", [np.int16, np.float32])
def test_one_slice_of_a_stack_that_runs_backwards_is_windowed_like_any_other(dtype: type) -> None:
    backwards = np.arange(24, dtype=dtype).reshape(2, 3, 4)[::-1]  # torch takes no such array, not even of one slice

    windowed = windowed_in_frame(backwards[:1], (12, 23), SliceFrame(1.0, 3, 4))

    torch.testing.assert_close(windowed, torch.arange(12).reshape(1, 3, 4) / 11)


class TestResize:
    @pytest.mark.parametrize("size", [(13, 4), (5, 7), (2, 3), (50, 70)])
    def test_a_constant_survives_the_round_trip(self, size: tuple[int, int]) -> None:
        constant = torch.full((2, 3, 5, 7), 0.3)

        there = resize_image(constant, *size)
        back = resize_image(there, 5, 7)

        assert there.shape == (2, 3, *size)
        torch.testing.assert_close(back, constant, rtol=0, atol=1e-6)

    def test_a_slice_of_the_right_size_is_left_alone(self) -> None:
        image = torch.rand(1, 1, 5, 7)

        assert torch.equal(resize_image(image, 5, 7), image)

    def test_where_pixels_are_lost_they_are_averaged(self) -> None:
        stripes = torch.tensor([0.0, 1.0]).repeat(32).expand(1, 1, 64, 64)

        smaller = resize_image(stripes, 16, 16)[..., 2:-2]

        # picking single pixels would give all black or all white
        torch.testing.assert_close(smaller, torch.full_like(smaller, 0.5), rtol=0, atol=0.05)

    @pytest.mark.parametrize("size", [(3, 2), (5, 7), (31, 9), (64, 64)])
    def test_resizing_labels_invents_none(self, size: tuple[int, int]) -> None:
        labels = torch.tensor([0, 3, 7, 255], dtype=torch.uint8)[torch.randint(4, (2, 12, 10))]

        resized = resize_labels(labels, *size)

        assert resized.shape == (2, *size)
        assert resized.dtype == torch.uint8
        assert set(resized.unique().tolist()) <= {0, 3, 7, 255}

    def test_labels_grow_evenly(self) -> None:
        labels = torch.tensor([[[1, 2]]], dtype=torch.uint8)

        assert resize_labels(labels, 2, 6).tolist() == [[[1, 1, 1, 2, 2, 2]] * 2]

    @pytest.mark.parametrize("columns", [8, 16, 24, 61])
    def test_labels_lie_where_the_image_shows_them(self, columns: int) -> None:
        ramp = torch.arange(24).expand(1, 3, 24)

        labels = resize_labels(ramp.to(torch.uint8), 3, columns).float()
        image = resize_image(ramp[None].float(), 3, columns)[0]

        # the nearest pixel is at most half a pixel away, except where the image is averaged up to its edge
        inside = slice(2, -2)
        assert (labels - image)[..., inside].abs().max() <= 0.5 + 1e-4

    def test_labels_of_the_right_size_are_left_alone(self) -> None:
        labels = torch.randint(256, (2, 5, 7)).to(torch.uint8)

        assert torch.equal(resize_labels(labels, 5, 7), labels)


class TestPadding:
    def test_sides_grow_to_the_next_multiple_by_repeating_the_edge(self) -> None:
        image = torch.arange(10.0).reshape(1, 1, 2, 5)

        padded = pad_to_multiple(image, 4)

        assert padded[0, 0].tolist() == [[0, 1, 2, 3, 4, 4, 4, 4], *[[5, 6, 7, 8, 9, 9, 9, 9]] * 3]

    @pytest.mark.parametrize(
        ("size", "expected"),
        [
            pytest.param((12, 14), (16, 32), id="one multiple on both sides"),
            pytest.param((16, 16), (16, 32), id="exactly one multiple"),
            pytest.param((17, 3), (32, 16), id="two on one side"),
            pytest.param((16, 33), (16, 48), id="three on one side"),
            pytest.param((1, 16, 9), (16, 16, 32), id="volume of one multiple"),
            pytest.param((48, 96, 96), (48, 96, 96), id="volume that fits"),
        ],
    )
    def test_one_side_is_at_least_two_multiples(self, size: tuple[int, ...], expected: tuple[int, ...]) -> None:
        assert padded_size(size, 16) == expected
        assert pad_to_multiple(torch.zeros(1, 1, *size), 16).shape[2:] == expected

    @pytest.mark.parametrize("shape", [(1, 1), (15, 33), (16, 17)])
    def test_the_slice_itself_stays_at_the_top_left(self, shape: tuple[int, int]) -> None:
        image = torch.rand(2, 7, *shape)

        padded = pad_to_multiple(image, 16)

        assert padded.shape[-2] % 16 == padded.shape[-1] % 16 == 0
        assert torch.equal(padded[..., : shape[0], : shape[1]], image)

    def test_a_slice_that_fits_is_left_alone(self) -> None:
        image = torch.rand(1, 1, 16, 32)

        assert torch.equal(pad_to_multiple(image, 16), image)
