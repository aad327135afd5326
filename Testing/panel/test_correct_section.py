"""Accept, paint, mark complete, suggest: what the user does between two runs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import slicer
import slicer.util
from PySide6.QtCore import QPoint, Qt
from PySide6.QtTest import QTest

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
    panel.wait(panel.shown)
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


def test_the_segment_editors_undo_takes_back_what_was_accepted_and_redo_brings_it_again(
    proposed: Any, phantom: Any
) -> None:
    phantom.paint(proposed.parameters.segmentation, proposed.parameters.inputVolume, 5)
    proposed.waitForDetection()
    painted = liverOf(proposed)

    proposed.click("acceptAllButton")
    assert proposed.shown() == "Accepted: liver. Slices that you painted were kept: 1."
    accepted = liverOf(proposed)
    assert accepted.sum() > painted.sum()

    for _ in range(2):
        proposed.pressKey("z")
        proposed.waitForDetection()
        assert np.array_equal(liverOf(proposed), painted)
        assert proposed.cells("slicesTable") == [["Axial 5", "I 26.0 mm", "yes", "[x]"]]
        proposed.pressKey("y")
        proposed.waitForDetection()
        assert np.array_equal(liverOf(proposed), accepted)
        assert proposed.cells("slicesTable") == [["Axial 5", "I 26.0 mm", "yes", "[x]"]]


def test_marking_and_a_tick_are_undone_like_painting(proposed: Any, phantom: Any) -> None:
    phantom.paint(proposed.parameters.segmentation, proposed.parameters.inputVolume, 8)
    proposed.waitForDetection()
    proposed.clickCell("slicesTable", 0, COMPLETE)
    proposed.click("sliceIsEmptyButton")
    rows = [["Axial 8", "I 14.0 mm", "yes", "[ ]"], ["Axial 12", "S 2.0 mm", "none", "[x]"]]
    assert proposed.cells("slicesTable") == rows

    proposed.pressKey("z")
    proposed.waitForDetection()
    assert proposed.cells("slicesTable") == rows[:1]
    proposed.pressKey("z")
    proposed.waitForDetection()
    assert proposed.cells("slicesTable") == [["Axial 8", "I 14.0 mm", "yes", "[x]"]]


def test_this_slice_is_right_takes_the_slice_over_and_marks_it_complete_in_one_step(
    proposed: Any, phantom: Any
) -> None:
    proposed.choose("segmentationSelector", "Made when you accept or paint")

    proposed.click("sliceIsRightButton")
    proposed.waitForDetection()

    assert np.array_equal(liverOf(proposed)[12], phantom.proposed[12])
    assert proposed.cells("slicesTable") == [["Axial 12", "S 2.0 mm", "yes", "[x]"]]
    assert proposed.ui.fineTuneButton.enabled

    proposed.pressKey("z")
    proposed.waitForDetection()
    assert proposed.cells("slicesTable") == []


@pytest.mark.parametrize("button", ["sliceIsRightButton", "sliceIsEmptyButton"])
def test_what_was_said_of_a_slice_already_is_no_step_of_the_history(proposed: Any, button: str) -> None:
    proposed.choose("segmentationSelector", "Made when you accept or paint")
    place = proposed.views[0].node.GetSliceOffset()
    for _ in range(3):
        proposed.views[0].node.JumpSliceByOffsetting(0, 0, place)
        proposed.click(button)
        proposed.waitForDetection()
    assert [row[0] for row in proposed.cells("slicesTable")] == ["Axial 12"]

    proposed.pressKey("z")
    proposed.waitForDetection()
    assert proposed.cells("slicesTable") == []


def test_this_slice_is_right_keeps_what_was_painted_there(proposed: Any, phantom: Any) -> None:
    phantom.paint(proposed.parameters.segmentation, proposed.parameters.inputVolume, 12)
    proposed.waitForDetection()

    proposed.click("sliceIsRightButton")

    assert np.array_equal(liverOf(proposed)[12], phantom.liver[12])
    assert not np.array_equal(phantom.liver[12], phantom.proposed[12])


def test_a_slice_can_be_taken_out_of_the_table_and_comes_back_with_undo(proposed: Any, phantom: Any) -> None:
    phantom.paint(proposed.parameters.segmentation, proposed.parameters.inputVolume, 8, 15)
    proposed.waitForDetection()
    assert not proposed.ui.removeSliceButton.isVisible()
    proposed.clickCell("slicesTable", 0, 0)

    proposed.click("removeSliceButton")
    proposed.waitForDetection()
    assert [row[0] for row in proposed.cells("slicesTable")] == ["Axial 15"]
    assert liverOf(proposed)[8].any()

    proposed.pressKey("z")
    proposed.waitForDetection()
    assert [row[0] for row in proposed.cells("slicesTable")] == ["Axial 8", "Axial 15"]


def test_a_tick_counts_for_all_selected_slices(proposed: Any, phantom: Any) -> None:
    """A tool that works in 3D changed the whole structure: nothing is complete until the user says so."""
    phantom.paint(proposed.parameters.segmentation, proposed.parameters.inputVolume, *range(8, 17))
    proposed.waitForDetection()
    assert {row[COMPLETE] for row in proposed.cells("slicesTable")} == {"[ ]many at once"}
    assert proposed.ui.slicesSummaryLabel.text == (
        "Annotated slices: 0. Changed together, as by a tool that works in 3D: 9 Axial. Tick those that are complete."
    )
    assert not proposed.ui.fineTuneButton.enabled

    proposed.ui.slicesTable.selectAll()
    proposed.tickSelected("slicesTable", COMPLETE)

    assert {row[COMPLETE] for row in proposed.cells("slicesTable")} == {"[x]"}
    assert proposed.ui.fineTuneSlicesLabel.text == "Annotated slices: 9."


def test_slices_that_look_only_begun_are_named_beside_fine_tune(proposed: Any, phantom: Any) -> None:
    parameters = proposed.parameters
    mask = np.zeros(phantom.liver.shape, bool)
    mask[8], mask[9] = phantom.liver[8], phantom.liver[9] & (np.arange(64) < 15)
    slicer.util.updateSegmentBinaryLabelmapFromArray(
        mask.astype(np.uint8), parameters.segmentation, "liver", parameters.inputVolume
    )
    proposed.waitForDetection()

    assert [row[COMPLETE] for row in proposed.cells("slicesTable")] == ["[x]", "[ ]begun?"]
    assert proposed.ui.fineTuneSlicesLabel.text == (
        "Annotated slices: 1. Left out, as it looks only begun: Axial 9. Tick it if it is complete."
    )


def test_accept_slice_takes_over_the_slice_that_the_view_of_the_plane_shows(proposed: Any, phantom: Any) -> None:
    proposed.click("acceptSliceButton")

    assert np.array_equal(liverOf(proposed)[12], phantom.proposed[12])
    assert not np.delete(liverOf(proposed), 12, axis=0).any()


def test_accept_segment_takes_over_the_one_selected_in_the_segment_editor(proposed: Any, phantom: Any) -> None:
    proposed.ui.segmentEditor.setCurrentSegmentID("liver")

    proposed.click("acceptSegmentButton")

    assert np.array_equal(liverOf(proposed), phantom.proposed)


def test_accepting_without_a_segmentation_makes_one(proposed: Any, phantom: Any) -> None:
    proposed.choose("segmentationSelector", "Made when you accept or paint")

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


def test_an_empty_slice_is_done_although_it_does_not_show_the_structure(proposed: Any) -> None:
    proposed.views[0].node.JumpSliceByOffsetting(0, 0, -46 + 4 * 2)

    proposed.click("sliceIsEmptyButton")

    assert proposed.cells("slicesTable") == [["Axial 2", "I 38.0 mm", "none", "[x]"]]


def test_an_empty_slice_is_one_of_the_chosen_plane(proposed: Any) -> None:
    proposed.choose("planeComboBox", "Sagittal")

    proposed.click("sliceIsEmptyButton")

    # The views show the middle of the liver, (I, J, K) = (25, 22, 12); R = 48 - 1.5 * 25 = 10.5 mm.
    assert proposed.cells("slicesTable") == [["Sagittal 25", "R 10.5 mm", "none", "[x]"]]


def test_a_tick_in_the_table_says_whether_a_slice_is_complete(proposed: Any, phantom: Any) -> None:
    phantom.paint(proposed.parameters.segmentation, proposed.parameters.inputVolume, 8)
    proposed.waitForDetection()
    assert proposed.cells("slicesTable")[0][COMPLETE] == "[x]"

    proposed.clickCell("slicesTable", 0, COMPLETE)

    assert proposed.cells("slicesTable")[0][COMPLETE] == "[ ]"
    assert (
        proposed.ui.fineTuneButton.toolTip == "Paint the structure in at least one slice and mark that slice complete."
    )


def test_a_click_on_a_row_and_enter_shows_that_slice(proposed: Any, phantom: Any) -> None:
    phantom.paint(proposed.parameters.segmentation, proposed.parameters.inputVolume, 8)
    proposed.waitForDetection()

    proposed.activateCell("slicesTable", 0, 0)

    assert proposed.views[0].node.GetSliceOffset() == pytest.approx(-14)


def test_an_empty_slice_is_emptied_in_one_step_of_the_editors_history(proposed: Any, phantom: Any) -> None:
    phantom.paint(proposed.parameters.segmentation, proposed.parameters.inputVolume, 11, 12)
    proposed.waitForDetection()

    proposed.click("sliceIsEmptyButton")
    proposed.waitForDetection()
    assert not liverOf(proposed)[12].any()
    assert np.array_equal(liverOf(proposed)[11], phantom.liver[11])
    assert proposed.cells("slicesTable")[1] == ["Axial 12", "S 2.0 mm", "none", "[x]"]

    proposed.pressKey("z")
    proposed.waitForDetection()
    assert np.array_equal(liverOf(proposed)[12], phantom.liver[12])


def test_an_empty_slice_needs_neither_proposal_nor_segmentation(panel: Any, phantom: Any, host: Any) -> None:
    phantom.addVolume()
    phantom.addSliceViews(host)
    panel.settle()
    panel.typeText("structureNameEdit", "liver")

    panel.click("sliceIsEmptyButton")

    assert panel.cells("slicesTable") == [["Axial 12", "S 2.0 mm", "none", "[x]"]]
    assert panel.parameters.segmentation.GetSegmentation().GetNthSegment(0).GetName() == "liver"


def test_after_a_slice_is_done_the_next_one_is_shown(proposed: Any) -> None:
    before = proposed.views[0].node.GetSliceOffset()

    for done in range(1, 4):
        proposed.click("sliceIsRightButton")
        assert len(proposed.cells("slicesTable")) == done
        assert proposed.views[0].node.GetSliceOffset() != before
        before = proposed.views[0].node.GetSliceOffset()


def rulerOf(panel: Any) -> Any:
    from UnCoLSegmentLib.Panel.SliceRuler import SliceRuler

    panel.reveal(panel.ui.rulerWidget)
    panel.settle()
    return panel.ui.rulerWidget.findChild(SliceRuler)


def test_a_click_on_the_ruler_goes_to_that_slice(proposed: Any) -> None:
    ruler = rulerOf(proposed)

    QTest.mouseClick(ruler, Qt.LeftButton, pos=QPoint(ruler.placeOf(7), 10))
    assert round((proposed.views[0].node.GetSliceOffset() + 46) / 4) == 7

    QTest.keyClick(ruler, Qt.Key_Right)
    assert round((proposed.views[0].node.GetSliceOffset() + 46) / 4) == 8


def test_the_ruler_shows_bars_dots_rings_and_the_slice_in_the_view(proposed: Any) -> None:
    ruler = rulerOf(proposed)
    slices = ruler._slices
    assert slices.count == 24
    assert slices.shown == 12
    assert set(slices.scores) >= set(range(5, 20))
    plain = ruler.grab().toImage()

    proposed.click("sliceIsRightButton")
    proposed.views[0].node.SetSliceOffset(-46 + 4 * 2)
    proposed.click("sliceIsEmptyButton")
    proposed.waitForDetection()

    assert set(ruler._slices.done) == {2, 12}
    assert set(ruler._slices.empty) == {2}
    assert ruler.grab().toImage() != plain
    assert ruler.accessibleDescription.endswith("of 24; 2 done")


def test_the_ruler_follows_the_view(proposed: Any) -> None:
    ruler = rulerOf(proposed)

    proposed.views[0].node.SetSliceOffset(-46 + 4 * 5)

    proposed.wait(lambda: ruler._slices.shown == 5)


def test_suggest_slice_jumps_there_and_says_why(proposed: Any) -> None:
    proposed.click("suggestSliceButton")

    assert proposed.shown() == "Least sure here: liver. No slice is annotated yet."
    shown = round((proposed.views[0].node.GetSliceOffset() + 46) / 4)
    assert 3 <= shown <= 20


def test_a_plane_that_no_view_shows_is_told(proposed: Any) -> None:
    proposed.views[1].node.SetOrientation("Axial")
    proposed.choose("planeComboBox", "Coronal")

    proposed.click("sliceIsEmptyButton")

    assert proposed.shown().startswith("No Coronal slice view shows a slice of the volume.")
    assert proposed.cells("slicesTable") == []


def test_annotating_looks_like_this(proposed: Any, phantom: Any) -> None:
    proposed.click("acceptAllButton")
    phantom.paint(proposed.parameters.segmentation, proposed.parameters.inputVolume, 8, 15)
    proposed.views[0].node.JumpSliceByOffsetting(0, 0, -46 + 4 * 2)
    proposed.click("sliceIsEmptyButton")
    proposed.waitForDetection()
    proposed.click("suggestSliceButton")
    proposed.photograph("09-annotating")

    assert proposed.shown()


def test_the_segment_editor_lets_go_of_the_views_when_the_user_leaves_the_module(proposed: Any) -> None:
    proposed.moduleWidget.exit()
    assert not proposed.ui.segmentEditor.areShortcutsInstalled
    assert not proposed.ui.segmentEditor.areViewsObserved

    proposed.moduleWidget.enter()
    assert proposed.ui.segmentEditor.areShortcutsInstalled
