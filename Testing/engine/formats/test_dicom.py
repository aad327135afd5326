"""DICOM from the door: one series of several, objects that are no images, one file of many, and random files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from mutated import tried
from random_dicom import SCANS, Scan
from written_dicom import (
    GRID,
    LABEL_MAP,
    MR,
    SEGMENTATION,
    save_frames,
    save_segmentation,
    save_slices,
    save_structures,
    to_ras,
    values,
)

from uncol.core.errors import DataError
from uncol.core.jobs import DicomChoice
from uncol.core.volume import Volume
from uncol.data.io import read_image, read_labels, read_prediction, read_reference


def save_two_series(folder: Path) -> Path:
    """Series 7 of 3 CT slices, and series 2 of 2 MR slices, whose files come later."""
    save_slices(folder, values(3), series="1", number=7)
    return save_slices(folder, values(2) + 5000, series="2", number=2, sop_class=MR, intercept=0)


def test_several_series_are_listed_by_number_and_none_is_chosen(tmp_path: Path) -> None:
    save_two_series(tmp_path)

    with pytest.raises(DataError) as caught:
        read_image(tmp_path)

    assert str(caught.value) == (
        f'Image "{tmp_path.name}" holds 2 DICOM series: 1 (series number 2, MR, 2 images of 8 x 6); '
        "2 (series number 7, CT, 3 images of 8 x 6). "
        "Choose one with --series NUMBER, or move its files to a folder of their own."
    )


@pytest.mark.parametrize(("number", "expected"), [(1, values(2) + 5000), (2, values(3))])
def test_a_series_is_chosen_by_its_number_in_the_list(number: int, expected: np.ndarray, tmp_path: Path) -> None:
    save_two_series(tmp_path)

    np.testing.assert_array_equal(read_image(tmp_path, DicomChoice(number)).voxels, expected)


@pytest.mark.parametrize("number", [-1, 0, 3])
def test_a_series_that_is_not_there_is_refused_with_the_list(number: int, tmp_path: Path) -> None:
    save_two_series(tmp_path)

    with pytest.raises(DataError, match=rf"has no series {number}\. Choose one of 1 \(series number 2, MR"):
        read_image(tmp_path, DicomChoice(number))


def test_series_without_numbers_come_last_and_a_long_list_is_cut(tmp_path: Path) -> None:
    for number in range(9):
        save_slices(tmp_path, values(1), series=f"3{number}", number=9 - number)
    save_slices(tmp_path, values(1), series="1", number=None)

    with pytest.raises(DataError, match=r"10 DICOM series: 1 \(series number 1, .*; 8 \(series.*\); and 2 more\."):
        read_image(tmp_path)
    np.testing.assert_array_equal(read_image(tmp_path, DicomChoice(10)).voxels, values(1))


def test_a_damaged_slice_counts_for_its_own_series_unless_no_one_knows_whose_it_is(tmp_path: Path) -> None:
    save_two_series(tmp_path)
    (tmp_path / "2-001.dcm").write_bytes((tmp_path / "2-001.dcm").read_bytes()[:-6])

    assert read_image(tmp_path, DicomChoice(2)).shape_kji[0] == 3
    with pytest.raises(DataError, match=r'1 of 2 files cannot be used \(cut off: "2-001.dcm"\)'):
        read_image(tmp_path, DicomChoice(1))

    (tmp_path / "2-001.dcm").write_bytes(b"")
    with pytest.raises(DataError, match=r'1 of 4 files cannot be used \(empty: "2-001.dcm"\)'):
        read_image(tmp_path, DicomChoice(2))


def test_a_series_that_is_damaged_as_a_whole_is_not_forgotten(tmp_path: Path) -> None:
    save_two_series(tmp_path)
    for path in tmp_path.glob("2-*"):
        path.write_bytes(path.read_bytes()[:-6])

    with pytest.raises(DataError, match=r'2 of 5 files cannot be used \(cut off: "2-001.dcm", "2-002.dcm"\)'):
        read_image(tmp_path)


@pytest.mark.parametrize("is_file", [True, False], ids=["file", "folder"])
@pytest.mark.parametrize("given_as", ["labels", "reference", "prediction"])
def test_a_segmentation_is_refused_by_its_class_with_what_to_do(given_as: str, is_file: bool, tmp_path: Path) -> None:
    path = save_segmentation(tmp_path / "organ.dcm", sop_class=LABEL_MAP if is_file else SEGMENTATION)
    source = path if is_file else tmp_path
    other = Volume(values(), to_ras(GRID))
    read: dict[str, Callable[[], Any]] = {
        "labels": lambda: read_labels(source, other, "ct"),
        "reference": lambda: read_reference(source),
        "prediction": lambda: read_prediction(source, other, "liver.nii.gz"),
    }

    with pytest.raises(DataError, match=r"is a DICOM segmentation \(SEG\).* label map .*1 to 254.*255 means unknown"):
        read[given_as]()


def test_a_structure_set_alone_is_refused_by_its_class(tmp_path: Path) -> None:
    path = save_structures(tmp_path / "rs.dcm")

    for source in (path, tmp_path):
        with pytest.raises(
            DataError, match=r'no DICOM image \(DICOM of the class "RT Structure Set Storage": "rs.dcm"'
        ):
            read_image(source)


def test_one_slice_by_its_name_is_a_volume_of_one_slice_and_its_folder_is_hinted_at(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    save_slices(tmp_path)

    volume = read_image(tmp_path / "1-004.dcm")

    np.testing.assert_array_equal(volume.voxels, values()[1:2])
    np.testing.assert_allclose(volume.ijk_to_ras[:3, 3], to_ras(GRID @ [0, 0, 1, 1])[:3], atol=1e-9)
    assert caplog.messages == ['Image "1-004.dcm" is one slice of a series. Give its folder to read the whole.']


def test_a_file_that_is_alone_or_has_many_frames_is_read_without_a_word(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    save_slices(tmp_path / "one", values(1))
    save_frames(tmp_path / "many" / "a.dcm")
    save_frames(tmp_path / "many" / "b.dcm")

    assert read_image(tmp_path / "one" / "1-001.dcm").shape_kji == (1, 6, 8)
    np.testing.assert_array_equal(read_image(tmp_path / "many" / "b.dcm").voxels, values())
    assert not caplog.messages


def test_nothing_about_a_patient_or_study_enters_a_message(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    save_two_series(tmp_path)
    save_segmentation(tmp_path / "seg.dcm")
    said = []
    for choice in (DicomChoice(), DicomChoice(1), DicomChoice(9)):
        try:
            read_image(tmp_path, choice)
        except DataError as error:
            said.append(str(error))
    (tmp_path / "1-001.dcm").write_bytes(b"")
    with pytest.raises(DataError) as caught:
        read_image(tmp_path, DicomChoice(2))

    everything = " ".join([*said, str(caught.value), *caplog.messages])
    assert len(said) == 2
    assert "CANARY" not in everything
    assert "1.2.8" not in everything  # UIDs


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


@settings(max_examples=200, deadline=None, derandomize=True)
@given(SCANS)
def test_random_scans_are_read_right_or_refused_in_a_sentence(scan: Scan) -> None:
    check_random_scan(scan)


@pytest.mark.soak
def test_many_random_scans_are_read_right_or_refused_in_a_sentence(tell: Callable[[str], None]) -> None:
    tell(f"random DICOM scans: {tried(10_000, SCANS, check_random_scan)}")


def check_random_scan(scan: Scan) -> bool:
    with TemporaryDirectory() as folder:
        source = scan.write(Path(folder))
        expected = scan.expected()
        choice = DicomChoice(allow_incomplete=scan.has_consent)
        if expected is None:
            with pytest.raises(DataError) as caught:
                read_image(source, choice)
            assert 20 < len(str(caught.value)) < 700
            return False
        volume = read_image(source, choice)
        np.testing.assert_allclose(volume.ijk_to_ras, expected.ijk_to_ras, atol=1e-4)
        np.testing.assert_allclose(volume.voxels, expected.voxels, rtol=1e-6)
        return True
