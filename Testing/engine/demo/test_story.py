from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from torch import nn

from uncol.core.config import Config
from uncol.core.errors import CancelledError
from uncol.core.jobs import Structure
from uncol.core.volume import Volume, view_slices
from uncol.data.shape_interpolation import interpolate_shapes
from uncol.demo.case import Annotation, DemoCase, annotate, box_round
from uncol.demo.scores import Scores, score
from uncol.demo.story import DemoResults, result_document, tell_story
from uncol.demo.suggestion import NextSlice
from uncol.inference.result import Segmentation
from uncol.models.checkpoints import Model, ModelCard
from uncol.report.story import Method

LIVER, SPLEEN = Structure(1, "liver"), Structure(7, "spleen")
# I to the right and K down: slices and columns of the axial stack run against the file.
TURNED = np.array([[2.0, 0, 0, 5], [0, -2, 0, 6], [0, 0, -3, 7], [0, 0, 0, 1]])
CURVE = [
    {"step": 2, "seconds": 1.0, "stage": 1, "supervised": 2.0},
    {"step": 5, "seconds": 2.0, "stage": 1, "supervised": 1.5},
    {"step": 7, "seconds": 3.0, "stage": 2, "supervised": 1.2, "pseudo_label": 0.8},
]


def make_results(*, with_reference: bool = True) -> DemoResults:
    """Seven slices of 4 x 6 voxels: a liver of 2 x 2 that the model misses in slice 1, a spleen in slice 0 only."""
    voxels = np.zeros((7, 4, 6), np.uint8)
    voxels[:, 1:3, 0:2] = 1
    voxels[0, 3, 5] = 7
    reference = Volume(voxels, TURNED)
    view = view_slices(reference, "axial")
    structures = (LIVER, SPLEEN)
    boxes = tuple(box_round(each, reference) for each in structures)
    annotation = annotate(reference, structures, view, 3)
    result, uncertainty = voxels.copy(), np.zeros(voxels.shape, np.float32)
    result[1] = 0
    uncertainty[1] = 0.5
    training = {
        "steps": 7,
        "seconds": 3.4,
        "device": "cpu",
        "seed": 0,
        "generalized_teacher": "LiteMedSAM",
        "versions": {"torch": "2.9"},
        "curve": CURVE,
        "notes": ["A note of the training."],
    }
    card = ModelCard(structures, "axial", 2.0, 3.0, (-160.0, 240.0), Config(), training)
    return DemoResults(
        case=DemoCase(
            image=reference.with_voxels(np.arange(voxels.size, dtype=np.int16).reshape(voxels.shape)),
            structures=structures,
            boxes=boxes,
            reference=reference if with_reference else None,
            reference_kind="generated",
            source="a test",
            terms="Just a test.",
        ),
        view=view,
        window=(0.0, 100.0),
        foundation_model="LiteMedSAM",
        annotation=annotation,
        first_pass=Segmentation(reference, reference.with_voxels(uncertainty), structures),
        interpolation=interpolate_shapes(annotation.labels, annotation.structures, view),
        model=Model(card, nn.Identity()),
        result=Segmentation(
            reference.with_voxels(result), reference.with_voxels(uncertainty), structures, ("A note of the result.",)
        ),
        suggestion=NextSlice(1, 5, 0.3, "Least sure here: liver."),
    )


def make_scores(results: DemoResults, **changed: Volume) -> Scores:
    predictions: dict[Method, Volume] = {
        "interpolation": results.interpolation,
        "first_pass": results.first_pass.labels,
        "fine_tuned": results.result.labels,
    }
    assert results.case.reference is not None
    return score(
        {**predictions, **changed},
        results.result.uncertainty,
        results.case.reference,
        results.annotation,
        results.view,
        lambda _done, _count: None,
    )


@pytest.fixture(scope="module")
def results() -> DemoResults:
    return make_results()


@pytest.fixture(scope="module")
def scores(results: DemoResults) -> Scores:
    return make_scores(results)


def test_only_slices_that_nobody_annotated_are_scored(results: DemoResults, scores: Scores) -> None:
    assert results.annotation.slices.indices == (0, 3, 6)
    # Of the four others the model misses slice 1: 3 of 4 slices found, Dice 2 * 3 / (3 + 4).
    # The spleen is in none of them and in no result there: both empty, Dice 1.
    assert [each.scores["fine_tuned"].dice for each in scores.comparisons()] == pytest.approx([6 / 7, 1])
    # Interpolation lets the spleen of slice 0 fade out in slices 1 and 2, where it is not: Dice 0.
    assert scores.mean_dice() == pytest.approx({"interpolation": 0.5, "first_pass": 1, "fine_tuned": (6 / 7 + 1) / 2})


def test_slices_are_scored_in_the_order_of_the_file_with_their_place_in_the_stack(scores: Scores) -> None:
    assert [each.slice_index for each in scores.slices] == [6, 5, 4, 3, 2, 1, 0]
    assert [each.distance for each in scores.slices] == [0, 1, 1, 0, 1, 1, 0]
    assert [each.dice["fine_tuned"] for each in scores.slices] == [1, 0, 1, 1, 1, 1, 1]


def test_a_slice_where_neither_shows_anything_says_nothing() -> None:
    results = make_results()
    assert results.case.reference is not None
    empty = results.case.reference.voxels.copy()
    empty[4] = 0
    without = replace(results, case=replace(results.case, reference=results.case.reference.with_voxels(empty)))

    nothing = make_scores(without, fine_tuned=results.case.reference.with_voxels(empty)).slices[4]

    # The two others find something where there is nothing.
    assert dict(nothing.dice) == {"interpolation": 0.0, "first_pass": 0.0}


def test_the_uncertainty_is_scored_where_the_model_is_wrong(scores: Scores) -> None:
    assert scores.uncertainty is not None
    assert scores.uncertainty.band_errors == 4
    # The 4 wrong voxels are as unsure as the right ones of slice 1 and more so than all others of the band.
    assert scores.uncertainty.error_detection_auroc is not None
    assert scores.uncertainty.error_detection_auroc > 0.8


def test_scoring_can_be_stopped_before_every_method(results: DemoResults) -> None:
    asked = []

    def before_each(done: int, count: int) -> None:
        asked.append((done, count))
        if done == 1:
            message = "enough"
            raise CancelledError(message)

    assert results.case.reference is not None
    with pytest.raises(CancelledError, match="enough"):
        score(
            {"interpolation": results.interpolation, "first_pass": results.first_pass.labels},
            results.result.uncertainty,
            results.case.reference,
            results.annotation,
            results.view,
            before_each,
        )
    assert asked == [(0, 2), (1, 2)]


def test_the_story_counts_in_the_stack_and_names_slices_as_the_file_does(results: DemoResults, scores: Scores) -> None:
    story = tell_story(results, scores, 3)

    assert story.annotated_slices == (0, 3, 6)
    assert story.slice_numbers == (6, 5, 4, 3, 2, 1, 0)
    assert story.suggestion is not None
    assert story.slice_number(story.suggestion.slice_index) == 1
    # The liver: all slices, rows 1-2, columns 0-1 of the file, which are 4-5 of the stack.
    # The spleen: slice 0 of the file is 6 of the stack, row 3, column 5 of the file is 0 of the stack.
    assert [(box.lower, box.upper) for box in story.boxes] == [((0, 1, 4), (6, 2, 5)), ((6, 3, 0), (6, 3, 0))]
    for box in story.boxes:
        inside = story.reference[
            tuple(slice(start, stop + 1) for start, stop in zip(box.lower, box.upper, strict=True))
        ]
        assert (inside == box.structure.value).all()


def test_the_story_shows_no_box_of_a_structure_that_was_left_out(results: DemoResults) -> None:
    annotation = results.annotation
    only_liver = Annotation(annotation.slices, annotation.labels, (LIVER,), ())

    story = tell_story(replace(results, annotation=only_liver), Scores({}), 3)

    assert [box.structure for box in story.boxes] == [LIVER]


def test_the_learning_curve_starts_stage_2_after_the_last_step_of_stage_1(results: DemoResults, scores: Scores) -> None:
    curve = tell_story(results, scores, 3).curve

    assert curve is not None
    assert curve.stage2_step == 5
    assert dict(curve.losses) == {
        "annotated slices": [(2, 2.0), (5, 1.5), (7, 1.2)],
        "slices that nobody annotated": [(7, 0.8)],
    }


def test_a_run_that_never_reached_stage_2_says_so(results: DemoResults, scores: Scores) -> None:
    card = replace(results.model.card, training={**results.model.card.training, "curve": CURVE[:2]})

    curve = tell_story(replace(results, model=replace(results.model, card=card)), scores, 3).curve

    assert curve is not None
    assert curve.stage2_step is None
    assert list(curve.losses) == ["annotated slices"]


def test_the_summary_gives_all_three_numbers_and_says_when_fine_tuning_did_not_pay(
    results: DemoResults, scores: Scores
) -> None:
    summary = tell_story(results, scores, 3).summary

    assert "drew one slice in 3: 3 of 7." in summary
    assert "mean Dice is 0.929 (shape interpolation 0.500, first pass 1.000)." in summary
    assert "the fine-tuned model is not better than the first pass here" in summary


def test_a_model_that_is_the_best_gets_no_warning(results: DemoResults) -> None:
    assert results.case.reference is not None

    scores = make_scores(results, fine_tuned=results.case.reference)

    assert scores.verdict() == ""
    assert scores.uncertainty is not None
    assert scores.uncertainty.error_detection_auroc is None
    assert "not both right and wrong voxels" in tell_story(results, scores, 3).uncertainty_note


def test_false_islands_are_pointed_out_although_the_dice_hardly_shows_them() -> None:
    results = make_results()
    assert results.case.reference is not None
    only_liver = replace(results.annotation, structures=(LIVER,))
    with_islands = results.case.reference.voxels.copy()
    with_islands[:, 3, 5] = 1

    scores = make_scores(
        replace(results, annotation=only_liver), fine_tuned=results.case.reference.with_voxels(with_islands)
    )

    assert (
        "The fine-tuned model's HD95 is larger than that of shape interpolation for 1 of 1 structure: look"
        in scores.verdict()
    )


def test_slices_beyond_the_annotated_ones_are_pointed_out(results: DemoResults, scores: Scores) -> None:
    assert results.case.reference is not None
    inner = annotate(results.case.reference, (LIVER, SPLEEN), results.view, 5)

    complete = tell_story(results, scores, 3).scores_note
    partial = tell_story(replace(results, annotation=inner), scores, 5).scores_note

    assert complete == "Scored on the 4 slices that nobody annotated."
    # Slices 0 and 5 are annotated, slice 6 lies beyond.
    assert partial.startswith("Scored on the 5 slices that nobody annotated. ")
    assert "Before slice 0 and after slice 5, in 1 of them, interpolation has only one side" in partial


def test_without_a_reference_no_accuracy_is_told() -> None:
    results = make_results(with_reference=False)

    story = tell_story(results, Scores({}), 3)

    assert "no reference, so no accuracy is given" in story.summary
    assert "which may be wrong" in story.summary
    assert story.comparisons == story.slice_scores == ()
    assert "Without a reference" in story.uncertainty_note
    assert (story.reference == results.view.stack_from(results.first_pass.labels.voxels)).all()
    assert story.provenance.data_source == "a test. Just a test"


def test_the_document_is_json_with_scores_by_structure_and_method(results: DemoResults, scores: Scores) -> None:
    document: dict[str, Any] = json.loads(json.dumps(result_document(results, scores, {"First pass": 1.234})))

    assert document["annotated_slices"] == {"axis": "K", "indices": [0, 3, 6]}
    assert document["structures"][0]["name"] == "liver"
    assert document["structures"][0]["fine_tuned"]["dice"] == pytest.approx(6 / 7)
    assert document["suggestion"]["file_index"] == 1
    assert document["seconds"] == {"First pass": 1.2}
    assert document["notes"][:2] == ["A note of the training.", "A note of the result."]
    assert document["notes"][2].startswith("By mean Dice the fine-tuned model is not better")


def test_the_document_without_a_reference_names_the_structures_alone() -> None:
    document = result_document(make_results(with_reference=False), Scores({}), {})

    assert document["structures"] == [{"value": 1, "name": "liver"}, {"value": 7, "name": "spleen"}]
    assert document["mean_dice"] == {}
    assert document["uncertainty"] is None
