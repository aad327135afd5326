from __future__ import annotations

import gzip
import logging
import os
import struct
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813  # the abbreviation of SimpleITK's own documentation

from uncol.core.errors import DataError, GeometryError, OutputError
from uncol.core.volume import Volume
from uncol.data.io import (
    check_writable,
    content_hash,
    read_image,
    read_labels,
    read_map,
    read_prediction,
    read_reference,
    write_results,
)

FORMATS = ["nii.gz", "nrrd", "mha"]
ENGINE_FOLDER = Path(__file__).resolve().parents[3] / "UnCoLSegment"
MakeVolume = Callable[..., Volume]


def save(path: Path, voxels: np.ndarray, **geometry: Sequence[float]) -> Path:
    """Write an array (..., K, J, I) with SimpleITK, with Spacing, Origin and Direction (LPS) as given."""
    image = sitk.GetImageFromArray(voxels)
    for name, value in geometry.items():
        getattr(image, f"Set{name}")(value)
    sitk.WriteImage(image, str(path))
    return path


def save_nrrd(path: Path, space_directions: str) -> Path:
    header = (
        "NRRD0004\ntype: short\ndimension: 3\nspace: left-posterior-superior\nsizes: 4 3 2\n"
        f"space directions: {space_directions}\nspace origin: (1,2,3)\nendian: little\nencoding: raw\n\n"
    )
    path.write_bytes(header.encode() + numbered().astype("<i2").tobytes())
    return path


def numbered(dtype: Any = np.int16) -> np.ndarray:
    return np.arange(24).reshape(2, 3, 4).astype(dtype)


def geometry_of(path: Path) -> tuple[tuple[int, ...], np.ndarray]:
    image = sitk.ReadImage(str(path))
    return image.GetSize(), np.array([*image.GetSpacing(), *image.GetOrigin(), *image.GetDirection()])


# --- file -> Volume -> file ---


@pytest.mark.parametrize("suffix", FORMATS)
def test_volume_to_file_to_volume_keeps_voxels_type_and_geometry(
    nasty_volume: Volume, suffix: str, tmp_path: Path
) -> None:
    write_results(tmp_path, {f"image.{suffix}": nasty_volume}, {})

    volume = read_image(tmp_path / f"image.{suffix}")

    np.testing.assert_array_equal(volume.voxels, nasty_volume.voxels)
    assert volume.voxels.dtype == nasty_volume.voxels.dtype
    np.testing.assert_allclose(volume.ijk_to_ras, nasty_volume.ijk_to_ras, rtol=0, atol=1e-5)
    assert volume.shares_grid_with(nasty_volume)


@pytest.mark.parametrize("suffix", FORMATS)
def test_file_to_volume_to_file_keeps_index_order_and_geometry_also_of_left_handed_grids(
    nasty_volume: Volume, suffix: str, tmp_path: Path
) -> None:
    first, second = tmp_path / f"first.{suffix}", f"second.{suffix}"
    write_results(tmp_path, {first.name: nasty_volume}, {})

    write_results(tmp_path, {second: read_image(first)}, {})

    size, numbers = geometry_of(first)
    new_size, new_numbers = geometry_of(tmp_path / second)
    assert new_size == size == (4, 3, 2)
    np.testing.assert_allclose(new_numbers, numbers, rtol=0, atol=1e-6)
    ras_determinant = np.linalg.det(nasty_volume.ijk_to_ras[:3, :3])  # LPS to RAS is a turn: the hand stays
    assert np.sign(np.linalg.det(numbers[6:].reshape(3, 3))) == np.sign(ras_determinant)


@pytest.mark.parametrize("suffix", FORMATS)
def test_voxel_indices_lead_to_the_ras_coordinates_computed_by_hand(suffix: str, tmp_path: Path) -> None:
    # I runs to P in steps of 2 mm, J to S in 3 mm, K to L in 4 mm; the first voxel lies at LPS (10, 20, 30).
    path = save(
        tmp_path / f"image.{suffix}",
        numbered(),
        Spacing=(2.0, 3.0, 4.0),
        Origin=(10.0, 20.0, 30.0),
        Direction=(0, 0, 1, 1, 0, 0, 0, 1, 0),
    )

    ijk_to_ras = read_image(path).ijk_to_ras

    np.testing.assert_allclose(
        ijk_to_ras, [[0, 0, -4, -10], [-2, 0, 0, -20], [0, 3, 0, 30], [0, 0, 0, 1]], rtol=0, atol=1e-6
    )
    # LPS (10 + 4 * 1, 20 + 2 * 1, 30 + 3 * 2) = (14, 22, 36)
    np.testing.assert_allclose(ijk_to_ras @ [1, 2, 1, 1], [-14, -22, 36, 1], rtol=0, atol=1e-6)


def test_a_large_oblique_grid_far_from_the_origin_survives_nifti_within_the_tolerance_of_a_shared_grid(
    make_volume: MakeVolume, tmp_path: Path
) -> None:
    volume = make_volume(geometry="oblique left-handed", shape_kji=(300, 2, 512), dtype=np.uint8)
    far = Volume(volume.voxels, volume.ijk_to_ras + np.array([[0, 0, 0, 1700.3], [0] * 4, [0] * 4, [0] * 4]))

    write_results(tmp_path, {"image.nii.gz": far}, {})

    assert read_image(tmp_path / "image.nii.gz").shares_grid_with(far)


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_volume_of_one_slice_is_a_volume(suffix: str, tmp_path: Path) -> None:
    path = save(tmp_path / f"thin.{suffix}", numbered()[:1], Spacing=(0.7, 0.9, 5.0), Origin=(1.0, 2.0, 3.0))

    write_results(tmp_path, {f"again.{suffix}": read_image(path)}, {})

    volume = read_image(tmp_path / f"again.{suffix}")
    assert volume.shape_kji == (1, 3, 4)
    assert volume.spacing_mm == pytest.approx((0.7, 0.9, 5.0))


@pytest.mark.parametrize(
    ("stored", "expected"),
    [
        (np.uint8, np.uint8),
        (np.int16, np.int16),
        (np.uint16, np.uint16),
        (np.int32, np.int32),
        (np.float32, np.float32),
        (np.float64, np.float32),
        (np.int64, np.int32),
        (np.uint64, np.int32),
    ],
)
def test_voxels_keep_their_type_up_to_32_bits(stored: Any, expected: Any, tmp_path: Path) -> None:
    volume = read_image(save(tmp_path / "image.nrrd", numbered(stored)))

    assert volume.voxels.dtype == expected
    np.testing.assert_array_equal(volume.voxels, numbered())


def test_whole_numbers_too_large_for_32_bits_become_floating_point_instead_of_wrapping_round(tmp_path: Path) -> None:
    volume = read_image(save(tmp_path / "image.nrrd", numbered(np.int64) * 2**40))

    assert volume.voxels.dtype == np.float32
    np.testing.assert_array_equal(volume.voxels, numbered(np.float32) * 2.0**40)


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_fourth_axis_of_one_time_point_is_dropped(suffix: str, tmp_path: Path) -> None:
    turned = sitk.JoinSeries(
        [sitk.ReadImage(str(save(tmp_path / "x.mha", numbered(), Direction=(0, 1, 0, 1, 0, 0, 0, 0, 1))))]
    )
    sitk.WriteImage(turned, str(tmp_path / f"image.{suffix}"))

    volume = read_image(tmp_path / f"image.{suffix}")

    np.testing.assert_array_equal(volume.voxels, numbered())
    np.testing.assert_allclose(volume.ijk_to_ras[:3, :3], [[0, -1, 0], [-1, 0, 0], [0, 0, 1]], atol=1e-6)


def test_axes_rounded_in_the_file_give_results_on_the_grid_of_the_image(tmp_path: Path) -> None:
    # A turn by 1 degree, badly rounded: the axes are 0.9998 * (0.0175 - 0.0173) = 0.0002 off the right angle,
    # which is 0.06 mm over 300 rows.
    path = save(
        tmp_path / "rounded.mha",
        np.arange(2 * 300 * 400, dtype=np.int32).reshape(2, 300, 400),
        Direction=(0.9998, -0.0173, 0, 0.0175, 0.9998, 0, 0, 0, 1),
    )
    image = read_image(path)

    write_results(tmp_path, {"segmentation.nii.gz": image}, {})

    assert read_image(tmp_path / "segmentation.nii.gz").shares_grid_with(image)
    np.testing.assert_allclose(image.ijk_to_ras[:2, :2], [[-0.9998, 0.0175], [-0.0175, -0.9998]], atol=5e-4)


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


@pytest.mark.parametrize("byte_order", ["<", ">"], ids=["little endian", "big endian"])
def test_nifti_files_of_both_byte_orders_are_read_when_complete_and_refused_when_not(
    byte_order: str, tmp_path: Path
) -> None:
    header = bytearray(352)
    struct.pack_into(f"{byte_order}i", header, 0, 348)
    struct.pack_into(f"{byte_order}8h", header, 40, 3, 4, 3, 2, 1, 1, 1, 1)
    struct.pack_into(f"{byte_order}2h", header, 70, 4, 16)  # int16
    struct.pack_into(f"{byte_order}8f", header, 76, 1, 0.7, 0.9, 2.5, 0, 0, 0, 0)
    struct.pack_into(f"{byte_order}f", header, 108, 352)
    header[344:348] = b"n+1\0"
    content = bytes(header) + numbered().astype(f"{byte_order}i2").tobytes()
    (tmp_path / "whole.nii").write_bytes(content)
    (tmp_path / "cut.nii.gz").write_bytes(gzip.compress(content[:-2]))

    np.testing.assert_array_equal(read_image(tmp_path / "whole.nii").voxels, numbered())
    with pytest.raises(DataError, match=r'"cut.nii.gz" cannot be read'):
        read_image(tmp_path / "cut.nii.gz")


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


# --- results ---


def test_results_are_written_into_a_new_folder_with_nothing_else(make_volume: MakeVolume, tmp_path: Path) -> None:
    image = make_volume()
    folder = tmp_path / "new" / "deep"

    write_results(folder, {"segmentation.nii.gz": image, "map.nrrd": image}, {"report.json": '{"ü": 1}\n'})

    assert sorted(path.name for path in folder.iterdir()) == ["map.nrrd", "report.json", "segmentation.nii.gz"]
    assert (folder / "report.json").read_bytes() == '{"ü": 1}\n'.encode()


@pytest.mark.parametrize("suffix", FORMATS)
def test_label_maps_are_compressed(suffix: str, make_volume: MakeVolume, tmp_path: Path) -> None:
    labels = make_volume(np.zeros((20, 50, 50), np.uint8))

    write_results(tmp_path, {f"labels.{suffix}": labels}, {})

    assert (tmp_path / f"labels.{suffix}").stat().st_size < 2000  # of 50,000 voxels


def test_a_mask_and_a_flipped_view_are_written_like_any_array(make_volume: MakeVolume, tmp_path: Path) -> None:
    mask = make_volume(numbered() % 3 == 0)
    flipped = make_volume(numbered().transpose(2, 1, 0)[::-1, :, ::-1])

    write_results(tmp_path, {"mask.nii.gz": mask, "flipped.nrrd": flipped}, {})

    np.testing.assert_array_equal(read_image(tmp_path / "mask.nii.gz").voxels, (numbered() % 3 == 0).astype(np.uint8))
    np.testing.assert_array_equal(read_image(tmp_path / "flipped.nrrd").voxels, flipped.voxels)


def test_new_results_replace_old_ones_and_leave_other_files_alone(make_volume: MakeVolume, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    write_results(tmp_path, {}, {"report.json": "old"})

    write_results(tmp_path, {"map.mha": make_volume()}, {"report.json": "new"})

    assert (tmp_path / "report.json").read_text() == "new"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["map.mha", "notes.txt", "report.json"]


@pytest.mark.parametrize("name", ["segmentation.tif", "segmentation.gz", "segmentation"])
def test_a_volume_with_a_suffix_of_no_volume_format_is_refused(
    name: str, make_volume: MakeVolume, tmp_path: Path
) -> None:
    with pytest.raises(
        DataError, match=rf'cannot be written as "{name}"\. Use a name that ends in \.nii\.gz, \.nrrd or'
    ):
        write_results(tmp_path / "new", {name: make_volume()}, {})

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("below", ["", "deeper/still"], ids=["the folder is a file", "a parent is a file"])
def test_a_path_that_leads_through_a_file_is_refused_early_and_late(
    below: str, make_volume: MakeVolume, tmp_path: Path
) -> None:
    obstacle = tmp_path / "scan.txt"
    obstacle.write_text("mine")

    with pytest.raises(
        OutputError, match=r'cannot be written to ".*" \("scan.txt" is a file, not a folder\)\. .* choose'
    ):
        check_writable(obstacle / below)
    with pytest.raises(
        OutputError, match=r'cannot be written to ".*" \("scan.txt" is a file, not a folder\)\. .* choose'
    ):
        write_results(obstacle / below, {"map.nrrd": make_volume()}, {})

    assert obstacle.read_text() == "mine"


def test_a_writable_folder_is_made_and_left_empty(tmp_path: Path) -> None:
    check_writable(tmp_path / "new" / "deep")

    assert list((tmp_path / "new" / "deep").iterdir()) == []


def test_nothing_is_replaced_when_one_result_cannot_take_its_place(make_volume: MakeVolume, tmp_path: Path) -> None:
    write_results(tmp_path, {}, {"a.json": "old"})
    (tmp_path / "b.json").mkdir()

    with pytest.raises(OutputError, match=r'\("b.json" is a folder there\)'):
        write_results(tmp_path, {"map.nrrd": make_volume()}, {"a.json": "new", "b.json": "new"})

    assert (tmp_path / "a.json").read_text() == "old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.json", "b.json"]


def test_a_result_that_cannot_be_named_leaves_no_new_folder(make_volume: MakeVolume, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"an image file could not be written completely"):
        write_results(tmp_path / "new" / "deep", {"no/such/folder.nrrd": make_volume()}, {"report.json": "{}"})

    assert list(tmp_path.iterdir()) == []


WRITE_WITH_A_FULL_DISK = """
import resource, signal, sys
from pathlib import Path
import numpy as np
from uncol.core.errors import OutputError
from uncol.data.io import check_writable, write_results
from uncol.core.volume import Volume

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]), int(sys.argv[3])))
noise = Volume(np.random.default_rng(0).integers(0, 256, (10, 40, 50), dtype=np.uint8), np.eye(4))
volumes = {name: noise for name in sys.argv[2:3] if name.endswith(("gz", "nrrd", "mha"))}
documents = {"report.json": "{}", **{name: "x" * 20000 for name in sys.argv[2:3] if name not in volumes}}
try:
    if sys.argv[2] == "probe":
        check_writable(Path(sys.argv[1]))
    write_results(Path(sys.argv[1]), volumes, documents)
except OutputError as error:
    print(error)
"""


# 20,000 random voxels do not compress; the limits lie in the header, in the middle and just before the end.
@pytest.mark.parametrize(
    ("name", "limit"),
    [
        *[(f"segmentation.{suffix}", limit) for suffix in FORMATS for limit in (100, 8000, 19900)],
        ("large.json", 8000),
        ("probe", 0),
    ],
)
@pytest.mark.parametrize("is_new", [True, False], ids=["new folder", "old results"])
def test_a_full_disk_is_told_and_leaves_everything_as_it_was(
    name: str, limit: int, is_new: bool, tmp_path: Path
) -> None:
    pytest.importorskip("resource", reason="needs limits on the size of files")
    folder = tmp_path / "out"
    if not is_new:
        write_results(folder, {}, {name: "old", "report.json": "old"})

    child = subprocess.run(
        [sys.executable, "-c", WRITE_WITH_A_FULL_DISK, str(folder), name, str(limit)],
        env=os.environ | {"PYTHONPATH": str(ENGINE_FOLDER), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=True,
    )

    assert child.stdout.startswith(f'Results cannot be written to "{folder}" (')
    assert child.stdout.endswith("). Free some space or choose another folder.\n")
    assert child.stdout.count("\n") == 1
    if is_new:
        assert not folder.exists()
    else:
        assert {path.name: path.read_text() for path in folder.iterdir()} == {name: "old", "report.json": "old"}


# --- content hash ---


def test_the_content_hash_survives_files_memory_order_and_rounding(nasty_volume: Volume, tmp_path: Path) -> None:
    write_results(tmp_path, {f"x.{suffix}": nasty_volume for suffix in FORMATS}, {})
    column_major = nasty_volume.with_voxels(np.asfortranarray(nasty_volume.voxels))
    big_endian = nasty_volume.with_voxels(nasty_volume.voxels.astype(">f4"))
    read = [read_image(tmp_path / f"x.{suffix}") for suffix in FORMATS]

    assert {content_hash(volume) for volume in [nasty_volume, column_major, big_endian, *read]} == {
        content_hash(nasty_volume)
    }
    assert len(content_hash(nasty_volume)) == 64


def test_the_content_hash_changes_with_a_voxel_the_type_the_shape_or_the_place(make_volume: MakeVolume) -> None:
    volume = make_volume()
    changed_voxel = volume.voxels.copy()
    changed_voxel[1, 2, 3] += 1
    shifted = volume.ijk_to_ras.copy()
    shifted[2, 3] += 0.01
    others = [
        volume.with_voxels(changed_voxel),
        volume.with_voxels(volume.voxels.astype(np.int32)),
        Volume(volume.voxels.reshape(3, 2, 4), volume.ijk_to_ras),
        Volume(volume.voxels, shifted),
    ]

    assert len({content_hash(each) for each in [volume, *others]}) == 5
