from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from written_dicom import save_slices, values

from uncol.core.errors import ConfigError, DataError
from uncol.core.jobs import AnnotatedSlices, Box, DicomChoice, Structure
from uncol.core.volume import Plane, Volume, view_slices
from uncol.data.io import write_results
from uncol.data.shape_interpolation import interpolate_shapes
from uncol.demo.case import Annotation, DemoCase, annotate, find_case
from uncol.demo.job import DemoJob

LIVER, SPLEEN = Structure(1, "liver"), Structure(7, "spleen")
# I to the right and K down: the axial stack counts both the other way.
TURNED = np.array([[2.0, 0, 0, 5], [0, -2, 0, 6], [0, 0, -3, 7], [0, 0, 0, 1]])


def labels_of(voxels: Any) -> Volume:
    return Volume(np.asarray(voxels, dtype=np.uint8), TURNED)


def drawn(
    voxels: Any, every: int, structures: tuple[Structure, ...] = (LIVER, SPLEEN), plane: Plane = "axial"
) -> Annotation:
    labels = labels_of(voxels)
    return annotate(labels, structures, view_slices(labels, plane), every)


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"image": Path("ct.nii.gz")}, "Give --image and --labels together"),
        ({"labels": Path("ct.nii.gz")}, "Give --image and --labels together"),
        ({"structures": (LIVER,)}, "--structure names the values of --labels"),
        ({"every": 1}, "--every must be at least 2, got 1"),
        ({"minutes": 0.0}, "--minutes must be above 0, got 0.0"),
    ],
)
def test_choices_that_contradict_each_other_are_refused(choices: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        DemoJob(out=Path("out"), **choices)


@pytest.mark.parametrize(
    ("slice_count", "every", "expected"),
    [
        pytest.param(9, 4, (0, 4, 8), id="from the first to the last"),
        pytest.param(12, 4, (1, 5, 9), id="three left over: one before, two after"),
        pytest.param(5, 8, (2,), id="fewer slices than the step"),
    ],
)
def test_every_nth_slice_is_annotated(slice_count: int, every: int, expected: tuple[int, ...]) -> None:
    annotation = drawn(np.ones((slice_count, 2, 2)), every)

    assert annotation.slices == AnnotatedSlices("K", expected)
    assert [k for k in range(slice_count) if (annotation.labels.voxels[k] == 1).all()] == list(expected)
    assert [k for k in range(slice_count) if (annotation.labels.voxels[k] != 255).any()] == list(expected)


def test_slices_are_counted_along_the_plane_that_is_annotated() -> None:
    voxels = np.zeros((2, 2, 5))
    voxels[:, :, 0] = 1

    annotation = drawn(voxels, 4, plane="sagittal")

    assert annotation.slices == AnnotatedSlices("I", (0, 4))
    assert annotation.labels.voxels[0, 0].tolist() == [1, 255, 255, 255, 0]


def test_the_annotator_draws_only_the_structures_that_were_asked_for() -> None:
    annotation = drawn([[[1, 3, 7, 0]], [[0, 0, 0, 0]], [[0, 3, 0, 0]]], 2, structures=(LIVER,))

    assert annotation.labels.voxels.tolist() == [[[1, 0, 0, 0]], [[255] * 4], [[0, 0, 0, 0]]]
    assert annotation.structures == (LIVER,)


def test_a_structure_between_the_annotated_slices_is_left_out_with_a_note() -> None:
    annotation = drawn([[[1, 0]], [[7, 0]], [[1, 0]]], 2)

    assert annotation.structures == (LIVER,)
    assert annotation.notes == (
        '"spleen" lies in none of the annotated slices and was left out. A smaller --every would catch it.',
    )


def test_a_slice_with_unknown_voxels_is_not_annotated() -> None:
    annotation = drawn([[[1, 0]], [[1, 0]], [[1, 255]]], 2)

    assert annotation.slices.indices == (0,)


def test_nothing_to_annotate_is_refused() -> None:
    with pytest.raises(DataError, match="No structure lies in any of the 2 annotated slices"):
        drawn([[[0, 0]], [[1, 0]], [[0, 0]]], 2)
    with pytest.raises(DataError, match="needs a full label map"):
        drawn([[[255, 1]], [[1, 0]], [[255, 1]]], 2)


def interpolated(voxels: Any, structures: tuple[Structure, ...]) -> list[Any]:
    labels = labels_of(voxels)
    filled: list[Any] = interpolate_shapes(labels, structures, view_slices(labels, "axial")).voxels.tolist()
    return filled


def test_shapes_are_interpolated_between_annotated_slices_and_nowhere_else() -> None:
    # The contour lies behind 2 pixels in slice 1 and behind 4 in slice 3, so behind 3 in the middle.
    unknown, first, last = [[255] * 6], [[1, 1, 0, 0, 0, 0]], [[1, 1, 1, 1, 0, 0]]

    filled = interpolated([unknown, first, unknown, last, unknown], (LIVER,))

    assert filled == [[[0] * 6], first, [[1, 1, 1, 0, 0, 0]], last, [[0] * 6]]


def test_where_interpolated_structures_overlap_the_deeper_one_has_the_voxel() -> None:
    # Distance to the contour in mm (pixels of 2 mm, the contour between two pixels). Halfway to a slice
    # without the structure half of the largest distance is taken off:
    # liver, 4 pixels:   7  5  3  1 -1 ...   less 3.5:   3.5  1.5 -0.5 ...
    # spleen, 6 pixels: 11  9  7  5  3  1    less 5.5:   5.5  3.5  1.5 -0.5 ...
    liver, spleen = [[1, 1, 1, 1, 0, 0, 0, 0]], [[7, 7, 7, 7, 7, 7, 0, 0]]

    filled = interpolated([liver, [[255] * 8], spleen], (LIVER, SPLEEN))

    assert filled == [liver, [[7, 7, 7, 0, 0, 0, 0, 0]], spleen]


def test_a_box_encloses_the_structure_tightly_in_the_indices_of_the_file() -> None:
    voxels = np.zeros((4, 5, 6))
    voxels[1, 2:4, 5] = voxels[3, 2, 3] = 7

    case = DemoCase(labels_of(voxels), labels_of(voxels), (LIVER, SPLEEN), "a test", "a test")

    assert case.boxes_of((SPLEEN,)) == (Box("spleen", (3, 2, 1), (5, 3, 3)),)


def write_case(folder: Path, voxels: Any) -> DemoJob:
    labels = labels_of(voxels)
    image = labels.with_voxels(np.arange(labels.voxels.size, dtype=np.int16).reshape(labels.shape_kji))
    write_results(folder, {"ct.nii.gz": image, "organs.nii.gz": labels}, {})
    return DemoJob(out=folder / "out", image=folder / "ct.nii.gz", labels=folder / "organs.nii.gz")


def test_the_users_own_volume_comes_with_its_structures_and_boxes(tmp_path: Path) -> None:
    job = write_case(tmp_path, [[[1, 0, 0]], [[1, 7, 255]]])

    case = find_case(job)
    named = find_case(DemoJob(out=job.out, image=job.image, labels=job.labels, structures=(SPLEEN,)))

    assert case.structures == (Structure(1, "label-1"), Structure(7, "label-7"))
    assert case.boxes_of(case.structures) == (
        Box("label-1", (0, 0, 0), (0, 0, 1)),
        Box("label-7", (1, 0, 1), (1, 0, 1)),
    )
    assert case.reference.shares_grid_with(case.image)
    assert case.source == "your image, 3 x 1 x 2 voxels of 2 x 2 x 3 mm"  # file names are often a patient's
    assert named.structures == (SPLEEN,)
    assert "who drew it, and how well, is not known here" in case.reference_source


@pytest.mark.parametrize(
    ("voxels", "structures", "message"),
    [
        ([[[1, 0]], [[1, 0]]], (SPLEEN,), 'holds no voxel of "spleen" (label 7); labels there: 1.'),
        ([[[0, 0]], [[0, 255]]], (), "holds no structure; labels there: background only."),
    ],
)
def test_a_label_map_without_the_structure_is_refused(
    tmp_path: Path, voxels: Any, structures: tuple[Structure, ...], message: str
) -> None:
    job = write_case(tmp_path, voxels)

    with pytest.raises(DataError, match=re.escape(message)):
        find_case(DemoJob(out=job.out, image=job.image, labels=job.labels, structures=structures))


def test_the_generated_image_is_annotated_from_end_to_end_by_default(tmp_path: Path) -> None:
    job = DemoJob(out=tmp_path)

    case = find_case(job)

    annotation = annotate(case.reference, case.structures, view_slices(case.image, "axial"), job.every)
    assert annotation.slices.indices[0] == 0
    assert annotation.slices.indices[-1] == case.image.shape_kji[0] - 1
    assert annotation.structures == case.structures
    assert case.reference_source.startswith("generated together with the image")


def test_a_series_of_a_dicom_folder_is_a_case(tmp_path: Path) -> None:
    for series in (1, 2):
        save_slices(tmp_path / "image", values() + series, series=f"{series}", number=series)
    save_slices(tmp_path / "labels", (values() > 0).astype(float))
    job = {"out": tmp_path, "image": tmp_path / "image", "labels": tmp_path / "labels"}

    np.testing.assert_array_equal(find_case(DemoJob(**job, dicom=DicomChoice(1))).image.voxels, values() + 1)
    with pytest.raises(DataError, match="2 DICOM series"):
        find_case(DemoJob(**job))
