"""What a user may do and is told, and what the engine is asked, with an engine that says what the test wants."""

from __future__ import annotations

import numpy as np
import pytest
import slicer
import slicer.util
from parameters import Parameters, Plane, SegmentFrom
from scripted_engine import readVolume, writeModel
from scripted_user import User

from uncol.core.errors import DataError
from UnCoLSegmentLib.Engine.Run import RunState
from UnCoLSegmentLib.Logic import Logic

# Why not


def test_reasons_name_what_is_missing_one_after_the_other(user: User) -> None:
    parameters, logic = Parameters(), user.logic
    assert logic.whyNotSegment(parameters) == "Choose the volume to segment."
    parameters.inputVolume = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode")
    assert logic.whyNotSegment(parameters) == "The chosen volume holds no image. Choose another one."
    parameters.inputVolume = user.parameters.inputVolume
    assert logic.whyNotSegment(parameters) == "Draw a box (ROI) around the structure first."
    parameters.roi = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsROINode")
    assert logic.whyNotSegment(parameters) == "The box (ROI) is not placed yet. Draw it around the structure."
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


def test_notes_are_those_of_learning_and_segmenting_and_the_engines_warnings(user: User) -> None:
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


@pytest.mark.parametrize(
    ("code", "lastWords"),
    [(-9, ""), (137, ""), (1, "error: [python-real] exit abnormally - Report the problem.")],
    ids=["by itself", "behind a shell", "behind the application's launcher"],
)
def test_an_engine_that_was_killed_is_told_as_a_full_memory(user: User, code: int, lastWords: str) -> None:
    user.logic.segment(user.parameters)
    user.untilAsked("segment")

    user.engine.die(code, lastWords)

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


# The next slice


def test_with_a_result_the_slices_of_every_plane_have_been_compared(user: User) -> None:
    user.segment()

    assert user.logic.suggestSlice(user.parameters).axis == "K"
    user.parameters.plane = Plane.CORONAL
    assert user.logic.suggestSlice(user.parameters).axis == "J"
    user.parameters.plane = Plane.SAGITTAL
    assert user.logic.suggestSlice(user.parameters).axis == "I"


def test_after_the_scene_was_loaded_the_same_slice_is_suggested_a_moment_later(user: User) -> None:
    user.segment()
    before = user.logic.suggestSlice(user.parameters)
    user.logic = Logic(user.logic.store.folder, user.engine)
    compared = []
    user.logic.slicesCompared.connect(lambda: compared.append(user.logic.suggestSlice(user.parameters)))

    found = user.logic.suggestSlice(user.parameters) or user.until(lambda: compared)[0]

    assert found == before


def test_without_a_result_no_slice_is_suggested(user: User) -> None:
    with pytest.raises(DataError, match="There is no uncertainty map yet"):
        user.logic.suggestSlice(user.parameters)
