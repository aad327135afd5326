"""Voxels of one grid read on another, checked voxel by voxel."""

from __future__ import annotations

import numpy as np
import pytest

from uncol.core.volume import Volume
from UnCoLSegmentLib.Scene import Grids


def nearestByHand(voxels: np.ndarray, matrix: np.ndarray, region: Grids.Region) -> np.ndarray:
    result = np.zeros(Grids.shapeOf(region), dtype=voxels.dtype)
    for place in np.ndindex(result.shape):
        k, j, i = (number + each.start for number, each in zip(place, region, strict=True))
        source = np.floor((matrix @ [i, j, k, 1])[:3] + 0.5).astype(int)[::-1]
        if all(0 <= index < size for index, size in zip(source, voxels.shape, strict=True)):
            result[place] = voxels[tuple(source)]
    return result


def test_a_shifted_grid_is_read_where_it_lies_and_0_outside(host) -> None:
    voxels = np.arange(1, 25, dtype=np.uint8).reshape(2, 3, 4)
    matrix = np.eye(4)
    matrix[:3, 3] = (1, 0, -1)  # one voxel further along I, one less along K
    region = (slice(0, 3), slice(0, 3), slice(0, 4))

    result = Grids.sample(voxels, matrix, region)

    assert result[1, 0].tolist() == [2, 3, 4, 0]
    assert not result[0].any()
    assert np.array_equal(result, nearestByHand(voxels, matrix, region))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.bool_])
def test_a_turned_grid_of_other_spacing_is_read_at_the_nearest_voxel(host, nasty_volume: Volume, dtype) -> None:
    voxels = (np.arange(120).reshape(4, 5, 6) % 7).astype(dtype)
    other = np.array([[0.8, -0.6, 0.0, -3.1], [0.6, 0.8, 0.0, 1.2], [0.0, 0.0, 1.7, 0.3], [0, 0, 0, 1]])
    region = (slice(-2, 6), slice(-3, 8), slice(-1, 9))

    result = Grids.sample(voxels, other, region)

    assert result.dtype == voxels.dtype
    assert np.array_equal(result, nearestByHand(voxels, other, region))
    assert result.any()


def test_the_region_of_a_grid_holds_every_voxel_that_is_read(host, nasty_volume: Volume) -> None:
    voxels = np.ones(nasty_volume.shape_kji, dtype=np.uint8)
    toOther = np.linalg.inv(np.diag([0.6, 0.7, 0.9, 1])) @ nasty_volume.ijk_to_ras
    region = Grids.regionOn(toOther, voxels.shape)
    wider = tuple(slice(each.start - 3, each.stop + 3) for each in region)

    found = Grids.sample(voxels, np.linalg.inv(toOther), wider)

    assert found.any()
    assert not np.pad(found[3:-3, 3:-3, 3:-3] * 0, 3, constant_values=1)[found > 0].any()


def test_a_region_far_away_holds_nothing(host) -> None:
    turned = np.array([[0.8, -0.6, 0, 500], [0.6, 0.8, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])

    assert not Grids.sample(np.ones((2, 3, 4), dtype=np.uint8), turned, Grids.wholeRegion((2, 3, 4))).any()


def test_the_filled_region_is_the_smallest_one() -> None:
    voxels = np.zeros((4, 5, 6), dtype=np.uint8)
    voxels[1, 2, 3] = voxels[2, 4, 1] = 9

    assert Grids.nonzeroRegion(voxels) == (slice(1, 3), slice(2, 5), slice(1, 4))
    assert Grids.nonzeroRegion(voxels * 0) is None
