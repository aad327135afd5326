"""From an empty scene to a proposal: inputs, box, run, cancel, error. The engine's process is the only stand-in."""

from __future__ import annotations

from typing import Any

import pytest
import slicer
import slicer.util
from PySide6.QtCore import Qt
from PySide6.QtTest import QTest

from uncol.core.protocol import GraphicsCard

LIVER_LOWER_IJK, LIVER_UPPER_IJK = [11, 11, 4], [39, 33, 20]


@pytest.fixture
def boxed(panel: Any, phantom: Any) -> Any:
    """The panel with a volume and a box round the liver."""
    phantom.addVolume()
    panel.choose("inputVolumeSelector", "CT abdomen")
    panel.typeText("structureNameEdit", "liver")
    panel.click("drawBoxButton")
    phantom.placeBox(panel.parameters.roi)
    panel.settle()
    return panel


def devicesOf(panel: Any) -> list[str]:
    """Return the devices that can be chosen."""
    box = panel.ui.deviceComboBox
    return [box.itemText(index) for index in range(box.count) if box.model().item(index).isEnabled()]


@pytest.fixture
def running(boxed: Any, engine: Any) -> Any:
    """The panel while the engine segments."""
    boxed.click("segmentButton")
    boxed.wait(lambda: engine.asked("segment"))
    return boxed


def test_in_an_empty_scene_every_button_that_cannot_be_clicked_says_what_is_missing(panel: Any) -> None:
    panel.unfold("inputs", "segment", "annotate", "fineTune")
    panel.photograph("01-empty-scene")

    assert not panel.ui.segmentButton.enabled
    assert panel.ui.segmentButton.toolTip == "Choose the volume to segment."
    assert panel.ui.drawBoxButton.toolTip == "Choose the volume to segment."
    assert panel.ui.acceptAllButton.toolTip == "There is no proposal yet. Segment the volume first."
    assert panel.ui.fineTuneButton.toolTip == "Choose the volume to segment."
    assert panel.ui.cancelSegmentButton.toolTip == "Nothing to cancel."


def test_opening_the_panel_starts_no_engine(panel: Any, engine: Any) -> None:
    assert engine.requests == []
    assert not engine.isRunning


def test_a_loaded_volume_is_offered_and_the_box_is_what_is_missing(panel: Any, phantom: Any) -> None:
    volume = phantom.addVolume()
    panel.choose("inputVolumeSelector", "CT abdomen")
    panel.unfold("inputs", "segment")
    panel.photograph("02-volume-loaded")

    assert panel.parameters.inputVolume is volume
    assert panel.ui.segmentButton.toolTip == "Draw a box (ROI) round the structure first."
    assert panel.ui.drawBoxButton.enabled


def test_draw_makes_a_box_and_lets_the_user_place_it(panel: Any, phantom: Any, host: Any) -> None:
    phantom.addVolume()
    panel.choose("inputVolumeSelector", "CT abdomen")

    panel.click("drawBoxButton")

    roi = panel.parameters.roi
    assert roi.GetName() == "structure"
    selection = slicer.mrmlScene.GetNodeByID("vtkMRMLSelectionNodeSingleton")
    assert selection.GetActivePlaceNodeID() == roi.GetID()
    interaction = slicer.mrmlScene.GetNodeByID("vtkMRMLInteractionNodeSingleton")
    assert interaction.GetCurrentInteractionMode() == interaction.Place
    assert panel.ui.segmentButton.toolTip == "The box (ROI) is not placed yet. Draw it round the structure."


def test_the_name_of_the_structure_goes_with_the_box_to_the_engine(boxed: Any, engine: Any) -> None:
    boxed.typeText("structureNameEdit", "left kidney")

    assert boxed.parameters.roi.GetName() == "left kidney"
    boxed.click("segmentButton")
    boxed.wait(lambda: engine.asked("segment"))
    assert engine.asked("segment")["boxes"][0]["structure"] == "left kidney"


def test_a_new_box_is_named_after_what_the_user_wrote_or_the_selected_segment(panel: Any, phantom: Any) -> None:
    volume = phantom.addVolume()
    phantom.addSegmentation(volume, "spleen")
    panel.choose("inputVolumeSelector", "CT abdomen")
    panel.choose("segmentationSelector", "My segmentation")

    panel.click("drawBoxButton")

    assert panel.parameters.roi.GetName() == "spleen"
    assert panel.ui.structureNameEdit.text == "spleen"


def test_a_box_round_the_structure_enables_segment(boxed: Any) -> None:
    boxed.photograph("03-box-drawn")

    assert boxed.ui.segmentButton.enabled
    assert boxed.ui.segmentButton.toolTip == "Propose a segmentation of the whole volume"
    assert boxed.ui.roiSelector.isVisible()


def test_box_controls_are_shown_only_where_a_box_is_used(boxed: Any) -> None:
    boxed.choose("segmentFromComboBox", "Annotated slices")

    assert not boxed.ui.roiSelector.isVisible()
    assert not boxed.ui.drawBoxButton.isVisible()
    assert boxed.ui.segmentButton.toolTip == "Choose or create the segmentation that holds your annotations."


def test_segment_hands_the_box_to_the_engine_and_shows_progress(running: Any, engine: Any) -> None:
    engine.say("segment", "progress", phase="Looking at slices", fraction=0.4, seconds_left=42.0)
    running.wait(lambda: running.ui.runProgressBar.value == 40)
    running.unfold("inputs", "segment")
    running.photograph("04-segmenting")

    box = engine.asked("segment")["boxes"][0]
    assert all(abs(got - want) <= 1 for got, want in zip(box["lower_ijk"], LIVER_LOWER_IJK, strict=True))
    assert all(abs(got - want) <= 1 for got, want in zip(box["upper_ijk"], LIVER_UPPER_IJK, strict=True))
    assert running.ui.runRow.isVisible()
    assert running.ui.runLabel.text == "Segmenting: Looking at slices - 40 s left"
    assert running.ui.segmentButton.toolTip == "A run is under way. Wait for its end, or cancel it."
    assert running.ui.cancelSegmentButton.enabled


def test_cancel_shows_that_it_is_under_way_and_then_that_nothing_was_changed(running: Any, engine: Any) -> None:
    running.click("cancelSegmentButton")
    running.unfold("inputs", "segment")
    running.photograph("05-cancelling")
    assert running.ui.runLabel.text == "Segmenting: Cancelling ..."
    assert not running.ui.cancelSegmentButton.enabled

    engine.say("segment", "cancelled")
    running.wait(lambda: running.shown("segment"))
    running.photograph("06-cancelled")

    assert running.shown("segment") == "Cancelled."
    assert not running.ui.runRow.isVisible()
    assert running.parameters.proposal is None
    assert running.ui.segmentButton.enabled


def test_a_result_becomes_a_proposal_with_an_uncertainty_map(running: Any, engine: Any, phantom: Any) -> None:
    engine.finishSegment(phantom.liver, phantom.uncertainty, ["liver"])
    running.wait(lambda: running.shown("segment"))
    assert not running.ui.segmentMessageDetailsButton.isVisible()
    running.unfold("inputs", "segment", "uncertainty")
    running.photograph("07-result-with-uncertainty")

    assert running.shown("segment") == "Proposed: liver. Check it, then accept what is right."
    assert running.parameters.proposal.GetSegmentation().GetNumberOfSegments() == 1
    shown = slicer.util.arrayFromVolume(running.parameters.uncertaintyVolume)
    assert abs(shown - phantom.uncertainty).max() < 1e-6
    assert running.ui.uncertaintySelector.currentNode() is running.parameters.uncertaintyVolume
    assert running.ui.jumpToWorstButton.enabled


def test_notes_about_a_result_stand_behind_a_button(
    running: Any, engine: Any, phantom: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    engine.finishSegment(phantom.liver, phantom.uncertainty, ["liver"], "The box was cut off.", "A note.")
    running.wait(lambda: running.shown("segment"))
    assert running.ui.segmentMessageDetailsButton.text == "Notes (2)"

    running.click("segmentMessageDetailsButton")

    assert "The box was cut off." in caplog.text


def test_an_error_of_the_user_is_one_sentence_without_details(running: Any, engine: Any) -> None:
    engine.say("segment", "error", kind="user", message="The box lies outside the body. Draw it round the structure.")
    running.wait(lambda: running.shown("segment"))
    running.unfold("inputs", "segment")
    running.photograph("08-error")

    assert running.shown("segment") == "The box lies outside the body. Draw it round the structure."
    assert not running.ui.segmentMessageDetailsButton.isVisible()
    assert running.ui.segmentButton.enabled


def test_a_fault_of_ours_keeps_its_details_behind_a_button(
    running: Any, engine: Any, caplog: pytest.LogCaptureFixture
) -> None:
    engine.say("segment", "error", kind="bug", message="The engine failed.", details="Traceback: line 7")
    running.wait(lambda: running.shown("segment"))

    running.click("segmentMessageDetailsButton")

    assert running.shown("segment") == "The engine failed."
    assert "The engine failed." in caplog.text


def test_a_dead_engine_is_told_and_the_next_click_starts_a_new_one(running: Any, engine: Any) -> None:
    engine.die(-9)
    running.wait(lambda: running.shown("segment"))
    assert "stopped unexpectedly (exit code -9). Usually the memory was full" in running.shown("segment")

    running.click("segmentButton")
    running.wait(lambda: len([op for op, _ in engine.requests if op == "segment"]) == 2)


def test_once_the_engine_has_named_its_devices_no_others_can_be_chosen(boxed: Any, engine: Any, phantom: Any) -> None:
    assert devicesOf(boxed) == ["Automatic", "Processor (CPU)", "NVIDIA graphics card", "Apple graphics"]

    boxed.click("segmentButton")
    boxed.wait(lambda: engine.asked("segment"))
    engine.finishSegment(phantom.liver, phantom.uncertainty, ["liver"])
    boxed.wait(lambda: boxed.shown("segment"))

    assert devicesOf(boxed) == ["Automatic", "Processor (CPU)"]
    boxed.choose("deviceComboBox", "Processor (CPU)")
    assert boxed.parameters.device.value == "cpu"


def test_the_graphics_card_is_shown_with_its_name_and_memory(boxed: Any, engine: Any) -> None:
    engine.devices = ("cuda", "cpu")
    engine.graphicsCards = (GraphicsCard("cuda", "NVIDIA RTX A5000", 23.69),)
    boxed.choose("deviceComboBox", "NVIDIA graphics card")

    boxed.click("segmentButton")
    boxed.wait(lambda: engine.asked("segment"))

    assert devicesOf(boxed) == ["Automatic", "Processor (CPU)", "NVIDIA graphics card: NVIDIA RTX A5000, 24 GB"]
    assert engine.asked("segment")["device"] == "cuda"
    assert boxed.ui.deviceComboBox.currentText == "NVIDIA graphics card: NVIDIA RTX A5000, 24 GB"


def test_the_keyboard_alone_starts_and_cancels_a_run(boxed: Any, engine: Any) -> None:
    boxed.ui.segmentButton.setFocus()
    QTest.keyClick(boxed.ui.segmentButton, Qt.Key_Space)
    boxed.wait(lambda: engine.asked("segment"))

    boxed.ui.cancelSegmentButton.setFocus()
    QTest.keyClick(boxed.ui.cancelSegmentButton, Qt.Key_Space)
    boxed.wait(lambda: engine.asked("cancel"))
