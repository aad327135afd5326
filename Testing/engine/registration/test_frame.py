"""Where structures are followed: the cut, its pixels, and the way back."""

from __future__ import annotations

import numpy as np
import pytest

from uncol.registration.frame import LONGEST_SIDE, RegistrationFrame


def inside(shape: tuple[int, int], rows: slice, columns: slice) -> np.ndarray:
    mask = np.zeros(shape, dtype=bool)
    mask[rows, columns] = True
    return mask


class TestAround:
    def test_cuts_between_eighths_with_a_margin(self) -> None:
        """80 rows of 400: half of their extent, 40, lies on each side: 160 ... 320, between eighths 150 ... 350."""
        frame = RegistrationFrame.around(inside((400, 800), slice(200, 280), slice(400, 500)), (1.0, 1.0))

        assert (frame.rows, frame.columns) == (slice(150, 350), slice(300, 600))
        assert frame.pixels.pixel_mm == pytest.approx(300 / LONGEST_SIDE)
        assert (frame.pixels.rows, frame.pixels.columns) == (round(200 / 300 * LONGEST_SIDE), LONGEST_SIDE)

    def test_never_makes_pixels_finer_than_the_image(self) -> None:
        frame = RegistrationFrame.around(inside((40, 60), slice(10, 30), slice(10, 50)), (2.0, 2.0))

        assert frame.pixels.pixel_mm == 2.0
        assert (frame.pixels.rows, frame.pixels.columns) == (frame.rows.stop - frame.rows.start, 60)

    def test_leaves_a_thin_structure_room_to_move(self) -> None:
        """One pixel of 64 has a margin of an eighth, 8, on each side: 24 ... 41, between eighths 24 ... 48."""
        frame = RegistrationFrame.around(inside((64, 64), slice(32, 33), slice(32, 33)), (1.0, 1.0))

        assert (frame.rows, frame.columns) == (slice(24, 48), slice(24, 48))

    def test_is_square_where_pixels_are_not(self) -> None:
        frame = RegistrationFrame.around(np.ones((30, 60), dtype=bool), (2.0, 1.0))

        assert (frame.pixels.rows, frame.pixels.columns, frame.pixels.pixel_mm) == (60, 60, 1.0)


class TestPixels:
    def test_what_is_cut_out_comes_back_to_its_place(self) -> None:
        frame = RegistrationFrame.around(inside((64, 64), slice(32, 40), slice(16, 24)), (1.0, 1.0))
        whole = np.arange(64 * 64, dtype=np.float32).reshape(64, 64)

        cut = frame.image(whole, (0.0, float(whole.max())))
        back = frame.to_native(cut[None])[0].numpy()

        assert cut.shape == (24, 24)
        np.testing.assert_allclose(back[24:48, 8:32] * whole.max(), whole[24:48, 8:32], rtol=1e-4)
        assert back.sum() == pytest.approx(cut.sum())

    def test_distances_are_those_to_the_contour_and_end_at_twelve(self) -> None:
        frame = RegistrationFrame.around(np.ones((40, 40), dtype=bool), (1.0, 1.0))
        column = np.zeros((2, 40, 40), dtype=bool)
        column[0, :, :3] = True

        distance, nothing = frame.distances(column)

        np.testing.assert_allclose(distance[20, :6], [2.5, 1.5, 0.5, -0.5, -1.5, -2.5])
        assert distance[20, 39] == -12.0
        assert (nothing == -12.0).all()
