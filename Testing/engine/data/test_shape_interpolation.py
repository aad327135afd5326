"""Tests of shape-based interpolation: distances by hand, contours between slices, and nothing beyond them."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from uncol.data.shape_interpolation import ShapeInterpolation, signed_distance_mm

ONE_MM = (1.0, 1.0)


def square(rows: slice, columns: slice, side: int = 9) -> NDArray[np.bool_]:
    mask = np.zeros((side, side), dtype=bool)
    mask[rows, columns] = True
    return mask


FIVE_BY_FIVE = square(slice(2, 7), slice(2, 7))
CENTER = square(slice(4, 5), slice(4, 5))
NOTHING = np.zeros((9, 9), dtype=bool)


class TestSignedDistance:
    # The contour runs between the second and the third pixel: their centers are half a pixel away from it, the
    # others one and a half.
    @pytest.mark.parametrize(
        ("spacing_mm", "expected"),
        [
            pytest.param((1.0, 1.0), [1.5, 0.5, -0.5, -1.5], id="square pixels"),
            pytest.param((3.0, 1.0), [1.5, 0.5, -0.5, -1.5], id="rows far apart, which the distance never crosses"),
            pytest.param((1.0, 3.0), [4.5, 1.5, -1.5, -4.5], id="columns 3 mm apart"),
        ],
    )
    def test_distance_to_a_contour_between_columns(
        self, spacing_mm: tuple[float, float], expected: list[float]
    ) -> None:
        mask = np.array([[True, True, False, False]] * 2)

        assert signed_distance_mm(mask, spacing_mm).tolist() == [expected] * 2

    @pytest.mark.parametrize(
        ("spacing_mm", "expected"),
        [
            pytest.param((1.0, 3.0), [1.5, 0.5, -0.5, -1.5], id="columns far apart, which the distance never crosses"),
            pytest.param((3.0, 1.0), [4.5, 1.5, -1.5, -4.5], id="rows 3 mm apart"),
        ],
    )
    def test_distance_to_a_contour_between_rows(self, spacing_mm: tuple[float, float], expected: list[float]) -> None:
        mask = np.array([[True, True, False, False]] * 2).T

        assert signed_distance_mm(mask, spacing_mm).T.tolist() == [expected] * 2

    def test_inside_a_square_the_nearest_side_counts(self) -> None:
        distance = signed_distance_mm(FIVE_BY_FIVE, ONE_MM)

        # center: the third pixel to every side is outside, 3 - 1/2
        assert distance[4].tolist() == [-1.5, -0.5, 0.5, 1.5, 2.5, 1.5, 0.5, -0.5, -1.5]

    def test_the_distance_is_positive_exactly_inside(self) -> None:
        mask = np.random.default_rng(0).random((12, 17)) > 0.6

        np.testing.assert_array_equal(signed_distance_mm(mask, (0.7, 2.1)) > 0, mask)


class TestBetweenAnnotatedSlices:
    def test_midway_between_a_small_and_a_large_square_lies_the_middle_one(self) -> None:
        shape = ShapeInterpolation({0: CENTER, 2: FIVE_BY_FIVE}, ONE_MM)

        # One pixel beside the center: (-0.5 + 1.5) / 2 > 0, in; two pixels: (-1.5 + 0.5) / 2 < 0, out.
        # Diagonal neighbor: between -0.92 and -0.70 in the small square, 1.5 in the large one: in.
        np.testing.assert_array_equal(shape.mask(1), square(slice(3, 6), slice(3, 6)))

    def test_a_shifted_square_lies_midway(self) -> None:
        left, right = square(slice(2, 7), slice(1, 6)), square(slice(2, 7), slice(3, 8))

        mask = ShapeInterpolation({10: left, 14: right}, ONE_MM).mask(12)

        # columns 1 ... 5 and 3 ... 7 give 2 ... 6 in the middle row; the corners are rounded off
        assert mask is not None
        assert np.flatnonzero(mask[4]).tolist() == [2, 3, 4, 5, 6]

    def test_the_nearer_slice_counts_more(self) -> None:
        shape = ShapeInterpolation({0: CENTER, 4: FIVE_BY_FIVE}, ONE_MM)

        # center pixel: 0.5 in the small square, 2.5 in the large one; slice 1 is a quarter of the way:
        # 0.75 * 0.5 + 0.25 * 2.5 = 1.0; slice 3: 0.25 * 0.5 + 0.75 * 2.5 = 2.0
        first, third = shape.distance_mm(1), shape.distance_mm(3)
        assert first is not None
        assert third is not None
        assert (first[4, 4], third[4, 4]) == (1.0, 2.0)

    def test_an_annotated_slice_keeps_its_own_contour(self) -> None:
        ring = FIVE_BY_FIVE & ~CENTER
        shape = ShapeInterpolation({0: FIVE_BY_FIVE, 3: ring, 6: FIVE_BY_FIVE}, ONE_MM)

        np.testing.assert_array_equal(shape.mask(3), ring)

    def test_equal_contours_give_the_same_one_between(self) -> None:
        mask = np.random.default_rng(1).random((9, 9)) > 0.5
        shape = ShapeInterpolation({0: mask, 3: mask}, (0.7, 2.1))

        np.testing.assert_array_equal(shape.mask(1), mask)
        np.testing.assert_array_equal(shape.mask(2), mask)

    def test_contours_that_do_not_overlap_give_nothing_between(self) -> None:
        shape = ShapeInterpolation({0: square(slice(1, 3), slice(1, 3)), 2: square(slice(6, 8), slice(6, 8))}, ONE_MM)

        assert shape.mask(1) is None

    def test_a_structure_that_fills_its_slice_is_there(self) -> None:
        everywhere = np.ones((9, 9), dtype=bool)
        shape = ShapeInterpolation({0: everywhere, 2: everywhere}, ONE_MM)

        np.testing.assert_array_equal(shape.mask(0), everywhere)
        np.testing.assert_array_equal(shape.mask(1), everywhere)


class TestTowardsAnEmptySlice:
    # The largest distance in the 5 x 5 square is 2.5. A quarter of the way to the empty slice 0.625 is taken off, which
    # removes the outer ring (0.5); half of the way 1.25, the same; three quarters 1.875, only the center (2.5) is left.
    PIXELS_LEFT = (25, 9, 9, 1)

    def test_the_contour_shrinks_to_nothing_at_a_later_empty_slice(self) -> None:
        shape = ShapeInterpolation({0: FIVE_BY_FIVE, 4: NOTHING}, ONE_MM)

        masks = [shape.mask(index) for index in range(4)]

        assert tuple(int(mask.sum()) for mask in masks if mask is not None) == self.PIXELS_LEFT
        assert shape.mask(4) is None

    def test_the_contour_grows_from_nothing_after_an_earlier_empty_slice(self) -> None:
        shape = ShapeInterpolation({0: NOTHING, 4: FIVE_BY_FIVE}, ONE_MM)

        masks = [shape.mask(index) for index in range(4, 0, -1)]

        assert tuple(int(mask.sum()) for mask in masks if mask is not None) == self.PIXELS_LEFT
        assert shape.mask(0) is None

    def test_between_two_empty_slices_nothing_is_expected(self) -> None:
        shape = ShapeInterpolation({0: FIVE_BY_FIVE, 2: NOTHING, 6: NOTHING, 8: FIVE_BY_FIVE}, ONE_MM)

        assert shape.distance_mm(4) is None
        assert shape.mask(4) is None


class TestOutsideAnnotatedSlices:
    @pytest.mark.parametrize("index", [0, 2, 7, 100])
    def test_nothing_is_expected_outside_although_the_ends_hold_the_structure(self, index: int) -> None:
        shape = ShapeInterpolation({3: FIVE_BY_FIVE, 6: FIVE_BY_FIVE}, ONE_MM)

        assert shape.distance_mm(index) is None
        assert shape.mask(index) is None

    def test_without_annotated_slices_nothing_is_expected(self) -> None:
        assert ShapeInterpolation({}, ONE_MM).mask(0) is None


class TestWithout:
    def test_a_slice_left_out_is_interpolated_from_the_others(self) -> None:
        shape = ShapeInterpolation({0: CENTER, 1: NOTHING, 2: FIVE_BY_FIVE}, ONE_MM)

        np.testing.assert_array_equal(shape.without(1).mask(1), square(slice(3, 6), slice(3, 6)))

    def test_leaving_a_slice_out_does_not_change_the_original(self) -> None:
        shape = ShapeInterpolation({0: CENTER, 1: FIVE_BY_FIVE, 2: CENTER}, ONE_MM)

        shape.without(1)

        np.testing.assert_array_equal(shape.mask(1), FIVE_BY_FIVE)

    def test_without_its_end_nothing_is_expected_there(self) -> None:
        shape = ShapeInterpolation({0: FIVE_BY_FIVE, 1: FIVE_BY_FIVE}, ONE_MM)

        assert shape.without(1).mask(1) is None


class TestFromLabels:
    LABELS = np.array(
        [
            [[0, 5], [5, 0]],
            [[255, 255], [255, 5]],
            [[0, 0], [7, 0]],
            [[255, 5], [5, 5]],
        ],
        dtype=np.uint8,
    )

    def test_only_the_structures_own_value_counts(self) -> None:
        shape = ShapeInterpolation.of_structure(self.LABELS, [0, 2], 5, ONE_MM)

        np.testing.assert_array_equal(shape.mask(0), self.LABELS[0] == 5)
        assert shape.mask(2) is None
