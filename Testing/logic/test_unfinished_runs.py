"""Runs that have not ended survive new runs, other patients, engines that cannot start, and other windows of Slicer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import slicer
import slicer.util
from parameters import Parameters
from scripted_engine import writeCheckpoint, writeModel
from scripted_user import User

from uncol.core.unfinished import run_held
from UnCoLSegmentLib.Scene import RunScene
from UnCoLSegmentLib.SelfTest import makePhantomVolume

SAVED = "What was learned is saved; Resume goes on from there."


@pytest.fixture
def annotated(user: User) -> User:
    """A user who has annotated two slices of a CT that bears a patient's name."""
    user.parameters.inputVolume.SetName("CT of Smith")
    user.driver.annotate([5, 8])
    return user


def learn(user: User, steps: int = 120) -> Path:
    """Click Fine-tune and let the engine write a checkpoint; return the run's folder."""
    count = sum(name == "fine_tune" for name, _fields in user.engine.requests)
    user.logic.fineTune(user.parameters)
    folder = Path(user.untilAsked("fine_tune", count + 1)["out"])
    writeCheckpoint(folder, steps)
    return folder


def cancel(user: User) -> None:
    user.logic.cancel()
    user.engine.say("fine_tune", "cancelled", resumable=True)
    assert user.end() == ("cancelled", f"Cancelled. {SAVED}")


def turnToNextPatient(user: User) -> None:
    volume, _truth = makePhantomVolume()
    slicer.util.arrayFromVolume(volume)[0, 0, 0] += 1  # the same name, and nearly the same image
    user.parameters.inputVolume = volume
    user.parameters.segmentation = None
    user.driver.annotate([8])


def test_an_engine_that_cannot_start_costs_no_unfinished_run(annotated: User, monkeypatch: Any) -> None:
    folder = learn(annotated)
    cancel(annotated)

    def broken() -> None:
        raise PermissionError

    annotated.engine.stop()
    monkeypatch.setattr(annotated.engine, "start", broken)
    annotated.logic.fineTune(annotated.parameters)

    assert annotated.end()[0] == "failed"
    assert [each.name for each in annotated.logic.store.unfinished()] == [folder.name]
    assert annotated.logic.whyNotResume(annotated.parameters) == ""
    assert [each.name for each in annotated.logic.store.folder.iterdir()] == [folder.name]  # and no empty one is left


def test_the_unfinished_run_of_one_patient_survives_the_fine_tuning_of_the_next(annotated: User) -> None:
    first, volume = learn(annotated), annotated.parameters.inputVolume
    cancel(annotated)

    turnToNextPatient(annotated)
    assert annotated.logic.whyNotResume(annotated.parameters).startswith("There is no unfinished fine-tuning of this")
    second = learn(annotated, steps=7)
    cancel(annotated)

    assert first != second
    assert annotated.logic.unfinishedRun(annotated.parameters).name == second.name
    annotated.parameters.inputVolume = volume
    assert annotated.logic.unfinishedRun(annotated.parameters).name == first.name


def test_starting_anew_keeps_the_run_before_until_it_is_removed(annotated: User) -> None:
    first = learn(annotated)
    cancel(annotated)

    annotated.fineTune(heldOut=0.8)

    assert annotated.logic.store.active == "liver-2"
    assert [each.name for each in annotated.logic.store.unfinished()] == ["liver"]
    annotated.logic.store.remove("liver")
    assert not first.exists()


def test_an_unfinished_run_says_which_volume_it_is_about_and_nothing_else_does(annotated: User) -> None:
    folder = learn(annotated, steps=31)
    cancel(annotated)

    [run] = annotated.logic.store.unfinished()

    assert (run.origin.volume, run.steps) == ("CT of Smith", 31)
    assert all("Smith" not in json.dumps(fields) for _op, fields in annotated.engine.requests)
    assert [each.name for each in folder.iterdir() if b"Smith" in each.read_bytes()] == ["run.json"]


def test_a_run_is_found_by_its_image_after_slicer_was_killed(annotated: User, tmp_path: Path) -> None:
    """The scene was saved before the click, so that it knows nothing of the run."""
    writeModel(annotated.logic.store.folder / "base", ["liver"], {"liver": 0.9})
    annotated.parameters.modelName = "base"
    before = Parameters(**vars(annotated.parameters))
    learn(annotated)
    annotated.logic.shutdown()
    before.inputVolume.SetName("renamed")

    next_ = User(tmp_path)
    next_.parameters = before
    assert next_.logic.whyNotResume(before) == ""
    next_.logic.resumeFineTune(before)
    asked = next_.untilAsked("fine_tune")

    assert (asked["resume"], Path(asked["out"]).name, Path(asked["base"]).name) == (True, "liver", "base")
    next_.finishFineTune({"liver": 0.95})
    assert next_.end()[0] == "finished"
    next_.logic.shutdown()


def test_a_run_that_another_slicer_carries_out_is_not_offered(annotated: User) -> None:
    folder = learn(annotated)
    cancel(annotated)

    with run_held(folder):
        assert annotated.logic.unfinishedRun(annotated.parameters) is None
    assert annotated.logic.unfinishedRun(annotated.parameters) is not None


def test_a_run_that_failed_says_that_it_can_be_resumed(annotated: User) -> None:
    learn(annotated)

    annotated.engine.say("fine_tune", "error", kind="user", message="The memory is full.")

    assert annotated.end() == ("failed", f"The memory is full. {SAVED}")


def test_a_run_cancelled_before_it_learned_leaves_nothing(annotated: User) -> None:
    annotated.logic.fineTune(annotated.parameters)
    annotated.untilAsked("fine_tune")
    annotated.logic.cancel()
    annotated.engine.say("fine_tune", "cancelled", resumable=False)

    assert annotated.end() == ("cancelled", "Cancelled.")
    assert list(annotated.logic.store.folder.iterdir()) == []


def test_two_windows_of_slicer_never_take_the_same_name(annotated: User, tmp_path: Path) -> None:
    other = User(tmp_path)
    other.driver.annotate([5])

    annotated.logic.fineTune(annotated.parameters)
    other.logic.fineTune(other.parameters)

    names = [Path(each.untilAsked("fine_tune")["out"]).name for each in (annotated, other)]
    assert names == ["liver", "liver-2"]
    other.logic.shutdown()


def test_a_model_that_was_saved_under_another_name_is_used_under_that(annotated: User) -> None:
    annotated.logic.fineTune(annotated.parameters)
    asked = annotated.untilAsked("fine_tune")
    asked["out"] = str(annotated.logic.store.folder / "liver-7")  # where the engine finds a place for it

    annotated.finishFineTune({"liver": 0.8})

    kind, result = annotated.end()
    assert (kind, result.modelName) == ("finished", "liver-7")
    assert annotated.logic.store.active == annotated.parameters.modelName == "liver-7"
    assert [each.model for each in annotated.logic.rounds(annotated.parameters)] == ["liver-7"]
    assert annotated.parameters.proposal.GetAttribute(RunScene.MODEL_ATTRIBUTE) == "liver-7"


def test_a_model_of_a_handful_of_steps_is_not_used_without_a_word(annotated: User, monkeypatch: Any) -> None:
    monkeypatch.setattr("UnCoLSegmentLib.Engine.RunSteps.FEW_STEPS", 401)  # the scripted engine always tells 400

    result = annotated.fineTune(heldOut=0.8)

    assert result.message == (
        "First model, in use now. Annotate new slices to measure it. But there was time for 400 steps only: give more "
        "minutes and fine-tune again."
    )
