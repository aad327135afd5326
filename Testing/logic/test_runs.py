"""Runs of an engine that says what the test wants: progress, previews, cancelling, nodes that come and go."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import slicer
import slicer.util
from scripted_user import User

from UnCoLSegmentLib.Engine import Run
from UnCoLSegmentLib.Engine.Run import RunState
from UnCoLSegmentLib.Scene import Results
from UnCoLSegmentLib.SelfTest import makePhantomVolume

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

    assert user.parameters.proposal is None  # none about the volume that is chosen now
    user.parameters.inputVolume = first
    Results.choose(user.parameters)
    assert user.parameters.proposal.GetNodeReference("UnCoL.Volume") is first
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


def test_a_swept_job_folder_is_survived_by_the_next_click(user: User) -> None:
    user.segment()
    user.until(lambda: not any(user.engine.folder.iterdir()))  # a thread removes what the run has left
    user.engine.folder.rmdir()

    result = user.segment()

    assert result.message.startswith("Proposed: liver")
    assert [op for op, _fields in user.engine.requests] == ["hello", "segment", "hello", "segment"]


def test_a_job_folder_that_is_gone_at_once_is_told_truly(user: User) -> None:
    user.logic.segment(user.parameters)
    user.until(lambda: user.engine.isRunning)
    user.engine.folder.rmdir()

    kind, message = user.end()

    assert kind == "failed"
    assert message.startswith("A file is gone that the run needs")
    assert "disk's space" not in message


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
