"""The largest piece is found; false islands are removed from what is in one piece, and from nothing else."""

from __future__ import annotations

import numpy as np
import pytest

from uncol.data.connected_components import is_connected, largest_component, remove_small_components


def stack_with_an_island(side: int = 24) -> np.ndarray:
    """Value 1: a block of 4 x 8 x 8 and an island of 2 x 2 x 2; value 2: a single voxel."""
    labels = np.zeros((10, side, side), dtype=np.uint8)
    labels[1:5, 2:10, 2:10] = 1
    labels[7:9, 18:20, 18:20] = 1
    labels[9, 0, 0] = 2
    return labels


def test_an_island_goes_and_the_structure_stays():
    labels = stack_with_an_island()

    removed = remove_small_components(labels, [1])

    assert removed == {1: 8}
    assert (labels == 1).sum() == 4 * 8 * 8
    assert labels[9, 0, 0] == 2


def test_structures_that_are_not_named_keep_their_islands():
    labels = stack_with_an_island()

    assert remove_small_components(labels, [2]) == {}
    assert (labels == stack_with_an_island()).all()


def test_a_piece_of_a_fifth_of_the_largest_is_no_island():
    labels = np.zeros((3, 12, 12), dtype=np.uint8)
    labels[:, :5, :5] = 1  # 75 voxels
    labels[:, 8:, 8:9] = 1  # 12 voxels, less than 15: an island
    labels[:, :5, 10:11] = 1  # 15 voxels, a fifth

    assert remove_small_components(labels, [1]) == {1: 12}


def test_pieces_that_touch_by_a_corner_are_one():
    labels = np.zeros((2, 8, 8), dtype=np.uint8)
    labels[0, :4, :4] = 1
    labels[1, 4, 4] = 1

    assert remove_small_components(labels, [1]) == {}


def test_large_slices_keep_the_fine_border_of_the_structure():
    labels = np.zeros((3, 300, 260), dtype=np.uint8)
    rows, columns = np.indices((300, 260))
    labels[:, (rows - 100) ** 2 + (columns - 90) ** 2 < 61.3**2] = 1
    disk = labels.copy()
    labels[1, 250:256, 200:206] = 1

    remove_small_components(labels, [1])

    assert (labels == disk).all()


@pytest.mark.parametrize("place", [0, 1, 2, 3])
@pytest.mark.parametrize("drift", [0, 1])
def test_thin_structures_in_large_slices_stay_whole_wherever_they_lie(place: int, drift: int):
    labels = np.zeros((12, 512, 512), dtype=np.uint8)  # pieces are found in blocks of 4 x 4 pixels
    for index in range(12):
        start = 200 + place + drift * index
        labels[index, start : start + 2, start : start + 2] = 1
    whole = labels.copy()
    labels[5, 400, 30] = 1

    assert remove_small_components(labels, [1]) == {1: 1}
    assert (labels == whole).all()


def test_pieces_are_measured_in_voxels_not_in_blocks():
    labels = np.zeros((3, 512, 512), dtype=np.uint8)
    labels[:, 40:60, 40:60] = 1  # 1,200 voxels in 75 blocks
    labels[:, 400, 100:160] = 1  # 180 voxels, less than 240, in 45 blocks, more than 15: an island

    assert remove_small_components(labels, [1]) == {1: 180}


def test_nothing_happens_where_the_structure_is_not_found():
    labels = np.zeros((2, 5, 5), dtype=np.uint8)

    assert remove_small_components(labels, [1]) == {}


def mask_of(*squares: tuple[int, int]) -> np.ndarray:
    """A slice with squares of (place, side) along its diagonal."""
    mask = np.zeros((40, 40), dtype=bool)
    for place, side in squares:
        mask[place : place + side, place : place + side] = True
    return mask


@pytest.mark.parametrize(
    ("masks", "expected"),
    [
        pytest.param([mask_of((0, 10)), mask_of((5, 8))], True, id="one square in each slice"),
        pytest.param([mask_of((0, 10), (20, 10))], False, id="two equal squares"),
        pytest.param([mask_of((0, 18), (30, 6))], True, id="324 of 360 is nine tenths"),
        pytest.param([mask_of((0, 18), (30, 7))], False, id="324 of 373 is less"),
        pytest.param([mask_of()], False, id="nothing"),
    ],
)
def test_one_piece_means_nine_tenths_of_the_annotated_area(masks: list[np.ndarray], expected: bool):
    assert is_connected(masks) == expected


class TestLargestComponent:
    def test_of_several_parts_the_largest_stays(self) -> None:
        mask = np.array([[1, 0, 0, 1, 1], [0, 0, 0, 1, 0], [1, 1, 0, 0, 0]], dtype=bool)

        assert largest_component(mask).astype(int).tolist() == [[0, 0, 0, 1, 1], [0, 0, 0, 1, 0], [0, 0, 0, 0, 0]]

    def test_corners_do_not_connect(self) -> None:
        mask = np.array([[1, 1, 0], [0, 0, 1]], dtype=bool)

        assert largest_component(mask).astype(int).tolist() == [[1, 1, 0], [0, 0, 0]]

    @pytest.mark.parametrize("value", [False, True])
    def test_one_part_or_none_is_left_alone(self, *, value: bool) -> None:
        mask = np.full((2, 3), value)

        np.testing.assert_array_equal(largest_component(mask), mask)
