"""What a map is worth, by hand: errors found, slices found, confidence, intervals, and what is undefined in words."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from numpy.typing import ArrayLike

from uncol.core.jobs import AnnotatedSlices, Structure
from uncol.core.volume import Volume
from uncol.evaluation.evaluate import evaluate
from uncol.evaluation.uncertainty_scores import UncertaintyScores

GRID = np.diag([2.0, 1.0, 5.0, 1.0])
"""Columns are 2 mm apart, rows 1 mm, slices 5 mm."""
LIVER = [Structure(1, "liver")]


def volume_of(voxels: ArrayLike, dtype: str = "uint8") -> Volume:
    return Volume(np.asarray(voxels, dtype=dtype), GRID)


def scores_of(predicted: ArrayLike, reference: ArrayLike, doubt: ArrayLike, **options: Any) -> UncertaintyScores:
    pair = volume_of(predicted), volume_of(reference)
    found = evaluate(*pair, uncertainty=volume_of(doubt, "float32"), **{"structures": LIVER} | options).uncertainty
    assert found is not None
    return found


def slices_of(*rows: list[float]) -> list[list[list[float]]]:
    """Slices of one row each."""
    return [[row] for row in rows]


def test_errors_are_looked_for_within_15_mm() -> None:
    """Boundaries at columns 1 to 3; 15 mm are 7 columns, so 0 to 10 are near and 11 is not, however wrong it is."""
    predicted = slices_of([1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])
    reference = slices_of([1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0])
    doubt = slices_of([0.0, 0.9, 0.5, 0.1, 0, 0, 0, 0, 0, 0, 0, 1.0])

    found = scores_of(predicted, reference, doubt).detection

    assert found is not None
    assert (found.within_mm, found.voxels, found.errors) == (15.0, 11, 1)
    assert found.auroc == pytest.approx(9 / 10)  # the error (0.5) beats 9 of 10 right voxels
    assert found.auprc == pytest.approx(1 / 2)  # it is the second of the two most uncertain
    assert found.overlap == pytest.approx(2 * 1 / (2 + 1))
    assert found.overlap_threshold == pytest.approx(0.5)


def test_slices_with_the_errors() -> None:
    """Five slices show the liver. The map doubts one voxel wholly in the first and half as much in the third."""
    reference = slices_of(*[[1, 1, 1, 0, 0]] * 5, [0, 0, 0, 0, 0])
    predicted = slices_of([1, 1, 0, 0, 0], [1, 1, 1, 0, 0], [1, 1, 1, 1, 0], [1, 1, 1, 0, 0], [0, 0, 0, 0, 0], [0] * 5)
    doubt = slices_of([0, 0, 1, 0, 0], [0] * 5, [0, 0, 0, 0.5, 0], [0] * 5, [0] * 5, [1] * 5)

    found = scores_of(predicted, reference, doubt).slices

    assert found is not None
    assert found.count == 5
    assert found.top == pytest.approx(1 / 5)  # one of five slices, the first: 1 of 1 + 1 + 3 wrong voxels
    assert found.top_by_boundary == 0.0  # the fourth, above a slice without anything, has the most, and no error
    # Expected 1 - Dice: most in the first, less in the third, 0 in the others; real: 1/5, 0, 1/7, 0, 1.
    # Ranks 5, 2, 4, 2, 2 and 4, 1.5, 3, 1.5, 5, both round 3: (2 + 1.5 + 0 + 1.5 - 2) / sqrt(8 * 9.5)
    assert found.correlation == pytest.approx(3 / (8 * 9.5) ** 0.5)


def test_calibration_over_the_whole_image_is_easier_than_at_the_boundary() -> None:
    """Columns 0 to 4 are within 5 mm of the boundary; one of them is wrong with confidence 1, of 20 in all."""
    predicted, reference = slices_of([1, 1] + [0] * 18), slices_of([1, 1, 1] + [0] * 17)
    found = scores_of(predicted, reference, slices_of([0.0] * 20))

    assert found.band_voxels == 6
    assert found.expected_calibration_error == pytest.approx(1 / 6)
    assert found.expected_calibration_error_whole_image == pytest.approx(1 / 20)
    (bar,) = found.reliability
    assert (bar.confidence, bar.accuracy, bar.voxels) == (1.0, pytest.approx(5 / 6), 6)


class TestIntervals:
    def random_case(self, slices: int) -> tuple[Any, Any, Any]:
        random = np.random.default_rng(1)
        reference = np.zeros((slices, 12, 12), dtype=np.uint8)
        reference[:, 3:9, 3:9] = 1
        wrong = random.random(reference.shape) < 0.1
        return np.where(wrong, 1 - reference, reference), reference, np.clip(0.5 * wrong + 0.5 * random.random(), 0, 1)

    def test_they_hold_the_number_and_narrow_with_more_slices(self) -> None:
        random = np.random.default_rng(0)
        widths = {}
        for count in (6, 60):
            predicted, reference, _ = self.random_case(count)
            doubt = np.clip(0.3 * (predicted != reference) + 0.7 * random.random(reference.shape), 0, 1)
            found = scores_of(predicted, reference, doubt)
            assert found.detection is not None
            numbers = {"auroc": found.detection.auroc, "auprc": found.detection.auprc}
            numbers["calibration_error"] = found.expected_calibration_error
            for name, value in numbers.items():
                low, high = found.intervals[name]
                assert value is not None
                assert low <= value <= high, name
            widths[count] = found.intervals["auroc"][1] - found.intervals["auroc"][0]
        assert widths[60] < 0.6 * widths[6]

    def test_the_same_map_has_the_same_intervals(self) -> None:
        case = self.random_case(8)
        assert scores_of(*case).intervals == scores_of(*case).intervals

    def test_a_perfect_map_is_perfect_in_every_draw(self) -> None:
        predicted, reference, _ = self.random_case(8)

        found = scores_of(predicted, reference, predicted != reference)

        assert found.intervals["auroc"] == (1.0, 1.0)
        assert found.intervals["auprc"] == (1.0, 1.0)
        assert found.intervals["overlap"] == (1.0, 1.0)


class TestUndefined:
    """Every case is a sentence, and the document holds no NaN."""

    def words_of(self, labels: ArrayLike) -> dict[str, str]:
        """Return what the document of a right and certain segmentation says."""
        right = volume_of(labels)
        doubt = volume_of(np.zeros(np.shape(labels)), "float32")
        document = evaluate(right, right, uncertainty=doubt, structures=LIVER).as_document()
        words: dict[str, str] = json.loads(json.dumps(document, allow_nan=False))["uncertainty"]["words"]
        return words

    def test_nothing_is_wrong(self) -> None:
        right = slices_of(*[[1, 1, 0, 0]] * 6)
        found = scores_of(right, right, np.zeros((6, 1, 4)))

        words = self.words_of(right)

        assert words["auroc"] == words["auprc"] == words["overlap"] == words["top_slices"]
        assert words["auroc"] == "undefined: nothing is wrong within 15 mm of a boundary"
        assert words["slice_correlation"] == "undefined: all slices are alike, by the map or by the reference"
        assert found.intervals.keys() == {"calibration_error"}
        assert found.expected_calibration_error == 0.0

    def test_everything_is_wrong(self) -> None:
        found = scores_of(slices_of([0, 1]), slices_of([1, 0]), slices_of([0.5, 0.5]))

        assert found.words["auroc"] == "undefined: everything is wrong within 15 mm of a boundary"
        assert found.detection is not None
        assert found.detection.overlap == 1.0
        assert found.words["intervals"] == "no intervals: they take 5 slices with a structure"

    def test_an_empty_prediction_is_all_error_and_scored(self) -> None:
        reference = slices_of(*[[1, 1, 0, 0]] * 6)
        found = scores_of(np.zeros((6, 1, 4)), reference, np.ones((6, 1, 4)))

        assert found.detection is not None
        assert (found.detection.auroc, found.detection.errors) == (0.5, 12)
        assert found.slices is not None
        assert found.slices.top == pytest.approx(1 / 6)  # one of six slices, all alike
        assert "top_slices" not in found.words

    def test_neither_shows_anything(self) -> None:
        nothing = np.zeros((6, 1, 4))
        found = scores_of(nothing, nothing, nothing)

        words = self.words_of(nothing)

        sentence = "undefined: neither segmentation nor reference shows a structure in the scored slices"
        assert {words[name] for name in ("auroc", "auprc", "overlap", "top_slices", "calibration_error")} == {sentence}
        assert found.slices is not None
        assert (found.slices.count, found.reliability) == (0, ())

    def test_one_slice(self) -> None:
        voxels = slices_of([1, 1, 0, 0], [1, 1, 0, 0]), slices_of([1, 0, 0, 0], [1, 0, 0, 0])
        found = scores_of(*voxels, slices_of([0, 1, 0, 0], [0] * 4), only=[AnnotatedSlices("K", (0,))])

        assert found.detection is not None
        assert found.detection.auroc == 1.0
        assert found.words["slice_correlation"] == "undefined: it takes 3 slices with a structure"
        assert not found.intervals

    def test_a_constant_map_finds_errors_by_chance(self) -> None:
        reference = slices_of(*[[1, 1, 0, 0]] * 6)
        predicted = slices_of([1, 0, 0, 0], *[[1, 1, 0, 0]] * 5)
        found = scores_of(predicted, reference, np.full((6, 1, 4), 0.5))

        assert found.detection is not None
        assert found.detection.auroc == 0.5
        assert found.detection.auprc == pytest.approx(1 / 24)
        assert found.slices is not None
        assert found.slices.top == pytest.approx(1 / 6)

    def test_a_structure_that_is_missing_counts_as_wrong(self) -> None:
        reference = slices_of(*[[1, 1, 0, 2]] * 6)
        both = [*LIVER, Structure(2, "spleen")]
        found = scores_of(slices_of(*[[1, 1, 0, 0]] * 6), reference, np.zeros((6, 1, 4)), structures=both)

        assert (found.band_errors, found.class_count) == (6, 3)
        assert found.detection is not None
        assert found.detection.auroc == 0.5
