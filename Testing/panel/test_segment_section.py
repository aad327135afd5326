"""From an empty scene to a proposal: inputs, box, run, cancel, error. The engine's process is the only stand-in."""

from __future__ import annotations

import sys
from typing import Any

import pytest
import recorded
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


def test_in_an_empty_scene_the_next_step_can_be_clicked_and_stands_in_words(panel: Any) -> None:
    panel.photograph("01-empty-scene")

    assert panel.ui.nextLabel.text == "Next: load a CT or MR, or choose the volume to segment."
    assert primaryOf(panel) == ["sampleButton"]
    assert panel.ui.sampleButton.isVisible()
    assert panel.ui.loadDataButton.isVisible()
    assert panel.ui.segmentButton.toolTip == "Choose the volume to segment."
    assert panel.ui.acceptAllButton.toolTip == "There is no proposal yet. Segment the volume first."
    assert panel.ui.fineTuneButton.toolTip == "Choose the volume to segment."


def primaryOf(panel: Any) -> list[str]:
    """Return the buttons that stand out."""
    return [name for name, each in vars(panel.ui).items() if each.property("isPrimary")]


def test_the_engine_is_started_only_once_there_is_something_to_segment(panel: Any, engine: Any, phantom: Any) -> None:
    assert engine.requests == []
    assert not engine.isRunning

    phantom.addVolume()
    panel.settle()

    assert engine.isRunning
    assert [op for op, _ in engine.requests] == ["hello"]


def test_the_sample_is_one_click_away_and_shown_as_an_abdomen(
    panel: Any, phantom: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def download(given: dict[str, Any]) -> Any:
        asked.append(given["sampleName"])
        return phantom.addVolume()

    sampleData = recorded.module("SampleData", {"SampleDataLogic.downloadSample": download})
    monkeypatch.setitem(sys.modules, "SampleData", sampleData)

    panel.click("sampleButton")

    assert asked == ["CTAAbdomenPanoramix"]
    display = panel.parameters.inputVolume.GetDisplayNode()
    assert (display.GetWindow(), display.GetLevel()) == (400, 40)
    assert not panel.ui.sampleButton.isVisible()


def test_load_data_opens_slicers_own_dialog(panel: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = []
    monkeypatch.setattr(
        slicer.util,
        "openAddDataDialog",
        recorded.function("slicer.util.openAddDataDialog", lambda _given: opened.append(True)),
    )

    panel.click("loadDataButton")

    assert opened == [True]


def test_a_loaded_volume_is_offered_and_the_box_is_what_is_missing(panel: Any, phantom: Any) -> None:
    volume = phantom.addVolume()
    panel.choose("inputVolumeSelector", "CT abdomen")
    panel.photograph("02-volume-loaded")

    assert panel.parameters.inputVolume is volume
    assert panel.ui.nextLabel.text == "Next: Segment, then draw a box around the structure."
    assert primaryOf(panel) == ["segmentButton"]
    assert panel.ui.segmentButton.enabled


@pytest.mark.parametrize("source", ["fromBoxButton", "fromSlicesButton", "fromModelButton"])
def test_segment_without_anything_to_start_from_lets_a_box_be_drawn(
    panel: Any, phantom: Any, engine: Any, source: str
) -> None:
    phantom.addVolume()
    panel.settle()
    panel.click(source)

    panel.click("segmentButton")

    assert panel.ui.drawBoxButton.checked
    assert panel.ui.fromBoxButton.checked
    assert panel.ui.nextLabel.text.startswith("Next: click two opposite corners of the structure in a slice view.")
    assert engine.asked("segment") is None


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
    assert panel.ui.nextLabel.text.startswith("Next: click two opposite corners")


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


def test_a_box_around_the_structure_shows_its_size(boxed: Any) -> None:
    boxed.ui.drawBoxButton.click()
    boxed.photograph("03-box-drawn")

    assert boxed.ui.nextLabel.text == "Next: pull the faces of the box to the structure, then Segment."
    assert boxed.ui.boxSizeLabel.text == "42 x 33 x 64 mm"
    assert boxed.ui.boxShownCheckBox.isVisible()


def test_box_and_model_are_asked_for_only_where_they_are_used(boxed: Any) -> None:
    assert not boxed.ui.modelComboBox.isVisible()

    boxed.click("fromModelButton")

    assert boxed.ui.modelComboBox.isVisible()
    assert not boxed.ui.drawBoxButton.isVisible()
    assert not boxed.ui.structureNameEdit.isVisible()


def test_segment_hands_the_box_to_the_engine_and_shows_progress(running: Any, engine: Any) -> None:
    engine.say("segment", "progress", phase="Looking at slices", fraction=0.4, seconds_left=42.0)
    running.wait(lambda: running.ui.runProgressBar.value == 40)
    running.photograph("04-segmenting")

    box = engine.asked("segment")["boxes"][0]
    assert all(abs(got - want) <= 1 for got, want in zip(box["lower_ijk"], LIVER_LOWER_IJK, strict=True))
    assert all(abs(got - want) <= 1 for got, want in zip(box["upper_ijk"], LIVER_UPPER_IJK, strict=True))
    assert running.ui.runRow.isVisible()
    assert running.ui.nextLabel.text == "Segmenting: Looking at slices - 40 s left"
    assert running.ui.segmentButton.toolTip == "A run is under way. Wait for its end, or cancel it."
    assert running.ui.cancelRunButton.enabled


def test_cancel_shows_that_it_is_under_way_and_then_that_nothing_was_changed(running: Any, engine: Any) -> None:
    running.click("cancelRunButton")
    running.photograph("05-cancelling")
    assert running.ui.nextLabel.text == "Segmenting: Cancelling ..."
    assert not running.ui.cancelRunButton.enabled

    engine.say("segment", "cancelled")
    running.wait(running.shown)
    running.photograph("06-cancelled")

    assert running.shown() == "Cancelled."
    assert not running.ui.runRow.isVisible()
    assert running.parameters.proposal is None
    assert running.ui.segmentButton.enabled


def test_a_result_becomes_a_proposal_with_an_uncertainty_map(running: Any, engine: Any, phantom: Any) -> None:
    engine.finishSegment(phantom.liver, phantom.uncertainty, ["liver"])
    running.wait(running.shown)
    assert not running.ui.messageDetailsButton.isVisible()
    running.photograph("07-result-with-uncertainty")

    assert running.shown() == "Proposed: liver. Check it, then accept what is right."
    assert running.parameters.proposal.GetSegmentation().GetNumberOfSegments() == 1
    shown = slicer.util.arrayFromVolume(running.parameters.uncertaintyVolume)
    assert abs(shown - phantom.uncertainty).max() < 1e-6
    assert running.ui.uncertaintySelector.currentNode() is running.parameters.uncertaintyVolume
    assert running.ui.unsureButton.enabled


def test_notes_about_a_result_stand_behind_a_button(
    running: Any, engine: Any, phantom: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    engine.finishSegment(phantom.liver, phantom.uncertainty, ["liver"], "The box was cut off.", "A note.")
    running.wait(running.shown)
    assert running.ui.messageDetailsButton.text == "Notes (2)"

    running.click("messageDetailsButton")

    assert "The box was cut off." in caplog.text


def test_an_error_of_the_user_is_one_sentence_without_details(running: Any, engine: Any) -> None:
    engine.say("segment", "error", kind="user", message="The box lies outside the body. Draw it around the structure.")
    running.wait(running.shown)
    running.photograph("08-error")

    assert running.shown() == "The box lies outside the body. Draw it around the structure."
    assert not running.ui.messageDetailsButton.isVisible()
    assert running.ui.segmentButton.enabled


def test_a_fault_of_ours_keeps_its_details_behind_a_button(
    running: Any, engine: Any, caplog: pytest.LogCaptureFixture
) -> None:
    engine.say("segment", "error", kind="bug", message="The engine failed.", details="Traceback: line 7")
    running.wait(running.shown)

    running.click("messageDetailsButton")

    assert running.shown() == "The engine failed."
    assert "The engine failed." in caplog.text


def test_a_dead_engine_is_told_and_the_next_click_starts_a_new_one(running: Any, engine: Any) -> None:
    engine.die(-9)
    running.wait(running.shown)
    assert "stopped unexpectedly (exit code -9). Usually the memory was full" in running.shown()

    running.click("segmentButton")
    running.wait(lambda: len([op for op, _ in engine.requests if op == "segment"]) == 2)


def test_once_the_engine_has_named_its_devices_no_others_can_be_chosen(panel: Any, phantom: Any) -> None:
    assert devicesOf(panel) == ["Automatic", "Processor (CPU)", "NVIDIA graphics card", "Apple graphics"]

    phantom.addVolume()
    panel.wait(lambda: devicesOf(panel) == ["Automatic", "Processor (CPU)"])

    panel.choose("deviceComboBox", "Processor (CPU)")
    assert panel.parameters.device.value == "cpu"


def test_the_graphics_card_is_shown_with_its_name_and_memory(panel: Any, engine: Any, phantom: Any) -> None:
    engine.devices = ("cuda", "cpu")
    engine.graphicsCards = (GraphicsCard("cuda", "NVIDIA RTX A5000", 23.69),)
    phantom.addVolume()
    panel.wait(lambda: len(devicesOf(panel)) < 4)
    panel.choose("deviceComboBox", "NVIDIA graphics card: NVIDIA RTX A5000, 24 GB")
    panel.parameters.roi = phantom.addBox()

    panel.click("segmentButton")
    panel.wait(lambda: engine.asked("segment"))

    assert devicesOf(panel) == ["Automatic", "Processor (CPU)", "NVIDIA graphics card: NVIDIA RTX A5000, 24 GB"]
    assert engine.asked("segment")["device"] == "cuda"


def test_the_keyboard_alone_starts_and_cancels_a_run(boxed: Any, engine: Any) -> None:
    boxed.ui.segmentButton.setFocus()
    QTest.keyClick(boxed.ui.segmentButton, Qt.Key_Space)
    boxed.wait(lambda: engine.asked("segment"))

    boxed.ui.cancelRunButton.setFocus()
    QTest.keyClick(boxed.ui.cancelRunButton, Qt.Key_Space)
    boxed.wait(lambda: engine.asked("cancel"))
