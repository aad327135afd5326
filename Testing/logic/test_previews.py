"""A preview is shown beside the proposal and goes with its run; the proposal is as it was, however the run ends."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import slicer
import slicer.util
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
