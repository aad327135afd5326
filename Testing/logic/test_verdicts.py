"""Fine-tuning with an engine that says what the test wants: rounds, scores, and which model is used."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from parameters import SegmentFrom
from scripted_engine import writeCheckpoint, writeModel
from scripted_user import User

from uncol.core.verdict import Verdict, not_compared


def test_the_first_model_is_used_and_nothing_is_scored_without_a_proposal(user: User) -> None:
    user.driver.annotate([5, 8, 11])

    result = user.fineTune(heldOut=0.8)

    [entry] = user.logic.rounds(user.parameters)
    assert (entry.hadProposal, entry.scored, entry.dice) == (False, (), {})
    assert (result.activated, user.logic.store.active, user.parameters.modelName) == (True, "liver", "liver")
    assert result.message == "First model, in use now. Annotate new slices to measure it."


def test_new_slices_are_scored_against_what_stood_there_before_the_engine_learns(user: User) -> None:
    shifted = np.roll(user.truth, 4, axis=2)
    user.segment(shifted)
    user.driver.annotate([5, 8])
    scored = []
    user.logic.roundScored.connect(scored.append)
    user.logic.fineTune(user.parameters)

    user.untilAsked("fine_tune")

    kept, guess = user.truth[[5, 8]], shifted[[5, 8]]
    expected = 2 * (kept & guess).sum() / (kept.sum() + guess.sum())
    [entry] = scored
    assert entry.dice == {"liver": pytest.approx(expected, abs=1e-4)}
    assert entry.errorAuroc is not None  # the map of the first proposal: 0.3 in the true liver, 0.05 elsewhere
    assert entry.scored == ("K:5", "K:8")
    assert entry.activated is None


def test_slices_that_the_proposals_model_has_learned_from_are_not_scored_again(user: User) -> None:
    user.driver.annotate([5, 8])
    user.fineTune(heldOut=0.8, alone=True)

    user.driver.annotate([11])
    user.fineTune(heldOut=0.9)

    first, second = user.logic.rounds(user.parameters)
    assert first.annotated == ("K:5", "K:8")
    assert second.scored == ("K:11",)
    assert second.against == "liver"


def test_slices_that_a_first_pass_was_shown_are_not_scored(user: User) -> None:
    user.driver.annotate([5, 8])
    user.parameters.segmentFrom = SegmentFrom.SLICES
    user.segment()

    user.fineTune(heldOut=0.8)

    [entry] = user.logic.rounds(user.parameters)
    assert (entry.hadProposal, entry.scored) == (True, ())


def test_what_fine_tuning_proposes_is_shown_without_segmenting_again(user: User) -> None:
    user.driver.annotate([5, 8])

    user.fineTune(heldOut=0.8, found=np.roll(user.truth, 2, axis=2))

    assert user.engine.asked("segment") is None
    assert 0 < user.driver.dice() < 1
    proposal = user.parameters.proposal
    assert (proposal.GetAttribute("UnCoL.Model"), proposal.GetAttribute("UnCoL.BothTeachers")) == ("liver", "1")
    assert proposal.GetAttribute("UnCoL.KnownSlices") == '["K:5", "K:8"]'
    assert user.parameters.uncertaintyVolume is not None


def test_the_score_of_what_both_teachers_proposed_is_not_taken_for_the_models(user: User) -> None:
    user.driver.annotate([5, 8])
    user.fineTune(heldOut=0.9)
    user.driver.annotate([11])

    result = user.fineTune(heldOut=0.95)  # what both proposed is the truth: Dice 1 on slice 11

    assert result.message == "Better than before: Dice 0.95 on held-out slices, before 0.90."
    second = user.logic.rounds(user.parameters)[1]
    assert (second.against, second.dice) == ("", {"liver": 1.0})


def test_what_the_engine_says_of_both_on_the_same_new_slices_decides(user: User) -> None:
    user.driver.annotate([5, 8])
    user.fineTune(heldOut=0.8)
    assert user.engine.asked("fine_tune")["compare_with"] is None
    user.driver.annotate([11])

    result = user.fineTune(heldOut=0.9, verdict=Verdict("not better", {"liver": 0.93}, {"liver": 0.9}, 2))

    assert Path(user.engine.asked("fine_tune")["compare_with"]).name == "liver"
    assert (result.activated, user.logic.store.active) == (False, "liver")
    assert result.message.startswith("Not better than before - kept the old model (Dice 0.90, before 0.93).")


def test_models_that_the_engine_could_not_compare_are_judged_by_their_own_scores(user: User) -> None:
    user.driver.annotate([5, 8])
    user.fineTune(heldOut=0.8)
    user.driver.annotate([11])

    result = user.fineTune(heldOut=0.9, verdict=not_compared("there is nothing new"))

    assert result.message == "Better than before: Dice 0.90 on held-out slices, before 0.80."


def test_what_both_teachers_propose_is_shown_also_if_the_model_is_not_better(user: User) -> None:
    user.driver.annotate([5, 8])
    user.fineTune(heldOut=0.9)
    user.driver.annotate([11])

    result = user.fineTune(heldOut=0.85, found=np.roll(user.truth, 2, axis=2))

    assert result.message == (
        "Not better than before - kept the old model (Dice 0.85, before 0.90). The proposal shown was still made by "
        "the new model, together with the foundation model."
    )
    assert (result.activated, user.logic.store.active, user.parameters.modelName) == (False, "liver", "liver")
    assert user.engine.asked("segment") is None
    proposal = user.parameters.proposal
    assert proposal.GetAttribute("UnCoL.Model") == "liver-2"
    assert proposal.GetAttribute("UnCoL.KnownSlices") == '["K:5", "K:8", "K:11"]'


def test_a_model_that_is_not_better_is_kept_but_not_used(user: User) -> None:
    user.driver.annotate([5, 8])
    user.fineTune(heldOut=0.9, alone=True)
    user.driver.annotate([11])

    # the proposal that stands is the truth: Dice 1 on slice 11
    result = user.fineTune(heldOut=0.85, alone=True)

    assert not result.activated
    assert result.message == "Not better than before - kept the old model (Dice 0.85, before 1.00)."
    assert [each.name for each in user.logic.store.list()] == ["liver", "liver-2"]
    assert (user.logic.store.active, user.parameters.modelName) == ("liver", "liver")
    assert Path(user.engine.asked("segment")["model"]).name == "liver"
    assert [each.activated for each in user.logic.rounds(user.parameters)] == [True, False]


def test_a_reliability_is_no_score_where_nothing_was_held_out(user: User) -> None:
    user.driver.annotate([5, 8])
    user.fineTune(heldOut=0.8)
    user.driver.annotate([11])

    result = user.fineTune(heldOut=None)

    assert [each.heldOut for each in user.logic.rounds(user.parameters)] == [{"liver": 0.8}, {}]
    assert result.message == "There were too few annotated slices for a comparison, so the new model is used."


def test_the_reliability_in_an_older_card_is_no_score(user: User) -> None:
    folder = user.logic.store.folder / "older"
    writeModel(folder, ["liver"], {"liver": 0.9})
    card = json.loads((folder / "model.json").read_text())
    del card["training"]["held_out_dice"]
    (folder / "model.json").write_text(json.dumps(card))
    user.logic.store.activate("older")
    user.driver.annotate([5, 8])

    result = user.fineTune(heldOut=0.4)

    assert result.message == "The model in use has no score of its own to compare with, so the new model is used."


def test_a_model_of_another_structure_gives_way_and_the_user_is_told_why(user: User) -> None:
    writeModel(user.logic.store.folder / "spleen", ["spleen"], {"spleen": 0.9})
    user.logic.store.activate("spleen")
    user.driver.annotate([5, 8])

    result = user.fineTune(heldOut=0.8)

    assert result.message.startswith("The model in use was scored on other structures (spleen)")
    assert user.logic.store.roll_back() == "spleen"


def test_a_better_model_takes_over_and_segments(user: User) -> None:
    user.driver.annotate([5, 8])
    user.fineTune(heldOut=0.7, found=np.roll(user.truth, 6, axis=2), alone=True)
    user.driver.annotate([11])

    result = user.fineTune(heldOut=0.95)

    assert result.activated
    assert result.message.startswith("Better than before: Dice 0.95 on held-out slices")
    assert user.logic.store.active == "liver-2"
    assert user.parameters.proposal.GetAttribute("UnCoL.Model") == "liver-2"
    assert user.driver.dice() == 1.0


def test_a_model_of_this_volume_is_trained_anew_one_of_another_is_built_on(user: User) -> None:
    user.driver.annotate([5, 8])
    writeModel(user.logic.store.folder / "other-patient", ["liver"], {"liver": 0.5})
    user.logic.store.activate("other-patient")
    user.parameters.modelName = "other-patient"

    user.fineTune(heldOut=0.8)
    firstBase = user.engine.asked("fine_tune")["base"]
    user.driver.annotate([11])
    user.fineTune(heldOut=0.9)

    assert Path(firstBase).name == "other-patient"
    assert Path(user.engine.asked("fine_tune")["base"]).name == "other-patient"


def test_a_resumed_run_goes_on_in_its_folder_and_is_not_scored_again(user: User) -> None:
    user.driver.annotate([5, 8])
    user.logic.fineTune(user.parameters)
    user.untilAsked("fine_tune")
    folder = Path(user.engine.asked("fine_tune")["out"])
    writeCheckpoint(folder)
    user.logic.cancel()
    user.engine.say("fine_tune", "cancelled", resumable=True)
    assert user.end() == ("cancelled", "Cancelled. What was learned is saved; Resume goes on from there.")

    user.logic.resumeFineTune(user.parameters)
    asked = user.untilAsked("fine_tune", 2)

    assert (asked["resume"], Path(asked["out"])) == (True, folder)
    assert len(user.logic.rounds(user.parameters)) == 1
