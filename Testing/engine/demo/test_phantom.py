from __future__ import annotations

import numpy as np
import pytest

from uncol.core.errors import ConfigError
from uncol.core.volume import view_slices
from uncol.demo.phantom import Phantom, make_phantom

SHAPE_KJI = (32, 80, 88)
SPACING_MM = (3.6, 4.0, 8.0)


@pytest.fixture(scope="module")
def phantom() -> Phantom:
    return make_phantom(SHAPE_KJI, SPACING_MM, seed=0)


def organ(phantom: Phantom, name: str) -> np.ndarray:
    value = next(structure.value for structure in phantom.structures if structure.name == name)
    return phantom.labels.voxels == value


def median_hu(phantom: Phantom, name: str) -> float:
    return float(np.median(phantom.image.voxels[organ(phantom, name)]))


def middle_kji(phantom: Phantom, name: str) -> np.ndarray:
    return np.argwhere(organ(phantom, name)).mean(axis=0)


def test_the_same_seed_gives_the_same_voxels_and_another_seed_others(phantom: Phantom) -> None:
    again, other = make_phantom(SHAPE_KJI, SPACING_MM, seed=0), make_phantom(SHAPE_KJI, SPACING_MM, seed=1)

    assert np.array_equal(again.image.voxels, phantom.image.voxels)
    assert np.array_equal(again.labels.voxels, phantom.labels.voxels)
    assert not np.array_equal(other.labels.voxels, phantom.labels.voxels)


def test_image_and_labels_share_one_grid_of_the_requested_size_and_spacing(phantom: Phantom) -> None:
    assert phantom.image.shares_grid_with(phantom.labels)
    assert phantom.image.shape_kji == SHAPE_KJI
    assert phantom.image.spacing_mm == pytest.approx(SPACING_MM)
    assert phantom.image.voxels.dtype == np.int16
    assert phantom.labels.voxels.dtype == np.uint8
    assert np.abs(phantom.image.ijk_to_ras[:3, 3]).min() > 1.0


def test_columns_run_to_the_left_rows_to_posterior_and_slices_to_superior(phantom: Phantom) -> None:
    directions = phantom.image.ijk_to_ras[:3, :3] / SPACING_MM
    assert np.allclose(directions, np.diag([-1.0, -1.0, 1.0]))
    assert view_slices(phantom.image, "axial").flips == (False, False, False)


@pytest.mark.parametrize("seed", range(3))
def test_every_structure_is_there_and_nothing_else_is_labeled(seed: int) -> None:
    labels = make_phantom(SHAPE_KJI, SPACING_MM, seed=seed).labels.voxels

    assert np.unique(labels).tolist() == [0, 1, 2, 3, 4, 5, 6]
    assert np.bincount(labels.ravel()).min() > 100


def test_organs_lie_where_a_patient_has_them(phantom: Phantom) -> None:
    slices, rows, columns = range(3)
    liver, spleen, aorta = (middle_kji(phantom, name) for name in ("liver", "spleen", "aorta"))
    right_kidney, left_kidney = middle_kji(phantom, "right kidney"), middle_kji(phantom, "left kidney")

    assert liver[columns] < aorta[columns] < spleen[columns]
    assert right_kidney[columns] < aorta[columns] < left_kidney[columns]
    assert right_kidney[rows] > liver[rows]
    assert right_kidney[slices] < left_kidney[slices] < spleen[slices]
    assert organ(phantom, "aorta").any(axis=(1, 2)).all()


def test_grey_values_are_ordered_as_after_contrast_but_close_enough_to_be_confused(phantom: Phantom) -> None:
    stomach, liver, spleen, kidney, aorta = (
        median_hu(phantom, name) for name in ("stomach", "liver", "spleen", "right kidney", "aorta")
    )

    assert stomach < liver < spleen < kidney < aorta
    assert spleen - liver < 20  # less than the noise
    assert kidney - spleen < 70


def test_a_threshold_at_the_livers_grey_values_finds_much_more_than_the_liver(phantom: Phantom) -> None:
    liver = organ(phantom, "liver")
    low, high = np.percentile(phantom.image.voxels[liver], (5, 95))
    found = (phantom.image.voxels >= low) & (phantom.image.voxels <= high)

    dice = 2 * (found & liver).sum() / (found.sum() + liver.sum())
    assert dice < 0.7


def test_air_fat_muscle_and_bone_have_the_grey_values_of_a_ct(phantom: Phantom) -> None:
    voxels = phantom.image.voxels

    assert abs(float(np.median(voxels[:, :4, :])) + 1000) < 15
    assert ((voxels > -130) & (voxels < -75)).mean() > 0.1
    assert ((voxels > 350) & (voxels < 900)).mean() > 0.005
    assert voxels.max() < 1500


def test_the_stomach_holds_air_above_fluid(phantom: Phantom) -> None:
    stomach = organ(phantom, "stomach")
    air, fluid = stomach & (phantom.image.voxels < -500), stomach & (phantom.image.voxels > -50)

    assert min(air.sum(), fluid.sum()) > 50
    assert np.argwhere(air)[:, 1].mean() < np.argwhere(fluid)[:, 1].mean()


def test_neighboring_slices_differ_so_that_copying_a_slice_is_a_poor_guess(phantom: Phantom) -> None:
    liver = organ(phantom, "liver")
    below, above = liver[:-4], liver[4:]
    present = below.any(axis=(1, 2)) & above.any(axis=(1, 2))
    shared = (below & above).sum(axis=(1, 2))[present]
    dice = 2 * shared / (below.sum(axis=(1, 2)) + above.sum(axis=(1, 2)))[present]

    assert dice.mean() < 0.85


def test_a_grid_too_small_for_the_organs_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"at least 16 voxels along each axis .* got \(8, 80, 80\)"):
        make_phantom((8, 80, 80))
