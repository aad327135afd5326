"""The next patient: in the same scene, in one that is added to it, and after the scene was closed."""

from __future__ import annotations

import gc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import slicer
import slicer.util
from panel_phantom import IJK_TO_RAS
from scripted_engine import readVolume


def addPatient(panel: Any, phantom: Any, name: str) -> tuple[Any, Any]:
    volume = slicer.util.addVolumeFromArray(phantom.ct, ijkToRAS=IJK_TO_RAS, name=name)
    segmentation = phantom.addSegmentation(volume, nodeName=f"{name} segments")
    choose(panel, name)
    return volume, segmentation


def choose(panel: Any, name: str) -> None:
    panel.choose("inputVolumeSelector", name)
    panel.choose("segmentationSelector", f"{name} segments")
    panel.waitForDetection()


def segment(panel: Any, phantom: Any, engine: Any) -> None:
    before = len(engine.requests)
    panel.parameters.roi = phantom.addBox()
    panel.click("segmentButton")
    panel.wait(lambda: any(op == "segment" for op, _fields in engine.requests[before:]))
    engine.finishSegment(phantom.proposed, phantom.uncertainty, ["liver"])
    panel.wait(lambda: panel.logic.state.value == "idle")
    panel.settle()


def fineTune(panel: Any, phantom: Any, engine: Any) -> None:
    before = len(engine.requests)
    panel.click("fineTuneButton")
    panel.wait(lambda: any(op == "fine_tune" for op, _fields in engine.requests[before:]))
    engine.finishFineTune({"liver": 0.9}, phantom.proposed, phantom.uncertainty)
    panel.wait(lambda: panel.logic.state.value == "idle")
    panel.settle()


def results(panel: Any) -> tuple[str, str]:
    nodes = panel.parameters.proposal, panel.parameters.uncertaintyVolume
    return tuple(node.GetName() if node is not None else "" for node in nodes)  # type: ignore[return-value]


def shownNodes(className: str, attribute: str) -> list[str]:
    nodes = [node for node in slicer.util.getNodesByClass(className) if node.GetAttribute(attribute)]
    return [node.GetName() for node in nodes if node.GetDisplayNode().GetVisibility()]


def test_nothing_of_one_patient_is_proposed_for_the_next_in_the_same_scene(
    panel: Any, phantom: Any, engine: Any, host: Any
) -> None:
    volume, _segmentation = addPatient(panel, phantom, "First")
    phantom._volume = volume
    phantom.addSliceViews(host)
    segment(panel, phantom, engine)
    assert results(panel) == ("First proposal", "First uncertainty")

    _volume, segmentation = addPatient(panel, phantom, "Next")

    assert results(panel) == ("", "")
    for name in ("acceptAllButton", "acceptSliceButton", "nextPlaceButton", "unsureButton"):
        assert not getattr(panel.ui, name).enabled, name
    assert panel.ui.acceptAllButton.toolTip == "There is no proposal yet. Segment the volume first."
    assert panel.ui.trustLabel.text == ""
    assert not shownNodes("vtkMRMLSegmentationNode", "UnCoL.Proposal")
    assert not shownNodes("vtkMRMLSegmentationNode", "UnCoL.Places")
    panel.pressKey("d")
    panel.waitForDetection()
    assert not slicer.util.arrayFromSegmentBinaryLabelmap(segmentation, "liver", volume).any()
    assert [row[2] for row in panel.cells("slicesTable")] == ["none"], "the user says that it shows nothing"

    choose(panel, "First")

    assert results(panel) == ("First proposal", "First uncertainty")
    assert panel.ui.acceptAllButton.enabled
    assert shownNodes("vtkMRMLSegmentationNode", "UnCoL.Proposal") == ["First proposal"]


def test_a_result_that_comes_after_the_user_went_on_to_the_next_patient_waits_for_its_own(
    panel: Any, phantom: Any, engine: Any
) -> None:
    addPatient(panel, phantom, "First")
    panel.parameters.roi = phantom.addBox()
    panel.click("segmentButton")
    panel.wait(lambda: engine.asked("segment"))
    addPatient(panel, phantom, "Next")

    engine.finishSegment(phantom.proposed, phantom.uncertainty, ["liver"])
    panel.wait(lambda: panel.logic.state.value == "idle")
    panel.settle()

    assert results(panel) == ("", "")
    choose(panel, "First")
    assert results(panel) == ("First proposal", "First uncertainty")


def test_a_scene_added_to_an_open_one_brings_its_tables_and_results_and_takes_none(
    panel: Any, phantom: Any, engine: Any, tmp_path: Path
) -> None:
    def learn(name: str, *slices: int) -> list[Any]:
        volume, segmentation = addPatient(panel, phantom, name)
        phantom.paint(segmentation, volume, *slices)
        panel.waitForDetection()
        fineTune(panel, phantom, engine)
        panel.click("acceptAllButton")
        panel.waitForDetection()
        return told()

    def told() -> list[Any]:
        return [panel.cells("slicesTable"), panel.cells("roundsTable"), *results(panel)]

    first = learn("First", 6, 9, 12)
    assert slicer.util.saveScene(str(tmp_path / "first.mrb"))
    slicer.mrmlScene.Clear(False)
    panel.settle()
    second = learn("Second", 7, 10, 13)
    assert [len(each[0]) for each in (first, second)] == [3, 3]

    assert slicer.mrmlScene.ReadFromMRB(str(tmp_path / "first.mrb"), False)
    panel.settle()

    for name, expected in (("First", first), ("Second", second), ("First", first)):
        choose(panel, name)
        assert told() == expected, name


def test_after_the_scene_was_closed_nothing_of_the_last_patient_is_told_or_sent(
    panel: Any, phantom: Any, engine: Any
) -> None:
    volume, segmentation = addPatient(panel, phantom, "First")
    phantom.paint(segmentation, volume, 6, 9, 12)
    panel.waitForDetection()
    fineTune(panel, phantom, engine)
    assert panel.cells("roundsTable")

    slicer.mrmlScene.Clear(False)
    panel.settle()

    for name in ("slicesTable", "roundsTable"):
        assert panel.cells(name) == [], name
    assert results(panel) == ("", "")
    assert not panel.ui.resumeButton.isVisible()

    phantom.ct = phantom.ct + np.int16(7)
    volume, segmentation = addPatient(panel, phantom, "Next")
    phantom.paint(segmentation, volume, 10)
    panel.waitForDetection()
    before = len(engine.requests)
    panel.click("fineTuneButton")
    panel.wait(lambda: any(op == "fine_tune" for op, _fields in engine.requests[before:]))

    case = engine.asked("fine_tune")["cases"][0]
    assert np.array_equal(readVolume(case["image"]).voxels, phantom.ct)
    labels = readVolume(case["labels"]).voxels
    assert np.flatnonzero((labels != 255).any(axis=(1, 2))).tolist() == [10]


def _choosing(panel: Any, phantom: Any, engine: Any) -> None:
    """Only look at the patient."""


def _segmenting(panel: Any, phantom: Any, engine: Any) -> None:
    segment(panel, phantom, engine)
    panel.click("acceptAllButton")


@pytest.mark.parametrize("act", [_choosing, _segmenting, fineTune])
def test_the_memory_of_a_patient_is_free_when_the_scene_was_closed(
    panel: Any, phantom: Any, engine: Any, act: Callable[..., None]
) -> None:
    volume, segmentation = addPatient(panel, phantom, "First")
    phantom.paint(segmentation, volume, 6, 12, 18)
    panel.waitForDetection()
    act(panel, phantom, engine)
    parameters, gone = panel.parameters, set()
    nodes = {
        "volume": volume,
        "voxels": volume.GetImageData(),
        "segmentation": segmentation,
        "proposal": parameters.proposal,
        "map": parameters.uncertaintyVolume,
    }
    there = [name for name, node in nodes.items() if node is not None]
    for name in there:
        nodes[name].AddObserver("DeleteEvent", lambda *_, name=name: gone.add(name))
    del volume, segmentation, parameters, nodes

    slicer.mrmlScene.Clear(False)
    panel.settle()
    panel.logic.poll()
    panel.settle()
    gc.collect()

    assert gone == set(there)
