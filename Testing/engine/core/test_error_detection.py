"""Tests of the band round boundaries and of error detection, by hand, against SciPy and against MONAI."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.metrics import compute_roc_auc
from numpy.typing import NDArray
from scipy import ndimage

from uncol.core.error_detection import error_detection_auroc, label_boundary, within_distance

SPACING_KJI_MM = (5.0, 1.0, 2.0)
Mask = NDArray[np.bool_]


def mask_of(shape: tuple[int, ...], *voxels: tuple[int, ...]) -> Mask:
    mask = np.zeros(shape, dtype=np.bool_)
    for voxel in voxels:
        mask[voxel] = True
    return mask


class TestBand:
    def test_both_sides_of_a_change_of_label_are_boundary(self) -> None:
        labels = np.array([0, 0, 1, 1, 2, 2, 2])[None, None]

        assert label_boundary(labels).ravel().astype(int).tolist() == [0, 1, 1, 1, 1, 0, 0]

    def test_a_change_along_each_axis_counts_and_a_diagonal_one_does_not(self) -> None:
        labels = np.zeros((3, 3, 3), dtype=np.uint8)
        labels[1, 1, 1] = 1

        # the voxel and its six face neighbors
        assert np.count_nonzero(label_boundary(labels)) == 7

    def test_the_edge_of_the_image_and_of_the_known_are_no_boundary(self) -> None:
        labels = np.array([1, 1, 0, 0, 3])[None, None]

        boundary = label_boundary(labels, known=labels != 3)

        assert boundary.ravel().astype(int).tolist() == [0, 1, 1, 0, 0]

    def test_distance_follows_the_spacing_and_includes_its_end(self) -> None:
        near = within_distance(mask_of((3, 13, 7), (1, 6, 3)), SPACING_KJI_MM, 5.0)

        assert np.flatnonzero(near[:, 6, 3]).tolist() == [0, 1, 2]  # 1 slice of 5 mm
        assert np.flatnonzero(near[1, :, 3]).tolist() == list(range(1, 12))  # 5 rows of 1 mm
        assert np.flatnonzero(near[1, 6, :]).tolist() == [1, 2, 3, 4, 5]  # 2 columns of 2 mm; 3 are 6 mm
        # 2 columns and 3 rows are exactly 5 mm: sqrt(16 + 9); with 4 rows it is more
        assert near[1, 9, 5]
        assert not near[1, 10, 5]

    def test_it_equals_the_distance_transform(self) -> None:
        mask = np.random.default_rng(3).random((5, 21, 17)) < 0.01

        near = within_distance(mask, (3.1, 0.7, 0.9), 3.3)

        assert np.array_equal(near, ndimage.distance_transform_edt(~mask, sampling=(3.1, 0.7, 0.9)) <= 3.3)

    def test_nothing_is_near_to_nothing(self) -> None:
        assert not within_distance(mask_of((2, 3, 4)), SPACING_KJI_MM, 5.0).any()


class TestErrorDetection:
    def test_area_by_hand_with_a_tie(self) -> None:
        uncertainty = np.array([0.9, 0.4, 0.4, 0.1, 0.6])
        is_error = np.array([True, True, False, False, False])

        # pairs wrong > right: 0.9 beats 0.4, 0.1, 0.6 (3); 0.4 ties with 0.4 (0.5), beats 0.1 (1), loses to 0.6 (0)
        assert error_detection_auroc(uncertainty, is_error) == pytest.approx(4.5 / 6)

    @pytest.mark.parametrize(
        ("uncertainty", "expected"),
        [
            pytest.param([0.1, 0.2, 0.8, 0.9], 1.0, id="errors are the most uncertain"),
            pytest.param([0.9, 0.8, 0.2, 0.1], 0.0, id="errors are the most certain"),
            pytest.param([0.5, 0.5, 0.5, 0.5], 0.5, id="a constant map says nothing"),
        ],
    )
    def test_its_ends_and_middle(self, uncertainty: list[float], expected: float) -> None:
        assert error_detection_auroc(np.array(uncertainty), np.array([False, False, True, True])) == expected

    @pytest.mark.parametrize("is_error", [[False, False], [True, True], []])
    def test_without_both_kinds_it_is_undefined(self, is_error: list[bool]) -> None:
        assert error_detection_auroc(np.linspace(0, 1, len(is_error)), np.array(is_error, dtype=np.bool_)) is None

    def test_it_equals_monais(self) -> None:
        generator = np.random.default_rng(5)
        uncertainty = generator.integers(0, 20, 500) / 20
        is_error = generator.random(500) < uncertainty

        expected = compute_roc_auc(torch.from_numpy(uncertainty), torch.from_numpy(is_error.astype(np.int64)))

        assert error_detection_auroc(uncertainty, is_error) == pytest.approx(expected)
