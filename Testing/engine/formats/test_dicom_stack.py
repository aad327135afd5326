"""Slices and frames in a straight, even stack, sorted; everything else is refused and the odd one named."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import Dataset
from written_dicom import GRID, grid_lps, group, save_frames, save_scout, save_slices, text, to_ras, values

from uncol.core.errors import DataError, GeometryError
from uncol.core.jobs import DicomChoice
from uncol.core.volume import Volume
from uncol.data.io import read_image

Place = Callable[[int], Sequence[float] | np.ndarray]
SCATTERED = [3, 0, 4, 2, 1]


def save_placed(folder: Path, form: str, place: Place, count: int = 5) -> Path:
    """Write slices, or frames in scattered order, at places of their own in LPS; returns the folder."""
    if form == "slices":
        return save_slices(
            folder,
            values(count),
            edit=lambda n, dataset: setattr(dataset, "ImagePositionPatient", text(place(n))),
        )
    order = SCATTERED if count == 5 else None
    path = save_frames(
        folder / "frames.dcm",
        values(count),
        order=order,
        edit=lambda n, item: setattr(item, "PlanePositionSequence", group(ImagePositionPatient=text(place(n)))),
    )
    return path.parent


def check(volume: Volume, grid: np.ndarray, real: np.ndarray) -> None:
    np.testing.assert_allclose(volume.ijk_to_ras, to_ras(grid), atol=1e-6)
    np.testing.assert_array_equal(volume.voxels, real)


@pytest.mark.parametrize("turn", [(0, 0, 0), (20, 0, 0), (11, -23, 7), (90, 0, 90)], ids=str)
@pytest.mark.parametrize("form", ["slices", "frames", "file"])
def test_images_are_sorted_by_place_whatever_their_order_in_files(
    form: str, turn: tuple[float, ...], tmp_path: Path
) -> None:
    grid = grid_lps(turn=turn)
    if form == "slices":
        source = save_slices(tmp_path, grid=grid)
    else:
        path = save_frames(tmp_path / "frames.dcm", grid=grid, order=SCATTERED)
        source = path if form == "file" else tmp_path

    check(read_image(source), grid, values())


def test_a_stack_written_from_the_top_is_read_from_the_lowest_slice_so_that_it_is_right_handed(tmp_path: Path) -> None:
    downwards = GRID @ np.diag([1.0, 1.0, -1.0, 1.0])
    save_slices(tmp_path, grid=downwards)

    lowest = GRID.copy()
    lowest[:3, 3] = (downwards @ [0, 0, 4, 1])[:3]
    check(read_image(tmp_path), lowest, values()[::-1])


@pytest.mark.parametrize("form", ["slices", "frames"])
@pytest.mark.parametrize(
    ("place", "said"),
    [
        # 0, 2, 4, 8, 10 mm instead of 0, 2.5, 5, 7.5, 10
        pytest.param(lambda n: [0, 0, 2 * n + 2 * (n > 2)], "1 mm off .*: 1 slice is missing, .* between", id="gap"),
        # 0, 2, 8, 10, 12 instead of 0, 3, 6, 9, 12
        pytest.param(lambda n: [0, 0, 2 * n + 4 * (n > 1)], "2 mm off .*: 2 slices are missing", id="wide gap"),
        # growing: 0, 2, 5, 9, 14 instead of 0, 3.5, 7, 10.5, 14
        pytest.param(lambda n: [0, 0, n * (n + 3) / 2], "2 mm off .*their distances are 2 to 5 mm", id="growing"),
        # 1.2 mm to the back for every 2.5 mm: atan(1.2 / 2.5) = 25.6 degrees
        pytest.param(lambda n: [0, 1.2 * n, 2.5 * n], "4.8 mm off .*gantry was tilted by 26 degrees", id="tilt"),
        pytest.param(lambda n: [3 * (n == 3), 0, 2.5 * n], "mm off .*lies 3 mm beside the others", id="beside"),
        pytest.param(lambda n: [0, 0, 0], "holds 5 different slices in one place", id="one place"),
        pytest.param(lambda n: [0, 0, 2.5 * (n % 3)], "holds 2 different slices in one place", id="two phases"),
    ],
)
def test_images_that_form_no_straight_even_stack_are_refused_with_the_reason(
    form: str, place: Place, said: str, tmp_path: Path
) -> None:
    save_placed(tmp_path, form, place)

    with pytest.raises(GeometryError, match=said):
        read_image(tmp_path)


def test_a_gap_is_named_by_the_files_beside_it(tmp_path: Path) -> None:
    save_placed(tmp_path, "slices", lambda n: [0, 0, 2 * n + 2 * (n > 2)])

    with pytest.raises(GeometryError, match=r'between "1-003.dcm" and "1-002.dcm"\. Copy or export the complete'):
        read_image(tmp_path)


@pytest.mark.parametrize(
    ("keyword", "number"), [("AcquisitionNumber", "0020,0012"), ("TemporalPositionIdentifier", "0020,0100")]
)
def test_phases_are_told_by_what_they_differ_in(keyword: str, number: str, tmp_path: Path) -> None:
    def edit(n: int, dataset: Dataset) -> None:
        dataset.ImagePositionPatient = text([0, 0, 2 * (n % 3)])
        setattr(dataset, keyword, n // 3 + 1)

    save_slices(tmp_path, values(6), edit=edit)

    with pytest.raises(GeometryError, match=rf'"1-003.dcm" and "1-006.dcm", which differ in {keyword} \({number}\)'):
        read_image(tmp_path)


def test_phases_of_one_file_are_told_by_their_temporal_index(tmp_path: Path) -> None:
    def edit(n: int, item: Dataset) -> None:
        item.PlanePositionSequence = group(ImagePositionPatient=text([0, 0, 2 * (n % 2)]))
        item.FrameContentSequence[0].TemporalPositionIndex = n // 2 + 1

    save_frames(tmp_path / "frames.dcm", values(4), edit=edit)

    with pytest.raises(GeometryError, match=r'frame 1 of "frames.dcm" and frame 3 .* TemporalPositionIndex'):
        read_image(tmp_path)


@pytest.mark.parametrize("form", ["slices", "frames"])
@pytest.mark.parametrize(
    "heights_mm", [(0, 0.6, 1.3, 1.9), (0, 2.5, 5.2, 7.5)], ids=["rounded by the scanner", "0.2 mm off"]
)
def test_places_rounded_by_the_scanner_are_accepted(form: str, heights_mm: tuple[float, ...], tmp_path: Path) -> None:
    save_placed(tmp_path, form, lambda n: [0, 0, heights_mm[n]], count=4)

    volume = read_image(tmp_path)

    # from the first to the last slice there are three steps
    assert volume.spacing_mm == pytest.approx((0.8, 0.9, heights_mm[-1] / 3))


def test_orientations_that_differ_in_the_last_digits_are_one(tmp_path: Path) -> None:
    def edit(n: int, dataset: Dataset) -> None:
        dataset.ImageOrientationPatient = text(np.array([1, 0, 0, 0, 1, 0]) + (n % 3 - 1) * 1e-5)

    save_slices(tmp_path, edit=edit)

    np.testing.assert_allclose(read_image(tmp_path).ijk_to_ras, to_ras(GRID), atol=1e-4)


def odd_one(n: int, dataset: Dataset, **tags: Any) -> None:
    if n == 2:
        for keyword, value in tags.items():
            setattr(dataset, keyword, value)


@pytest.mark.parametrize(
    ("tags", "said"),
    [
        ({"ImageOrientationPatient": ["0", "1", "0", "0", "0", "-1"]}, "another orientation"),
        ({"ImageOrientationPatient": ["-1", "0", "0", "0", "1", "0"]}, "another orientation"),
        ({"PixelSpacing": ["0.9", "0.7"]}, "pixels of 0.7 x 0.9 mm instead of 0.8 x 0.9 mm"),
        ({"Rows": 8, "Columns": 6}, "6 x 8 pixels instead of 8 x 6"),
    ],
    ids=["sagittal", "mirrored", "pixel spacing", "matrix"],
)
def test_an_odd_slice_is_named_and_left_out_with_consent_only(
    tags: dict[str, Any], said: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    # the odd slice lies on top, so that the others are a whole stack
    def edit(n: int, dataset: Dataset) -> None:
        odd_one({4: 2}.get(n, 0), dataset, **tags)

    save_slices(tmp_path, edit=edit)

    with pytest.raises(DataError, match=rf'1 of 5 images cannot be used \({said}: "1-001.dcm"\)'):
        read_image(tmp_path)
    volume = read_image(tmp_path, DicomChoice(allow_incomplete=True))

    check(volume, GRID, values()[:4])
    assert caplog.messages == [f'Left out of Image "{tmp_path.name}", 1 of 5 images ({said}: "1-001.dcm").']


@pytest.mark.parametrize(
    ("groups", "said"),
    [
        ({"PlaneOrientationSequence": group(ImageOrientationPatient=["0", "1", "0", "0", "0", "-1"])}, "orientation"),
        ({"PixelMeasuresSequence": group(PixelSpacing=["0.9", "0.7"])}, "pixels of 0.7 x 0.9 mm"),
        ({"PlaneOrientationSequence": group(ImageOrientationPatient=["1", "2", "3", "4", "5", "6"])}, "directions"),
    ],
    ids=["orientation", "pixel spacing", "no orientation at all"],
)
def test_an_odd_frame_of_one_file_is_named_and_never_left_out(
    groups: dict[str, Any], said: str, tmp_path: Path
) -> None:
    path = save_frames(tmp_path / "frames.dcm", order=SCATTERED, edit=lambda n, item: odd_one(n, item, **groups))

    with pytest.raises(GeometryError, match=rf'{said}.*: frame 4 of "frames.dcm"\)'):
        read_image(path, DicomChoice(allow_incomplete=True))


@pytest.mark.parametrize("form", ["slices", "frames"])
def test_scouts_of_three_planes_are_no_volume(form: str, tmp_path: Path) -> None:
    planes = [["1", "0", "0", "0", "1", "0"], ["0", "1", "0", "0", "0", "-1"], ["1", "0", "0", "0", "0", "-1"]]
    if form == "slices":
        save_slices(tmp_path, values(6), edit=lambda n, dataset: dataset.update({0x00200037: plane(planes[n // 2])}))
    else:
        save_frames(
            tmp_path / "frames.dcm",
            values(6),
            edit=lambda n, item: setattr(
                item, "PlaneOrientationSequence", group(ImageOrientationPatient=planes[n // 2])
            ),
        )

    with pytest.raises(GeometryError, match=r"do not lie in one stack: of 6, 4 differ .*another orientation"):
        read_image(tmp_path, DicomChoice(allow_incomplete=True))


def plane(numbers: list[str]) -> Any:
    item = Dataset()
    item.ImageOrientationPatient = numbers
    return item["ImageOrientationPatient"]


def test_a_scout_is_left_out_and_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    save_slices(tmp_path)
    save_scout(tmp_path)

    check(read_image(tmp_path), GRID, values())
    assert caplog.messages == [f'Left out of Image "{tmp_path.name}", scouts of another geometry (1): "scout.dcm".']


def test_more_scouts_than_slices_do_not_become_the_image(tmp_path: Path) -> None:
    save_slices(tmp_path, values(2))
    for number in range(3):
        save_scout(tmp_path / f"{number}").rename(tmp_path / f"scout{number}.dcm")

    check(read_image(tmp_path), GRID, values(2))


def test_what_does_not_call_itself_a_scout_is_not_left_out_in_silence(tmp_path: Path) -> None:
    save_slices(tmp_path)
    save_scout(tmp_path, image_type="AXIAL")

    with pytest.raises(DataError, match=r'9 x 7 pixels instead of 8 x 6: "scout.dcm"'):
        read_image(tmp_path)


def test_a_copy_of_a_slice_is_left_out_and_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    save_slices(tmp_path)
    (tmp_path / "copy of 1-003.dcm").write_bytes((tmp_path / "1-003.dcm").read_bytes())

    check(read_image(tmp_path), GRID, values())
    assert caplog.messages == [f'Left out of Image "{tmp_path.name}", copies of other slices (1): "copy of 1-003.dcm".']


def test_a_slice_of_the_same_name_and_place_with_other_pixels_is_no_copy(tmp_path: Path) -> None:
    save_slices(tmp_path)
    save_slices(tmp_path / "other", values() + 1)
    (tmp_path / "other" / "1-003.dcm").rename(tmp_path / "again.dcm")

    with pytest.raises(GeometryError, match=r'2 different slices in one place \("1-003.dcm" and "again.dcm"\)'):
        read_image(tmp_path)
