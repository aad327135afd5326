"""Tests of the evaluation: what is scored, what is left out, and what the numbers then are."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from numpy.typing import ArrayLike

from uncol.core.errors import DataError, GeometryError
from uncol.core.jobs import AnnotatedSlices, Structure
from uncol.core.volume import Volume
from uncol.evaluation.evaluate import Evaluation, dice_per_slice, evaluate

SPACING_IJK_MM = (2.0, 1.0, 5.0)


def grid(origin_ras: tuple[float, float, float] = (-30.0, 12.5, 7.0)) -> np.ndarray[Any, np.dtype[np.float64]]:
    """An oblique grid: turned by 30 degrees about S, with J flipped."""
    turn = math.radians(30)
    directions = np.array(
        [[math.cos(turn), math.sin(turn), 0], [math.sin(turn), -math.cos(turn), 0], [0, 0, 1]], dtype=np.float64
    )
    matrix = np.eye(4)
    matrix[:3, :3] = directions * SPACING_IJK_MM
    matrix[:3, 3] = origin_ras
    return matrix


def volume_of(voxels: ArrayLike, dtype: str = "uint8") -> Volume:
    return Volume(np.asarray(voxels, dtype=dtype), grid())


def row_of(*voxels: float, dtype: str = "uint8") -> Volume:
    return volume_of([[voxels]], dtype)


def only_scores(evaluation: Evaluation) -> dict[str, Any]:
    (structure,) = evaluation.as_document()["structures"]
    return structure


class TestStructures:
    def test_each_structure_is_scored_under_its_name(self) -> None:
        prediction, reference = row_of(1, 1, 2, 0), row_of(1, 0, 2, 2)

        document = evaluate(
            prediction, reference, structures=[Structure(2, "liver"), Structure(1, "spleen")]
        ).as_document()

        liver, spleen = document["structures"]
        # liver: one voxel predicted, two in the reference, one shared: 2 / 3. Columns are 2 mm apart:
        # prediction to reference 0; back 0 and 2. Mean 2 / 3; 95th percentile of (0, 2) is 1.9.
        assert liver == {
            "name": "liver",
            "value": 2,
            "dice": pytest.approx(2 / 3),
            "hd95_mm": pytest.approx(1.9),
            "asd_mm": pytest.approx(2 / 3),
            "prediction_voxels": 1,
            "reference_voxels": 2,
        }
        assert (spleen["name"], spleen["prediction_voxels"], spleen["reference_voxels"]) == ("spleen", 2, 1)
        assert document["mean_dice"] == pytest.approx(2 / 3)

    def test_unnamed_every_label_of_either_map_is_scored_but_not_the_unknown(self) -> None:
        evaluation = evaluate(row_of(0, 3, 0, 7), row_of(0, 3, 5, 255))

        # 7 is predicted only where the reference is unknown
        assert [(each.structure.name, each.scores.dice) for each in evaluation.structures] == [
            ("label-3", 1.0),
            ("label-5", 0.0),
        ]

    def test_whole_numbers_in_a_float_map_are_labels(self) -> None:
        evaluation = evaluate(row_of(0, 2, 2, dtype="float64"), row_of(0, 2, 2, dtype="int16"))

        assert only_scores(evaluation)["dice"] == 1.0

    def test_two_maps_of_background_need_a_name(self) -> None:
        with pytest.raises(DataError, match=r"neither the prediction nor the reference holds any structure.*Name the"):
            evaluate(row_of(0, 0), row_of(0, 0))

    def test_agreement_on_absence_counts_when_the_structure_is_named(self) -> None:
        evaluation = evaluate(row_of(0, 0), row_of(0, 0), structures=[Structure(1, "lesion")])

        assert (evaluation.mean_dice, evaluation.mean_hd95_mm, evaluation.undefined_distances) == (1.0, None, 1)


class TestEmptyMasks:
    def test_undefined_distances_are_left_out_of_the_mean_and_counted(self) -> None:
        # 1 is found, 2 columns (4 mm) off; 2 is missed; 3 is invented
        prediction, reference = row_of(1, 0, 0, 0, 3), row_of(0, 0, 1, 2, 0)

        document = evaluate(prediction, reference).as_document()

        assert [each["dice"] for each in document["structures"]] == [0.0, 0.0, 0.0]
        assert [each["hd95_mm"] for each in document["structures"]] == [pytest.approx(4.0), None, None]
        assert (document["mean_hd95_mm"], document["mean_asd_mm"]) == (pytest.approx(4.0), pytest.approx(4.0))
        assert document["undefined_distances"] == 2

    def test_the_document_is_json_without_nan(self) -> None:
        uncertainty = row_of(0.5, 0.5, dtype="float32")

        document = evaluate(
            row_of(0, 0), row_of(0, 0), structures=[Structure(1, "lesion")], uncertainty=uncertainty
        ).as_document()

        assert json.loads(json.dumps(document, allow_nan=False)) == document
        assert (document["mean_hd95_mm"], document["mean_asd_mm"]) == (None, None)


class TestGrids:
    def test_a_prediction_elsewhere_is_refused(self) -> None:
        elsewhere = Volume(row_of(0, 1).voxels, grid(origin_ras=(-30.0, 12.5, 7.5)))

        with pytest.raises(GeometryError, match=r"The prediction does not lie on the grid of the reference\. Resample"):
            evaluate(elsewhere, row_of(0, 1))

    def test_an_uncertainty_map_of_another_size_is_refused(self) -> None:
        with pytest.raises(GeometryError, match=r"The uncertainty map does not lie on the grid of the reference"):
            evaluate(row_of(0, 1), row_of(0, 1), uncertainty=row_of(0, 0, 0, dtype="float32"))

    def test_dice_per_slice_needs_one_grid_too(self) -> None:
        with pytest.raises(GeometryError, match="The prediction does not lie on the grid"):
            dice_per_slice(row_of(0, 1, 1), row_of(0, 1), 1, "K")


class TestSlices:
    # 3 slices (K) of 1 row and 2 columns: right, half right, wrong
    PREDICTION = volume_of([[[1, 1]], [[1, 1]], [[1, 1]]])
    REFERENCE = volume_of([[[1, 1]], [[1, 0]], [[0, 0]]])

    @pytest.mark.parametrize(
        ("excluded", "only", "expected_dice", "expected_slices"),
        [
            # all slices: 2 * 3 / (6 + 3)
            pytest.param([], [], 6 / 9, ("K", 3, 3), id="all"),
            # slices 0 and 1: 2 * 3 / (4 + 3)
            pytest.param([AnnotatedSlices("K", (2,))], [], 6 / 7, ("K", 2, 3), id="one excluded"),
            # slice 1: 2 * 1 / (2 + 1)
            pytest.param([], [AnnotatedSlices("K", (1,))], 2 / 3, ("K", 1, 3), id="only one"),
            pytest.param(
                [AnnotatedSlices("K", (0,))], [AnnotatedSlices("K", (0, 1))], 2 / 3, ("K", 1, 3), id="excluded wins"
            ),
            # column 0: 2 * 2 / (3 + 2)
            pytest.param([AnnotatedSlices("I", (1,))], [], 4 / 5, ("I", 1, 2), id="along I"),
            # slice 2 and column 0 of slices 0, 1: predicted 4, reference 2, shared 2: 4 / 6
            pytest.param(
                [],
                [AnnotatedSlices("I", (0,)), AnnotatedSlices("K", (2,))],
                4 / 6,
                ("I", 2, 2),
                id="slices of two axes together",
            ),
        ],
    )
    def test_dice_counts_the_scored_slices_only(
        self,
        excluded: list[AnnotatedSlices],
        only: list[AnnotatedSlices],
        expected_dice: float,
        expected_slices: tuple[str, int, int],
    ) -> None:
        evaluation = evaluate(self.PREDICTION, self.REFERENCE, excluded=excluded, only=only)

        assert evaluation.mean_dice == pytest.approx(expected_dice)
        assert (evaluation.slice_axis, evaluation.scored_slices, evaluation.slice_count) == expected_slices

    def test_distances_of_scored_slices_are_to_whole_surfaces(self) -> None:
        prediction, reference = volume_of([[[1, 0, 0]], [[0, 0, 0]]]), volume_of([[[0, 0, 1]], [[1, 0, 0]]])

        scores = only_scores(evaluate(prediction, reference, excluded=[AnnotatedSlices("K", (1,))]))

        # the predicted voxel is 2 columns (4 mm) from the reference in its slice, 5 mm from the one below: 4;
        # back 4 mm
        assert scores["hd95_mm"] == pytest.approx(4.0)
        assert scores["reference_voxels"] == 1

    def test_slices_that_are_wholly_unknown_are_not_scored(self) -> None:
        reference = volume_of([[[1, 1]], [[255, 255]], [[255, 0]]])

        evaluation = evaluate(self.PREDICTION, reference)

        # 3 known voxels are predicted, 2 belong to the reference, both shared: 4 / 5
        assert evaluation.mean_dice == pytest.approx(4 / 5)
        assert (evaluation.scored_slices, evaluation.slice_count, evaluation.scored_voxels) == (2, 3, 3)

    @pytest.mark.parametrize("index", [3, -1])
    def test_a_slice_that_does_not_exist_is_named_with_the_range(self, index: int) -> None:
        with pytest.raises(DataError, match=rf"Slice K:{index} does not exist in the image, which has slices 0 to 2 "):
            evaluate(self.PREDICTION, self.REFERENCE, excluded=[AnnotatedSlices("K", (0, index))])

    def test_the_range_is_that_of_the_axis(self) -> None:
        with pytest.raises(DataError, match=r"Slice I:2 does not exist in the image, which has slices 0 to 1 along I"):
            evaluate(self.PREDICTION, self.REFERENCE, only=[AnnotatedSlices("I", (2,))])

    def test_nothing_left_is_said(self) -> None:
        with pytest.raises(DataError, match=r"Nothing is left to score: .*Exclude fewer slices"):
            evaluate(self.PREDICTION, self.REFERENCE, excluded=[AnnotatedSlices("K", (0, 1, 2))])

    def test_an_unknown_reference_leaves_nothing(self) -> None:
        with pytest.raises(DataError, match=r"Nothing is left to score: .*unknown \(255\)"):
            evaluate(row_of(1, 1), row_of(255, 255))


class TestDicePerSlice:
    def test_along_k_by_hand(self) -> None:
        prediction = volume_of([[[1, 1]], [[1, 1]], [[0, 0]], [[2, 0]], [[0, 0]]])
        reference = volume_of([[[1, 1]], [[1, 0]], [[0, 0]], [[1, 0]], [[0, 2]]])

        # all shared; 2 * 1 / 3; both empty; missed; both empty of label 1
        assert dice_per_slice(prediction, reference, 1, "K") == [1.0, pytest.approx(2 / 3), None, 0.0, None]

    def test_each_axis_counts_its_own_slices(self) -> None:
        voxels = np.zeros((2, 3, 4), dtype=np.uint8)
        voxels[1, 2, 3] = 1
        mark = volume_of(voxels)

        assert dice_per_slice(mark, mark, 1, "K") == [None, 1.0]
        assert dice_per_slice(mark, mark, 1, "J") == [None, None, 1.0]
        assert dice_per_slice(mark, mark, 1, "I") == [None, None, None, 1.0]

    def test_unknown_voxels_are_left_out(self) -> None:
        prediction, reference = volume_of([[[1, 1]], [[1, 1]]]), volume_of([[[1, 255]], [[255, 255]]])

        assert dice_per_slice(prediction, reference, 1, "K") == [1.0, None]


class TestUncertainty:
    def test_band_and_whole_image_by_hand(self) -> None:
        # Columns are 2 mm apart. Boundaries: columns 1-2 (prediction) and 2-3 (reference), so columns 1, 2, 3 and
        # those within 5 mm (2 columns) of them: 0 to 5 are the band, 6 to 9 are not.
        prediction = row_of(1, 1, 0, 0, 0, 0, 0, 0, 0, 0)
        reference = row_of(1, 1, 1, 0, 0, 0, 0, 0, 0, 0)
        doubt = row_of(0.0, 1.0, 0.5, 0.0, 0.6, 0.0, 0.0, 0.0, 0.0, 0.0, dtype="float64")

        scores = evaluate(prediction, reference, uncertainty=doubt).as_document()["uncertainty"]

        assert (scores["band_mm"], scores["band_voxels"], scores["band_errors"]) == (5.0, 6, 1)
        # The error is column 2 (0.5). In the band it beats 3 of 5 right voxels, in the image 7 of 9.
        assert scores["error_detection_auroc"] == pytest.approx(3 / 5)
        assert scores["error_detection_auroc_whole_image"] == pytest.approx(7 / 9)
        assert scores["class_count"] == 2

    def test_calibration_in_the_band_by_hand(self) -> None:
        # All four columns are within 5 mm of a boundary. Entropy 1 bit is confidence 1/2 (one of two right: no gap);
        # entropy 0 is confidence 1 (both right: no gap). Then the same with one of the certain ones wrong.
        doubt = row_of(0.0, 1.0, 1.0, 0.0, dtype="float32")

        honest = evaluate(row_of(1, 1, 0, 0), row_of(1, 1, 1, 0), uncertainty=doubt)
        wrong = evaluate(row_of(1, 1, 0, 0), row_of(1, 1, 1, 1), uncertainty=doubt)

        assert honest.uncertainty is not None
        assert wrong.uncertainty is not None
        assert honest.uncertainty.expected_calibration_error == pytest.approx(0.0, abs=1e-4)
        # half of the voxels have confidence 1 and accuracy 1/2: a gap of 1/2 * 1/2
        assert wrong.uncertainty.expected_calibration_error == pytest.approx(0.25, abs=1e-4)

    def test_confidence_depends_on_the_number_of_classes(self) -> None:
        doubt = row_of(0.5, 0.5, dtype="float32")

        # everything is right, so the gap is 1 - confidence: entropy 0.5 * ln 4 = ln 2 is confidence 1/2
        evaluation = evaluate(row_of(0, 1), row_of(0, 1), uncertainty=doubt, class_count=4)

        assert evaluation.uncertainty is not None
        assert evaluation.uncertainty.expected_calibration_error == pytest.approx(0.5, abs=1e-4)
        assert evaluation.uncertainty.error_detection_auroc is None

    def test_the_default_number_of_classes_is_one_more_than_the_structures(self) -> None:
        evaluation = evaluate(row_of(0, 1, 2), row_of(0, 1, 2), uncertainty=row_of(0, 0, 0, dtype="float32"))

        assert evaluation.uncertainty is not None
        assert evaluation.uncertainty.class_count == 3

    def test_unscored_voxels_and_other_structures_are_no_errors(self) -> None:
        # column 0 is excluded, column 1 unknown, column 3 wrong only in a structure that is not evaluated
        evaluation = evaluate(
            row_of(0, 0, 1, 9, 0),
            row_of(1, 255, 1, 0, 1),
            structures=[Structure(1, "liver")],
            excluded=[AnnotatedSlices("I", (0,))],
            uncertainty=row_of(math.nan, 1, 0, 0.2, 0.9, dtype="float32"),
        )

        assert evaluation.uncertainty is not None
        assert (evaluation.uncertainty.band_voxels, evaluation.uncertainty.band_errors) == (3, 1)
        assert evaluation.uncertainty.error_detection_auroc == 1.0

    def test_without_a_boundary_there_is_no_band(self) -> None:
        evaluation = evaluate(row_of(1, 1), row_of(1, 1), uncertainty=row_of(0, 1, dtype="float32"))

        assert evaluation.uncertainty is not None
        assert evaluation.uncertainty.band_voxels == 0
        assert evaluation.uncertainty.expected_calibration_error is None

    @pytest.mark.parametrize("value", [1.5, -0.5, math.nan, math.inf])
    def test_a_map_that_is_no_uncertainty_is_refused(self, value: float) -> None:
        with pytest.raises(DataError, match=r"The uncertainty map must hold numbers in \[0, 1\], got .*Choose the map"):
            evaluate(row_of(0, 1), row_of(0, 1), uncertainty=row_of(0.5, value, dtype="float32"))

    def test_rounding_just_beyond_one_is_forgiven(self) -> None:
        evaluation = evaluate(row_of(0, 1), row_of(0, 1), uncertainty=row_of(1.0004, -0.0004, dtype="float32"))

        assert evaluation.uncertainty is not None

    def test_without_a_map_there_is_no_such_score(self) -> None:
        assert evaluate(row_of(0, 1), row_of(0, 1)).as_document()["uncertainty"] is None
