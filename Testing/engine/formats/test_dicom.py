"""Folders of DICOM slices, read as images are: sorted, complete and straight, or refused."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813  # the abbreviation of SimpleITK's own documentation

from uncol.core.errors import DataError, GeometryError
from uncol.data.io import read_image


def save_slices(
    folder: Path, positions_lps: Sequence[tuple[float, float, float]], uid: str = "1.2.3", description: str = "venous"
) -> Path:
    """Write a DICOM series: slice n holds 12 n, 12 n + 1, ... (J = 3, I = 4); file names run against the positions."""
    folder.mkdir(exist_ok=True)
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    for number, position in enumerate(positions_lps):
        image = sitk.GetImageFromArray(np.arange(12 * number, 12 * number + 12, dtype=np.int16).reshape(1, 3, 4))
        image.SetSpacing((0.7, 0.9, 5.0))
        tags = {
            "0008|0016": "1.2.840.10008.5.1.4.1.1.2",
            "0008|0018": f"{uid}.{number + 1}",
            "0008|0060": "CT",
            "0008|103e": description,
            "0010|0010": "DOE^JANE",
            "0020|000d": "1.2",
            "0020|000e": uid,
            "0020|0013": str(number),
            "0020|0032": "\\".join(map(str, position)),
            "0020|0037": "1\\0\\0\\0\\1\\0",
        }
        for tag, value in tags.items():
            image.SetMetaData(tag, value)
        writer.SetFileName(str(folder / f"{uid}-{len(positions_lps) - number:02}.dcm"))
        writer.Execute(image)
    return folder


def test_a_dicom_series_is_sorted_by_position_and_not_by_file_name(tmp_path: Path) -> None:
    save_slices(tmp_path, [(-10, -20, 26.5), (-10, -20, 24), (-10, -20, 29)])

    volume = read_image(tmp_path)

    # The second file lies lowest, the first in the middle, the third on top.
    np.testing.assert_array_equal(volume.voxels[:, 0, 0], [12, 0, 24])
    np.testing.assert_allclose(
        volume.ijk_to_ras, [[-0.7, 0, 0, 10], [0, -0.9, 0, 20], [0, 0, 2.5, 24], [0, 0, 0, 1]], atol=1e-9
    )


def test_a_dicom_series_of_one_slice_is_a_volume(tmp_path: Path) -> None:
    assert read_image(save_slices(tmp_path, [(0, 0, 7)])).shape_kji == (1, 3, 4)


def test_two_dicom_series_in_a_folder_are_listed_and_none_is_chosen(tmp_path: Path) -> None:
    save_slices(tmp_path, [(0, 0, 0), (0, 0, 2)], uid="1.2.3", description="arterial")
    save_slices(tmp_path, [(0, 0, 0), (0, 0, 2), (0, 0, 4)], uid="1.2.4", description="")

    with pytest.raises(DataError, match="holds 2 DICOM series") as caught:
        read_image(tmp_path)

    assert '("arterial", 2 files from 1.2.3-02.dcm; "1.2.4", 3 files from 1.2.4-03.dcm)' in str(caught.value)
    assert str(caught.value).endswith("Move the wanted one to its own folder.")
    assert "DOE" not in str(caught.value)


def test_a_long_list_of_dicom_series_is_cut(tmp_path: Path) -> None:
    for number in range(10):
        save_slices(tmp_path, [(0, 0, 0)], uid=f"1.2.{number + 1}")

    with pytest.raises(DataError, match=r"holds 10 DICOM series \(.*\", 1 file, 1\.2\..*; and 2 more\)"):
        read_image(tmp_path)


def test_a_folder_without_dicom_images_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no image")
    save_slices(tmp_path / "below", [(0, 0, 0), (0, 0, 2)])

    with pytest.raises(DataError, match=r"is a folder without DICOM images\. Choose the folder that directly holds"):
        read_image(tmp_path)


@pytest.mark.parametrize(
    ("positions", "text"),
    [
        # 0, 2, 6, 8 mm instead of 0, 8/3, 16/3, 8
        ([(0, 0, height) for height in (0, 2, 6, 8)], "up to 0.667 mm"),
        ([(0, 0, height) for height in (0, 2, 4, 0, 2, 4)], "mm"),
        ([(0, 0, 0), (0, 0, 0)], "mm"),
        # tilted by 0.3 mm per mm: the slices drift to the back while the grid goes straight up
        ([(0, 0.3 * height, height) for height in (0, 2, 4, 6)], "mm"),
    ],
    ids=["missing slice", "two phases", "same position", "tilted gantry"],
)
def test_dicom_slices_that_form_no_regular_stack_are_refused(
    positions: list[tuple[float, float, float]], text: str, tmp_path: Path
) -> None:
    save_slices(tmp_path, positions)

    with pytest.raises(GeometryError, match=rf"{text} off an even, straight stack: .* Export one complete stack"):
        read_image(tmp_path)


def test_dicom_slices_without_positions_are_refused(tmp_path: Path) -> None:
    save_slices(tmp_path, [(0, 0, 0), (0, 0, 2)])
    for path in tmp_path.iterdir():
        tag = b"\x20\x00\x32\x00"
        assert path.read_bytes().count(tag) == 1
        path.write_bytes(path.read_bytes().replace(tag, b"\x20\x00\x33\x00"))

    with pytest.raises(GeometryError, match=r"do not say where they lie\. Export it with patient positions\."):
        read_image(tmp_path)


def test_dicom_slice_positions_rounded_by_the_scanner_are_accepted(tmp_path: Path) -> None:
    assert read_image(save_slices(tmp_path, [(0, 0, 0), (0, 0, 0.6), (0, 0, 1.3), (0, 0, 1.9)])).shape_kji == (4, 3, 4)


def test_a_damaged_dicom_file_at_the_end_of_a_series_is_reported_in_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    save_slices(tmp_path, [(0, 0, 0), (0, 0, 2), (0, 0, 4)])
    last = tmp_path / "1.2.3-01.dcm"
    last.write_bytes(last.read_bytes()[:-6])

    with caplog.at_level(logging.WARNING):
        volume = read_image(tmp_path)

    assert volume.shape_kji == (2, 3, 4)
    assert caplog.messages == ["Left out, because damaged or no image: 1 of the 3 DICOM files in the folder."]


@pytest.mark.realdata
def test_real_dicom_slices_equal_those_of_the_same_scan_as_nifti(shared_data: Path) -> None:
    folder, whole_path = shared_data / "chaos_ct_dicom", shared_data / "chaos_ct" / "images" / "chaos_ct_liver.nii.gz"
    if not folder.is_dir() or not whole_path.is_file():
        pytest.skip("no CHAOS data")
    volume, whole = read_image(folder), read_image(whole_path)

    np.testing.assert_array_equal(volume.voxels, whole.voxels[40:52])
    assert volume.spacing_mm == pytest.approx((0.7265625, 0.7265625, 2.0))
    # LPS (-185, -98, 1616.5), which is slice 40 of a scan that starts at 1536.5
    np.testing.assert_allclose(volume.ijk_to_ras[:3, 3], [185, 98, 1616.5], atol=1e-6)
    np.testing.assert_allclose(volume.ijk_to_ras[:3, 3], (whole.ijk_to_ras @ [0, 0, 40, 1])[:3], atol=1e-4)
