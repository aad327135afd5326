"""Tests of what counts as annotated: voxels, structures, and the plane in which somebody drew."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from uncol.core.errors import DataError
from uncol.core.jobs import AnnotatedSlices, Structure
from uncol.core.volume import UNKNOWN_LABEL, Volume
from uncol.data.annotations import annotated_structures, annotation_plane, complete_slices, keep_annotated
from uncol.data.cases import LabeledCase

# K, J, I = 2, 3, 4
LABELS = np.array(
    [
        [[0, 1, 0, 0], [2, 2, 0, 0], [0, 0, 0, 9]],
        [[1, 1, 1, 1], [0, 0, 0, 0], [0, 255, 0, 3]],
    ],
    dtype=np.uint8,
)


@pytest.fixture
def labels(make_volume: Callable[..., Volume]) -> Volume:
    return make_volume(LABELS)


def labeled(labels: Volume) -> LabeledCase:
    return LabeledCase(labels.with_voxels(np.zeros(labels.shape_kji, dtype=np.int16)), labels)


def test_a_slice_is_complete_without_a_single_unknown_voxel() -> None:
    stack = np.array([[[0, 5]], [[255, 5]], [[0, 7]], [[255, 255]]], dtype=np.uint8)

    assert complete_slices(stack) == [0, 2]


class TestKeepAnnotated:
    @pytest.mark.parametrize(
        ("axis", "indices", "kept"),
        [
            pytest.param("K", (1,), np.s_[1], id="slice of the file"),
            pytest.param("J", (0, 2), np.s_[:, [0, 2]], id="two rows"),
            pytest.param("I", (3,), np.s_[:, :, 3], id="last column"),
        ],
    )
    def test_every_voxel_outside_the_annotated_slices_is_unknown(
        self, labels: Volume, axis: Any, indices: tuple[int, ...], kept: Any
    ) -> None:
        known = keep_annotated(labels, [AnnotatedSlices(axis, indices)], "case.nii.gz")

        expected = np.full(LABELS.shape, UNKNOWN_LABEL)
        expected[kept] = LABELS[kept]
        np.testing.assert_array_equal(known.voxels, expected)
        assert known.voxels.dtype == np.uint8

    def test_slices_along_several_axes_add_up(self, labels: Volume) -> None:
        annotated = [AnnotatedSlices("K", (0,)), AnnotatedSlices("I", (3,))]

        known = keep_annotated(labels, annotated, "case.nii.gz").voxels

        # 3 x 4 voxels of the first slice and 3 x 1 of the second
        assert (known != UNKNOWN_LABEL).sum() == 15
        np.testing.assert_array_equal(known[1, :, 3], [1, 0, 3])

    def test_a_voxel_that_is_unknown_inside_an_annotated_slice_stays_so(self, labels: Volume) -> None:
        known = keep_annotated(labels, [AnnotatedSlices("K", (1,))], "case.nii.gz").voxels

        assert known[1, 2, 1] == UNKNOWN_LABEL

    def test_without_slice_numbers_the_map_itself_says_what_is_known(self, labels: Volume) -> None:
        np.testing.assert_array_equal(keep_annotated(labels, [], "case.nii.gz").voxels, LABELS)

    def test_the_grid_stays_and_the_given_map_is_left_alone(self, labels: Volume) -> None:
        known = keep_annotated(labels, [AnnotatedSlices("K", (1,))], "case.nii.gz")

        assert known.shares_grid_with(labels)
        np.testing.assert_array_equal(labels.voxels, LABELS)

    @pytest.mark.parametrize(
        ("axis", "index", "last"), [("K", 2, 1), ("J", 3, 2), ("I", 4, 3), ("I", 99, 3), ("K", -1, 1)]
    )
    def test_a_slice_outside_the_image_is_refused(self, labels: Volume, axis: Any, index: int, last: int) -> None:
        expected = (
            rf'Slice {axis}:{index} does not exist in "case.nii.gz", '
            rf"which has slices 0 to {last} along {axis}\."
        )

        with pytest.raises(DataError, match=expected):
            keep_annotated(labels, [AnnotatedSlices(axis, (0, index))], "case.nii.gz")


class TestAnnotatedStructures:
    def test_unnamed_every_annotated_value_is_a_structure(self, labels: Volume) -> None:
        assert annotated_structures([labels], []) == tuple(Structure(v, f"label-{v}") for v in (1, 2, 3, 9))

    def test_values_of_all_cases_are_joined(self, make_volume: Callable[..., Volume]) -> None:
        first, second = (make_volume(np.full((2, 3, 4), value, dtype=np.uint8)) for value in (4, 2))

        assert [each.value for each in annotated_structures([first, second], [])] == [2, 4]

    def test_wanted_structures_keep_their_order_and_names(self, labels: Volume) -> None:
        wanted = [Structure(9, "cyst"), Structure(1, "kidney")]

        assert annotated_structures([labels], wanted) == tuple(wanted)

    def test_a_wanted_structure_must_have_been_annotated(self, labels: Volume) -> None:
        with pytest.raises(DataError, match=r'"liver" \(label 5\) has no voxel.*labels there: 1, 2, 3, 9\. Annotate'):
            annotated_structures([labels], [Structure(5, "liver")])

    @pytest.mark.parametrize("value", [0, UNKNOWN_LABEL])
    def test_background_and_the_unknown_are_no_structures(self, make_volume: Callable[..., Volume], value: int) -> None:
        with pytest.raises(DataError, match=r"No structure is annotated.*Annotate the structure"):
            annotated_structures([make_volume(np.full((2, 3, 4), value, dtype=np.uint8))], [])


class TestAnnotationPlane:
    UNKNOWN = np.full((2, 3, 4), UNKNOWN_LABEL, dtype=np.uint8)

    @pytest.mark.parametrize(("axis", "plane"), [("K", "axial"), ("J", "coronal"), ("I", "sagittal")])
    def test_given_slice_numbers_decide(self, make_volume: Callable[..., Volume], axis: Any, plane: str) -> None:
        case = labeled(make_volume(LABELS, geometry="anisotropic"))

        assert annotation_plane([case], [AnnotatedSlices(axis, (0,))]) == plane

    def test_an_axis_means_the_files_own_direction(self, make_volume: Callable[..., Volume]) -> None:
        # slices of this file (K) count from right to left
        case = labeled(make_volume(LABELS, geometry="sagittal"))

        assert annotation_plane([case], [AnnotatedSlices("K", (0,))]) == "sagittal"

    def test_of_several_axes_the_one_with_most_slices_decides(self, make_volume: Callable[..., Volume]) -> None:
        case = labeled(make_volume(LABELS, geometry="anisotropic"))

        assert annotation_plane([case], [AnnotatedSlices("K", (0,)), AnnotatedSlices("J", (0, 2))]) == "coronal"

    @pytest.mark.parametrize(
        ("annotated", "plane"),
        [
            pytest.param(np.s_[1], "axial", id="a slice of the file"),
            pytest.param(np.s_[:, 0], "coronal", id="a row of every slice"),
            pytest.param(np.s_[:, :, 2], "sagittal", id="a column of every slice"),
        ],
    )
    def test_otherwise_the_plane_with_complete_slices_does(
        self, make_volume: Callable[..., Volume], annotated: Any, plane: str
    ) -> None:
        voxels = self.UNKNOWN.copy()
        voxels[annotated] = 1

        assert annotation_plane([labeled(make_volume(voxels, geometry="anisotropic"))], []) == plane

    @pytest.mark.parametrize(
        ("geometry", "plane"), [("anisotropic", "axial"), ("sagittal", "sagittal"), ("coronal", "coronal")]
    )
    @pytest.mark.parametrize("value", [pytest.param(1, id="all annotated"), pytest.param(255, id="nothing complete")])
    def test_among_equals_it_is_the_plane_across_the_largest_spacing(
        self, make_volume: Callable[..., Volume], geometry: str, plane: str, value: int
    ) -> None:
        case = labeled(make_volume(np.full((2, 3, 4), value, dtype=np.uint8), geometry=geometry))

        assert annotation_plane([case], []) == plane

    @pytest.mark.parametrize(
        ("annotated", "plane"),
        [
            pytest.param(np.s_[1], "axial", id="a slice of the file"),
            pytest.param(np.s_[:, 0], "coronal", id="a row of every slice"),
            pytest.param(np.s_[:, :, 2], "sagittal", id="a column of every slice"),
        ],
    )
    @pytest.mark.parametrize("other", [pytest.param(1, id="whole case"), pytest.param(255, id="unannotated case")])
    @pytest.mark.parametrize("is_first", [True, False])
    def test_a_case_that_says_nothing_about_it_leaves_it_to_the_others(
        self, make_volume: Callable[..., Volume], annotated: Any, plane: str, other: int, *, is_first: bool
    ) -> None:
        voxels = self.UNKNOWN.copy()
        voxels[annotated] = 1
        sparse = labeled(make_volume(voxels, geometry="anisotropic"))
        silent = labeled(make_volume(np.full((5, 6, 7), other, dtype=np.uint8), geometry="anisotropic"))

        assert annotation_plane([silent, sparse] if is_first else [sparse, silent], []) == plane

    def test_of_several_cases_the_plane_with_the_larger_part_of_all_slices_wins(
        self, make_volume: Callable[..., Volume]
    ) -> None:
        one_of_two, two_of_three = self.UNKNOWN.copy(), self.UNKNOWN.copy()
        one_of_two[1] = 1
        two_of_three[:, :2] = 1
        cases = [labeled(make_volume(each, geometry="anisotropic")) for each in (one_of_two, two_of_three)]

        # axial 1/2 and 0, coronal 0 and 2/3
        assert annotation_plane(cases, []) == "coronal"

    @pytest.mark.parametrize(
        ("shape_kji", "spacing_ijk", "plane"),
        [
            pytest.param((1, 4, 5), (2.0, 2.0, 1.0), "axial", id="one axial slice"),
            pytest.param((4, 1, 5), (2.0, 1.0, 3.0), "coronal", id="one coronal slice"),
            pytest.param((4, 5, 1), (1.0, 2.0, 3.0), "sagittal", id="one sagittal slice"),
        ],
    )
    @pytest.mark.parametrize("is_whole", [pytest.param(True, id="whole"), pytest.param(False, id="in part")])
    def test_a_single_slice_is_looked_at_as_a_slice_and_not_as_rows_of_pixels(
        self,
        shape_kji: tuple[int, int, int],
        spacing_ijk: tuple[float, float, float],
        plane: str,
        *,
        is_whole: bool,
    ) -> None:
        voxels = np.ones(shape_kji, dtype=np.uint8)
        if not is_whole:
            voxels[0, 0, 0] = UNKNOWN_LABEL
        labels = Volume(voxels, np.diag([-spacing_ijk[0], -spacing_ijk[1], spacing_ijk[2], 1.0]))

        assert annotation_plane([labeled(labels)], []) == plane

    def test_beside_a_whole_volume_a_single_slice_is_looked_at_as_a_slice(self) -> None:
        ijk_to_ras = np.diag([-2.0, -2.0, 1.0, 1.0])
        cases = [labeled(Volume(np.ones((k, 4, 5), dtype=np.uint8), ijk_to_ras)) for k in (6, 1)]

        assert annotation_plane(cases, []) == "axial"

    def test_single_slices_do_not_outvote_the_slices_of_a_volume(self) -> None:
        # One axial slice, complete in every plane, and a volume with one sagittal slice of five.
        volume = np.full((6, 4, 5), UNKNOWN_LABEL, dtype=np.uint8)
        volume[:, :, 2] = 1
        cases = [labeled(Volume(each, np.eye(4))) for each in (np.ones((1, 4, 5), dtype=np.uint8), volume)]

        assert annotation_plane(cases, []) == "sagittal"
