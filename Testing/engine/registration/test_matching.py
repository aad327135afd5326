"""How answers from several sides become one: weights and shares by hand."""

from __future__ import annotations

import numpy as np

from uncol.registration.matching import Source, match, mix_alike


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

    def test_a_source_without_weight_has_no_say_even_where_it_alone_looks_right(self) -> None:
        image = np.full((9, 9), 0.5, dtype=np.float32)
        exact = Source(image, np.zeros((1, 9, 9), dtype=np.float32))
        other = Source(image + np.float32(0.4), np.full((1, 9, 9), 0.7, dtype=np.float32))

        np.testing.assert_allclose(match(image, [exact, other], [0, 1]), 0.7, rtol=1e-6)


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
