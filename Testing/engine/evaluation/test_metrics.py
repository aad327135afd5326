"""Tests of the metrics against arithmetic done by hand and against MONAI."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from monai.metrics import CalibrationErrorMetric, compute_average_surface_distance, compute_hausdorff_distance
from numpy.typing import NDArray
from scipy import ndimage

from uncol.evaluation.metrics import (
    captured_by_top,
    dice,
    error_detection_auprc,
    error_overlap,
    expected_calibration_error,
    least_confidence,
    reliability,
    score_masks,
)

SPACING_KJI_MM = (5.0, 1.0, 2.0)
Mask = NDArray[np.bool_]


def mask_of(shape: tuple[int, ...], *voxels: tuple[int, ...]) -> Mask:
    mask = np.zeros(shape, dtype=np.bool_)
    for voxel in voxels:
        mask[voxel] = True
    return mask


def random_blobs(seed: int, shape: tuple[int, int, int] = (6, 17, 13)) -> Mask:
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).standard_normal(shape), (1, 2, 2))
    return noise > 0.05


class TestDice:
    def test_it_is_twice_the_shared_voxels_over_all(self) -> None:
        prediction = mask_of((2, 3, 4), (0, 0, 0), (0, 0, 1), (1, 2, 3))
        reference = mask_of((2, 3, 4), (0, 0, 1))

        # one shared voxel of three and one: 2 * 1 / (3 + 1)
        assert dice(prediction, reference) == pytest.approx(0.5)

    def test_two_empty_masks_agree(self) -> None:
        assert dice(mask_of((2, 3, 4)), mask_of((2, 3, 4))) == 1.0

    def test_one_empty_mask_is_zero_on_either_side(self) -> None:
        one, empty = mask_of((2, 3, 4), (1, 1, 1)), mask_of((2, 3, 4))

        assert (dice(one, empty), dice(empty, one)) == (0.0, 0.0)

    def test_it_takes_views_that_are_not_contiguous(self) -> None:
        mask = mask_of((4, 3, 2), (3, 2, 1), (0, 0, 0)).transpose(2, 1, 0)[::-1]

        assert dice(mask, mask.copy()) == 1.0


class TestDistances:
    def test_two_voxels_are_apart_by_the_real_spacing(self) -> None:
        scores = score_masks(mask_of((2, 3, 4), (0, 0, 0)), mask_of((2, 3, 4), (1, 2, 3)), SPACING_KJI_MM)

        # 1 slice of 5 mm, 2 rows of 1 mm, 3 columns of 2 mm: sqrt(25 + 4 + 36) = sqrt(65)
        assert scores.hd95_mm == pytest.approx(math.sqrt(65), rel=1e-6)
        assert scores.asd_mm == pytest.approx(math.sqrt(65), rel=1e-6)
        assert (scores.dice, scores.prediction_voxels, scores.reference_voxels) == (0.0, 1, 1)

    def test_percentile_and_mean_by_hand(self) -> None:
        row = np.arange(6)[None, None]

        scores = score_masks(row < 4, row < 2, SPACING_KJI_MM)

        # Every voxel of a single row is surface. Prediction to reference: 0, 0, 2, 4 mm; back: 0, 0.
        # 95th percentile of (0, 0, 2, 4): position 0.95 * 3 = 2.85, so 2 + 0.85 * 2 = 3.7; the other way 0.
        # Mean of all six: (2 + 4) / 6 = 1. Dice 2 * 2 / (4 + 2).
        assert scores.hd95_mm == pytest.approx(3.7)
        assert scores.asd_mm == pytest.approx(1.0)
        assert scores.dice == pytest.approx(2 / 3)

    def test_equal_masks_are_0_mm_apart(self) -> None:
        blobs = random_blobs(0)

        scores = score_masks(blobs, blobs, SPACING_KJI_MM)

        assert (scores.dice, scores.hd95_mm, scores.asd_mm) == (1.0, 0.0, 0.0)

    @pytest.mark.filterwarnings("ignore:.*always_return_as_numpy:FutureWarning")  # MONAI 1.6 calling itself
    @pytest.mark.parametrize("seed", range(4))
    def test_with_everything_scored_they_are_monais(self, seed: int) -> None:
        prediction, reference = random_blobs(2 * seed), random_blobs(2 * seed + 1)
        channels = [torch.from_numpy(mask)[None, None] for mask in (prediction, reference)]

        scores = score_masks(prediction, reference, SPACING_KJI_MM)

        assert scores.hd95_mm == pytest.approx(
            compute_hausdorff_distance(*channels, include_background=True, percentile=95, spacing=SPACING_KJI_MM).item()
        )
        assert scores.asd_mm == pytest.approx(
            compute_average_surface_distance(
                *channels, include_background=True, symmetric=True, spacing=SPACING_KJI_MM
            ).item()
        )

    def test_empty_space_around_does_not_matter(self) -> None:
        prediction, reference = np.pad(random_blobs(0), 1), np.pad(random_blobs(1), 1)

        padded = score_masks(np.pad(prediction, 9), np.pad(reference, 9), SPACING_KJI_MM)

        assert padded == score_masks(prediction, reference, SPACING_KJI_MM)

    @pytest.mark.parametrize(
        ("predicted", "referenced", "expected_dice"),
        [
            pytest.param([], [], 1.0, id="both empty"),
            pytest.param([(0, 0, 0)], [], 0.0, id="reference empty"),
            pytest.param([], [(0, 0, 0)], 0.0, id="prediction empty"),
        ],
    )
    def test_an_empty_mask_leaves_distances_undefined_never_zero(
        self, predicted: list[tuple[int, ...]], referenced: list[tuple[int, ...]], expected_dice: float
    ) -> None:
        scores = score_masks(mask_of((2, 3, 4), *predicted), mask_of((2, 3, 4), *referenced), SPACING_KJI_MM)

        assert (scores.dice, scores.hd95_mm, scores.asd_mm) == (expected_dice, None, None)
        assert (scores.prediction_voxels, scores.reference_voxels) == (len(predicted), len(referenced))


class TestScoredSlices:
    def test_cutting_slices_out_makes_no_false_surface(self) -> None:
        # A block of 3 x 3 x 3 voxels; the prediction is one column (2 mm) wider. Only its middle slice is scored.
        reference, prediction, scored = (np.zeros((5, 5, 6), dtype=np.bool_) for _ in range(3))
        reference[1:4, 1:4, 1:4] = True
        prediction[1:4, 1:4, 1:5] = True
        scored[2] = True

        scores = score_masks(prediction, reference, SPACING_KJI_MM, scored=scored)

        # Prediction, 3 x 4 without its 2 inner voxels: 10 surface points, 3 of them 2 mm off, 7 on the reference.
        # Reference, 3 x 3 without the inner one: 8 points; (2, 2, 3) lies inside the prediction, 1 mm (a row) from
        # its surface, 7 lie on it. Mean (3 * 2 + 1) / 18.
        assert scores.asd_mm == pytest.approx(7 / 18)
        # 95th percentiles: position 0.95 * 9 = 8.55 of (0 x 7, 2 x 3) is 2; 6.65 of (0 x 7, 1) is 0.65.
        assert scores.hd95_mm == pytest.approx(2.0)
        # in the scored slice: 2 * 9 / (12 + 9)
        assert scores.dice == pytest.approx(18 / 21)

    def test_the_nearest_surface_may_lie_in_a_slice_that_is_not_scored(self) -> None:
        prediction = mask_of((2, 1, 9), (0, 0, 0))
        reference = mask_of((2, 1, 9), (1, 0, 0), (0, 0, 8))
        scored = np.array([True, False])[:, None, None] & np.ones((2, 1, 9), dtype=np.bool_)

        scores = score_masks(prediction, reference, SPACING_KJI_MM, scored=scored)

        # From the prediction: 5 mm to the reference's other slice. From the scored reference voxel: 8 * 2 = 16 mm.
        assert scores.hd95_mm == pytest.approx(16.0)
        assert scores.asd_mm == pytest.approx((5 + 16) / 2)

    def test_a_mask_without_scored_voxels_counts_as_empty(self) -> None:
        prediction, reference = mask_of((2, 1, 2), (0, 0, 0)), mask_of((2, 1, 2), (1, 0, 0))
        scored = mask_of((2, 1, 2), (0, 0, 0), (0, 0, 1))

        scores = score_masks(prediction, reference, SPACING_KJI_MM, scored=scored)

        assert (scores.dice, scores.hd95_mm, scores.asd_mm) == (0.0, None, None)
        assert (scores.prediction_voxels, scores.reference_voxels) == (1, 0)

    def test_next_to_the_unknown_there_is_no_surface(self) -> None:
        # Three slices, of which only the middle one is annotated: the disc's contour counts, not its whole area.
        disc = np.zeros((3, 5, 6), dtype=np.bool_)
        disc[:, 1:4, 1:4] = True
        prediction = np.zeros_like(disc)
        prediction[1, 1:4, 1:5] = True
        known = np.zeros_like(disc)
        known[1] = True

        scores = score_masks(prediction, disc & known, SPACING_KJI_MM, known=known)

        # The same contours as in the middle slice of the blocks above.
        assert scores.asd_mm == pytest.approx(7 / 18)
        assert scores.hd95_mm == pytest.approx(2.0)

    def test_masks_without_any_known_neighbor_have_no_distance(self) -> None:
        voxel = mask_of((3, 3, 3), (1, 1, 1))

        scores = score_masks(voxel, voxel, SPACING_KJI_MM, known=voxel)

        assert (scores.dice, scores.hd95_mm, scores.asd_mm) == (1.0, None, None)

    def test_unknown_voxels_are_not_scored_even_when_asked_for(self) -> None:
        row = np.array([[[True, True, False]]])

        scores = score_masks(row, row, SPACING_KJI_MM, known=~mask_of((1, 1, 3), (0, 0, 0)), scored=np.ones_like(row))

        assert scores.prediction_voxels == 1


class TestLeastConfidence:
    @pytest.mark.parametrize(
        ("probabilities", "expected"),
        [
            pytest.param([0.75, 0.25], 0.75, id="exact for two classes"),
            pytest.param([0.5, 0.5], 0.5, id="two classes alike"),
            pytest.param([1.0, 0.0, 0.0], 1.0, id="certain"),
            pytest.param([0.9, 0.1, 0.0], 0.9, id="all the doubt between two of three"),
            pytest.param([0.4, 0.4, 0.2], 0.4, id="fewest classes that can share"),
            pytest.param([0.25, 0.25, 0.25, 0.25], 0.25, id="wholly undecided"),
        ],
    )
    def test_it_inverts_the_entropy_where_the_bound_is_reached(
        self, probabilities: list[float], expected: float
    ) -> None:
        entropy = -sum(p * math.log(p) for p in probabilities if p) / math.log(len(probabilities))

        confidence = least_confidence(np.array([entropy]), len(probabilities))

        assert confidence == pytest.approx([expected], abs=1e-4)

    def test_it_is_never_more_than_the_true_winning_probability(self) -> None:
        probabilities = np.random.default_rng(7).dirichlet([0.4] * 5, size=300)
        entropy = -(probabilities * np.log(probabilities + 1e-300)).sum(axis=1) / math.log(5)

        confidence = least_confidence(entropy, 5)

        assert (confidence <= probabilities.max(axis=1) + 1e-4).all()
        assert confidence.min() >= 1 / 5

    def test_more_entropy_is_less_confidence_at_any_shape(self) -> None:
        confidence = least_confidence(np.linspace(0, 1, 24, dtype=np.float32).reshape(2, 3, 4), 7)

        assert confidence.shape == (2, 3, 4)
        assert (np.diff(confidence.ravel()) < 0).all()

    def test_one_class_is_refused(self) -> None:
        with pytest.raises(ValueError, match="at least 2 classes, got 1"):
            least_confidence(np.zeros(3), 1)


class TestCalibration:
    def test_two_bins_by_hand(self) -> None:
        confidence = np.array([0.9, 0.6, 0.8, 0.5])
        is_correct = np.array([True, False, True, True])

        # (0.5, 0.6): mean 0.55, accuracy 0.5, gap 0.05; (0.8, 0.9): mean 0.85, accuracy 1, gap 0.15; halves of both
        assert expected_calibration_error(confidence, is_correct, bins=2) == pytest.approx(0.1)

    def test_bins_hold_equally_many_voxels_not_equal_widths(self) -> None:
        confidence = np.array([0.97, 0.98, 0.99, 1.0])
        is_correct = np.array([False, False, True, True])

        # one bin of each half: |0.975 - 0| / 2 + |0.995 - 1| / 2; equal widths would give |0.985 - 0.5|
        assert expected_calibration_error(confidence, is_correct, bins=2) == pytest.approx(0.49)

    def test_ties_stay_together_whatever_the_order_of_the_voxels(self) -> None:
        confidence = np.full(4, 0.8)

        errors = [
            expected_calibration_error(confidence, np.array(order), bins=2)
            for order in ([True, True, True, False], [False, True, True, True])
        ]

        # one bin: |0.8 - 3/4|
        assert errors == [pytest.approx(0.05)] * 2

    def test_a_calibrated_map_has_none(self) -> None:
        confidence = np.array([0.5, 0.5, 1.0, 1.0])

        assert expected_calibration_error(confidence, np.array([True, False, True, True])) == pytest.approx(0)

    def test_no_voxels_no_number(self) -> None:
        assert expected_calibration_error(np.zeros(0), np.zeros(0, dtype=np.bool_)) is None
        assert reliability(np.zeros(0), np.zeros(0, dtype=np.bool_)) == ()

    @pytest.mark.parametrize("bins", [1, 10, 15])
    def test_monai_agrees_where_bins_of_equal_width_hold_equally_many(self, bins: int) -> None:
        random = np.random.default_rng(bins)
        claimed = (np.arange(bins * 40) % bins + 0.5 + random.uniform(-0.4, 0.4, bins * 40)) / bins
        is_correct = random.random(len(claimed)) < claimed**2

        metric = CalibrationErrorMetric(num_bins=bins, include_background=False)
        metric(
            y_pred=torch.from_numpy(np.stack([1 - claimed, claimed]))[None],
            y=torch.from_numpy(np.stack([~is_correct, is_correct]))[None].float(),
        )

        expected = metric.aggregate()
        assert isinstance(expected, torch.Tensor)
        assert expected_calibration_error(claimed, is_correct, bins) == pytest.approx(expected.item(), abs=1e-6)

    def test_reliability_by_hand(self) -> None:
        low, high = reliability(np.array([0.9, 0.6, 0.8, 0.5]), np.array([True, False, True, True]), bins=2)

        assert (low.confidence, low.accuracy, low.voxels) == (pytest.approx(0.55), 0.5, 2)
        assert (high.confidence, high.accuracy, high.voxels) == (pytest.approx(0.85), 1.0, 2)


class TestFindingErrors:
    DOUBT, WRONG = np.array([0.9, 0.7, 0.7, 0.4, 0.1]), np.array([True, True, False, False, True])

    def test_average_precision_by_hand(self) -> None:
        """Thresholds 0.9, 0.7, 0.4, 0.1: recall 1/3, 2/3, 2/3, 1 with precision 1, 2/3, 2/4, 3/5."""
        expected = 1 / 3 * 1 + 1 / 3 * 2 / 3 + 0 + 1 / 3 * 3 / 5

        assert error_detection_auprc(self.DOUBT, self.WRONG) == pytest.approx(expected)

    def test_overlap_by_hand(self) -> None:
        """Dice with the three errors: 2 * 1 / (1 + 3), 2 * 2 / (3 + 3), 2 * 2 / (4 + 3), 2 * 3 / (5 + 3)."""
        assert error_overlap(self.DOUBT, self.WRONG) == (pytest.approx(3 / 4), pytest.approx(0.1))

    def test_where_nothing_is_wrong_there_is_nothing_to_find(self) -> None:
        assert error_detection_auprc(self.DOUBT, np.zeros(5, dtype=np.bool_)) is None
        assert error_overlap(self.DOUBT, np.zeros(5, dtype=np.bool_)) is None
        assert error_detection_auprc(self.DOUBT, np.ones(5, dtype=np.bool_)) is None

    def test_a_constant_map_has_the_precision_of_chance(self) -> None:
        assert error_detection_auprc(np.ones(5), self.WRONG) == pytest.approx(3 / 5)

    def test_errors_in_the_top_by_hand(self) -> None:
        """Two fifths of five are two: the first, and by chance one of the three that are alike."""
        errors = np.array([6, 3, 0, 1, 0])

        assert captured_by_top(np.array([9.0, 2, 2, 2, 1]), errors, 0.4) == pytest.approx((6 + (3 + 0 + 1) / 3) / 10)
        assert captured_by_top(np.array([9.0, 2, 2, 2, 1]), errors, 0.01) == pytest.approx(0.6)
        assert captured_by_top(np.ones(5), errors, 0.2) == pytest.approx(0.2)
        assert captured_by_top(np.ones(5), np.zeros(5, dtype=np.int64), 0.2) is None
