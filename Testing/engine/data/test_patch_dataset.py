"""Patches of volumes: what is drawn, where padding lies, and which slices of the image a patch holds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch

from uncol.core.errors import DataError
from uncol.core.jobs import Structure
from uncol.core.volume import UNKNOWN_LABEL, SliceView, Volume
from uncol.data.cases import FramedCase, LabeledCase, SliceCut, SliceIndex
from uncol.data.patch_dataset import PatchDataset, PatchIndex, frame_volume, native_slice

VIEW = SliceView("axial", (0, 1, 2), (False, False, False), (2.0, 1.0, 1.0))
U = UNKNOWN_LABEL
PATCH = (2, 3, 4)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def stack_of(labels: np.ndarray, native_depth: int | None = None) -> FramedCase:
    """A case whose grey values count its voxels."""
    images = torch.arange(labels.size, dtype=torch.float32).reshape(labels.shape)
    native = labels if native_depth is None else np.repeat(labels[:1], native_depth, 0)
    return FramedCase(VIEW, images, torch.from_numpy(labels.copy()), native)


def volume(shape: tuple[int, int, int], value: int, *marks: tuple[tuple[int, int, int], int]) -> np.ndarray:
    labels = np.full(shape, value, dtype=np.uint8)
    for place, mark in marks:
        labels[place] = mark
    return labels


def pool_of(*labels: np.ndarray, class_count: int = 2, patch: tuple[int, int, int] = PATCH) -> PatchDataset:
    return PatchDataset([stack_of(each) for each in labels], class_count, patch)


def test_a_volume_smaller_than_the_patch_is_padded_behind_with_its_edge_and_unknown():
    pool = pool_of(volume((1, 2, 4), 0, ((0, 1, 1), 1)))
    whole = [PatchIndex(0, (0, 0, 0))]

    # Voxels 0 ... 3 and 4 ... 7; the last row and the last slice are repeated.
    rows = [[0, 1, 2, 3], [4, 5, 6, 7], [4, 5, 6, 7]]
    assert pool.inputs(whole).tolist() == [[[rows, rows]]]
    unknown = [U] * 4
    assert pool.targets(whole).tolist() == [[[[0] * 4, [0, 1, 0, 0], unknown], [unknown] * 3]]
    inside, outside = [True] * 4, [False] * 4
    assert pool.inside(whole).tolist() == [[[inside, inside, outside], [outside] * 3]]
    assert pool.whole(0).shape == (1, 1, 1, 2, 4)


def test_a_patch_of_a_larger_volume_begins_at_its_corner():
    pool = pool_of(volume((3, 4, 6), 0, ((1, 1, 2), 1)))

    cut = pool.inputs([PatchIndex(0, (1, 1, 2))])

    # Voxel (1, 1, 2) is number 24 + 6 + 2 = 32 of 3 * 4 * 6.
    assert cut.shape == (1, 1, 2, 3, 4)
    assert float(cut[0, 0, 0, 0, 0]) == 32
    assert pool.targets([PatchIndex(0, (1, 1, 2))])[0, 0, 0].tolist() == [1, 0, 0, 0]


def test_drawn_patches_lie_inside_and_hold_the_rare_structure_half_of_the_time():
    pool = pool_of(volume((6, 9, 12), 0, ((5, 0, 11), 1)))

    drawn = pool.draw_labeled(300, seeded())

    for each in drawn:
        assert all(0 <= at <= size - part for at, size, part in zip(each.corner, (6, 9, 12), PATCH, strict=True))
    shows = (pool.targets(drawn) == 1).flatten(1).any(1).float().mean()
    # One class in two is the structure; patches drawn round background hold its corner rarely.
    assert 0.45 < float(shows) < 0.65


def test_the_patch_round_a_voxel_holds_it_anywhere():
    pool = pool_of(volume((6, 9, 12), U, ((3, 4, 5), 1)))

    corners = {each.corner for each in pool.draw_labeled(600, seeded())}

    # It may be slice 0 or 1, row 0 to 2 and column 0 to 3 of the patch: 2 * 3 * 4 corners.
    assert len(corners) == 24
    assert (pool.targets([PatchIndex(0, each) for each in corners]) == 1).flatten(1).any(1).all()


def test_unlabeled_patches_come_from_volumes_with_unknown_voxels_only():
    pool = pool_of(volume(PATCH, 0, ((0, 0, 0), 1)), volume(PATCH, U), volume(PATCH, 0, ((0, 0, 0), U)))

    assert {each.case for each in pool.draw_unlabeled(60, seeded())} == {1, 2}
    assert pool.unlabeled_slices == [SliceIndex(1, 0), SliceIndex(1, 1), SliceIndex(2, 0)]


def test_one_complete_volume_in_eight_is_held_out_until_it_is_released():
    pool = pool_of(*[volume(PATCH, 0, ((0, 0, 0), 1))] * 10, volume(PATCH, U))

    assert pool.held_out == [PatchIndex(1, (0, 0, 0)), PatchIndex(9, (0, 0, 0))]
    assert {each.case for each in pool.draw_labeled(200, seeded())} == {0, 2, 3, 4, 5, 6, 7, 8}
    pool.release_held_out()
    assert {each.case for each in pool.draw_labeled(200, seeded())} == set(range(10))


def test_with_two_complete_volumes_nothing_is_held_out():
    assert pool_of(*[volume(PATCH, 0, ((0, 0, 0), 1))] * 2, volume(PATCH, U)).held_out == []


def test_held_out_volumes_are_covered_by_tiles():
    pool = pool_of(*[volume((3, 3, 4), 0, ((0, 0, 0), 1))] * 3)

    assert [each.corner for each in pool.held_out] == [(0, 0, 0), (1, 0, 0)]


def test_voxels_are_counted_without_padding_and_unknown():
    assert pool_of(volume((1, 2, 4), 0, ((0, 0, 0), 1), ((0, 0, 1), U))).voxel_counts.tolist() == [6, 1]


def test_without_a_structure_there_is_nothing_to_learn():
    with pytest.raises(DataError, match=r"No structure is annotated: the annotated volumes hold background only"):
        pool_of(volume(PATCH, 0))


@pytest.mark.parametrize(
    ("depth", "native_depth", "expected"),
    [
        pytest.param(4, 4, [0, 1, 2, 3], id="as they are"),
        pytest.param(2, 4, [1, 3], id="every second one"),
        pytest.param(4, 2, [0, 0, 1, 1], id="every one twice"),
        pytest.param(3, 5, [0, 2, 4], id="in between"),
    ],
)
def test_the_nearest_slice_of_the_image(depth: int, native_depth: int, expected: Sequence[int]):
    assert [native_slice(index, depth, native_depth) for index in range(depth)] == expected


def test_a_patch_tells_its_slices_with_their_part_and_padding_repeats_the_last():
    pool = PatchDataset([stack_of(volume((3, 4, 6), 0, ((0, 0, 0), 1)), native_depth=6)], 2, (4, 3, 4))

    cuts = pool.slices_of([PatchIndex(0, (0, 1, 2))])

    # Slices 0, 1 and 2 of three lie nearest to 1, 3 and 5 of six; slice 3 is padding.
    rows, columns = slice(1, 4), slice(2, 6)
    assert cuts == [SliceCut(0, index, rows, columns) for index in (1, 3, 5, 5)]
    assert pool.slice_size == (4, 6)


def test_maps_go_to_slices_and_back():
    pool = pool_of(volume(PATCH, 0, ((0, 0, 0), 1)))
    maps = torch.arange(2 * 3 * 24.0).reshape(2, 3, *PATCH)

    slices = pool.as_slices(maps)

    assert slices.shape == (4, 3, 3, 4)
    assert torch.equal(slices[3], maps[1, :, 1])
    assert torch.equal(pool.from_slices(slices[:, 0]), maps[:, 0])


def test_a_case_is_brought_to_one_spacing_with_its_labels():
    # Two slices 2 mm apart of 2 x 4 pixels of 1 mm become 1 x 1 x 2 voxels of 2 mm, except that slices stay 2 mm apart.
    grey = np.array([[[0, 0, 4, 4], [0, 0, 4, 4]], [[8, 8, 8, 8], [8, 8, 8, 8]]], dtype=np.int16)
    labels = np.array([[[0, 0, 7, 7], [0, 0, 7, 7]], [[U, U, U, U], [U, U, U, U]]], dtype=np.uint8)
    ijk_to_ras = np.diag([-1.0, -1.0, 2.0, 1.0])
    case = LabeledCase(Volume(grey, ijk_to_ras), Volume(labels, ijk_to_ras))

    stack = frame_volume(case, [Structure(7, "ball")], "axial", (2.0, 2.0), (0.0, 8.0))

    assert stack.images.shape == (2, 1, 2)
    assert stack.labels.tolist() == [[[0, 1]], [[U, U]]]
    assert stack.images[1].tolist() == [[1.0, 1.0]]
    assert stack.native_labels.shape == (2, 2, 4)
