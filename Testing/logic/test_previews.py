"""A preview is shown beside the proposal and goes with its run; the proposal is as it was, however the run ends."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import slicer
import slicer.util
from parameters import SegmentFrom
from scene_parts import maskOf
from scripted_engine import writeCheckpoint
from scripted_user import User

from UnCoLSegmentLib.Scene import Acceptance, Labelmaps


def previews() -> list[Any]:
    nodes = slicer.util.getNodesByClass("vtkMRMLSegmentationNode")
    return [node for node in nodes if node.GetAttribute("UnCoL.Preview")]


def preview(user: User, found: np.ndarray) -> Any:
    """Let the engine say what the unfinished model finds, and wait until it is seen."""
    user.engine.say("fine_tune", "progress", phase="Learning", fraction=0.5, step=82)
    user.engine.say("fine_tune", "preview", segmentation=user.engine.writePreview(found))
    user.until(previews)
    return previews()[0]


def content(proposal: Any) -> list[object]:
    """Return what is another one after any change of a proposal: names, label maps and when those were changed."""
    segments = Labelmaps.segmentsOf(proposal).values()
    images = [each.GetRepresentation(Labelmaps.BINARY_LABELMAP) for each in segments]
    return [proposal.GetName(), *((each.GetName(), each.GetLabelValue()) for each in segments), *images] + [
        each.GetMTime() for each in images
    ]


@pytest.fixture
def learning(user: User) -> User:
    """A user with a proposal, learning; nothing is better than their proposal, the truth."""
    user.segment()
    user.driver.annotate([5, 8])
    user.logic.fineTune(user.parameters)
    user.untilAsked("fine_tune")
    return user


def cancel(user: User) -> None:
    user.logic.cancel()
    user.engine.say("fine_tune", "cancelled", resumable=False)


def fail(user: User) -> None:
    user.engine.say("fine_tune", "error", kind="user", message="The memory is full.")


def die(user: User) -> None:
    user.engine.die(-9)


def sayPreview(user: User, op: str, found: np.ndarray, step: int = 0) -> None:
    """Let the engine say what may stand as the proposal, and wait until it is seen."""
    if step:
        user.engine.say(op, "progress", phase="Learning", fraction=0.5, step=step)
    user.engine.sayPreview(op, found, np.where(found, 0.4, 0.1))
    user.until(
        lambda: previews() and np.array_equal(maskOf(previews()[0], "liver", user.parameters.inputVolume), found)
    )


def mapNow(user: User) -> np.ndarray:
    return slicer.util.arrayFromVolume(user.parameters.uncertaintyVolume)


def test_a_preview_is_a_node_of_its_own_beside_the_proposal(learning: User) -> None:
    volume, proposal = learning.parameters.inputVolume, learning.parameters.proposal
    before = content(proposal)

    node = preview(learning, ~learning.truth)

    assert node is not proposal
    assert node.GetName() == "Phantom preview, step 82"
    assert np.array_equal(maskOf(node, "liver", volume), ~learning.truth)
    assert learning.parameters.proposal is proposal
    assert content(proposal) == before


@pytest.mark.parametrize(
    ("end", "told"),
    [
        (cancel, "Cancelled. The proposal is as it was before."),
        (fail, "The memory is full. The proposal is as it was before."),
        (die, "No annotation was lost. The proposal is as it was before."),
    ],
)
def test_however_a_run_breaks_off_the_proposal_is_as_before_and_the_user_is_told(
    learning: User, end: Callable[[User], None], told: str
) -> None:
    proposal, uncertainty = learning.parameters.proposal, learning.parameters.uncertaintyVolume
    before = [*content(proposal), uncertainty.GetImageData().GetMTime()]
    nodes = slicer.mrmlScene.GetNumberOfNodes()
    preview(learning, ~learning.truth)

    end(learning)

    assert learning.end()[1].endswith(told)
    assert previews() == []
    assert slicer.mrmlScene.GetNumberOfNodes() == nodes
    assert (learning.parameters.proposal, learning.parameters.uncertaintyVolume) == (proposal, uncertainty)
    assert [*content(proposal), uncertainty.GetImageData().GetMTime()] == before
    assert learning.driver.dice() == 1.0


def test_at_the_end_the_preview_gives_way_to_the_proposal(learning: User) -> None:
    preview(learning, ~learning.truth)

    learning.finishFineTune({"liver": 0.8})

    assert learning.end()[0] == "finished"
    assert previews() == []
    assert learning.driver.dice() == 1.0


def test_while_the_kept_model_segments_no_preview_of_the_rejected_one_is_seen(user: User) -> None:
    user.driver.annotate([5, 8])
    user.fineTune(heldOut=0.9, alone=True)
    user.driver.annotate([11])
    user.logic.fineTune(user.parameters)
    user.untilAsked("fine_tune", 2)
    preview(user, ~user.truth)

    user.finishFineTune({"liver": 0.2}, alone=True)
    user.untilAsked("segment")

    assert previews() == []


def test_closing_module_or_scene_leaves_no_preview(learning: User) -> None:
    preview(learning, ~learning.truth)

    learning.logic.shutdown()

    assert previews() == []
    assert learning.driver.dice() == 1.0


def test_closing_the_scene_takes_the_preview_along(learning: User) -> None:
    preview(learning, ~learning.truth)

    slicer.mrmlScene.Clear(False)
    learning.engine.say("fine_tune", "cancelled", resumable=False)

    assert learning.end() == ("cancelled", "The scene was closed, so the run was stopped.")
    assert previews() == []


def test_a_cancelled_user_is_told_what_can_be_resumed(learning: User) -> None:
    writeCheckpoint(Path(learning.engine.asked("fine_tune")["out"]))

    cancel(learning)

    assert learning.end()[1] == (
        "Cancelled. The proposal is as it was before. What was learned is saved; Resume goes on from there."
    )


def test_what_was_learned_before_an_error_can_be_resumed_and_the_user_is_told(learning: User) -> None:
    writeCheckpoint(Path(learning.engine.asked("fine_tune")["out"]))

    fail(learning)

    assert learning.end()[1].endswith("What was learned is saved; Resume goes on from there.")


def test_a_proposal_never_stands_with_an_older_map_also_if_the_user_cancels_just_then(user: User) -> None:
    user.segment()
    user.logic.segment(user.parameters)
    user.untilAsked("segment", 2)
    before = content(user.parameters.proposal)
    user.engine.finishSegment(~user.truth, np.full(user.truth.shape, 0.7), ["liver"])
    user.until(lambda: content(user.parameters.proposal) != before)

    user.logic.cancel()

    assert user.end() == (
        "cancelled",
        "Cancelled. Proposal and uncertainty map are new: the result was there already.",
    )
    assert (slicer.util.arrayFromVolume(user.parameters.uncertaintyVolume) == np.float32(0.7)).all()


def test_the_proposal_can_be_accepted_while_something_is_learned(learning: User) -> None:
    preview(learning, ~learning.truth)

    Acceptance.acceptAll(learning.parameters.proposal, learning.parameters.segmentation)

    accepted = maskOf(learning.parameters.segmentation, "liver", learning.parameters.inputVolume)
    assert np.array_equal(accepted, learning.truth)


@pytest.fixture
def following(user: User) -> User:
    """A user without a proposal, who lets two annotated slices be followed."""
    user.driver.annotate([5, 8])
    user.parameters.segmentFrom = SegmentFrom.SLICES
    user.logic.segment(user.parameters)
    user.untilAsked("segment")
    return user


def test_what_annotated_slices_say_at_first_is_a_preview_too_which_gives_way_to_the_result(following: User) -> None:
    sayPreview(following, "segment", ~following.truth)

    assert previews()[0].GetName() == "Phantom preview"
    assert following.parameters.proposal is None
    following.propose()
    assert following.end()[0] == "finished"
    assert previews() == []
    assert following.driver.dice() == 1.0


@pytest.mark.parametrize("op", ["segment", "fine_tune"])
def test_what_was_found_when_the_user_cancels_is_the_proposal_with_its_map(user: User, op: str) -> None:
    user.driver.annotate([5, 8])
    user.parameters.segmentFrom = SegmentFrom.SLICES
    (user.logic.segment if op == "segment" else user.logic.fineTune)(user.parameters)
    user.untilAsked(op)
    sayPreview(user, op, ~user.truth)
    sayPreview(user, op, user.truth)

    user.logic.cancel()
    user.engine.say(op, "cancelled", resumable=False)

    assert user.end() == ("cancelled", "Cancelled. The proposal is the best that was found so far.")
    assert previews() == []
    assert user.driver.dice() == 1.0
    assert np.array_equal(mapNow(user), np.where(user.truth, 0.4, 0.1).astype(np.float32))


def test_what_was_found_before_an_error_is_not_the_proposal(following: User) -> None:
    sayPreview(following, "segment", following.truth)

    following.engine.say("segment", "error", kind="user", message="The memory is full.")

    assert following.end() == ("failed", "The memory is full.")
    assert following.parameters.proposal is None


def test_a_preview_that_the_user_removed_does_not_become_the_proposal(following: User) -> None:
    sayPreview(following, "segment", following.truth)
    slicer.mrmlScene.RemoveNode(previews()[0])

    following.logic.cancel()
    following.engine.say("segment", "cancelled", resumable=False)

    assert following.end() == ("cancelled", "Cancelled.")
    assert following.parameters.proposal is None


@pytest.mark.parametrize(
    ("annotated", "step", "isRight", "isKept"),
    [
        pytest.param([], 0, True, False, id="registration alone against all sources"),
        pytest.param([], 82, True, True, id="all sources and a model on the way"),
        pytest.param([], 82, False, False, id="a model on the way that finds the opposite"),
        pytest.param([11], 0, True, False, id="one more annotated slice, and nothing better"),
        pytest.param([11], 82, False, False, id="one more annotated slice, and worse"),
    ],
)
def test_a_preview_takes_the_place_of_a_proposal_that_less_is_behind_and_that_is_not_better(
    following: User, annotated: list[int], step: int, isRight: bool, isKept: bool
) -> None:
    following.propose()
    assert following.end()[0] == "finished"
    if annotated:
        following.driver.annotate(annotated)
    following.logic.fineTune(following.parameters)
    following.untilAsked("fine_tune")
    sayPreview(following, "fine_tune", following.truth if isRight else ~following.truth, step)

    cancel(following)

    told = "is the best that was found so far" if isKept else "is as it was before"
    assert following.end()[1] == f"Cancelled. The proposal {told}."
    assert following.driver.dice() == 1.0
    assert np.isclose(mapNow(following).max(), 0.4 if isKept else 0.3)


@pytest.mark.parametrize("isRight", [True, False])
def test_a_preview_takes_the_place_of_a_box_proposal_if_it_fits_the_annotated_slices_better(
    user: User, isRight: bool
) -> None:
    user.driver.drawBox()
    user.segment(user.truth if not isRight else ~user.truth)
    user.driver.annotate([5, 8])
    user.logic.fineTune(user.parameters)
    user.untilAsked("fine_tune")
    sayPreview(user, "fine_tune", user.truth if isRight else ~user.truth, 2)

    cancel(user)

    told = "is the best that was found so far" if isRight else "is as it was before"
    assert user.end()[1] == f"Cancelled. The proposal {told}."
    assert user.driver.dice() == 1.0


def test_the_proposal_of_a_model_that_knows_all_slices_is_not_replaced_by_one_on_the_way(user: User) -> None:
    user.driver.annotate([5, 8])
    user.fineTune(heldOut=0.9)
    user.logic.fineTune(user.parameters)
    user.untilAsked("fine_tune", 2)
    sayPreview(user, "fine_tune", ~user.truth, 82)

    cancel(user)

    assert user.end()[1] == "Cancelled. The proposal is as it was before."
    assert user.driver.dice() == 1.0
