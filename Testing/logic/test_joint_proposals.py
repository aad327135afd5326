"""Structures from several boxes: each joins what is proposed already, and so does its uncertainty."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import slicer
import slicer.util
from parameters import SegmentFrom
from scene_parts import maskOf, segmentOf
from scripted_engine import writeModel
from scripted_user import User

from UnCoLSegmentLib.Scene import Acceptance, Labelmaps, UncertaintyParts


def box(user: User, name: str, found: np.ndarray, doubt: float) -> None:
    """Segment from a box called so; the engine is as unsure as said wherever it finds something, else sure."""
    count = sum(op == "segment" for op, _ in user.engine.requests)
    user.parameters.segmentFrom = SegmentFrom.BOX
    user.parameters.roi.SetName(name)
    user.logic.segment(user.parameters)
    user.untilAsked("segment", count + 1)
    user.engine.finishSegment(found, np.where(found, doubt, 0.0), [name])
    assert user.end()[0] == "finished"


def model(user: User, name: str, found: np.ndarray, doubt: float, *structures: str) -> None:
    """Segment with a model of these structures."""
    writeModel(user.logic.store.folder / name, structures, {})
    count = sum(op == "segment" for op, _ in user.engine.requests)
    user.parameters.segmentFrom, user.parameters.modelName = SegmentFrom.MODEL, name
    user.logic.segment(user.parameters)
    user.untilAsked("segment", count + 1)
    user.engine.finishSegment(found, np.where(found, doubt, 0.0), structures)
    assert user.end()[0] == "finished"


def proposed(user: User) -> dict[str, np.ndarray]:
    proposal, volume = user.parameters.proposal, user.parameters.inputVolume
    segments = Labelmaps.segmentsOf(proposal)
    return {segment.GetName(): maskOf(proposal, segmentId, volume) for segmentId, segment in segments.items()}


def shownMap(user: User) -> np.ndarray:
    return slicer.util.arrayFromVolume(user.parameters.uncertaintyVolume)


def expect(user: User, **structures: tuple[np.ndarray, float]) -> None:
    """Check proposal and map: of each structure its voxels and how unsure they are; the larger one where they meet."""
    found = proposed(user)
    assert list(found) == list(structures)
    for name, (mask, _doubt) in structures.items():
        assert np.array_equal(found[name], mask), name
    wanted = np.maximum.reduce([np.where(mask, doubt, 0) for mask, doubt in structures.values()])
    assert np.array_equal(shownMap(user), wanted.astype(np.float32))


@pytest.fixture
def organs(user: User) -> dict[str, np.ndarray]:
    """A liver, and a spleen that overlaps it a little."""
    return {
        "liver": user.truth,
        "spleen": np.roll(user.truth, 20, axis=2),
        "smaller": user.truth & (np.arange(72) > 26),
    }


def test_a_structure_from_a_second_box_joins_the_proposal_and_its_map(user: User, organs: Any) -> None:
    box(user, "liver", organs["liver"], 0.5)
    first = user.parameters.proposal, user.parameters.uncertaintyVolume

    box(user, "spleen", organs["spleen"], 0.25)

    assert (user.parameters.proposal, user.parameters.uncertaintyVolume) == first
    expect(user, liver=(organs["liver"], 0.5), spleen=(organs["spleen"], 0.25))
    colors = {segment.GetColor() for segment in Labelmaps.segmentsOf(user.parameters.proposal).values()}
    assert len(colors) == 2


def test_a_structure_that_is_proposed_anew_takes_its_old_self_away_from_proposal_and_map(user: User, organs) -> None:
    box(user, "liver", organs["liver"], 0.5)
    box(user, "spleen", organs["spleen"], 0.25)

    box(user, "liver", organs["smaller"], 0.125)

    expect(user, liver=(organs["smaller"], 0.125), spleen=(organs["spleen"], 0.25))


def test_a_single_structure_that_is_proposed_anew_needs_no_parts(user: User, organs: Any) -> None:
    box(user, "liver", organs["liver"], 0.5)

    box(user, "liver", organs["smaller"], 0.25)

    expect(user, liver=(organs["smaller"], 0.25))
    assert UncertaintyParts.partsOf(user.parameters.inputVolume) == []


def test_a_models_result_takes_the_place_of_all_that_was_proposed(user: User, organs: Any) -> None:
    box(user, "liver", organs["liver"], 0.5)
    box(user, "spleen", organs["spleen"], 0.25)

    model(user, "abdomen", organs["liver"], 0.75, "kidney")

    expect(user, kidney=(organs["liver"], 0.75))
    assert UncertaintyParts.partsOf(user.parameters.inputVolume) == []
    assert user.parameters.proposal.GetAttribute("UnCoL.Model") == "abdomen"


def test_what_a_box_adds_to_a_models_proposal_is_not_called_the_models(user: User, organs: Any) -> None:
    model(user, "abdomen", organs["liver"], 0.75, "liver")

    box(user, "spleen", organs["spleen"], 0.25)

    expect(user, liver=(organs["liver"], 0.75), spleen=(organs["spleen"], 0.25))
    proposal = user.parameters.proposal
    assert (proposal.GetAttribute("UnCoL.Model"), proposal.GetAttribute("UnCoL.BothTeachers")) == ("abdomen", "1")


def test_parts_of_a_map_are_no_volumes_for_the_user_and_go_with_the_scene(
    user: User, organs: Any, tmp_path: Path
) -> None:
    box(user, "liver", organs["liver"], 0.5)
    box(user, "spleen", organs["spleen"], 0.25)
    parts = UncertaintyParts.partsOf(user.parameters.inputVolume)
    assert [part.GetHideFromEditors() for part in parts] == [1, 1]
    assert slicer.util.saveScene(str(tmp_path / "scene.mrb"))
    slicer.mrmlScene.Clear(False)
    slicer.util.loadScene(str(tmp_path / "scene.mrb"))
    named = {each.GetName(): each for each in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")}
    user.parameters.inputVolume = named["Phantom"]
    user.parameters.uncertaintyVolume = named["Phantom uncertainty"]
    user.parameters.proposal = slicer.util.getNode("Phantom proposal")
    user.parameters.roi = slicer.util.getNode("spleen")

    box(user, "liver", organs["smaller"], 0.125)

    expect(user, liver=(organs["smaller"], 0.125), spleen=(organs["spleen"], 0.25))


def test_parts_that_a_scene_file_lost_are_replaced_by_the_map_as_it_stands(user: User, organs: Any) -> None:
    box(user, "liver", organs["liver"], 0.5)
    box(user, "spleen", organs["spleen"], 0.25)
    for part in UncertaintyParts.partsOf(user.parameters.inputVolume):
        part.SetAndObserveImageData(None)

    box(user, "spleen", organs["smaller"], 0.125)

    # nobody knows any more which of it was the old spleen's
    before = np.maximum(np.where(organs["liver"], 0.5, 0), np.where(organs["spleen"], 0.25, 0))
    assert np.array_equal(shownMap(user), np.maximum(before, np.where(organs["smaller"], 0.125, 0)).astype(np.float32))


def test_slices_are_suggested_by_all_that_is_proposed(user: User, organs: Any) -> None:
    sure, unsure = organs["liver"].copy(), organs["liver"].copy()
    sure[8:], unsure[:8] = False, False
    box(user, "liver", unsure, 0.9)
    box(user, "spleen", sure, 0.1)

    def suggestion() -> Any:
        from uncol.core.errors import DataError

        try:
            return user.logic.suggestSlice(user.parameters)
        except DataError:
            return None  # still being compared

    assert "liver" in user.until(suggestion).reason


def test_a_box_called_like_a_segment_but_for_its_case_is_another_structure(user: User, organs: Any) -> None:
    box(user, "RV", organs["liver"], 0.5)
    box(user, "rv", organs["spleen"], 0.25)

    expect(user, RV=(organs["liver"], 0.5), rv=(organs["spleen"], 0.25))


def test_what_stays_proposed_keeps_to_its_name_when_another_segmentation_is_chosen(user: User, organs: Any) -> None:
    user.parameters.segmentation = ownSegmentation(user, Segment_1="liver")
    box(user, "liver", organs["liver"], 0.5)
    user.parameters.segmentation = ownSegmentation(user, Segment_1="spleen", Segment_2="liver")

    box(user, "tumor", organs["spleen"], 0.25)
    Acceptance.acceptAll(user.parameters.proposal, user.parameters.segmentation)

    own, volume = user.parameters.segmentation, user.parameters.inputVolume
    assert np.array_equal(maskOf(own, "Segment_2", volume), organs["liver"])
    assert segmentOf(own, "Segment_1").GetName() == "spleen"
    assert Labelmaps.filledPart(own, "Segment_1") is None


def ownSegmentation(user: User, **names: str) -> Any:
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "own")
    node.CreateDefaultDisplayNodes()
    node.SetReferenceImageGeometryParameterFromVolumeNode(user.parameters.inputVolume)
    for segmentId, name in names.items():
        node.GetSegmentation().AddEmptySegment(segmentId, name)
    return node
