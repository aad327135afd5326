"""What users do between two patients, and what must not become an annotation by it; kinds K1, K2 and K6 of use."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import slicer
import slicer.util
from panel_phantom import IJK_TO_RAS
from scripted_engine import readVolume


@pytest.fixture
def annotating(panel: Any, phantom: Any, host: Any) -> Any:
    """The panel with a CT, an own segmentation and slice views, but no proposal."""
    volume = phantom.addVolume()
    panel.views = phantom.addSliceViews(host)
    phantom.addSegmentation(volume)
    panel.choose("inputVolumeSelector", "CT abdomen")
    panel.choose("segmentationSelector", "My segmentation")
    panel.waitForDetection()
    return panel


@pytest.fixture
def sent(panel: Any, engine: Any) -> Callable[[], tuple[np.ndarray, dict[str, int]]]:
    """Return a function that clicks Fine-tune and returns the labels (K, J, I) and the values that were sent."""

    def click() -> tuple[np.ndarray, dict[str, int]]:
        panel.click("fineTuneButton")
        panel.wait(lambda: engine.asked("fine_tune"))
        fields = engine.asked("fine_tune")
        labels = readVolume(fields["cases"][0]["labels"]).voxels
        return labels, {each["name"]: each["value"] for each in fields["structures"]}

    return click


def addPatient(phantom: Any, name: str) -> tuple[Any, Any]:
    volume = slicer.util.addVolumeFromArray(phantom.ct, ijkToRAS=IJK_TO_RAS, name=name)
    return volume, phantom.addSegmentation(volume, nodeName=f"{name} segments")


def showSlice(panel: Any, index: int) -> None:
    panel.views[0].node.JumpSliceByOffsetting(0, 0, -46 + 4 * index)


def slicesOf(panel: Any) -> list[str]:
    return [row[0] for row in panel.cells("slicesTable")]


def test_the_next_patient_begins_with_an_empty_table_and_the_first_keeps_his(
    annotating: Any, phantom: Any, sent: Any
) -> None:
    phantom.paint(annotating.parameters.segmentation, annotating.parameters.inputVolume, 8, 12)
    annotating.waitForDetection()
    showSlice(annotating, 2)
    annotating.click("sliceIsEmptyButton")
    assert slicesOf(annotating) == ["Axial 2", "Axial 8", "Axial 12"]

    volume, segmentation = addPatient(phantom, "Next")
    annotating.choose("inputVolumeSelector", "Next")
    annotating.choose("segmentationSelector", "Next segments")
    annotating.waitForDetection()
    assert slicesOf(annotating) == []
    assert not annotating.ui.fineTuneButton.enabled

    phantom.paint(segmentation, volume, 10)
    annotating.waitForDetection()
    assert slicesOf(annotating) == ["Axial 10"]
    labels, _values = sent()
    assert np.flatnonzero((labels != 255).any(axis=(1, 2))).tolist() == [10]

    annotating.logic.shutdown()
    annotating.choose("inputVolumeSelector", "CT abdomen")
    annotating.choose("segmentationSelector", "My segmentation")
    annotating.waitForDetection()
    assert slicesOf(annotating) == ["Axial 2", "Axial 8", "Axial 12"]


def test_slices_of_a_cropped_volume_are_counted_by_it(annotating: Any, phantom: Any, sent: Any) -> None:
    segmentation = annotating.parameters.segmentation
    phantom.paint(segmentation, annotating.parameters.inputVolume, 6, 10, 14)
    annotating.waitForDetection()
    matrix = IJK_TO_RAS.copy()
    matrix[:3, 3] = (IJK_TO_RAS @ [0, 0, 4, 1])[:3]
    slicer.util.addVolumeFromArray(np.ascontiguousarray(phantom.ct[4:]), ijkToRAS=matrix, name="Cropped")

    annotating.choose("inputVolumeSelector", "Cropped")
    assert annotating.parameters.segmentation is None  # it may be another patient's volume on the same grid
    annotating.choose("segmentationSelector", segmentation.GetName())
    annotating.waitForDetection()

    assert slicesOf(annotating) == ["Axial 2", "Axial 6", "Axial 10"]
    labels, values = sent()
    assert not ((labels == 0) & phantom.liver[4:]).any()
    assert (labels == values["liver"]).sum() == phantom.liver[[6, 10, 14]].sum()


def test_a_loaded_segmentation_shows_its_painted_slices_without_a_stroke(
    annotating: Any, phantom: Any, tmp_path: Path
) -> None:
    phantom.paint(annotating.parameters.segmentation, annotating.parameters.inputVolume, 8, 12, 15)
    slicer.util.saveNode(annotating.parameters.segmentation, str(tmp_path / "yesterday.seg.nrrd"))
    slicer.util.loadSegmentation(str(tmp_path / "yesterday.seg.nrrd"))

    annotating.choose("segmentationSelector", "yesterday")
    annotating.waitForDetection()

    assert slicesOf(annotating) == ["Axial 8", "Axial 12", "Axial 15"]
    assert annotating.ui.fineTuneButton.enabled


def test_cleared_segments_leave_the_table(annotating: Any, phantom: Any) -> None:
    phantom.paint(annotating.parameters.segmentation, annotating.parameters.inputVolume, 8, 9)
    annotating.waitForDetection()
    assert slicesOf(annotating) == ["Axial 8", "Axial 9"]

    slicer.vtkSlicerSegmentationsModuleLogic.ClearSegment(annotating.parameters.segmentation, "liver")
    annotating.waitForDetection()

    assert slicesOf(annotating) == []
    assert not annotating.ui.fineTuneButton.enabled


def test_what_was_painted_a_moment_ago_is_sent_too(annotating: Any, phantom: Any, sent: Any) -> None:
    phantom.paint(annotating.parameters.segmentation, annotating.parameters.inputVolume, 8)
    annotating.waitForDetection()
    phantom.paint(annotating.parameters.segmentation, annotating.parameters.inputVolume, 8, 15)

    labels, values = sent()

    assert (labels == values["liver"]).sum() == phantom.liver[[8, 15]].sum()


@pytest.mark.parametrize("source", ["fine-tune", "segment"])
@pytest.mark.parametrize("isPainted", [False, True])
def test_background_alone_is_refused_in_a_sentence(annotating: Any, phantom: Any, source: str, isPainted: bool) -> None:
    for index in (1, 2):
        showSlice(annotating, index)
        annotating.click("sliceIsEmptyButton")
    if isPainted:
        phantom.paint(annotating.parameters.segmentation, annotating.parameters.inputVolume, 12)
        annotating.waitForDetection()
        annotating.clickCell("slicesTable", slicesOf(annotating).index("Axial 12"), 3)
    annotating.click("fromSlicesButton")

    sentence = "No annotated slice shows a structure. Paint it in at least one slice that is ticked as complete."
    if source == "fine-tune":
        assert not annotating.ui.fineTuneButton.enabled
        assert annotating.ui.fineTuneButton.toolTip == sentence
    else:
        annotating.click("segmentButton")
        assert annotating.shown() == f"{sentence} Or draw a box."


def test_a_moved_segmentation_is_looked_at_again(annotating: Any, phantom: Any) -> None:
    phantom.paint(annotating.parameters.segmentation, annotating.parameters.inputVolume, 8)
    annotating.waitForDetection()
    up = np.eye(4)
    up[2, 3] = 3 * 4.0
    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    transform.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(up))

    annotating.parameters.segmentation.SetAndObserveTransformNodeID(transform.GetID())
    annotating.waitForDetection()

    assert slicesOf(annotating) == ["Axial 11"]
