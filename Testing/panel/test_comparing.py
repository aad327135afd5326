"""What is one key away from the proposal: what the user has, and what was proposed before; and what the views say."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import slicer
import slicer.util
from panel_phantom import IJK_TO_RAS
from PySide6.QtCore import Qt
from PySide6.QtTest import QTest


@pytest.fixture
def proposed(annotated: Any, phantom: Any, engine: Any, host: Any) -> Any:
    """The panel with three finished slices, slice views and a proposal."""
    annotated.views = host.views
    segment(annotated, phantom, engine, phantom.proposed)
    return annotated


def segment(panel: Any, phantom: Any, engine: Any, found: np.ndarray) -> None:
    before = len(engine.requests)
    panel.parameters.roi = panel.parameters.roi or phantom.addBox()
    panel.click("segmentButton")
    panel.wait(lambda: any(op == "segment" for op, _fields in engine.requests[before:]))
    engine.finishSegment(found, phantom.uncertainty, ["liver"])
    panel.wait(lambda: panel.logic.state.value == "idle")
    panel.settle()


def texts(panel: Any) -> list[str]:
    """Return what is written at the upper edge of the axial, the coronal and the sagittal view."""
    found = []
    for view in panel.views:
        props = view.renderWindow().GetRenderers().GetFirstRenderer().GetViewProps()
        found.append("|".join(each.GetInput() or "" for each in props if each.IsA("vtkTextActor")))
    return found


def scrollTo(panel: Any, sliceK: int) -> None:
    panel.views[0].node.JumpSliceByOffsetting(*(IJK_TO_RAS @ [25, 22, sliceK, 1])[:3])
    panel.settle()


def test_the_proposal_of_before_the_last_run_is_one_key_away(proposed: Any, phantom: Any, engine: Any) -> None:
    assert proposed.ui.compareBeforeButton.toolTip == "There was no proposal before the last run."
    segment(proposed, phantom, engine, phantom.liver)
    proposal, own = proposed.parameters.proposal, proposed.parameters.segmentation
    before = slicer.util.getNode("CT abdomen proposal before")
    [segmentId] = before.GetSegmentation().GetSegmentIDs()
    mask = slicer.util.arrayFromSegmentBinaryLabelmap(before, segmentId, proposed.parameters.inputVolume)
    assert np.array_equal(mask, phantom.proposed)
    scrollTo(proposed, 9)
    picture = proposed.views[0].pixels().copy()
    nodes = (proposal, before, own)

    proposed.window.setFocus()
    QTest.keyPress(proposed.window, Qt.Key_C, Qt.ShiftModifier)
    assert [bool(each.GetDisplayNode().GetVisibility()) for each in nodes] == [False, True, True]
    assert texts(proposed)[0] == "proposal before, yours"
    assert np.any(proposed.views[0].pixels() != picture)

    QTest.keyRelease(proposed.window, Qt.Key_C, Qt.ShiftModifier)
    assert [bool(each.GetDisplayNode().GetVisibility()) for each in nodes] == [True, False, True]
    assert np.array_equal(proposed.views[0].pixels(), picture)


def test_without_one_the_key_says_why_and_changes_nothing(proposed: Any) -> None:
    proposed.window.setFocus()
    QTest.keyPress(proposed.window, Qt.Key_C, Qt.ShiftModifier)

    assert proposed.shown() == "There was no proposal before the last run."
    assert proposed.parameters.proposal.GetDisplayNode().GetVisibility()
    QTest.keyRelease(proposed.window, Qt.Key_C, Qt.ShiftModifier)


def test_what_was_proposed_before_is_no_choice_of_the_users_and_not_saved(
    proposed: Any, phantom: Any, engine: Any, tmp_path: Any
) -> None:
    segment(proposed, phantom, engine, phantom.liver)

    assert proposed.ui.segmentationSelector.listedNames() == ["My segmentation"]
    assert slicer.util.saveScene(str(tmp_path / "scene.mrb"))
    slicer.mrmlScene.Clear(False)
    slicer.util.loadScene(str(tmp_path / "scene.mrb"))
    proposed.settle()
    names = [each.GetName() for each in slicer.util.getNodesByClass("vtkMRMLSegmentationNode")]
    assert "CT abdomen proposal before" not in names
    assert not proposed.ui.compareBeforeButton.enabled


def test_each_view_says_what_it_shows_and_whether_its_slice_is_done(proposed: Any) -> None:
    scrollTo(proposed, 9)
    assert texts(proposed) == ["proposal, yours"] * 3

    scrollTo(proposed, 12)
    assert texts(proposed) == ["proposal, yours, slice done", "proposal, yours", "proposal, yours"]

    proposed.pressKey("h")
    assert texts(proposed) == ["slice done", "", ""]
    proposed.pressKey("h")
    proposed.window.setFocus()
    QTest.keyPress(proposed.window, Qt.Key_C)
    assert texts(proposed) == ["yours, slice done", "yours", "yours"]
    QTest.keyRelease(proposed.window, Qt.Key_C)


def test_words_that_come_by_another_way_than_the_panel_follow_within_a_poll(proposed: Any) -> None:
    proposed.parameters.proposal.GetDisplayNode().SetVisibility(False)

    proposed.wait(lambda: texts(proposed) == ["yours, slice done", "yours", "yours"])


def test_the_words_are_gone_where_another_volume_is_shown_or_the_module_is_left(proposed: Any, phantom: Any) -> None:
    other = slicer.util.addVolumeFromArray(phantom.ct, ijkToRAS=IJK_TO_RAS, name="Another")

    proposed.views[1].layers.SetBackgroundVolumeID(other.GetID())
    proposed.widget.update()
    assert [bool(each) for each in texts(proposed)] == [True, False, True]

    proposed.moduleWidget.exit()
    assert texts(proposed) == ["", "", ""]
    proposed.widget.update()
    assert texts(proposed) == ["", "", ""]
