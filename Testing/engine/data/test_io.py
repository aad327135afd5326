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
from written_images import write_nrrd

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


@pytest.mark.parametrize("name", ["image.nii.gz", "image.nii", "image.nrrd", "image.mha"])
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

    with pytest.raises(DataError, match=r"incomplete.* [Cc]opy the file again"):
        read_image(path)


def test_an_image_that_no_memory_can_hold_is_not_called_damaged(tmp_path: Path) -> None:
    sizes = {"sizes": "9999999999 9999999999 9999999999"}
    path = write_nrrd(tmp_path / "image.nrrd", numbered(), sizes, packing="gzip")

    with pytest.raises(DataError, match=r"^The memory is full\. Close other programs, or crop the volume"):
        read_image(path)


@pytest.mark.parametrize("suffix", FORMATS)
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

    with pytest.raises(DataError, match=r'\(4 x 3 x 2\) holds a ".+" in each voxel; .* Export one channel'):
        read_image(tmp_path / f"color.{suffix}")


def test_an_image_of_complex_numbers_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r'holds a ".+" in each voxel; a single real number'):
        read_image(save(tmp_path / "raw.nrrd", numbered(np.complex64)))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_voxels_that_are_not_finite_become_the_lowest_or_highest_value_and_are_counted_in_the_log(
    dtype: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    voxels = numbered(dtype) - 7
    voxels[0, 0, :3] = (np.nan, np.inf, -np.inf)
    path = save(tmp_path / "patient.nrrd", voxels)

    with caplog.at_level(logging.WARNING):
        volume = read_image(path)

    # The lowest value that is left is that of the fourth voxel, 3 - 7; the highest that of the last, 23 - 7.
    np.testing.assert_array_equal(volume.voxels[0, 0], [-4, 16, -4, -4])
    assert volume.voxels.dtype == np.float32
    assert caplog.messages == [
        "The image is not a finite number in 3 of 24 voxels; its lowest value stands there instead, "
        "and its highest where it was infinite."
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


def test_a_mask_of_0_and_255_is_told_what_255_means(make_volume: MakeVolume, tmp_path: Path) -> None:
    image = make_volume()
    mask = np.zeros((2, 3, 4), np.uint8)
    mask[0, 1, 1:3] = mask[1, 2, 2] = 255
    write_results(tmp_path, {"mask.nrrd": image.with_voxels(mask)}, {})
    expected = (
        'Label map "mask.nrrd" holds only 0 and 255, and 255 means unknown here. '
        "Give the structure a value from 1 to 254 and export the label map again."
    )

    for read in (
        lambda path: read_labels(path, image, "ct.nrrd"),
        read_reference,
    ):
        with pytest.raises(DataError) as caught:
            read(tmp_path / "mask.nrrd")
        assert str(caught.value) == expected


def test_unknown_voxels_of_a_segmentation_are_counted_in_the_log(
    make_volume: MakeVolume, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    reference = make_volume()
    mask = np.zeros((2, 3, 4), np.uint8)
    mask[0, 1, 1:3] = 255
    write_results(tmp_path, {"mask.nrrd": reference.with_voxels(mask)}, {})

    np.testing.assert_array_equal(read_prediction(tmp_path / "mask.nrrd", reference, "truth.nrrd").voxels, mask)
    assert caplog.messages == [
        'Segmentation "mask.nrrd" holds 255 in 2 voxels. 255 means unknown, so they belong to no structure '
        "and count as not found."
    ]


def test_a_label_map_that_does_not_say_how_it_lies_fits_by_its_size(
    nasty_volume: Volume, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    nowhere = {"space": None, "space directions": None, "space origin": None}
    labels = numbered("|u1")
    path = write_nrrd(tmp_path / "labels.nrrd", labels, nowhere)

    volume = read_labels(path, nasty_volume, "ct.nrrd")

    np.testing.assert_array_equal(volume.voxels, labels)
    np.testing.assert_array_equal(volume.ijk_to_ras, nasty_volume.ijk_to_ras)
    assert caplog.messages[-1] == (
        'Label map "labels.nrrd" is taken to lie on image "ct.nrrd": both have the same size.'
    )
    with pytest.raises(GeometryError, match="has size"):
        read_labels(write_nrrd(path, labels[:1], nowhere), nasty_volume, "ct.nrrd")


@pytest.mark.parametrize(
    ("change", "own", "other", "apart"),
    [
        # One step of two slices is 1.25 mm shorter.
        (
            {"Spacing": (0.7, 0.9, 1.25)},
            "spacing (0.7, 0.9, 1.25) mm",
            "spacing (0.7, 0.9, 2.5) mm",
            "1.25",
        ),
        ({"Origin": (1.0, 2.0, 3.5)}, "origin (-1, -2, 3.5) mm", "origin (-1, -2, 3) mm", "0.5"),
        (
            {"Direction": (-1, 0, 0, 0, 1, 0, 0, 0, 1)},
            "axis directions (1, 0, 0, 0, -1, 0, 0, 0, 1)",
            "axis directions (-1, 0, 0, 0, -1, 0, 0, 0, 1)",
            "4.2",  # twice three steps of 0.7 mm
        ),
        (
            {"Spacing": (0.7, 0.9, 1.25), "Origin": (1.0, 2.0, 3.5)},
            "spacing (0.7, 0.9, 1.25) mm and origin (-1, -2, 3.5) mm",
            "spacing (0.7, 0.9, 2.5) mm and origin (-1, -2, 3) mm",
            "0.75",
        ),
    ],
    ids=["spacing", "origin", "direction", "spacing and origin"],
)
def test_a_label_map_on_another_grid_is_refused_with_what_differs_on_both_sides(
    change: dict[str, Any], own: str, other: str, apart: str, tmp_path: Path
) -> None:
    geometry = {"Spacing": (0.7, 0.9, 2.5), "Origin": (1.0, 2.0, 3.0)}
    image = read_image(save(tmp_path / "ct.nrrd", numbered(), **geometry))
    path = save(tmp_path / "labels.nrrd", numbered(np.uint8), **geometry | change)

    with pytest.raises(GeometryError) as caught:
        read_labels(path, image, "ct.nrrd")

    assert str(caught.value) == (
        f'Label map "labels.nrrd" has {own} but image "ct.nrrd" has {other}, so that they lie up to {apart} mm apart. '
        "Export it again from the program that drew it, on this very image."
    )


def test_a_label_map_of_another_size_is_refused_with_both_sizes(tmp_path: Path) -> None:
    image = read_image(save(tmp_path / "ct.nrrd", numbered()))
    path = save(tmp_path / "labels.nrrd", numbered(np.uint8).transpose(0, 2, 1))

    with pytest.raises(GeometryError) as caught:
        read_labels(path, image, "ct.nrrd")

    assert str(caught.value) == (
        'Label map "labels.nrrd" has size (3, 4, 2) voxels but image "ct.nrrd" has size (4, 3, 2) voxels. '
        "Resample the label map to the image."
    )


@pytest.mark.parametrize(
    "change",
    [
        {"Spacing": (0.72656, 0.72656, 2.0)},
        {"Origin": (185.414, -98.76, 0.0)},
        {"Direction": (1, 0, 0, 0, 1, 2e-8, 0, 0, 1)},
    ],
    ids=["spacing", "origin", "direction"],
)
def test_a_grid_that_was_rounded_is_that_of_the_image(change: dict[str, Any], tmp_path: Path) -> None:
    voxels = np.arange(2 * 512, dtype=np.int16).reshape(2, 1, 512)
    # 511 steps of 0.0000025 mm are 0.0013 mm; 2 % of a voxel of 0.7265625 mm are 0.0145 mm.
    geometry = {"Spacing": (0.7265625, 0.7265625, 2.0), "Origin": (185.4, -98.76, 0.0)}
    image = read_image(save(tmp_path / "ct.nrrd", voxels, **geometry))
    path = save(tmp_path / "labels.mha", (voxels % 3).astype(np.uint8), **geometry | change)

    np.testing.assert_array_equal(read_labels(path, image, "ct.nrrd").voxels, voxels % 3)


def test_differences_that_are_rounding_each_and_too_much_together_are_explained(tmp_path: Path) -> None:
    voxels = np.arange(400, dtype=np.int16).reshape(1, 1, 400)
    image = read_image(save(tmp_path / "ct.nrrd", voxels))
    # 399 steps of 0.00004 mm are 0.016 mm; with 0.01 mm of the origin they are beyond 0.02 mm.
    path = save(tmp_path / "map.nrrd", voxels, Spacing=(1.00004, 1.0, 1.0), Origin=(0.01, 0.0, 0.0))

    with pytest.raises(GeometryError, match=r"spacing \(1\.00004, 1, 1\) mm but .* up to 0\.026 mm apart"):
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
            "Choose two files of the same image, or export the segmentation again on the image of the reference.",
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
        f'{subject} "found.nrrd" has spacing (1, 1, 2) mm but reference "truth.nrrd" has spacing (1, 1, 1) mm, '
        f"so that they lie up to 1 mm apart. {advice}"
    )
