"""A run is seen and can be cancelled whatever section is folded, and whatever module is open."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import slicer
from PySide6.QtWidgets import QStatusBar

PANEL_WIDTH = 400  # pixels, about the application's module panel


@pytest.fixture
def statusBar(host: Any, panel: Any, monkeypatch: pytest.MonkeyPatch) -> QStatusBar:
    """The status bar of Slicer's main window."""
    bar = QStatusBar()
    window = SimpleNamespace(objectName="qSlicerMainWindow", statusBar=lambda: bar)
    monkeypatch.setattr(slicer.app, "topLevelWidgets", lambda: [window])
    return bar


@pytest.fixture
def learning(annotated: Any, engine: Any) -> Any:
    """The panel while the engine learns, with the section that started it folded."""
    panel = annotated
    panel.click("fineTuneButton")
    panel.wait(lambda: engine.asked("fine_tune"))
    panel.unfold("correct")
    return panel


def test_without_a_run_there_is_no_bar(panel: Any) -> None:
    assert not panel.ui.runRow.isVisible()


def test_a_run_of_a_folded_section_is_seen_and_can_be_cancelled(learning: Any, engine: Any) -> None:
    engine.say("fine_tune", "progress", phase="Learning", fraction=0.25, seconds_left=90.0, step=7)
    learning.wait(lambda: learning.ui.runProgressBar.value == 25)
    assert learning.ui.nextLabel.isVisible()
    assert learning.ui.nextLabel.text == "Fine-tuning: Learning - 1 min 30 s left"

    learning.click("cancelRunButton")

    assert engine.asked("cancel") is not None
    assert learning.ui.nextLabel.text == "Fine-tuning: Cancelling ..."
    assert learning.ui.cancelRunButton.toolTip == "The run is being cancelled."
    engine.say("fine_tune", "cancelled", resumable=False)
    learning.wait(learning.shown)
    assert not learning.ui.runRow.isVisible()


def test_the_end_of_a_run_is_told_whatever_is_folded(learning: Any, engine: Any) -> None:
    engine.say("fine_tune", "error", kind="user", message="The memory is full. Crop the volume.")
    learning.wait(learning.shown)
    learning.settle()

    assert learning.ui.messageLabel.isVisible()
    assert learning.ui.messageLabel.text == "The memory is full. Crop the volume."


def test_who_works_in_another_module_reads_of_the_run_in_the_status_bar(
    learning: Any, engine: Any, phantom: Any, statusBar: QStatusBar
) -> None:
    learning.moduleWidget.exit()
    engine.say("fine_tune", "progress", phase="Learning", fraction=0.25, seconds_left=90.0, step=7)
    learning.wait(lambda: statusBar.currentMessage() == "Fine-tuning: Learning - 1 min 30 s left")

    engine.finishFineTune({"liver": 0.9}, phantom.liver, phantom.uncertainty)
    learning.wait(lambda: learning.logic.state.value == "idle")

    assert statusBar.currentMessage() == "UnCoL: First model, in use now. Annotate new slices to measure it."


def test_sentences_about_an_older_map_go_when_a_run_begins_and_when_its_result_comes(
    learning: Any, engine: Any, phantom: Any
) -> None:
    engine.finishFineTune({"liver": 0.9}, phantom.proposed, phantom.uncertainty)
    learning.wait(learning.shown)
    learning.click("nextPlaceButton")
    assert learning.shown().startswith("Place ")

    learning.click("fineTuneButton")
    assert learning.shown() == ""
    learning.wait(lambda: sum(op == "fine_tune" for op, _ in engine.requests) == 2)

    learning.click("nextPlaceButton")
    assert learning.shown().startswith("Place ")
    engine.finishFineTune({"liver": 0.95}, phantom.proposed, phantom.uncertainty)
    learning.wait(lambda: learning.logic.state.value == "idle")
    assert "Place " not in learning.shown()


def test_a_long_sentence_makes_the_panel_higher_and_not_wider(learning: Any, engine: Any) -> None:
    sentence = "The model does not know what you call by this name; choose another one, or annotate it. " * 8
    engine.say("fine_tune", "progress", phase=sentence, fraction=0.25, seconds_left=90.0, step=7)
    learning.wait(lambda: learning.ui.runProgressBar.value == 25)
    learning.settle()
    assert learning.window.minimumSizeHint().width() <= PANEL_WIDTH
    engine.say("fine_tune", "error", kind="user", message=sentence)
    learning.wait(learning.shown)

    learning.settle()

    assert learning.window.minimumSizeHint().width() <= PANEL_WIDTH
    assert learning.ui.messageLabel.height > 100
