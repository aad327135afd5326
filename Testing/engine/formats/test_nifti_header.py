"""Tests that odd numbers in NIfTI and Analyze headers are refused in one sentence, before anything relies on them."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from image_files import numbered
from written_nifti import save, save_pair

from uncol.core.errors import DataError
from uncol.data.io import read_image, read_labels

NAN, INFINITE = math.nan, math.inf
LABELS = (numbered() % 3).astype(np.uint8)


def dims(*numbers: int) -> tuple[int, ...]:
    return (*numbers, *[1] * (8 - len(numbers)))


DAMAGED = [
    pytest.param({"dim": dims(3, 4, -3, 2)}, "it announces 4 x -3 x 2 voxels", id="size below 0"),
    pytest.param({"dim": dims(3, 4, 0, 2)}, "it announces 4 x 0 x 2 voxels", id="size 0"),
    pytest.param({"dim": dims(0, 4, 3, 2)}, "it announces 0 axes", id="no axes"),
    pytest.param({"dim": dims(9, 4, 3, 2)}, "it announces 9 axes", id="nine axes"),
    pytest.param({"dim": dims(-3, 4, 3, 2)}, "it announces -3 axes", id="less than no axes"),
    pytest.param({"vox_offset": 0}, "cannot begin at byte 0", id="voxels on the header"),
    pytest.param({"vox_offset": 347}, "cannot begin at byte 347", id="voxels on the end of the header"),
    pytest.param({"vox_offset": -352}, "cannot begin at byte -352", id="voxels before the file"),
    pytest.param({"datatype": 0}, "0 is no type of numbers", id="type 0"),
    pytest.param({"datatype": 1}, "1 is no type of numbers", id="single bits"),
    pytest.param({"datatype": 999}, "999 is no type of numbers", id="unknown type"),
    pytest.param({"bitpix": 32}, "it announces 32 bits for each 16-bit signed integer", id="type against bits"),
    pytest.param({"bitpix": -16}, "it announces -16 bits", id="bits below 0"),
    pytest.param({"datatype": 16}, "it announces 16 bits for each 32-bit float", id="bits against type"),
    pytest.param({"scl_inter": NAN}, "nan cannot be added", id="intercept not a number"),
    pytest.param({"scl_slope": 2, "scl_inter": INFINITE}, "inf cannot be added", id="intercept without end"),
]


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize(("fields", "what"), DAMAGED)
def test_a_header_that_contradicts_itself_is_called_damaged_and_why(
    fields: dict[str, Any], what: str, version: int, tmp_path: Path
) -> None:
    path = save(tmp_path / "image.nii", numbered(), version=version, **fields)

    with pytest.raises(
        DataError,
        match=rf'^Image "image\.nii" has a damaged header: .*{what}.*\. Copy the file again, or export it again\.$',
    ):
        read_image(path)


@pytest.mark.parametrize("offset", [NAN, INFINITE, -INFINITE, 352.5, 1e30])
@pytest.mark.parametrize("suffix", ["nii", "nii.gz"])
def test_voxels_begin_at_a_whole_number_of_bytes(offset: float, suffix: str, tmp_path: Path) -> None:
    path = save(tmp_path / f"image.{suffix}", numbered(), vox_offset=offset)

    with pytest.raises(DataError, match="has a damaged header: its voxels cannot begin at byte "):
        read_image(path)


@pytest.mark.parametrize("offset", [352 + 2, 10_000])
@pytest.mark.parametrize("suffix", ["nii", "nii.gz"])
def test_voxels_that_begin_or_end_behind_the_file_are_incomplete(offset: int, suffix: str, tmp_path: Path) -> None:
    path = save(tmp_path / f"image.{suffix}", numbered(), vox_offset=offset)

    with pytest.raises(DataError, match="damaged, incomplete or not an image"):
        read_image(path)


def test_an_empty_count_of_bits_is_no_contradiction_but_voxels_are_counted_by_their_type(tmp_path: Path) -> None:
    path = save(tmp_path / "image.nii", numbered(), bitpix=0)

    np.testing.assert_array_equal(read_image(path).voxels, numbered())
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DataError, match="damaged, incomplete or not an image"):
        read_image(path)


# --- axes and what a voxel is ---


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize(
    "dim", [dims(4, 4, 3, 2, 1), dims(5, 4, 3, 2, 1, 1), dims(7, 4, 3, 2), (3, 4, 3, 2, 0, -1, 9, 0)]
)
def test_further_axes_of_size_one_or_beyond_their_number_do_not_count(
    dim: tuple[int, ...], version: int, tmp_path: Path
) -> None:
    image = read_image(save(tmp_path / "image.nii", numbered(), version=version, dim=dim))
    labels = read_labels(save(tmp_path / "labels.nii", LABELS, version=version, dim=dim), image, "image.nii")

    np.testing.assert_array_equal(image.voxels, numbered())
    np.testing.assert_array_equal(labels.voxels, LABELS)


@pytest.mark.parametrize(
    ("dim", "sentence"),
    [
        pytest.param(dims(2, 4, 6), r"has 2 axes \(4 x 6\); a volume has exactly 3", id="one slice"),
        pytest.param(dims(1, 24), r"has 1 axes \(24\)", id="one row"),
        pytest.param(dims(4, 4, 3, 1, 2), r"has 4 axes \(4 x 3 x 1 x 2\); .* single time point", id="time points"),
        pytest.param(dims(6, 2, 3, 2, 1, 1, 2), r"has 6 axes", id="six axes"),
        pytest.param(dims(5, 2, 3, 2, 1, 2), r'\(2 x 3 x 2\) holds a "vector of 16-bit signed integer"', id="vectors"),
    ],
)
def test_images_of_other_axes_are_refused_with_their_size(dim: tuple[int, ...], sentence: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=rf'^Image "image\.nii" {sentence}'):
        read_image(save(tmp_path / "image.nii", numbered(), dim=dim))


@pytest.mark.parametrize(
    ("code", "bits", "name"),
    [
        (32, 64, "complex of 32-bit float"),
        (1792, 128, "complex of 64-bit float"),
        (128, 24, "color"),
        (2304, 32, "color"),
    ],
)
def test_voxels_that_are_no_single_real_number_are_refused(code: int, bits: int, name: str, tmp_path: Path) -> None:
    path = save(
        tmp_path / "image.nii", np.zeros((2, 3, 4, 16), np.uint8), dim=dims(3, 4, 3, 2), datatype=code, bitpix=bits
    )

    with pytest.raises(
        DataError, match=rf'\(4 x 3 x 2\) holds a "{name}" in each voxel; a single real number is needed'
    ):
        read_image(path)


# --- what is no NIfTI header ---


@pytest.mark.parametrize(
    ("version", "fields"),
    [
        pytest.param(1, {"sizeof_hdr": 0}, id="no size"),
        pytest.param(1, {"sizeof_hdr": 540}, id="the size of NIfTI-2"),
        pytest.param(1, {"magic": b"\0\0\0\0"}, id="no mark"),
        pytest.param(1, {"magic": b"n+2\0"}, id="the mark of another version"),
        pytest.param(2, {"sizeof_hdr": 348}, id="the size of NIfTI-1"),
        pytest.param(2, {"magic": b"n+2\0\n\0\x1a\n"}, id="sent as text"),
    ],
)
def test_a_file_without_nifti_s_mark_is_no_image(version: int, fields: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"damaged, incomplete or not an image\. Use a NIfTI, NRRD or MetaImage file"):
        read_image(save(tmp_path / "image.nii", numbered(), version=version, **fields))


@pytest.mark.parametrize(("version", "byte_count"), [(1, 3), (1, 347), (1, 348), (2, 539), (2, 540)])
@pytest.mark.parametrize("suffix", ["nii", "nii.gz"])
def test_a_file_that_ends_in_or_behind_its_header_is_incomplete(
    version: int, byte_count: int, suffix: str, tmp_path: Path
) -> None:
    whole = save(tmp_path / "whole.nii", numbered(), version=version)
    path = tmp_path / f"image.{suffix}"
    path.write_bytes(whole.read_bytes()[:byte_count])

    with pytest.raises(DataError, match="damaged, incomplete or not an image"):
        read_image(path)


@pytest.mark.parametrize("factor", [0.5, NAN])
def test_an_analyze_file_with_a_factor_of_spm_is_refused(factor: float, tmp_path: Path) -> None:
    path = save_pair(tmp_path / "image.hdr", numbered(), magic=b"\0\0\0\0", scl_slope=factor)

    with pytest.raises(DataError, match=rf"is an Analyze file with the factor {factor:g}, .* Save it as NIfTI"):
        read_image(path)
