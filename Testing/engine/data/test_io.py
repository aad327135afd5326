"""Tests of what is read: images, label maps, maps, and one sentence for everything that cannot be used."""

from __future__ import annotations

import logging
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813  # the abbreviation of SimpleITK's own documentation
from image_files import FORMATS, numbered, save

from uncol.core.errors import DataError, GeometryError
from uncol.core.volume import Volume
from uncol.data.io import (
    read_image,
    read_labels,
    read_map,
    read_prediction,
    read_reference,
    write_results,
)

MakeVolume = Callable[..., Volume]


def save_nrrd(path: Path, space_directions: str) -> Path:
    header = (
        "NRRD0004\ntype: short\ndimension: 3\nspace: left-posterior-superior\nsizes: 4 3 2\n"
        f"space directions: {space_directions}\nspace origin: (1,2,3)\nendian: little\nencoding: raw\n\n"
    )
    path.write_bytes(header.encode() + numbered().astype("<i2").tobytes())
    return path


# --- what cannot be read ---


def test_a_missing_file_is_named_with_its_path(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r'^Image "gone\.nrrd" does not exist\. Check the path ".*gone\.nrrd"\.$'):
        read_image(tmp_path / "gone.nrrd")


@pytest.mark.parametrize("name", ["notes.txt", "image.nii.gz", "image.nii", "image.nrrd", "image.mha"])
@pytest.mark.parametrize("content", [b"", b"no image"], ids=["empty", "text"])
def test_a_file_that_is_no_image_is_refused(name: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)

    with pytest.raises(DataError, match=rf'^Image "{name}" cannot be read: .* Use a NIfTI, NRRD or MetaImage file'):
        read_image(tmp_path / name)


@pytest.mark.parametrize("suffix", ["nii.gz", "nii", "nrrd", "mha"])
def test_an_image_that_was_cut_off_while_copying_is_refused(suffix: str, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 4000, (6, 40, 50)).astype(np.int16)
    path = save(tmp_path / f"image.{suffix}", noise)
    path.write_bytes(path.read_bytes()[:-50])

    with pytest.raises(DataError, match=r"damaged, incomplete or not an image.* copy the file again"):
        read_image(path)


def test_an_image_that_no_memory_can_hold_is_not_called_damaged(tmp_path: Path) -> None:
    path = save(tmp_path / "image.nrrd", np.zeros((2, 3, 4), dtype=np.int16))
    path.write_bytes(path.read_bytes().replace(b"sizes: 4 3 2", b"sizes: 65536 65536 65536"))  # 512 TiB

    with pytest.raises(DataError, match=r"^The memory is full\. Close other programs, or crop the volume"):
        read_image(path)


@pytest.mark.parametrize("suffix", [*FORMATS, "png"])
def test_a_2d_image_is_refused_with_its_size(suffix: str, tmp_path: Path) -> None:
    path = save(tmp_path / f"flat.{suffix}", numbered(np.uint8)[0])

    with pytest.raises(DataError, match=r"has 2 axes \(4 x 3\); a volume has exactly 3\. Export one volume"):
        read_image(path)


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_4d_image_is_refused_with_its_size(suffix: str, tmp_path: Path) -> None:
    volume = sitk.GetImageFromArray(numbered())
    sitk.WriteImage(sitk.JoinSeries([volume] * 5), str(tmp_path / f"film.{suffix}"))

    with pytest.raises(DataError, match=r"has 4 axes \(4 x 3 x 2 x 5\).* single time point"):
        read_image(tmp_path / f"film.{suffix}")


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_color_image_is_refused_with_its_type(suffix: str, tmp_path: Path) -> None:
    color = sitk.GetImageFromArray(np.zeros((2, 3, 4, 3), np.uint8), isVector=True)
    sitk.WriteImage(color, str(tmp_path / f"color.{suffix}"))

    with pytest.raises(
        DataError, match=r'\(4 x 3 x 2\) holds a "vector of 8-bit unsigned integer".* Export one channel'
    ):
        read_image(tmp_path / f"color.{suffix}")


def test_an_image_of_complex_numbers_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match='holds a "complex of 32-bit float" in each voxel; a single real number'):
        read_image(save(tmp_path / "raw.nrrd", numbered(np.complex64)))


def test_voxels_that_are_no_numbers_become_the_lowest_value_and_are_counted_in_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    voxels = numbered(np.float64) - 7.0
    voxels[0, 0, :3] = (np.nan, np.inf, -np.inf)
    path = save(tmp_path / "patient.nrrd", voxels)

    with caplog.at_level(logging.WARNING):
        volume = read_image(path)

    # The lowest value that is left is that of the fourth voxel: 3 - 7.
    np.testing.assert_array_equal(volume.voxels[0, 0], [-4, -4, -4, -4])
    assert volume.voxels.dtype == np.float32
    assert caplog.messages == [
        "The image is not a finite number in 3 of 24 voxels; its lowest value stands there instead."
    ]


def test_an_image_without_any_finite_voxel_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r'Image "image.nrrd" holds no finite number at all'):
        read_image(save(tmp_path / "image.nrrd", np.full((2, 3, 4), np.nan, np.float32)))


def test_a_constant_image_is_refused_with_its_value(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"every voxel is -1024, there is nothing to segment\. Check the file\."):
        read_image(save(tmp_path / "image.nrrd", np.full((2, 3, 4), -1024, np.int16)))


@pytest.mark.parametrize(
    ("spacing", "text"),
    [((0.0007, 0.0007, 0.0025), r"\(0\.0007, 0\.0007, 0\.0025\)"), ((1.0, 1.0, 2500.0), r"\(1, 1, 2500\)")],
    ids=["meters", "micrometers"],
)
def test_a_spacing_that_cannot_be_in_millimeters_is_refused(
    spacing: tuple[float, float, float], text: str, tmp_path: Path
) -> None:
    path = save(tmp_path / "image.mha", numbered(), Spacing=spacing)

    with pytest.raises(GeometryError, match=rf"has spacing {text} mm; each must be 0\.001 to 1000 mm.* units"):
        read_image(path)


@pytest.mark.parametrize(
    "space_directions",
    ["(2,0,0) (0.5,3,0) (0,0,4)", "(2,0,0) (2,0,0) (0,0,4)", "(0,0,0) (0,3,0) (0,0,4)"],
    ids=["sheared", "parallel axes", "spacing 0"],
)
def test_an_nrrd_file_whose_grid_is_not_regular_is_refused(space_directions: str, tmp_path: Path) -> None:
    with pytest.raises(GeometryError, match=r"not at right angles or no valid spacing\. Resample it"):
        read_image(save_nrrd(tmp_path / "image.nrrd", space_directions))


@pytest.mark.parametrize("first_row", [(1.0, 0.3, 0.0, 0.0), (np.nan,) * 4], ids=["sheared", "not finite"])
def test_a_nifti_file_whose_grid_is_not_regular_is_refused(first_row: tuple[float, ...], tmp_path: Path) -> None:
    path = save(tmp_path / "image.nii", numbered())
    content = bytearray(path.read_bytes())
    struct.pack_into("<2h", content, 252, 0, 1)  # only the sform counts
    struct.pack_into("<12f", content, 280, *first_row, 0, 1, 0, 0, 0, 0, 1, 0)
    path.write_bytes(content)

    with pytest.raises(GeometryError, match=r"not at right angles or no valid spacing\. Resample it"):
        read_image(path)


# --- label maps and maps on the grid of an image ---


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int64, np.float32, np.float64])
def test_label_maps_of_every_number_type_become_uint8_on_the_grid_of_the_image(
    dtype: Any, nasty_volume: Volume, tmp_path: Path
) -> None:
    labels = np.zeros((2, 3, 4), dtype)
    labels[0, 1, 2], labels[1, 2, 3] = 1, 255
    write_results(tmp_path, {"labels.nii.gz": nasty_volume.with_voxels(labels)}, {})

    volume = read_labels(tmp_path / "labels.nii.gz", nasty_volume, "ct.nrrd")

    assert volume.voxels.dtype == np.uint8
    np.testing.assert_array_equal(volume.voxels, labels)
    np.testing.assert_array_equal(volume.ijk_to_ras, nasty_volume.ijk_to_ras)


def test_a_label_map_may_be_constant(make_volume: MakeVolume, tmp_path: Path) -> None:
    image = make_volume()
    write_results(tmp_path, {"labels.nrrd": image.with_voxels(np.full((2, 3, 4), 255, np.uint8))}, {})

    assert read_labels(tmp_path / "labels.nrrd", image, "ct.nrrd").voxels.min() == 255


@pytest.mark.parametrize(
    ("value", "dtype", "text"),
    [
        (0.5, np.float32, "0.5"),
        (np.nan, np.float32, "nan"),
        (256.0, np.float32, "256.0"),
        (-1, np.int16, "-1"),
        (300, np.int16, "300"),
        (2**40, np.int64, ".*"),
    ],
)
def test_a_value_that_is_no_label_is_named(
    value: float, dtype: Any, text: str, make_volume: MakeVolume, tmp_path: Path
) -> None:
    image = make_volume()
    labels = np.zeros((2, 3, 4), dtype)
    labels[1, 2, 3] = value
    write_results(tmp_path, {"labels.nrrd": image.with_voxels(labels)}, {})

    with pytest.raises(DataError, match=rf"holds the value {text}; labels are whole numbers from 0 to 255"):
        read_labels(tmp_path / "labels.nrrd", image, "ct.nrrd")


@pytest.mark.parametrize(
    ("change", "own", "other"),
    [
        (
            {"Spacing": (0.7, 0.9, 1.25)},
            "spacing (0.7, 0.9, 1.25) mm",
            "spacing (0.7, 0.9, 2.5) mm",
        ),
        ({"Origin": (1.0, 2.0, 3.5)}, "origin (-1, -2, 3.5) mm", "origin (-1, -2, 3) mm"),
        (
            {"Direction": (-1, 0, 0, 0, 1, 0, 0, 0, 1)},
            "axis directions (1, 0, 0, 0, -1, 0, 0, 0, 1)",
            "axis directions (-1, 0, 0, 0, -1, 0, 0, 0, 1)",
        ),
        (
            {"Spacing": (0.7, 0.9, 1.25), "Origin": (1.0, 2.0, 3.5)},
            "spacing (0.7, 0.9, 1.25) mm and origin (-1, -2, 3.5) mm",
            "spacing (0.7, 0.9, 2.5) mm and origin (-1, -2, 3) mm",
        ),
    ],
    ids=["spacing", "origin", "direction", "spacing and origin"],
)
def test_a_label_map_on_another_grid_is_refused_with_what_differs_on_both_sides(
    change: dict[str, Any], own: str, other: str, tmp_path: Path
) -> None:
    geometry = {"Spacing": (0.7, 0.9, 2.5), "Origin": (1.0, 2.0, 3.0)}
    image = read_image(save(tmp_path / "ct.nrrd", numbered(), **geometry))
    path = save(tmp_path / "labels.nrrd", numbered(np.uint8), **geometry | change)

    with pytest.raises(GeometryError) as caught:
        read_labels(path, image, "ct.nrrd")

    expected = (
        f'Label map "labels.nrrd" has {own} but image "ct.nrrd" has {other}. Resample the label map to the image.'
    )
    assert str(caught.value) == expected


def test_a_label_map_of_another_size_is_refused_with_both_sizes(tmp_path: Path) -> None:
    image = read_image(save(tmp_path / "ct.nrrd", numbered()))
    path = save(tmp_path / "labels.nrrd", numbered(np.uint8).transpose(0, 2, 1))

    with pytest.raises(
        GeometryError, match=r'has size \(3, 4, 2\) voxels but image "ct\.nrrd" has size \(4, 3, 2\) vox'
    ):
        read_labels(path, image, "ct.nrrd")


def test_small_differences_that_add_up_are_still_explained(tmp_path: Path) -> None:
    voxels = np.arange(400, dtype=np.int16).reshape(1, 1, 400)
    image = read_image(save(tmp_path / "ct.nrrd", voxels))
    path = save(tmp_path / "map.nrrd", voxels, Spacing=(1.000005, 1.0, 1.0))

    with pytest.raises(GeometryError, match=r"spacing \(1\.000005, 1, 1\) mm.* but .*spacing \(1, 1, 1\) mm"):
        read_map(path, image, "ct.nrrd")


def test_a_map_is_read_as_float32_on_the_grid_of_its_reference(nasty_volume: Volume, tmp_path: Path) -> None:
    uncertainty = np.linspace(0, 1, 24).reshape(2, 3, 4)
    write_results(tmp_path, {"uncertainty.nii.gz": nasty_volume.with_voxels(uncertainty)}, {})

    volume = read_map(tmp_path / "uncertainty.nii.gz", nasty_volume, "ct.nrrd")

    assert volume.voxels.dtype == np.float32
    np.testing.assert_array_equal(volume.voxels, uncertainty.astype(np.float32))
    np.testing.assert_array_equal(volume.ijk_to_ras, nasty_volume.ijk_to_ras)


def test_a_map_with_voxels_that_are_no_numbers_is_refused(make_volume: MakeVolume, tmp_path: Path) -> None:
    image = make_volume()
    holes = image.voxels.copy()
    holes[0, 0, :2] = np.nan
    write_results(tmp_path, {"uncertainty.mha": image.with_voxels(holes)}, {})

    with pytest.raises(DataError, match=r'Map "uncertainty.mha" is not a finite number in 2 of 24 voxels\. Comp'):
        read_map(tmp_path / "uncertainty.mha", image, "ct.nrrd")


# --- a segmentation and what it is compared with ---


@pytest.mark.parametrize("value", [0, 3, 255])
def test_a_reference_of_one_value_is_told_as_a_label_map(value: int, tmp_path: Path) -> None:
    path = save(tmp_path / "truth.nrrd", np.full((2, 3, 4), value, np.uint8))
    message = (
        f'Label map "truth.nrrd" holds only the value {value}. '
        "Choose a label map that holds a structure and its background (0)."
    )

    with pytest.raises(DataError) as caught:
        read_reference(path)

    assert str(caught.value) == message


def test_a_reference_sets_the_grid_and_a_segmentation_may_be_empty(nasty_volume: Volume, tmp_path: Path) -> None:
    truth = nasty_volume.with_voxels(np.arange(24, dtype=np.uint8).reshape(2, 3, 4))
    empty = nasty_volume.with_voxels(np.zeros((2, 3, 4), np.uint8))
    write_results(tmp_path, {"truth.nii.gz": truth, "found.nii.gz": empty}, {})

    reference = read_reference(tmp_path / "truth.nii.gz")
    found = read_prediction(tmp_path / "found.nii.gz", reference, "truth.nii.gz")

    np.testing.assert_array_equal(reference.voxels, truth.voxels)
    assert reference.shares_grid_with(nasty_volume)
    assert found.shares_grid_with(nasty_volume)
    assert found.voxels.dtype == np.uint8
    assert not found.voxels.any()


@pytest.mark.parametrize(
    ("read", "subject", "advice"),
    [
        (
            read_prediction,
            "Segmentation",
            "Choose two files of the same image, or resample the segmentation to the reference.",
        ),
        (read_map, "Map", "Choose the map that was written with this segmentation, or another reference."),
    ],
)
def test_a_file_on_another_grid_than_the_reference_is_told_with_both_names(
    read: Callable[..., Volume], subject: str, advice: str, tmp_path: Path
) -> None:
    reference = read_reference(save(tmp_path / "truth.nrrd", numbered(np.uint8)))
    path = save(tmp_path / "found.nrrd", numbered(np.uint8), Spacing=(1.0, 1.0, 2.0))

    with pytest.raises(GeometryError) as caught:
        read(path, reference, "truth.nrrd")

    assert str(caught.value) == (
        f'{subject} "found.nrrd" has spacing (1, 1, 2) mm but reference "truth.nrrd" has spacing (1, 1, 1) mm. {advice}'
    )
