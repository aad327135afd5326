"""Accept, paint, mark complete, suggest: what the user does between two runs."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import slicer
import slicer.util

STRUCTURE, COMPLETE = 2, 3
"""Columns of the table of annotated slices."""


@pytest.fixture
def proposed(panel: Any, phantom: Any, engine: Any, host: Any) -> Any:
    """The panel with an own segmentation, slice views and a proposal of the engine."""
    volume = phantom.addVolume()
    panel.views = phantom.addSliceViews(host)
    segmentation = phantom.addSegmentation(volume)
    panel.choose("inputVolumeSelector", "CT abdomen")
    panel.choose("segmentationSelector", "My segmentation")
    panel.parameters.roi = phantom.addBox()
    panel.click("segmentButton")
    panel.wait(lambda: engine.asked("segment"))
    engine.finishSegment(phantom.proposed, phantom.uncertainty, ["liver"])
    panel.wait(lambda: panel.shown("segment"))
    panel.waitForDetection()
    assert panel.parameters.segmentation is segmentation
    return panel


def liverOf(panel: Any) -> np.ndarray:
    """Return what the user's segmentation holds (K, J, I)."""
    mask = slicer.util.arrayFromSegmentBinaryLabelmap(
        panel.parameters.segmentation, "liver", panel.parameters.inputVolume
    )
    return np.zeros(0, bool) if mask is None else mask > 0


def test_the_segment_editor_edits_the_users_segmentation_over_the_volume(proposed: Any) -> None:
    editor = proposed.ui.segmentEditor

    assert editor.segmentationNode() is proposed.parameters.segmentation
    assert editor.sourceVolumeNode() is proposed.parameters.inputVolume
    assert editor.mrmlSegmentEditorNode().GetSingletonTag() == "UnCoLSegmentEditor"
    assert editor.areShortcutsInstalled
    assert editor.areViewsObserved


def test_accept_all_takes_the_proposal_over_and_undo_takes_it_back(proposed: Any, phantom: Any) -> None:
    assert proposed.ui.undoAcceptButton.toolTip == "Nothing was accepted yet."

    proposed.click("acceptAllButton")
    assert proposed.shown("annotate") == "Accepted: liver."
    assert np.array_equal(liverOf(proposed), phantom.proposed)

    proposed.click("undoAcceptButton")
    assert not liverOf(proposed).any()


def test_accept_slice_takes_over_the_slice_that_the_view_of_the_plane_shows(proposed: Any, phantom: Any) -> None:
    proposed.click("acceptSliceButton")

    assert np.array_equal(liverOf(proposed)[12], phantom.proposed[12])
    assert not np.delete(liverOf(proposed), 12, axis=0).any()


def test_accept_segment_takes_over_the_one_selected_in_the_segment_editor(proposed: Any, phantom: Any) -> None:
    proposed.ui.segmentEditor.setCurrentSegmentID("liver")

    proposed.click("acceptSegmentButton")

    assert np.array_equal(liverOf(proposed), phantom.proposed)


def test_accepting_without_a_segmentation_makes_one(proposed: Any, phantom: Any) -> None:
    proposed.choose("segmentationSelector", "Select or create a segmentation")

    proposed.click("acceptAllButton")

    assert proposed.parameters.segmentation.GetName() == "CT abdomen segmentation"
    assert np.array_equal(liverOf(proposed), phantom.proposed)


def test_painted_slices_appear_in_the_table_with_plane_and_position(proposed: Any, phantom: Any) -> None:
    phantom.paint(proposed.parameters.segmentation, proposed.parameters.inputVolume, 8, 15)
    proposed.waitForDetection()

    # Slice 8 lies at -46 + 4 * 8 = -14 mm, slice 15 at 14 mm; positive is superior.
    assert proposed.cells("slicesTable") == [
        ["Axial 8", "I 14.0 mm", "yes", "[x]"],
        ["Axial 15", "S 14.0 mm", "yes", "[x]"],
    ]


def test_mark_complete_adds_a_slice_that_does_not_show_the_structure(proposed: Any) -> None:
    proposed.views[0].node.JumpSliceByOffsetting(0, 0, -46 + 4 * 2)

    proposed.click("markCompleteButton")

    assert proposed.cells("slicesTable") == [["Axial 2", "I 38.0 mm", "none", "[x]"]]


def test_mark_complete_follows_the_chosen_plane(proposed: Any) -> None:
    proposed.choose("planeComboBox", "Sagittal")

    proposed.click("markCompleteButton")

    # The views show the middle of the liver, (I, J, K) = (25, 22, 12); R = 48 - 1.5 * 25 = 10.5 mm.
    assert proposed.cells("slicesTable") == [["Sagittal 25", "R 10.5 mm", "none", "[x]"]]


def test_a_tick_in_the_table_says_whether_a_slice_is_complete(proposed: Any, phantom: Any) -> None:
    phantom.paint(proposed.parameters.segmentation, proposed.parameters.inputVolume, 8)
    proposed.waitForDetection()
    assert proposed.cells("slicesTable")[0][COMPLETE] == "[x]"

    proposed.clickCell("slicesTable", 0, COMPLETE)

    assert proposed.cells("slicesTable")[0][COMPLETE] == "[ ]"
    assert json.loads(proposed.parameters.annotatedSlices)[0]["complete"] is False
    assert (
        proposed.ui.fineTuneButton.toolTip == "Paint the structure in at least one slice and mark that slice complete."
    )


def test_a_click_on_a_row_and_enter_shows_that_slice(proposed: Any, phantom: Any) -> None:
    phantom.paint(proposed.parameters.segmentation, proposed.parameters.inputVolume, 8)
    proposed.waitForDetection()

    proposed.activateCell("slicesTable", 0, 0)

    assert proposed.views[0].node.GetSliceOffset() == pytest.approx(-14)


def test_suggest_slice_jumps_there_and_says_why(proposed: Any) -> None:
    proposed.click("suggestSliceButton")

    assert proposed.shown("annotate") == "Least sure here: liver. No slice is annotated yet."
    shown = round((proposed.views[0].node.GetSliceOffset() + 46) / 4)
    assert 3 <= shown <= 20


def test_a_plane_that_no_view_shows_is_told(proposed: Any) -> None:
    proposed.views[1].node.SetOrientation("Axial")
    proposed.choose("planeComboBox", "Coronal")

    proposed.click("markCompleteButton")

    assert proposed.shown("annotate").startswith("No Coronal slice view shows a slice of the volume.")
    assert proposed.cells("slicesTable") == []


def test_annotating_looks_like_this(proposed: Any, phantom: Any) -> None:
    proposed.click("acceptAllButton")
    phantom.paint(proposed.parameters.segmentation, proposed.parameters.inputVolume, 8, 15)
    proposed.views[0].node.JumpSliceByOffsetting(0, 0, -46 + 4 * 2)
    proposed.click("markCompleteButton")
    proposed.waitForDetection()
    proposed.click("suggestSliceButton")
    proposed.unfold("annotate")
    proposed.photograph("09-annotating")

    assert proposed.shown("annotate")


def test_the_segment_editor_lets_go_of_the_views_when_the_user_leaves_the_module(proposed: Any) -> None:
    proposed.moduleWidget.exit()
    assert not proposed.ui.segmentEditor.areShortcutsInstalled
    assert not proposed.ui.segmentEditor.areViewsObserved

    proposed.moduleWidget.enter()
    assert proposed.ui.segmentEditor.areShortcutsInstalled
