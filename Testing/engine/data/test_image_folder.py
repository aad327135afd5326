"""Which images a folder holds: files by their names, sub-folders by what is in them."""

from __future__ import annotations

from pathlib import Path

import pytest
from written_dicom import save_slices

from uncol.core.errors import DataError
from uncol.data.image_folder import images_in


def test_images_are_files_of_known_formats_and_folders_with_dicom(tmp_path: Path) -> None:
    files = ("b.nii", "a.nii.gz", "c.NRRD", "d.mha", "e.hdr", "e.img", "f.img.gz", "readme.txt", ".hidden.nii", "x.dcm")
    for name in files:
        (tmp_path / name).write_bytes(b"x")
    save_slices(tmp_path / "series")
    save_slices(tmp_path / ".hidden")
    (tmp_path / "empty").mkdir()
    (tmp_path / "results" / "2026").mkdir(parents=True)

    images, others = images_in(tmp_path, tmp_path / "results" / "2026")

    assert [each.name for each in images] == ["a.nii.gz", "b.nii", "c.NRRD", "d.mha", "e.hdr", "f.img.gz", "series"]
    assert others == ["empty", "readme.txt", "x.dcm"]


@pytest.mark.parametrize("out", [".", "series", "series/results", ".."])
def test_results_never_lie_among_images(out: str, tmp_path: Path) -> None:
    folder = tmp_path / "images"
    save_slices(folder / "series")
    save_slices(folder / "images")  # with results in the folder above, its own would lie among all images

    with pytest.raises(DataError, match=r"Results in \".*\" would lie among images .*Choose another --out"):
        images_in(folder, folder / out)


def test_what_belongs_to_a_header_is_not_left_out(tmp_path: Path) -> None:
    for name in ("a.mhd", "A.RAW", "b.mhd", "b.zraw", "c.nhdr", "c.raw.gz", "alone.raw"):
        (tmp_path / name).write_bytes(b"x")

    images, others = images_in(tmp_path, tmp_path / "results")

    assert [each.name for each in images] == ["a.mhd", "b.mhd", "c.nhdr"]
    assert others == ["alone.raw"]


def test_links_in_a_circle_stop_nothing(tmp_path: Path) -> None:
    for name in ("loop", "loop.nii", "a.nii"):
        (tmp_path / name).symlink_to(name if "loop" in name else tmp_path / "loop")

    images, others = images_in(tmp_path, tmp_path / "results")

    assert [each.name for each in images] == ["a.nii", "loop.nii"]
    assert others == ["loop"]


def test_a_file_is_no_folder_and_a_missing_one_is_told(tmp_path: Path) -> None:
    (tmp_path / "ct.nii").write_bytes(b"x")

    with pytest.raises(DataError, match=r'Folder "ct\.nii" is a file\. Give the folder'):
        images_in(tmp_path / "ct.nii", tmp_path / "out")
    with pytest.raises(DataError, match='Folder "nowhere" does not exist'):
        images_in(tmp_path / "nowhere", tmp_path / "out")
