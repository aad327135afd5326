"""Several volumes in one run, while the user goes on: switches, removes, renames, closes the scene, loads another."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import slicer
import slicer.util
from several_patients import addVolume, annotate, choose, learn, shownSegmentations

_SOURCE_ROLE, _VOLUME_ROLE = "UnCoL.Segmentation", "UnCoL.Volume"
"""References of a proposal: to the user's segmentation, and to the volume; they are kept in saved scenes."""


def begin(panel: Any, engine: Any) -> None:
    before = len(engine.requests)
    panel.click("fineTuneButton")
    panel.wait(lambda: any(op == "fine_tune" for op, _fields in engine.requests[before:]))


def showPreviews(panel: Any, phantom: Any, engine: Any) -> None:
    for case in (1, 2):
        engine.sayPreview("fine_tune", phantom.liver, phantom.uncertainty, case)
    panel.wait(lambda: len(slicer.util.getNodesByClass("vtkMRMLSegmentationNode")) == 4)
    panel.settle()


def untilIdle(panel: Any) -> None:
    panel.wait(lambda: panel.logic.state.value == "idle")
    panel.settle()


def proposalAbout(name: str) -> Any:
    nodes = [each for each in slicer.util.getNodesByClass("vtkMRMLSegmentationNode") if "proposal" in each.GetName()]
    volume = slicer.util.getNode(name)
    return next((each for each in nodes if each.GetNodeReference(_VOLUME_ROLE) is volume), None)


def test_a_proposal_that_comes_after_a_switch_is_of_its_own_segmentation_and_out_of_sight(
    two: Any, phantom: Any, engine: Any
) -> None:
    begin(two, engine)
    choose(two, "First")
    engine.finishFineTune({"liver": 0.9}, phantom.proposed, phantom.uncertainty)
    untilIdle(two)

    sources = {name: proposalAbout(name).GetNodeReference(_SOURCE_ROLE).GetName() for name in ("First", "Second")}
    assert sources == {"First": "First segments", "Second": "Second segments"}
    assert shownSegmentations() & {"First proposal", "Second proposal"} == {"First proposal"}
    choose(two, "Second")
    assert shownSegmentations() & {"First proposal", "Second proposal"} == {"Second proposal"}


@pytest.mark.parametrize("name", ["First", "Second"])
def test_a_run_ends_when_one_of_its_volumes_is_removed_after_previews_came(
    two: Any, phantom: Any, engine: Any, name: str
) -> None:
    begin(two, engine)
    showPreviews(two, phantom, engine)

    slicer.mrmlScene.RemoveNode(slicer.util.getNode(name))
    engine.say("fine_tune", "cancelled", resumable=True)
    untilIdle(two)

    assert two.shown().startswith(f'The volume "{name}" was removed, so the run was stopped.')
    assert not [each for each in shownSegmentations() if "preview" in each]
    other = {"First": "Second", "Second": "First"}[name]
    assert proposalAbout(other) is not None, "what was found in the other volume stays"


def test_closing_the_scene_ends_a_run_of_several_volumes(two: Any, phantom: Any, engine: Any) -> None:
    begin(two, engine)
    showPreviews(two, phantom, engine)

    slicer.mrmlScene.Clear(False)
    engine.say("fine_tune", "cancelled", resumable=True)
    untilIdle(two)

    assert two.shown() == "The scene was closed, so the run was stopped."
    assert slicer.util.getNodesByClass("vtkMRMLSegmentationNode") == []


def test_a_result_reaches_a_volume_whose_segmentation_and_proposal_were_removed(
    two: Any, phantom: Any, engine: Any
) -> None:
    learn(two, phantom, engine)
    begin(two, engine)
    for name in ("First proposal", "First segments"):
        slicer.mrmlScene.RemoveNode(slicer.util.getNode(name))

    engine.finishFineTune({"liver": 0.95}, phantom.proposed, phantom.uncertainty)
    untilIdle(two)

    assert proposalAbout("First") is not None
    assert "First proposal" not in shownSegmentations()


def test_a_volume_that_was_removed_leaves_the_list_and_its_slices_are_nobodys(two: Any, phantom: Any) -> None:
    addVolume(phantom, "Third")
    two.settle()
    assert [row[0] for row in two.cells("casesTable")] == ["First", "Second", "Third"]

    slicer.mrmlScene.RemoveNode(slicer.util.getNode("Second"))
    two.settle()
    assert [row[0] for row in two.cells("casesTable")] == ["First", "Third"]
    choose(two, "Third")

    assert two.parameters.segmentation is None
    assert two.cells("slicesTable") == []


def test_volumes_of_one_name_are_told_apart(panel: Any, phantom: Any, engine: Any) -> None:
    for name in ("First", "Second"):
        addVolume(phantom, name)
    annotate(panel, phantom, "First", 6, 12, structure="Liver")
    annotate(panel, phantom, "Second", 7, 13)
    for name in ("First", "Second"):
        slicer.util.getNode(name).SetName("CT")

    panel.click("fineTuneButton")

    assert panel.shown() == (
        'A structure is called "liver" in "CT (2)" and "Liver" in "CT (1)". Give both segments the same name, or leave '
        "one of the volumes out."
    )
    assert [row[0] for row in panel.cells("casesTable")] == ["CT (1)", "CT (2)"]


def test_where_a_model_that_is_not_used_proposes_nothing_new_it_is_said(two: Any, phantom: Any, engine: Any) -> None:
    learn(two, phantom, engine)
    results: list[Any] = []
    two.logic.finished.connect(results.append)
    begin(two, engine)
    engine.finishFineTune({"liver": 0.5}, phantom.proposed, phantom.uncertainty, alone=True)
    two.wait(lambda: engine.requests[-1][0] == "segment")
    engine.finishSegment(phantom.proposed, phantom.uncertainty, ["liver"])
    untilIdle(two)

    assert two.shown().startswith(
        "Not better than before - kept the old model (Dice 0.50, before 0.90). Nothing new is proposed for First, as "
        "the new model is not used."
    )
    assert "Learned from 2 volumes: Second, First." in results[0].notes


def test_what_is_learned_from_survives_saving_and_loading(two: Any, tmp_path: Path) -> None:
    two.clickCell("casesTable", 0, 2)
    assert slicer.util.saveScene(str(tmp_path / "scene.mrb"))
    slicer.mrmlScene.Clear(False)
    two.settle()
    slicer.util.loadScene(str(tmp_path / "scene.mrb"))
    two.waitForDetection()

    assert two.cells("casesTable") == [["First", "none", "[ ]3 slices"], ["Second", "none", "2 slices"]]
    choose(two, "First")
    assert two.parameters.segmentation.GetName() == "First segments"
    assert len(two.cells("slicesTable")) == 3
