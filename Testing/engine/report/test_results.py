from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from small_results import LIVER, SCORES, TURNED, Scores, evaluations_of, small_results

from uncol.core.volume import view_slices
from uncol.report.results import Results


@pytest.fixture(scope="module")
def results() -> Results:
    return small_results()


def with_scores(results: Results, **changed: Any) -> Results:
    return replace(results, evaluations=evaluations_of({**SCORES, **changed}))


def test_a_slice_has_the_number_that_the_file_gives_it() -> None:
    turned = small_results(TURNED)

    cut = turned.cut(3)

    # the axial stack counts slices and columns of this grid the other way
    assert np.array_equal(cut.image, turned.image.voxels[3, :, ::-1])
    assert np.array_equal(cut.image, turned.view.stack_from(turned.image.voxels)[5])
    assert (cut.spacing_mm, cut.plane) == ((2.0, 3.0), "axial")


def test_a_slice_shows_the_result_of_one_method_and_all_the_rest(results: Results) -> None:
    fine_tuned, first_pass = results.cut(4), results.cut(4, "first_pass")

    assert np.array_equal(fine_tuned.result, results.labels["fine_tuned"].voxels[4])
    assert np.array_equal(first_pass.result, results.labels["first_pass"].voxels[4])
    for cut in (fine_tuned, first_pass):
        assert np.array_equal(cut.reference, results.reference.voxels[4])
        assert np.array_equal(cut.uncertainty, results.uncertainty.voxels[4])


def test_a_cut_across_a_sagittal_stack_is_axial_with_posterior_down(results: Results) -> None:
    # a sagittal stack is (left, inferior, posterior): its row 2 is the slice 2 from the top, (posterior, left)
    cut = replace(results, view=view_slices(results.image, "sagittal")).cross_cut(2)

    assert cut.plane == "axial"
    assert np.array_equal(cut.image, results.image.voxels[6])
    assert cut.spacing_mm == (2.0, 3.0)


def test_a_cut_across_an_axial_stack_is_coronal_with_superior_up(results: Results) -> None:
    cut = results.cross_cut(7)

    assert cut.plane == "coronal"
    assert np.array_equal(cut.image[0], results.image.voxels[-1, 7])
    assert cut.spacing_mm == (5.0, 3.0)


@pytest.mark.parametrize(("uncertainty", "scale"), [(0.31, 0.4), (0.0, 0.2), (1.0, 1.0)])
def test_the_color_scale_ends_above_nearly_all_uncertainty_but_never_alarms_for_nothing(
    results: Results, uncertainty: float, scale: float
) -> None:
    even = results.uncertainty.with_voxels(np.full(results.uncertainty.shape_kji, uncertainty))

    assert replace(results, uncertainty=even).uncertainty_scale == pytest.approx(scale)


def test_a_model_that_is_the_best_gets_no_warning(results: Results) -> None:
    # mean Dice 0.866, 0.351 and 0.922; HD95 is larger for the spleen alone, which is not most structures
    assert results.mean_dice() == pytest.approx({"interpolation": 0.86635, "first_pass": 0.351, "fine_tuned": 0.92245})
    assert results.warnings() == []


def test_it_is_said_when_fine_tuning_did_not_pay(results: Results) -> None:
    (warning,) = with_scores(results, first_pass=((0.95, 5.0), (0.95, 5.0))).warnings()

    assert warning.startswith("By mean Dice the fine-tuned model is not better than the first pass here. Give it more")


def test_false_islands_are_pointed_out_although_the_dice_hardly_shows_them(results: Results) -> None:
    scores: Scores = {"interpolation": ((0.8, 12.0),), "first_pass": ((0.8, 9.0),), "fine_tuned": ((0.9, 40.0),)}
    of_liver = replace(results, structures=(LIVER,), evaluations=evaluations_of(scores, (LIVER,)))
    nothing_found = replace(of_liver, evaluations=evaluations_of({**scores, "fine_tuned": ((0.9, None),)}, (LIVER,)))

    for each in (of_liver, nothing_found):
        (warning,) = each.warnings()
        assert "shape interpolation for 1 of 1 structure: look for false" in warning


def test_the_document_is_json_with_scores_by_structure_and_method(results: Results) -> None:
    worse = with_scores(results, fine_tuned=((0.5, 4.0), (0.5, 3.0)))

    document: dict[str, Any] = json.loads(json.dumps(worse.as_document()))

    assert document["image"] == "a generated phantom"
    assert document["annotated_slices"] == {"axis": "K", "indices": [0, 8]}
    assert document["slice_count"] == 9
    assert document["structures"][1] == {
        "name": "spleen",
        "value": 7,
        "interpolation": {"dice": 0.92, "hd95_mm": 3.0},
        "first_pass": {"dice": 0.0, "hd95_mm": None},
        "fine_tuned": {"dice": 0.5, "hd95_mm": 3.0},
    }
    assert document["mean_dice"]["fine_tuned"] == 0.5
    assert document["uncertainty"]["error_detection_auroc"] == 0.87
    assert document["suggestion"]["file_index"] == 4
    assert document["training"] == {"steps": 400, "seconds": 272.4, "device": "cpu"}
    assert document["notes"][0] == "A note of the training."
    assert document["notes"][1].startswith("By mean Dice the fine-tuned model is not better")
