"""What headers must say of each slice or frame; nothing is made up where they are silent."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import Dataset
from pydicom.dataelem import RawDataElement
from pydicom.tag import BaseTag
from written_dicom import GRID, group, save_frames, save_slices, text, to_ras, values

from uncol.core.errors import DataError, GeometryError
from uncol.data.io import read_image


def without(keyword: str) -> Callable[[int, Dataset], None]:
    return lambda _, dataset: delattr(dataset, keyword)


def raw(tag: int, value: bytes) -> Callable[[int, Dataset], None]:
    """Put bytes there that no writer would let through."""

    def edit(_: int, dataset: Dataset) -> None:
        dataset[tag] = RawDataElement(BaseTag(tag), "DS", len(value), value, 0, False, True)

    return edit


def both_spacings(_: int, dataset: Dataset) -> None:
    dataset.ImagerPixelSpacing = dataset.PixelSpacing
    del dataset.PixelSpacing


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (without("PixelSpacing"), r"no PixelSpacing \(0028,0030\)"),
        (both_spacings, r"no PixelSpacing \(0028,0030\)"),
        (without("ImagePositionPatient"), r"no ImagePositionPatient \(0020,0032\)"),
        (without("ImageOrientationPatient"), r"no ImageOrientationPatient \(0020,0037\)"),
        (raw(0x00280030, b"0,9\\0,8 "), r"unreadable PixelSpacing"),
        (raw(0x00280030, b"0.9 "), r"unreadable PixelSpacing"),
        (raw(0x00280030, b"0.9\\0"), r"unreadable PixelSpacing"),
        (raw(0x00280030, b"0.9\\nan "), r"unreadable PixelSpacing"),
        (raw(0x00280030, b"-0.9\\0.8 "), r"unreadable PixelSpacing"),
        (raw(0x00200032, b"1\\2\\1e300 "), r"unreadable ImagePositionPatient"),
        (raw(0x00200032, b"1\\2\\\xff "), r"unreadable ImagePositionPatient"),
        (raw(0x00200037, b"1\\0\\0\\1\\0\\0 "), r"ImageOrientationPatient \(0020,0037\) without two directions"),
        (raw(0x00200037, b"1\\0\\0\\0\\2\\0 "), r"ImageOrientationPatient \(0020,0037\) without two directions"),
        (raw(0x00281053, b"0 "), r"RescaleSlope \(0028,1053\) of 0"),
        (raw(0x00281053, b"inf "), r"unreadable RescaleSlope"),
        (raw(0x00281052, b"-1024,5 "), r"unreadable RescaleIntercept"),
    ],
)
def test_slices_that_do_not_say_what_is_needed_are_refused_by_the_name_of_the_tag(
    edit: Callable[[int, Dataset], None], said: str, tmp_path: Path
) -> None:
    save_slices(tmp_path, edit=edit)

    with pytest.raises(GeometryError, match=rf'{said}.*: "1-001.dcm", "1-002.dcm", "1-003.dcm" and 2 more'):
        read_image(tmp_path)


@pytest.mark.parametrize("is_file", [False, True], ids=["folder", "file"])
@pytest.mark.parametrize(
    ("keyword", "said"),
    [
        ("PixelMeasuresSequence", "no PixelSpacing"),
        ("PlaneOrientationSequence", "no ImageOrientationPatient"),
    ],
)
def test_frames_that_do_not_say_what_is_needed_are_refused(
    keyword: str, said: str, is_file: bool, tmp_path: Path
) -> None:
    path = save_frames(tmp_path / "frames.dcm", edit_shared=lambda shared: delattr(shared, keyword))

    with pytest.raises(GeometryError, match=rf'{said}.*frame 1 of "frames.dcm"'):
        read_image(path if is_file else tmp_path)


def test_a_position_in_the_header_is_not_that_of_each_of_many_frames(tmp_path: Path) -> None:
    path = save_frames(
        tmp_path / "frames.dcm",
        edit=lambda _, item: delattr(item, "PlanePositionSequence"),
        edit_header=lambda dataset: setattr(dataset, "ImagePositionPatient", ["1", "2", "3"]),
    )

    with pytest.raises(GeometryError, match="no ImagePositionPatient"):
        read_image(path)


def test_a_frames_own_group_counts_more_than_the_shared_one_and_the_header(tmp_path: Path) -> None:
    def own(_: int, item: Dataset) -> None:
        item.PixelMeasuresSequence = group(PixelSpacing=text([0.9, 0.8]))

    path = save_frames(
        tmp_path / "frames.dcm",
        edit=own,
        edit_shared=lambda shared: setattr(shared.PixelMeasuresSequence[0], "PixelSpacing", ["7", "7"]),
        edit_header=lambda dataset: setattr(dataset, "PixelSpacing", ["8", "8"]),
    )

    assert read_image(path).spacing_mm == pytest.approx((0.8, 0.9, 2.5))


def test_a_header_serves_frames_without_groups_of_that_kind(tmp_path: Path) -> None:
    def moved(dataset: Dataset) -> None:
        dataset.PixelSpacing = dataset.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].PixelSpacing
        del dataset.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence

    path = save_frames(tmp_path / "frames.dcm", edit_header=moved)

    np.testing.assert_allclose(read_image(path).ijk_to_ras, to_ras(GRID), atol=1e-9)


@pytest.mark.parametrize("value", ["-2.5", "0", "9"])
def test_positions_count_and_not_what_is_said_of_the_distance(value: str, tmp_path: Path) -> None:
    save_slices(tmp_path, edit=lambda _, dataset: setattr(dataset, "SpacingBetweenSlices", value))

    volume = read_image(tmp_path)

    np.testing.assert_allclose(volume.ijk_to_ras, to_ras(GRID), atol=1e-9)
    np.testing.assert_array_equal(volume.voxels, values())


@pytest.mark.parametrize(
    ("tags", "expected_mm"),
    [
        ({"SpacingBetweenSlices": "3", "SliceThickness": "5"}, 3),
        ({"SpacingBetweenSlices": "0", "SliceThickness": "5"}, 5),
        ({"SpacingBetweenSlices": "-3", "SliceThickness": "5"}, 5),
        ({"SliceThickness": "5"}, 5),
    ],
    ids=str,
)
def test_a_single_slice_is_as_thick_as_it_says(tags: dict[str, Any], expected_mm: float, tmp_path: Path) -> None:
    def edit(_: int, dataset: Dataset) -> None:
        del dataset.SliceThickness
        for keyword, value in tags.items():
            setattr(dataset, keyword, value)

    save_slices(tmp_path, values(1), edit=edit)

    assert read_image(tmp_path).spacing_mm == pytest.approx((0.8, 0.9, expected_mm))


def test_a_single_slice_that_does_not_say_how_thick_it_is_is_refused(tmp_path: Path) -> None:
    save_slices(tmp_path, values(1), edit=without("SliceThickness"))

    with pytest.raises(GeometryError, match=r"does not say how thick it is: SliceThickness \(0018,0050\)"):
        read_image(tmp_path)


@pytest.mark.parametrize(
    ("tags", "said"),
    [
        ({"SamplesPerPixel": 3}, "color"),
        ({"PhotometricInterpretation": "PALETTE COLOR"}, "color"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "M", "MOSAIC"]}, "a mosaic of slices"),
    ],
    ids=["three samples", "palette", "mosaic"],
)
def test_images_that_are_no_grey_slices_are_refused(tags: dict[str, Any], said: str, tmp_path: Path) -> None:
    def edit(_: int, dataset: Dataset) -> None:
        for keyword, value in tags.items():
            setattr(dataset, keyword, value)
        dataset.PixelData = dataset.PixelData * 3

    save_slices(tmp_path, edit=edit)

    with pytest.raises(DataError, match=rf"\({said}: .* hold one number for each pixel"):
        read_image(tmp_path)
