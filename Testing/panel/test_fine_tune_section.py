"""Learning: progress, curve, cancel, resume, the honest comparison, and the rounds."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import recorded
import slicer
from scripted_engine import writeCheckpoint

from uncol.core.jobs import Structure
from uncol.core.model_folder import CHECKPOINT_FILE
from uncol.core.unfinished import RunOrigin

LIVER = [Structure(1, "liver")]


@pytest.fixture
def learning(annotated: Any, engine: Any) -> Any:
    """The panel while the engine learns."""
    annotated.click("fineTuneButton")
    annotated.wait(lambda: engine.asked("fine_tune"))
    return annotated


def learn(
    panel: Any, engine: Any, phantom: Any, heldOut: float | None, *, segmentation: Any = None, alone: bool = False
) -> None:
    """Let the engine finish the fine-tuning under way; where its model is not better, the one in use segments."""
    count = len(engine.requests)
    found = phantom.proposed if segmentation is None else segmentation
    engine.finishFineTune({} if heldOut is None else {"liver": heldOut}, found, phantom.uncertainty, alone=alone)
    panel.wait(lambda: panel.shown() or any(op == "segment" for op, _ in engine.requests[count:]))
    if not panel.shown():
        engine.finishSegment(found, phantom.uncertainty, ["liver"])
        panel.wait(panel.shown)


def leaveUnfinished(panel: Any, name: str, volume: str, digest: str) -> None:
    """Leave a run with 120 steps in the store, later than those that are there, and let the panel look."""
    store = panel.logic.store
    earlier = len(store.unfinished())
    folder = store.folder / store.claim(name, RunOrigin(volume, digest))
    writeCheckpoint(folder)
    os.utime(folder / CHECKPOINT_FILE, (0, 1_800_000_000 + 60 * earlier))
    panel.logic.modelsChanged.emit()
    panel.settle()


def reportSteps(engine: Any, *, until: int) -> None:
    """Report steps with losses that fall."""
    for step in range(10, until + 1, 10):
        engine.say(
            "fine_tune",
            "progress",
            phase="Learning from all slices" if step > 100 else "Learning from annotated slices",
            fraction=step / 200,
            seconds_left=1.5 * (200 - step),
            step=step,
            losses={
                "supervised": 1.6 * 0.985**step + 0.1,
                **({"pseudo_label": 0.3 - step / 1000} if step > 100 else {}),
            },
        )


def test_annotated_slices_enable_fine_tuning(annotated: Any) -> None:
    assert annotated.ui.fineTuneButton.enabled
    assert annotated.ui.resumeButton.toolTip == "There is no unfinished fine-tuning of this volume to resume."
    assert annotated.ui.nextLabel.text == "Next: Fine-tune, to learn from 3 finished slices."
    assert annotated.ui.fineTuneButton.property("isPrimary")
    assert annotated.ui.fineTuneButton.isVisible()


def test_the_time_of_the_slider_is_the_budget(annotated: Any, engine: Any) -> None:
    annotated.ui.minutesSlider.value = 2.5

    annotated.click("fineTuneButton")
    annotated.wait(lambda: engine.asked("fine_tune"))

    assert engine.asked("fine_tune")["minutes"] == 2.5
    assert annotated.parameters.minutes == 2.5


def test_learning_shows_progress_time_left_and_a_curve_in_a_plot_node(learning: Any, engine: Any) -> None:
    reportSteps(engine, until=140)
    learning.wait(lambda: learning.ui.runProgressBar.value == 70)
    learning.unfold("fineTune")
    learning.photograph("10-fine-tuning")

    assert learning.ui.nextLabel.text == "Fine-tuning: Learning from all slices - 1 min 30 s left"
    chart = _chart()
    assert chart.GetNumberOfPlotSeriesNodes() == 2
    table = chart.GetNthPlotSeriesNode(0).GetTableNode()
    assert table.GetNumberOfRows() == 14
    assert table.GetTable().GetColumnByName("step").GetValue(13) == 140
    assert table.GetTable().GetColumnByName("supervised").GetValue(0) == pytest.approx(1.6 * 0.985**10 + 0.1)
    plot = learning.ui.curveWidget.findChild(slicer.qMRMLPlotWidget)
    assert len(plot.curves()["Annotated slices"]) == 14
    assert len(plot.curves()["Other slices"]) == 4


def test_while_something_is_learned_nothing_can_be_segmented(learning: Any, engine: Any) -> None:
    assert learning.ui.segmentButton.toolTip == "A run is under way. Wait for its end, or cancel it."
    assert learning.ui.cancelRunButton.enabled


def test_a_cancelled_fine_tuning_can_be_resumed(learning: Any, engine: Any) -> None:
    learning.click("cancelRunButton")
    learning.unfold("fineTune")
    learning.photograph("11-fine-tuning-cancelling")
    out = Path(engine.asked("fine_tune")["out"])
    writeCheckpoint(out)
    engine.say("fine_tune", "cancelled", resumable=True)
    learning.wait(learning.shown)
    learning.photograph("12-fine-tuning-cancelled")
    assert learning.shown() == "Cancelled. What was learned is saved; Resume goes on from there."

    learning.click("resumeButton")
    learning.wait(lambda: [op for op, _ in engine.requests].count("fine_tune") == 2)

    assert engine.asked("fine_tune")["resume"] is True
    assert engine.asked("fine_tune")["out"] == str(out)


def test_unfinished_fine_tunings_are_listed_with_volume_steps_and_time(annotated: Any) -> None:
    assert not annotated.ui.unfinishedTable.isVisible()
    assert not annotated.ui.removeUnfinishedButton.isVisible()

    leaveUnfinished(annotated, "liver", "CT of Smith", "another image")
    annotated.unfold("fineTune")
    annotated.photograph("18-unfinished-fine-tuning")

    [[name, volume, steps, saved]] = annotated.cells("unfinishedTable")
    assert (name, volume, steps) == ("liver", "CT of Smith", "120")
    assert saved[:2] == "20"
    assert annotated.ui.resumeButton.toolTip == "There is no unfinished fine-tuning of this volume to resume."
    annotated.clickCell("unfinishedTable", 0, 0)
    assert annotated.ui.resumeButton.toolTip == (
        '"liver" was learning from "CT of Smith". Choose that volume and its annotations to resume it.'
    )


def test_the_unfinished_fine_tuning_of_the_volume_is_resumed_and_another_one_if_selected(
    annotated: Any, engine: Any
) -> None:
    from UnCoLSegmentLib.Scene.Bridge import volumeDigest

    about = volumeDigest(annotated.parameters.inputVolume)
    leaveUnfinished(annotated, "first", "CT abdomen", about)
    leaveUnfinished(annotated, "other", "CT of Smith", "another image")
    leaveUnfinished(annotated, "second", "CT abdomen", about)
    assert [row[0] for row in annotated.cells("unfinishedTable")] == ["second", "other", "first"]
    annotated.clickCell("unfinishedTable", 2, 0)

    annotated.click("resumeButton")
    annotated.wait(lambda: engine.asked("fine_tune"))
    assert Path(engine.asked("fine_tune")["out"]).name == "first"
    engine.say("fine_tune", "cancelled", resumable=True)
    annotated.wait(annotated.shown)

    annotated.ui.unfinishedTable.setCurrentCell(-1, -1)
    annotated.click("resumeButton")
    annotated.wait(lambda: [op for op, _ in engine.requests].count("fine_tune") == 2)
    assert Path(engine.asked("fine_tune")["out"]).name == "second"


def test_an_unfinished_fine_tuning_is_removed_when_the_user_says_so(
    annotated: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers, asked = [False, True], []
    name, confirm = "slicer.util.confirmYesNoDisplay", lambda given: asked.append(given["text"]) or answers.pop(0)
    monkeypatch.setattr(slicer.util, "confirmYesNoDisplay", recorded.function(name, confirm))
    leaveUnfinished(annotated, "liver", "CT of Smith", "another image")
    assert annotated.ui.removeUnfinishedButton.toolTip == "Select an unfinished fine-tuning in the list."
    annotated.clickCell("unfinishedTable", 0, 0)

    annotated.click("removeUnfinishedButton")
    assert asked == ['Delete the unfinished fine-tuning "liver" (120 steps)? This cannot be undone.']
    assert len(annotated.logic.store.unfinished()) == 1

    annotated.click("removeUnfinishedButton")
    assert annotated.logic.store.unfinished() == []
    assert not annotated.ui.unfinishedTable.isVisible()
    assert not annotated.ui.removeUnfinishedButton.isVisible()


def test_the_first_model_is_used_and_segments_the_volume(learning: Any, engine: Any, phantom: Any) -> None:
    reportSteps(engine, until=200)
    learn(learning, engine, phantom, 0.93)
    learning.unfold("fineTune")
    learning.photograph("13-fine-tuned")

    assert learning.shown().startswith("First model, in use now. Annotate new slices to measure it.")
    assert learning.logic.store.active == "liver"
    assert learning.parameters.modelName == "liver"
    assert learning.ui.modelComboBox.currentText == "liver (in use)"
    assert learning.parameters.proposal is not None
    assert learning.cells("roundsTable") == [["1", "3", "no proposal before", "in use"]]
    trust = learning.ui.trustLabel.text
    assert "The model alone, on annotated slices that it had not seen (Dice): liver 0.93." in trust


def test_a_new_round_is_first_scored_against_the_proposal(learning: Any, engine: Any, phantom: Any) -> None:
    worse = phantom.liver.copy()
    worse[:10] = False
    learn(learning, engine, phantom, 0.93, segmentation=worse)
    phantom.paint(learning.parameters.segmentation, learning.parameters.inputVolume, 8)
    learning.waitForDetection()

    learning.click("fineTuneButton")
    learning.wait(lambda: [op for op, _ in engine.requests].count("fine_tune") == 2)

    # Slice 8 is new; the proposal holds nothing there, so its Dice is 0.
    assert learning.cells("roundsTable")[1] == ["2", "4", "liver 0.00", "unfinished"]


def test_a_round_without_new_slices_says_so(learning: Any, engine: Any, phantom: Any) -> None:
    learn(learning, engine, phantom, 0.93)

    learning.click("fineTuneButton")
    learning.wait(lambda: [op for op, _ in engine.requests].count("fine_tune") == 2)

    assert learning.cells("roundsTable")[1] == ["2", "3", "no new slices", "unfinished"]


def test_a_round_whose_new_slices_are_empty_says_so(learning: Any, engine: Any, phantom: Any) -> None:
    learn(learning, engine, phantom, 0.93)
    views = [node for node in slicer.util.getNodesByClass("vtkMRMLSliceNode") if node.GetOrientation() == "Axial"]
    for view in views:
        view.JumpSliceByOffsetting(0, 0, -46 + 4 * 1)  # slice 1, where there is no liver
    learning.click("sliceIsEmptyButton")

    learning.click("fineTuneButton")
    learning.wait(lambda: [op for op, _ in engine.requests].count("fine_tune") == 2)

    assert learning.cells("roundsTable")[1] == ["2", "4", "new slices are empty", "unfinished"]


def test_rounds_of_before_that_do_not_say_whether_there_was_a_proposal_are_shown(annotated: Any) -> None:
    volume = annotated.parameters.inputVolume.GetID()
    entry = {"number": 1, "volume": volume, "annotated": ["K:3"], "scored": [], "dice": {}, "activated": True}

    annotated.parameters.rounds = json.dumps([entry])
    annotated.settle()

    assert annotated.cells("roundsTable") == [["1", "1", "no proposal before", "in use"]]


def test_a_model_is_not_called_measured_where_nothing_was_held_out(learning: Any, engine: Any, phantom: Any) -> None:
    learn(learning, engine, phantom, None)

    assert learning.ui.trustLabel.text == "Not measured: too few annotated slices to hold some out."


def test_a_preview_cannot_be_accepted_and_nothing_is_said_of_its_trust(
    learning: Any, engine: Any, phantom: Any
) -> None:
    engine.say("fine_tune", "preview", segmentation=engine.writePreview(phantom.liver))
    learning.wait(lambda: any("preview" in each.GetName() for each in segmentations()))
    learning.settle()

    assert learning.parameters.proposal is None
    assert learning.ui.trustLabel.text == ""
    for name in ("acceptSliceButton", "acceptSegmentButton", "acceptAllButton"):
        assert not getattr(learning.ui, name).enabled


def test_previews_can_be_switched_off(learning: Any, engine: Any, phantom: Any) -> None:
    learning.click("previewsShownCheckBox")

    engine.say("fine_tune", "preview", segmentation=engine.writePreview(phantom.liver))
    engine.say("fine_tune", "progress", phase="Learning", fraction=0.5, seconds_left=9.0, step=7)
    learning.wait(lambda: learning.ui.runProgressBar.value == 50 and not learning.logic._previews.areAwaited)

    assert not any("preview" in each.GetName() for each in segmentations())


def test_a_model_that_is_not_better_is_kept_but_not_used(learning: Any, engine: Any, phantom: Any) -> None:
    learn(learning, engine, phantom, 0.93, alone=True)
    phantom.paint(learning.parameters.segmentation, learning.parameters.inputVolume, 9)
    learning.waitForDetection()
    learning.click("fineTuneButton")
    learning.wait(lambda: [op for op, _ in engine.requests].count("fine_tune") == 2)

    learn(learning, engine, phantom, 0.70, alone=True)
    learning.unfold("fineTune", "models")
    learning.photograph("14-not-better-kept-the-old-model")

    assert learning.shown().startswith("Not better than before - kept the old model")
    assert learning.logic.store.active == "liver"
    # Slice 9 is new: the proposal lies two voxels beside the liver there.
    liver, proposed = phantom.liver[9], phantom.proposed[9]
    dice = 2 * (liver & proposed).sum() / (liver.sum() + proposed.sum())
    assert learning.cells("roundsTable")[1] == ["2", "4", f"liver {dice:.2f}", "old model kept"]
    # The phantom's map is unsure along the true contour, where the proposal errs.
    assert "annotated for round 2 the map before it found errors" in learning.ui.trustLabel.text
    assert learning.ui.trustLabel.text.endswith("The map shown now is newer.")
    assert [row[:2] for row in learning.cells("modelsTable")] == [["liver", "yes"], ["liver-2", ""]]


def test_an_error_while_learning_is_told(learning: Any, engine: Any) -> None:
    engine.say("fine_tune", "error", kind="user", message="The disk is full. Free some space and try again.")
    learning.wait(learning.shown)

    assert learning.shown() == "The disk is full. Free some space and try again."
    assert learning.ui.fineTuneButton.enabled


def segmentations() -> list[Any]:
    return slicer.util.getNodesByClass("vtkMRMLSegmentationNode")


def _chart() -> Any:
    charts = slicer.util.getNodesByClass("vtkMRMLPlotChartNode")
    assert len(charts) == 1
    return charts[0]
