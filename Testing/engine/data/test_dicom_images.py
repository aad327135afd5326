"""An image whose result becomes DICOM: read as any other, or refused where it is none."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from written_dicom import clinical, save_slices

from uncol.core.errors import DataError
from uncol.core.jobs import DicomChoice
from uncol.core.volume import Volume
from uncol.core.volume_files import VolumeFile
from uncol.data.dicom_images import read_dicom_image
from uncol.data.io import read_image, write_results

IMAGE = Volume(np.arange(24, dtype=np.int16).reshape(2, 3, 4), np.eye(4))


@pytest.fixture
def series(tmp_path: Path) -> Path:
    return save_slices(tmp_path / "ct", edit=lambda _n, header: clinical(header))


def test_it_is_read_as_without_a_result_in_dicom(series: Path) -> None:
    image, source = read_dicom_image(series, DicomChoice())

    other = read_image(series)
    assert np.array_equal(image.voxels, other.voxels)
    assert np.array_equal(image.ijk_to_ras, other.ijk_to_ras)
    heights_mm = [float(source.headers[number].ImagePositionPatient[2]) for number in source.order]
    assert heights_mm == sorted(heights_mm)


def test_one_file_of_a_series_is_read(series: Path) -> None:
    image, source = read_dicom_image(series / "1-001.dcm", DicomChoice())

    assert len(source.headers) == len(image.voxels) == 1


@pytest.mark.parametrize("source", ["ct.nii.gz", "volume"])
def test_what_is_no_dicom_is_refused_in_one_sentence(source: str, tmp_path: Path) -> None:
    write_results(tmp_path, {"ct.nii.gz": IMAGE}, {})
    image = VolumeFile.write(tmp_path / "ct.npy", IMAGE) if source == "volume" else tmp_path / source

    with pytest.raises(DataError, match=r"is no DICOM image, so its result cannot be DICOM"):
        read_dicom_image(image, DicomChoice())


def test_a_path_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        read_dicom_image(tmp_path / "nowhere", DicomChoice())


def test_without_highdicom_it_is_said_what_to_install(series: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "highdicom", None)

    with pytest.raises(DataError, match=r"need the package highdicom\. .* install it \(pip install highdicom\)\.$"):
        read_dicom_image(series, DicomChoice())
