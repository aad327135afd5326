"""Honest numbers: which slices are new, what they say about the old proposal, and which model is better."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from uncol.core.jobs import Structure
from uncol.core.volume import Volume
from UnCoLSegmentLib.Scene.Rounds import (
    Candidate,
    Round,
    askedOf,
    baseFor,
    judge,
    knownTo,
    namesSince,
    newSlices,
    ofVolume,
    readRounds,
    renamed,
    stacksOf,
    writeRounds,
)

LIVER, SPLEEN = Structure(1, "liver"), Structure(2, "spleen")


WRITTEN_BY_0_1 = """[{"number": 1, "volume": "vtkMRMLScalarVolumeNode1", "annotated": ["K:5", "K:8"], "hadProposal":
true, "scored": ["K:5", "K:8"], "dice": {"liver": 0.6129, "left kidney": 1}, "errorAuroc": 0.75, "against": "", "model":
"liver", "base": "", "heldOut": {"liver": 0.8}, "activated": true}, {"number": 2, "volume": "vtkMRMLScalarVolumeNode1",
"annotated": ["K:5", "K:8", "J:11"], "scored": [], "dice": {}, "errorAuroc": null, "against": "liver", "model":
"liver-2", "base": "liver"}]"""


@pytest.fixture
def makeGrid() -> Callable[[np.ndarray], Volume]:
    """Return a function that puts voxels on an oblique grid with three different spacings."""
    matrix = np.array([[-0.8 * 1.6, 0.6 * 1.2, 0, 5], [-0.6 * 1.6, -0.8 * 1.2, 0, 6], [0, 0, 4, 7], [0, 0, 0, 1.0]])
    return lambda voxels: Volume(voxels, matrix)


def made(annotated: list[str], **fields: Any) -> Round:
    return Round(tuple(annotated), **fields)


def test_rounds_survive_being_written_and_read() -> None:
    rounds = [made(["K:3"], dice={"liver": 0.5}), made([], heldOut={"liver": 0.8}, activated=False, errorAuroc=0.5)]

    assert readRounds(writeRounds(rounds)) == rounds


def test_rounds_in_scenes_of_version_0_1_are_read() -> None:
    first, second = readRounds(WRITTEN_BY_0_1)

    assert first == Round(
        annotated=("K:5", "K:8"),
        number=1,
        volume="vtkMRMLScalarVolumeNode1",
        hadProposal=True,
        scored=("K:5", "K:8"),
        dice={"liver": 0.6129, "left kidney": 1.0},
        errorAuroc=0.75,
        model="liver",
        heldOut={"liver": 0.8},
        activated=True,
    )
    assert (second.annotated, second.against, second.base) == (("K:5", "K:8", "J:11"), "liver", "liver")
    assert (second.hadProposal, second.heldOut, second.activated, second.errorAuroc) == (False, {}, None, None)


def test_what_is_written_has_the_fields_of_version_0_1_and_two_more() -> None:
    [written] = json.loads(writeRounds([made(["K:3"])]))

    assert written.keys() == json.loads(WRITTEN_BY_0_1)[0].keys() | {"segmentation", "segments"}


@pytest.mark.parametrize("text", ["", "no JSON", "7", "[1, 2]", '[{"other": 1}]', '[{"annotated": "K:1"}]'])
def test_text_that_holds_no_rounds_is_no_rounds(text: str) -> None:
    assert readRounds(text) == []


def test_rounds_about_another_volume_do_not_count() -> None:
    rounds = [made([], volume="A"), made([], volume="B")]

    assert ofVolume(rounds, "B") == [rounds[1]]


def test_a_slice_is_new_if_neither_the_proposals_maker_nor_a_round_has_seen_it() -> None:
    earlier = [made(["K:2"]), made(["K:2", "K:4"])]

    assert newSlices(["K:1", "K:2", "K:3", "K:4"], ["K:1"], earlier) == ("K:3",)


def test_a_model_knows_the_slices_of_its_round_and_of_its_base() -> None:
    rounds = [
        made(["K:1"], model="first"),
        made(["K:9"], model="other"),
        made(["K:2"], model="second", base="first"),
    ]

    assert sorted(knownTo("second", rounds)) == ["K:1", "K:2"]
    assert knownTo("from another patient", rounds) == []


def test_what_a_model_has_seen_stays_known_when_it_is_renamed() -> None:
    rounds = [made(["K:1"], model="first"), made(["K:2"], model="second", base="first", against="first")]

    after = renamed(rounds, "first", "liver")

    assert [(each.model, each.base, each.against) for each in after] == [
        ("liver", "", ""),
        ("second", "liver", "liver"),
    ]
    assert knownTo("liver", after) == ["K:1"]
    assert rounds[0].model == "first"


def test_a_model_of_this_volume_is_trained_anew_from_where_it_started() -> None:
    rounds = [made([], model="second", base="first"), made([], model="own")]

    assert baseFor("second", rounds) == "first"
    assert baseFor("own", rounds) == ""
    assert baseFor("from another patient", rounds) == "from another patient"
    assert baseFor("", rounds) == ""


def test_a_model_whose_base_has_learned_from_a_volume_is_trained_anew_from_where_that_started() -> None:
    here = [made([], model="first", base="imported")]
    elsewhere = [made([], model="second", base="first"), made([], model="third", base="second")]

    assert baseFor("third", here, [*here, *elsewhere]) == "imported"
    assert baseFor("third", elsewhere, [*here, *elsewhere]) == "first"
    assert baseFor("third", [], [*here, *elsewhere]) == "third"


def test_a_model_that_is_its_own_base_by_a_name_given_anew_is_no_endless_search() -> None:
    rounds = [made([], model="liver", base="liver")]

    assert baseFor("liver", rounds) == "liver"


def test_the_slices_to_compare_are_cut_out_along_their_own_axes(makeGrid) -> None:
    voxels = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    reference = makeGrid(voxels)  # 1.6 x 1.2 x 4 mm along I, J and K
    prediction, uncertainty = reference.with_voxels(voxels % 3), reference.with_voxels(voxels / 100)

    found = stacksOf(["K:1", "I:3", "I:0"], reference, [LIVER], prediction, [LIVER], uncertainty)

    axial, sagittal = found
    assert axial.reference.voxels.tolist() == [voxels[1].tolist()]
    assert axial.reference.spacing_mm[:2] == pytest.approx((1.6, 1.2))
    assert sagittal.reference.voxels.tolist() == [voxels[:, :, 3].tolist(), voxels[:, :, 0].tolist()]
    assert sagittal.uncertainty.voxels[0].tolist() == (voxels[:, :, 3] / 100).tolist()
    assert sagittal.reference.spacing_mm[:2] == pytest.approx((1.2, 4.0))  # rows are K here, columns J
    assert all(each.shares_grid_with(sagittal.reference) for each in sagittal)


def test_what_stood_there_before_gets_the_values_of_the_annotation_by_the_structures_names(makeGrid) -> None:
    prediction = makeGrid(np.array([[[0, 7, 1, 3]]], np.uint8))

    proposed = [Structure(7, "spleen"), Structure(1, "stomach"), Structure(3, "liver")]
    [stack] = stacksOf(["K:0"], prediction, [LIVER, SPLEEN], prediction, proposed, None)

    assert stack.prediction.voxels.tolist() == [[[0, 2, 0, 1]]]
    assert stack.uncertainty is None


def test_a_proposal_is_asked_for_the_structures_that_it_knows() -> None:
    assert askedOf([LIVER, SPLEEN], [Structure(7, "spleen"), Structure(1, "stomach")]) == (SPLEEN,)
    assert askedOf([LIVER], []) == ()


def candidate(dice: dict[str, float], *known: str, name: str = "new") -> Candidate:
    return Candidate(name, known or list(dice), dice)


def test_the_better_model_is_the_one_with_the_higher_mean_over_what_both_were_scored_on() -> None:
    verdict = judge(candidate({"liver": 0.9, "spleen": 0.7}), candidate({"liver": 0.8, "spleen": 0.7}))

    assert verdict.isBetter
    assert verdict.sentence == "Better than before: Dice 0.80 on held-out slices, before 0.75."


def test_a_model_that_is_as_good_as_the_old_one_does_not_take_its_place() -> None:
    verdict = judge(candidate({"liver": 0.8}), candidate({"liver": 0.8}))

    assert not verdict.isBetter
    assert verdict.sentence == "Not better than before - kept the old model (Dice 0.80, before 0.80)."


def test_the_only_model_that_knows_a_structure_is_used_also_if_it_is_worse_elsewhere() -> None:
    verdict = judge(candidate({"liver": 0.89, "spleen": 0.85}), candidate({"liver": 0.90}))

    assert verdict.isBetter
    assert verdict.sentence == (
        "Not better than before (Dice of liver 0.89, before 0.90), but the new model is used for what only it knows. "
        "Models > Roll back returns to the old one. It also knows: spleen."
    )


def test_a_better_model_that_knows_more_says_so() -> None:
    verdict = judge(candidate({"liver": 0.92}, "liver", "spleen"), candidate({"liver": 0.90}))

    assert verdict.isBetter
    assert verdict.sentence == ("Better than before: Dice 0.92 on held-out slices, before 0.90. It also knows: spleen.")


def test_a_better_model_that_knows_less_names_what_it_lacks_and_what_to_choose_for_that() -> None:
    new = candidate({"liver": 0.92, "kidney": 0.90})
    old = candidate({"liver": 0.90, "spleen": 0.90, "kidney": 0.90}, name="abdomen")

    verdict = judge(new, old)

    assert verdict.isBetter
    # (0.92 + 0.90) / 2, before (0.90 + 0.90) / 2
    assert verdict.sentence == (
        "Better than before: Dice 0.91 on held-out slices, before 0.90. It does not know: spleen. To segment that, "
        'choose the model "abdomen".'
    )


def test_what_a_model_lacks_that_is_kept_away_is_named_too() -> None:
    verdict = judge(candidate({"liver": 0.80}), candidate({"liver": 0.90}, "liver", "spleen"))

    assert not verdict.isBetter
    assert verdict.sentence == (
        "Not better than before - kept the old model (Dice 0.80, before 0.90). "
        "The new one would not have known: spleen."
    )


def test_each_of_two_models_may_know_what_the_other_lacks() -> None:
    new = candidate({"liver": 0.80, "tumor": 0.5})
    old = candidate({"liver": 0.90, "spleen": 0.9}, name="abdomen")

    verdict = judge(new, old)

    assert verdict.isBetter
    assert verdict.sentence.endswith(
        'It also knows: tumor. It does not know: spleen. To segment that, choose the model "abdomen".'
    )


@pytest.mark.parametrize(
    ("new", "old", "why"),
    [
        ({}, {"liver": 0.8}, "too few annotated slices"),
        ({"liver": 0.8}, {}, "no score of its own"),
        ({}, {}, "too few annotated slices"),
    ],
)
def test_without_anything_to_compare_the_new_model_is_used_and_the_user_told(
    new: dict[str, float], old: dict[str, float], why: str
) -> None:
    verdict = judge(candidate(new, "liver"), candidate(old, "liver"))

    assert verdict.isBetter
    assert why in verdict.sentence
    assert "know" not in verdict.sentence


def test_a_model_that_cannot_be_read_is_not_said_to_know_less() -> None:
    verdict = judge(candidate({"liver": 0.8}), Candidate("broken", [], {}))

    assert "know" not in verdict.sentence


def test_models_of_different_structures_cannot_be_compared_and_the_user_is_told_the_way_back() -> None:
    old = candidate({"spleen": 0.8, "left kidney": 0.7}, name="abdomen")

    verdict = judge(candidate({"liver": 0.9}), old)

    assert verdict.isBetter
    assert verdict.sentence == (
        "The model in use was scored on other structures (spleen, left kidney), so the two cannot be compared; the new "
        "model is used. Models > Roll back returns to the old one. It also knows: liver. It does not know: spleen, "
        'left kidney. To segment that, choose the model "abdomen".'
    )


def test_a_structure_is_the_same_by_its_segment_whatever_it_is_called_later() -> None:
    first = made([], segmentation="S", segments={"Segment_1": "a", "Segment_2": "b"})
    later = made([], segmentation="S", segments={"liver": "a", "Segment_1": "c"})

    names = namesSince(first, later)

    assert names == {"Segment_1": "liver"}
    assert candidate({"Segment_1": 0.9, "Segment_2": 0.5}).renamed(names) == Candidate(
        "new", ["liver", "Segment_2"], {"liver": 0.9, "Segment_2": 0.5}
    )


def test_segments_of_another_segmentation_are_others_though_their_ids_are_alike() -> None:
    first = made([], segmentation="S", segments={"liver": "Segment_1"})
    later = made([], segmentation="T", segments={"spleen": "Segment_1"})

    assert namesSince(first, later) == {}
    assert namesSince(None, later) == {}
