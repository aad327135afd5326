"""Logic and scene with an engine that says what the test wants: decisions, rounds, previews, reasons why not."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import slicer
import slicer.util
from parameters import Parameters, Plane, SegmentFrom
from scripted_engine import ScriptedEngine, readVolume, writeModel

from uncol.core.errors import DataError
from uncol.core.model_folder import CHECKPOINT_FILE
from UnCoLSegmentLib.Engine import Run
from UnCoLSegmentLib.Engine.Run import RunState
from UnCoLSegmentLib.Logic import Logic
from UnCoLSegmentLib.SelfTest import LoopDriver, makePhantomVolume

PATIENCE_S = 20.0


class User:
    """A user with a phantom, and an engine that does what the test says."""

    def __init__(self, folder: Path) -> None:
        self.engine = ScriptedEngine(folder / "job")
        self.logic = Logic(folder / "models", self.engine)
        volume, self.truth = makePhantomVolume()
        self.parameters = Parameters(inputVolume=volume)
        self.driver = LoopDriver(self.logic, self.parameters, self.truth, idle=lambda: None)
        self.told: list[tuple[str, Any]] = []
        self.logic.finished.connect(lambda result: self.told.append(("finished", result)))
        self.logic.failed.connect(lambda message, _details: self.told.append(("failed", message)))
        self.logic.cancelled.connect(lambda message: self.told.append(("cancelled", message)))

    def until(self, condition: Callable[[], Any]) -> Any:
        deadline = time.monotonic() + PATIENCE_S
        while not (met := condition()):
            assert time.monotonic() < deadline, f"waited in vain; told {self.told}, asked {self.engine.requests}"
            self.logic.poll()
            time.sleep(0.002)
        return met

    def untilAsked(self, op: str, count: int = 1) -> dict[str, Any]:
        self.until(lambda: sum(name == op for name, _fields in self.engine.requests) >= count)
        return self.engine.asked(op)

    def end(self) -> tuple[str, Any]:
        self.until(lambda: self.told)
        return self.told.pop()

    def segment(self, found: np.ndarray | None = None) -> Any:
        """Let the engine propose the truth, or something else."""
        count = sum(name == "segment" for name, _fields in self.engine.requests)
        self.logic.segment(self.parameters)
        self.untilAsked("segment", count + 1)
        self.propose(found)
        return self.end()[1]

    def propose(self, found: np.ndarray | None = None) -> None:
        uncertainty = np.where(self.truth, 0.3, 0.05)
        self.engine.finishSegment(self.truth if found is None else found, uncertainty, ["liver"])

    def fineTune(self, heldOut: float | None, found: np.ndarray | None = None, *, alone: bool = False) -> Any:
        """Let the engine learn a model that scores so on held-out slices, None if there were none, and propose.

        Where the model is not better, the one in use is asked to segment and finds the truth.
        """
        learned, segmented = (sum(name == op for name, _ in self.engine.requests) for op in ("fine_tune", "segment"))
        self.logic.fineTune(self.parameters)
        self.untilAsked("fine_tune", learned + 1)
        self.finishFineTune({} if heldOut is None else {"liver": heldOut}, found, alone=alone)
        self.until(lambda: self.told or sum(name == "segment" for name, _ in self.engine.requests) > segmented)
        if not self.told:
            self.propose()
        return self.end()[1]

    def finishFineTune(
        self, heldOut: dict[str, float], found: np.ndarray | None = None, *notes: str, **more: Any
    ) -> None:
        voxels, uncertainty = self.truth if found is None else found, np.where(self.truth, 0.3, 0.05)
        self.engine.finishFineTune(heldOut, voxels, uncertainty, *notes, **more)


@pytest.fixture
def user(scene: Any, tmp_path: Path) -> Iterator[User]:
    user = User(tmp_path)
    user.driver.drawBox()
    yield user
    user.logic.shutdown()


# Why not


def test_reasons_name_what_is_missing_one_after_the_other(user: User) -> None:
    parameters, logic = Parameters(), user.logic
    assert logic.whyNotSegment(parameters) == "Choose the volume to segment."
    parameters.inputVolume = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode")
    assert logic.whyNotSegment(parameters) == "The chosen volume holds no image. Choose another one."
    parameters.inputVolume = user.parameters.inputVolume
    assert logic.whyNotSegment(parameters) == "Draw a box (ROI) round the structure first."
    parameters.roi = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsROINode")
    assert logic.whyNotSegment(parameters) == "The box (ROI) is not placed yet. Draw it round the structure."
    parameters.roi = user.parameters.roi
    assert logic.whyNotSegment(parameters) == ""


def test_reasons_for_annotated_slices(user: User) -> None:
    parameters, logic = user.parameters, user.logic
    parameters.segmentFrom = SegmentFrom.SLICES
    assert logic.whyNotSegment(parameters) == "Choose or create the segmentation that holds your annotations."
    parameters.segmentation = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    assert logic.whyNotFineTune(parameters) == "Add a segment and paint the structure in a few slices."
    parameters.segmentation.GetSegmentation().AddEmptySegment("liver", "liver")
    assert logic.whyNotFineTune(parameters).startswith("Paint the structure in at least one slice")
    parameters.segmentation = None
    user.driver.annotate([8])
    assert logic.whyNotFineTune(parameters) == logic.whyNotSegment(parameters) == ""


def test_reasons_for_a_model(user: User) -> None:
    parameters, logic = user.parameters, user.logic
    parameters.segmentFrom = SegmentFrom.MODEL
    assert logic.whyNotSegment(parameters) == "Choose a model. If there is none yet, fine-tune one."
    parameters.modelName = "liver"
    assert logic.whyNotSegment(parameters).startswith('The model "liver" is not on this computer.')
    writeModel(logic.store.folder / "liver", ["liver"], {"liver": 0.9})
    assert logic.whyNotSegment(parameters) == ""


def test_an_obstacle_is_told_when_the_user_clicks_anyway(user: User) -> None:
    user.logic.fineTune(user.parameters)

    assert user.told == [("failed", "Choose or create the segmentation that holds your annotations.")]
    assert user.logic.state is RunState.IDLE


def test_a_box_outside_of_the_volume_is_refused_before_anything_starts(user: User) -> None:
    user.parameters.roi.SetCenter(5000, 5000, 5000)

    user.logic.segment(user.parameters)

    [(kind, message)] = user.told
    assert kind == "failed"
    assert "lies outside the volume" in message
    assert user.engine.requests == []


# What the engine is asked


def test_the_box_and_its_structure_are_asked_for(user: User) -> None:
    user.logic.segment(user.parameters)
    asked = user.untilAsked("segment")

    indices = np.argwhere(user.truth)
    [box] = asked["boxes"]
    assert box["structure"] == "liver"
    assert box["lower_ijk"] == (indices.min(axis=0)[::-1] - 2).tolist()
    assert box["upper_ijk"] == (indices.max(axis=0)[::-1] + 2).tolist()
    np.testing.assert_array_equal(
        readVolume(asked["image"]).voxels, slicer.util.arrayFromVolume(user.parameters.inputVolume)
    )


def test_annotated_slices_are_asked_for_and_everything_else_is_unknown(user: User) -> None:
    user.driver.annotate([5, 8])
    user.parameters.segmentFrom = SegmentFrom.SLICES
    user.logic.segment(user.parameters)
    asked = user.untilAsked("segment")

    labels = readVolume(asked["labels"]).voxels
    assert asked["structures"] == [{"value": 1, "name": "liver"}]
    np.testing.assert_array_equal(labels[[5, 8]], user.truth[[5, 8]])
    assert (np.delete(labels, [5, 8], axis=0) == 255).all()


# What the user is told


@pytest.mark.parametrize(
    ("source", "advice"),
    [
        (SegmentFrom.BOX, "Draw the box tighter, or annotate a few slices and fine-tune."),
        (SegmentFrom.SLICES, "Annotate more slices that show the structure, or fine-tune."),
        (
            SegmentFrom.MODEL,
            "The model looks for: liver. Choose another model, or annotate a few slices and fine-tune.",
        ),
    ],
)
def test_where_nothing_was_found_the_advice_fits_what_was_segmented_from(
    user: User, source: SegmentFrom, advice: str
) -> None:
    user.driver.annotate([5, 8])
    writeModel(user.logic.store.folder / "liver", ["liver"], {"liver": 0.9})
    user.parameters.segmentFrom, user.parameters.modelName = source, "liver"

    result = user.segment(np.zeros_like(user.truth))

    assert result.message == f"Nothing was found. {advice}"


def test_notes_of_a_fine_tune_are_those_of_learning_and_of_segmenting_and_the_engines_warnings(user: User) -> None:
    user.driver.annotate([5, 8])
    user.logic.fineTune(user.parameters)
    user.untilAsked("fine_tune")
    alone = "The foundation model is not installed; the moving average teaches alone."
    user.engine.say("fine_tune", "log", level="warning", message=alone)
    user.engine.say("fine_tune", "log", level="info", message="Step 1 took 0.2 s.")
    missing = '"spleen" was not found anywhere.'
    user.finishFineTune({"liver": 0.8}, None, "Few slices.", ofProposal=[missing])

    _kind, result = user.end()

    assert result.notes == ("Few slices.", missing, alone)
    assert user.segment().notes == ()  # the next run begins without warnings


@pytest.mark.parametrize("code", [-9, 137])
def test_an_engine_that_was_killed_is_told_as_a_full_memory(user: User, code: int) -> None:
    user.logic.segment(user.parameters)
    user.untilAsked("segment")

    user.engine.die(code)

    assert user.end() == (
        "failed",
        f"The engine stopped unexpectedly (exit code {code}). Usually the memory was full: close other programs or "
        "crop the volume, then try again. No annotation was lost.",
    )


def test_an_engine_that_ends_otherwise_says_nothing_of_memory(user: User) -> None:
    user.logic.segment(user.parameters)
    user.untilAsked("segment")

    user.engine.die(1)

    message = "The engine stopped unexpectedly (exit code 1). No annotation was lost; try again."
    assert user.end() == ("failed", message)


# Rounds and decisions


def test_the_first_model_is_used_and_nothing_is_scored_without_a_proposal(user: User) -> None:
    user.driver.annotate([5, 8, 11])

    result = user.fineTune(heldOut=0.8)

    [entry] = user.logic.rounds(user.parameters)
    assert (entry.hadProposal, entry.scored, entry.dice) == (False, (), {})
    assert (result.activated, user.logic.store.active, user.parameters.modelName) == (True, "liver", "liver")
    assert result.message == "This is your first model; it is used from now on."


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


def test_a_model_of_this_volume_is_trained_anew_and_one_of_another_patient_is_built_on(user: User) -> None:
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


def test_starting_anew_removes_the_unfinished_run(user: User) -> None:
    user.driver.annotate([5, 8])
    unfinished = user.logic.store.folder / "liver"
    unfinished.mkdir(parents=True)
    (unfinished / CHECKPOINT_FILE).write_bytes(b"learned")
    user.parameters.runName = "liver"
    assert user.logic.whyNotResume(user.parameters) == ""

    user.fineTune(heldOut=0.8)

    user.until(lambda: not unfinished.exists())
    assert user.logic.store.active == "liver-2"


def test_a_resumed_run_goes_on_in_its_folder_and_is_not_scored_again(user: User) -> None:
    user.driver.annotate([5, 8])
    user.logic.fineTune(user.parameters)
    user.untilAsked("fine_tune")
    folder = user.logic.store.folder / user.parameters.runName
    folder.mkdir(parents=True)
    (folder / CHECKPOINT_FILE).write_bytes(b"learned")
    user.logic.cancel()
    user.engine.say("fine_tune", "cancelled", resumable=True)
    assert user.end() == ("cancelled", "Cancelled. What was learned is saved; Resume goes on from there.")

    user.logic.resumeFineTune(user.parameters)
    asked = user.untilAsked("fine_tune", 2)

    assert (asked["resume"], Path(asked["out"])) == (True, folder)
    assert len(user.logic.rounds(user.parameters)) == 1


# Several volumes, and nodes that come and go


def test_the_results_of_one_patient_stay_when_the_next_one_is_segmented(user: User) -> None:
    user.segment()
    first = (user.parameters.proposal, user.parameters.uncertaintyVolume)
    user.parameters.inputVolume, _truth = makePhantomVolume()

    user.segment()

    second = (user.parameters.proposal, user.parameters.uncertaintyVolume)
    assert first[0] is not second[0]
    assert first[1] is not second[1]
    assert all(node.GetScene() for node in first)


def test_a_second_result_about_a_volume_takes_the_place_of_the_first(user: User) -> None:
    user.segment()
    first = (user.parameters.proposal, user.parameters.uncertaintyVolume)

    user.segment(np.roll(user.truth, 3, axis=2))

    assert (user.parameters.proposal, user.parameters.uncertaintyVolume) == first


def test_a_proposal_of_another_patient_is_not_scored(user: User) -> None:
    user.segment()
    user.parameters.inputVolume, _truth = makePhantomVolume()
    user.driver.annotate([5, 8])

    user.fineTune(heldOut=0.8)

    assert user.logic.rounds(user.parameters)[0].scored == ()


def test_a_run_is_about_the_volume_with_which_it_began(user: User) -> None:
    user.driver.annotate([5, 8])
    first = user.parameters.inputVolume
    user.logic.fineTune(user.parameters)
    user.untilAsked("fine_tune")

    user.parameters.inputVolume, _truth = makePhantomVolume()
    user.finishFineTune({"liver": 0.8})
    user.end()

    assert user.parameters.proposal.GetNodeReference("UnCoL.Volume") is first
    user.parameters.inputVolume = first
    assert user.logic.rounds(user.parameters)[0].activated


def test_removed_segmentation_proposal_and_map_do_not_keep_a_result_from_being_shown(user: User) -> None:
    user.segment()
    user.driver.annotate([5, 8])
    user.logic.fineTune(user.parameters)
    user.untilAsked("fine_tune")
    removed = [user.parameters.segmentation, user.parameters.proposal, user.parameters.uncertaintyVolume]
    for node in removed:
        slicer.mrmlScene.RemoveNode(node)

    user.finishFineTune({"liver": 0.8})

    assert user.end()[0] == "finished"
    for node in (user.parameters.proposal, user.parameters.uncertaintyVolume):
        assert node.GetScene() is slicer.mrmlScene


# On the way


def test_progress_fills_the_curve(user: User) -> None:
    user.driver.annotate([5, 8])
    progresses = []
    user.logic.progressed.connect(progresses.append)
    user.logic.fineTune(user.parameters)
    user.untilAsked("fine_tune")

    user.engine.say("fine_tune", "progress", phase="Learning", fraction=0.5, step=7, losses={"supervised": 0.25})
    user.until(lambda: progresses)

    assert (progresses[0].phase, progresses[0].step, progresses[0].seconds_left) == ("Learning", 7, None)
    assert user.logic.curve == [{"step": 7, "supervised": 0.25}]


def test_a_preview_shows_in_the_proposal_and_is_not_scored_later(user: User) -> None:
    user.driver.annotate([5, 8])
    user.logic.fineTune(user.parameters)
    user.untilAsked("fine_tune")

    user.engine.say("fine_tune", "preview", segmentation=user.engine.writePreview(user.truth))
    user.until(lambda: user.parameters.proposal)

    assert user.driver.dice() == 1.0
    assert user.parameters.proposal.GetAttribute("UnCoL.KnownSlices") == '["K:5", "K:8"]'


def test_a_preview_whose_file_is_gone_is_passed_over(user: User) -> None:
    user.driver.annotate([5, 8])
    user.logic.fineTune(user.parameters)
    user.untilAsked("fine_tune")

    gone = user.engine.writePreview(user.truth)
    Path(gone["file"]).unlink()
    user.engine.say("fine_tune", "preview", segmentation=gone)
    user.finishFineTune({"liver": 0.8})

    assert user.end()[0] == "finished"


def test_an_engine_that_ignores_a_cancel_is_ended(user: User, monkeypatch) -> None:
    monkeypatch.setattr(Run, "_CANCEL_PATIENCE_S", 0.1)
    user.logic.segment(user.parameters)
    user.untilAsked("segment")

    user.logic.cancel()

    assert user.end() == ("cancelled", "Cancelled.")
    assert not user.engine.isRunning


def test_a_result_that_comes_after_the_cancel_is_not_shown(user: User) -> None:
    user.logic.segment(user.parameters)
    user.untilAsked("segment")
    user.logic.cancel()

    user.propose()

    assert user.end() == ("cancelled", "Cancelled.")
    assert user.parameters.proposal is None


def test_an_error_of_the_engine_is_told_with_its_details(user: User) -> None:
    details = []
    user.logic.failed.connect(lambda _message, text: details.append(text))
    user.logic.segment(user.parameters)
    user.untilAsked("segment")

    user.engine.say("segment", "error", kind="bug", message="Something broke.", details="Traceback ...")

    assert user.end() == ("failed", "Something broke.")
    assert details == ["Traceback ..."]


def test_a_mistake_of_ours_ends_the_run_in_a_sentence(user: User) -> None:
    user.logic.segment(user.parameters)
    user.untilAsked("segment")
    user.parameters.uncertaintyThreshold = "no number"

    user.propose()
    kind, message = user.end()

    assert kind == "failed"
    assert message.startswith("UnCoL made a mistake")
    assert user.logic.state is RunState.IDLE


# The next slice


def suggestion(logic: Logic, parameters: Parameters) -> Any:
    """Ask until the slices are compared; None before."""
    try:
        return logic.suggestSlice(parameters)
    except DataError as error:
        assert "still being compared" in str(error)  # noqa: PT017  # that it may say; nothing else
        return None


def test_the_suggested_slice_is_in_the_panels_plane(user: User) -> None:
    user.segment()

    assert user.until(lambda: suggestion(user.logic, user.parameters)).axis == "K"
    user.parameters.plane = Plane.CORONAL
    assert user.until(lambda: suggestion(user.logic, user.parameters)).axis == "J"


def test_the_same_slice_is_suggested_after_the_scene_was_loaded(user: User) -> None:
    user.segment()
    before = user.until(lambda: suggestion(user.logic, user.parameters))
    afterLoading = Logic(user.logic.store.folder, user.engine)

    assert user.until(lambda: suggestion(afterLoading, user.parameters)) == before


def test_without_a_result_no_slice_is_suggested(user: User) -> None:
    with pytest.raises(DataError, match="There is no uncertainty map yet"):
        user.logic.suggestSlice(user.parameters)
