"""Tests of prompt boxes: along the outer edges of pixels, (row0, column0, row1, column1)."""

from __future__ import annotations

import numpy as np
import pytest

from uncol.foundation.boxes import box_of_mask, box_overlap, grow_box, intersect, mask_of_box, scale_box

LIMITS = np.array([0, 0, 10, 20], dtype=np.float32)


def box(*sides: float) -> np.ndarray:
    return np.array(sides, dtype=np.float32)


def test_the_box_of_the_first_pixel_is_its_outline() -> None:
    mask = np.zeros((2, 3), dtype=bool)
    mask[0, 0] = True

    assert box_of_mask(mask).tolist() == [0, 0, 1, 1]


def test_a_box_holds_every_part_of_a_mask() -> None:
    mask = np.zeros((6, 9), dtype=bool)
    mask[1, 7] = mask[4, 2] = True

    assert box_of_mask(mask).tolist() == [1, 2, 5, 8]


def test_the_box_of_a_full_mask_is_the_whole_slice() -> None:
    assert box_of_mask(np.ones((6, 9), dtype=bool)).tolist() == [0, 0, 6, 9]


def test_a_margin_moves_every_side_outwards() -> None:
    assert grow_box(box(3, 4, 6, 8), 1.5, LIMITS).tolist() == [1.5, 2.5, 7.5, 9.5]


def test_a_margin_stops_at_the_limits() -> None:
    assert grow_box(box(1, 2, 9, 19), 3, LIMITS).tolist() == [0, 0, 10, 20]


def test_an_intersection_is_the_common_part() -> None:
    assert intersect(box(-2, 5, 7, 30), LIMITS).tolist() == [0, 5, 7, 20]


def test_rows_and_columns_scale_on_their_own() -> None:
    assert scale_box(box(1, 2, 3, 4), rows=2, columns=0.5).tolist() == [2, 1, 6, 2]


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        pytest.param(box(0, 0, 2, 2), box(0, 0, 2, 2), 1.0, id="the same box"),
        # 4 and 4 pixels, 1 shared: 1 / 7
        pytest.param(box(0, 0, 2, 2), box(1, 1, 3, 3), 1 / 7, id="a corner in common"),
        # 2 of 8
        pytest.param(box(0, 0, 2, 4), box(0, 0, 1, 2), 0.25, id="one inside the other"),
        pytest.param(box(0, 0, 2, 2), box(0, 2, 2, 4), 0.0, id="side by side"),
        pytest.param(box(0, 0, 1, 1), box(5, 5, 6, 6), 0.0, id="far apart in both directions"),
    ],
)
def test_overlap_is_intersection_over_union(first: np.ndarray, second: np.ndarray, expected: float) -> None:
    assert box_overlap(first, second) == pytest.approx(expected)
    assert box_overlap(second, first) == pytest.approx(expected)


def test_pixels_belong_to_a_box_by_their_centers() -> None:
    # rows: centers 0.5, 1.5, 2.5 against 0.6 ... 2.5, end excluded; columns: 0.5 ... 3.5 against 0.5 ... 3
    mask = mask_of_box(box(0.6, 0.5, 2.5, 3), rows=3, columns=4)

    assert mask.astype(int).tolist() == [[0, 0, 0, 0], [1, 1, 1, 0], [0, 0, 0, 0]]


def test_the_pixels_of_a_masks_box_are_its_bounding_rectangle() -> None:
    mask = np.zeros((6, 9), dtype=bool)
    mask[1:4, 2:7] = True

    np.testing.assert_array_equal(mask_of_box(box_of_mask(mask), 6, 9), mask)
