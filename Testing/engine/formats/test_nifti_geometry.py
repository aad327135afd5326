"""Tests of where NIfTI and Analyze files lie when their headers say it twice, differently, wrongly or not at all."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from image_files import numbered
from written_nifti import OBLIQUE, qform, save, save_pair, sheared, turned

from uncol.core.errors import GeometryError
from uncol.core.volume import Volume
from uncol.data.io import read_image, read_labels

SPACING = (0.75, 0.8, 2.5)  # of OBLIQUE
UNTURNED = np.diag([-0.75, -0.8, 2.5, 1.0])  # axes to the left, to the back and up from the origin
SMALL_TURN = turned(np.array([[-0.7, 0, 0, 120], [0, -0.7, 0, 130], [0, 0, 1, -50], [0, 0, 0, 1.0]]), 0.01)
"""LPS axes a hundredth of a degree off, as scanners write them: as a 32-bit quaternion nearly 0.01 degrees are lost."""
LABELS = (numbered() % 3).astype(np.uint8)


def pixdim(i: float, j: float, k: float, qfac: float = 1) -> tuple[float, ...]:
    return (qfac, i, j, k, 0, 0, 0, 0)


def warnings_of(caplog: pytest.LogCaptureFixture) -> str:
    return " ".join(record.getMessage() for record in caplog.records)


READ_IN_SILENCE = [
    pytest.param({}, OBLIQUE, id="sform and qform alike"),
    pytest.param({"sform_code": 0, "srow": (math.nan,) * 12}, OBLIQUE, id="qform alone"),
    pytest.param({"qform_code": 0, "quatern": (math.nan,) * 3}, OBLIQUE, id="sform alone"),
    pytest.param({"qform_code": -1, "quatern": (9, 9, 9)}, OBLIQUE, id="a code below 0 is none"),
    pytest.param(
        {"sform_code": 0, "pixdim": pixdim(*SPACING, qfac=-0.5)}, OBLIQUE, id="left-handed as nifticlib sees it"
    ),
    pytest.param({"xyzt_units": 0}, OBLIQUE, id="lengths without a unit are mm"),
    pytest.param({"xyzt_units": 2 + 8}, OBLIQUE, id="a unit of time beside"),
]


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize(("fields", "grid"), READ_IN_SILENCE)
def test_a_header_that_does_not_contradict_itself_is_read_without_a_word(
    fields: dict[str, Any], grid: np.ndarray, version: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    volume = read_image(save(tmp_path / "image.nii", numbered(), version=version, **fields))

    np.testing.assert_allclose(volume.ijk_to_ras, grid, atol=1e-5)
    assert (volume.other_grids, volume.is_placed, caplog.records) == ((), True, [])


@pytest.mark.parametrize(("unit", "mm"), [(1, 1000.0), (3, 0.001)], ids=["meters", "micrometers"])
@pytest.mark.parametrize("codes", [(1, 0), (0, 1), (1, 1), (0, 0)])
def test_lengths_in_other_units_become_mm(unit: int, mm: float, codes: tuple[int, int], tmp_path: Path) -> None:
    grid = OBLIQUE if any(codes) else UNTURNED
    in_units = np.diag([1 / mm, 1 / mm, 1 / mm, 1]) @ grid

    path = save(tmp_path / "i.nii", numbered(), in_units, xyzt_units=unit, sform_code=codes[0], qform_code=codes[1])

    np.testing.assert_allclose(read_image(path).ijk_to_ras, grid, rtol=1e-5, atol=1e-5)


ELSEWHERE = turned(OBLIQUE, 8)  # 2 sin 4 degrees x 33 mm from the S axis = 4.6 mm
STRETCHED = OBLIQUE @ np.diag([1 / 0.75, 1 / 0.8, 1 / 2.5, 1])  # the same axes, 1 x 1 x 1 mm
TOLD = [
    pytest.param(
        {"sform_code": 2, **qform(ELSEWHERE)},
        ELSEWHERE,
        r"its sform and its qform lie 4\.6 mm apart",
        id="coregistered",
    ),
    pytest.param(
        {"pixdim": pixdim(1, 1, 1, -1)}, STRETCHED, "its sform and its qform lie", id="another pixdim, and qform"
    ),
    pytest.param(
        {"qform_code": 0, "pixdim": pixdim(1, 1, 1)},
        STRETCHED,
        r"spacing \(0\.75, 0\.8, 2\.5\) mm by its sform but \(1, 1, 1\) mm by its pixdim",
        id="another pixdim, no qform",
    ),
    pytest.param(
        {"qform_code": 0, "pixdim": pixdim(0, 0, 0)}, None, r"but \(0, 0, 0\) mm by its pixdim", id="pixdim 0"
    ),
    pytest.param({"qform_code": 0, "pixdim": pixdim(-0.75, 0.8, 2.5)}, None, r"but \(-0\.75,", id="pixdim negative"),
    pytest.param({"pixdim": pixdim(math.nan, 0.8, 2.5)}, None, "a qform that is not valid", id="pixdim not finite"),
    pytest.param({"quatern": (0.9, 0.9, 0)}, None, "a qform that is not valid", id="a quaternion too long"),
    pytest.param({"qoffset": (math.inf, 0, 0)}, None, "a qform that is not valid", id="an offset without end"),
]


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize(("fields", "other_grid", "told"), TOLD)
def test_where_the_header_contradicts_its_sform_the_sform_counts_and_it_is_told(
    fields: dict[str, Any],
    other_grid: np.ndarray | None,
    told: str,
    version: int,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    volume = read_image(save(tmp_path / "image.nii", numbered(), version=version, **fields))

    np.testing.assert_allclose(volume.ijk_to_ras, OBLIQUE, atol=1e-5)
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert record.getMessage().startswith('Image "image.nii" ')
    assert record.getMessage().endswith(
        "The sform counts, as for nibabel, FSL, SPM and nnU-Net; Slicer and ITK-SNAP may use the other."
    )
    assert re.search(told, record.getMessage())
    assert len(volume.other_grids) == (other_grid is not None)
    if other_grid is not None:
        np.testing.assert_allclose(volume.other_grids[0], other_grid, atol=1e-5)


@pytest.mark.parametrize("of_labels", ["sform", "qform"])
def test_a_label_map_fits_whichever_geometry_of_the_image_it_was_saved_with(of_labels: str, tmp_path: Path) -> None:
    image = read_image(save(tmp_path / "image.nii", numbered(), sform_code=2, **qform(ELSEWHERE)))
    grid = OBLIQUE if of_labels == "sform" else ELSEWHERE

    labels = read_labels(save(tmp_path / "labels.nii", LABELS, grid), image, "image.nii")

    np.testing.assert_array_equal(labels.voxels, LABELS)
    np.testing.assert_array_equal(labels.ijk_to_ras, image.ijk_to_ras)


def test_what_a_quaternion_loses_in_32_bits_is_no_second_geometry_but_labels_on_it_fit(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    voxels = np.zeros((2, 2, 512), np.uint8)
    voxels[0, 0, 0] = 1
    image = read_image(save(tmp_path / "image.nii", voxels, SMALL_TURN))
    by_quaternion = read_image(save(tmp_path / "qform.nii", voxels, SMALL_TURN, sform_code=0))

    np.testing.assert_allclose(image.ijk_to_ras, SMALL_TURN, rtol=1e-6)
    assert not image.shares_grid_with(by_quaternion)  # the digits are lost indeed
    assert by_quaternion.fits(image)
    assert caplog.records == []


@pytest.mark.parametrize(("degrees", "is_told"), [(0.001, False), (0.5, True)])
def test_rounding_within_two_percent_of_a_voxel_is_not_told(
    degrees: float, is_told: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    read_image(save(tmp_path / "image.nii", numbered(), **qform(turned(OBLIQUE, degrees))))

    assert bool(caplog.records) == is_told


# --- axes that are not at right angles ---


@pytest.mark.parametrize(
    ("codes", "fact"),
    [((1, 1), "and its qform is not"), ((1, 0), "and there is no qform")],
    ids=["both", "sform alone"],
)
def test_a_sheared_sform_is_refused_whatever_the_qform_says(codes: tuple[int, int], fact: str, tmp_path: Path) -> None:
    leaning = sheared(OBLIQUE, math.sin(math.radians(15)))
    fields = {"sform_code": codes[0], "qform_code": codes[1], **qform(OBLIQUE)}
    path = save(tmp_path / "image.nii", numbered(), OBLIQUE, **{**fields, "srow": tuple(leaning[:3].ravel())})

    with pytest.raises(
        GeometryError, match=rf"right angles .*sheared by 1[45]\.?\d* degrees, as by a .*gantry, {fact}\.$"
    ):
        read_image(path)


@pytest.mark.parametrize("cosine", [1e-4, 4.5e-4])
def test_axes_that_were_rounded_are_made_right(cosine: float, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    leaning = sheared(OBLIQUE, cosine)

    volume = read_image(save(tmp_path / "image.nii", numbered(), srow=tuple(leaning[:3].ravel())))

    axes = volume.ijk_to_ras[:3, :3] / volume.spacing_mm
    np.testing.assert_allclose(axes.T @ axes, np.eye(3), atol=1e-12)
    np.testing.assert_allclose(volume.ijk_to_ras, leaning, atol=cosine)
    assert caplog.records == []


# --- headers by which one cannot tell ---

NO_SFORM = {"sform_code": 0}
NEITHER = {"sform_code": 0, "qform_code": 0}
REFUSED = [
    pytest.param(
        {**NO_SFORM, "pixdim": pixdim(0, 0.8, 2.5)}, r"has pixdim \(0, 0\.8, 2\.5\) and no sform", id="qform, 0"
    ),
    pytest.param(
        {**NO_SFORM, "pixdim": pixdim(-1, 1, 2)}, r"has pixdim \(-1, 1, 2\) and no sform", id="qform, negative"
    ),
    pytest.param({**NO_SFORM, "pixdim": pixdim(math.nan, 1, 2)}, r"has pixdim \(nan, 1, 2\)", id="qform, not a number"),
    pytest.param({**NO_SFORM, "quatern": (0.9, 0.9, 0)}, "a qform that is no rotation", id="no rotation"),
    pytest.param(
        {**NO_SFORM, "quatern": (math.nan, 0, 0)}, "a qform that is no rotation", id="quaternion not a number"
    ),
    pytest.param({**NO_SFORM, "qoffset": (0, math.inf, 0)}, "a qform that is no rotation", id="place not finite"),
    pytest.param({**NEITHER, "pixdim": pixdim(0, 0, 0)}, "does not say how large its voxels are", id="neither, 0"),
    pytest.param(
        {**NEITHER, "pixdim": pixdim(1, -1, 2)}, "does not say how large its voxels are", id="neither, negative"
    ),
    pytest.param({"srow": (0.0,) * 12}, "axes that are not at right angles or no valid spacing", id="sform of zeros"),
    pytest.param(
        {"srow": (math.nan,) * 12}, "axes that are not at right angles or no valid spacing", id="sform of NaN"
    ),
    pytest.param({"srow": (3e38,) * 12}, "axes that are not at right angles or no valid spacing", id="absurd sform"),
    pytest.param({"xyzt_units": 5}, r"an unknown unit \(5 in xyzt_units\)", id="unknown unit"),
    pytest.param({"xyzt_units": 1}, "The units are probably mixed up", id="mm called meters"),
]


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize(("fields", "sentence"), REFUSED)
def test_a_header_by_which_one_cannot_tell_is_refused(
    fields: dict[str, Any], sentence: str, version: int, tmp_path: Path
) -> None:
    path = save(tmp_path / "image.nii", numbered(), np.diag([1.0, 1, 2, 1]), version=version, **fields)

    with pytest.raises(GeometryError, match=rf'^Image "image\.nii" .*{sentence}'):
        read_image(path)


# --- files that do not say how they lie ---


def save_unplaced(folder: Path, kind: str, voxels: np.ndarray) -> Path:
    if kind == "NIfTI":
        return save(folder / "image.nii", voxels, **NEITHER)
    fields = {"magic": b"\0\0\0\0", "scl_slope": 0, "pixdim": pixdim(*SPACING), "xyzt_units": 0, **NEITHER}
    return save_pair(folder / "image.hdr", voxels, **fields)


@pytest.mark.parametrize("kind", ["NIfTI", "Analyze"])
def test_a_file_that_does_not_say_how_it_lies_is_read_with_a_warning_and_fits_what_has_its_size(
    kind: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    volume = read_image(save_unplaced(tmp_path, kind, numbered()))

    assert "does not say how it lies in the patient" in warnings_of(caplog)
    assert not volume.is_placed
    np.testing.assert_allclose(volume.ijk_to_ras, UNTURNED, rtol=1e-6)
    np.testing.assert_array_equal(volume.voxels, numbered())
    labels = read_labels(save(tmp_path / "labels.nii", LABELS), volume, "image")
    np.testing.assert_array_equal(labels.voxels, LABELS)


def test_a_label_map_that_does_not_say_how_it_lies_fits_an_image_of_its_size(tmp_path: Path) -> None:
    image = read_image(save(tmp_path / "image.nii", numbered()))
    path = save(tmp_path / "labels.nii", LABELS, **NEITHER)

    np.testing.assert_array_equal(read_labels(path, image, "image.nii").voxels, LABELS)
    smaller = Volume(image.voxels[:1], image.ijk_to_ras)
    with pytest.raises(GeometryError, match="has size"):
        read_labels(path, smaller, "image.nii")


def test_the_signs_in_an_analyze_header_mirror_nothing(tmp_path: Path) -> None:
    fields = {"magic": b"\0\0\0\0", "scl_slope": 0, "pixdim": pixdim(-0.75, 0.8, 2.5), "xyzt_units": 0, **NEITHER}

    volume = read_image(save_pair(tmp_path / "image.hdr", numbered(), **fields))

    np.testing.assert_allclose(volume.ijk_to_ras, UNTURNED, rtol=1e-6)
