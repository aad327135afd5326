"""Boxes drawn with the mouse in Slicer's own slice view: two clicks, once more, not to the end, pulled by handles."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import slicer
import slicer.util
from panel_phantom import IJK_TO_RAS
from PySide6.QtCore import Qt
from PySide6.QtTest import QTest
from slice_view import SliceView

CORNERS_IJK = (12, 12, 12), (38, 32, 12)  # round the liver, in the slice that the axial view shows
OTHER_CORNERS_IJK = (8, 10, 12), (42, 36, 12)
OPEN = "Next: click two opposite corners of the structure in a slice view. Escape leaves the box as it was."


@pytest.fixture
def drawing(panel: Any, phantom: Any, host: Any) -> Any:
    """The panel beside three slice views that show the middle of the liver."""
    phantom.addVolume()
    panel.views = phantom.addSliceViews(host)
    panel.choose("inputVolumeSelector", "CT abdomen")
    panel.typeText("structureNameEdit", "liver")
    return panel


@pytest.fixture
def boxed(drawing: Any) -> Any:
    """The same with a box that was drawn."""
    draw(drawing, *CORNERS_IJK)
    return drawing


def worldOf(ijk: Any) -> np.ndarray:
    return (IJK_TO_RAS @ [*ijk, 1])[:3]


def draw(panel: Any, *corners: tuple[int, int, int]) -> None:
    """Click Draw, and then each corner in the axial view."""
    panel.click("drawBoxButton")
    clickAt(panel, *corners)


def clickAt(panel: Any, *corners: tuple[int, int, int]) -> None:
    for corner in corners:
        panel.views[0].click(*panel.views[0].pixelOf(worldOf(corner)))
    panel.settle()


def boundsOf(panel: Any) -> np.ndarray:
    """Return the two corners of the box in R and A, in mm."""
    bounds = np.zeros(6)
    panel.parameters.roi.GetRASBounds(bounds)
    return bounds.reshape(3, 2).T[:, :2]


def expected(corners: Any) -> np.ndarray:
    return np.sort([worldOf(corner)[:2] for corner in corners], axis=0)


def isPlacing() -> bool:
    interaction = slicer.mrmlScene.GetNodeByID("vtkMRMLInteractionNodeSingleton")
    return bool(interaction.GetCurrentInteractionMode() == interaction.Place)


def test_two_clicks_place_a_box_and_never_a_point_list(drawing: Any) -> None:
    draw(drawing, *CORNERS_IJK)

    assert np.allclose(boundsOf(drawing), expected(CORNERS_IJK), atol=0.5)  # a pixel is 0.4 mm
    assert min(drawing.parameters.roi.GetSize()) > 0
    assert drawing.parameters.roi.GetName() == "liver"
    assert slicer.util.getNodesByClass("vtkMRMLMarkupsFiducialNode") == []
    assert drawing.ui.segmentButton.enabled
    assert not isPlacing()


def test_draw_shows_that_it_is_on_until_the_box_is_placed(drawing: Any) -> None:
    draw(drawing, CORNERS_IJK[0])
    assert drawing.ui.drawBoxButton.checked
    assert drawing.ui.nextLabel.text == OPEN

    clickAt(drawing, CORNERS_IJK[1])
    assert not drawing.ui.drawBoxButton.checked
    assert drawing.ui.nextLabel.text == "Next: pull the faces of the box to the structure, then Segment."


def test_draw_places_the_same_box_anew(boxed: Any) -> None:
    roi = boxed.parameters.roi

    draw(boxed, *OTHER_CORNERS_IJK)

    assert boxed.parameters.roi is roi
    assert np.allclose(boundsOf(boxed), expected(OTHER_CORNERS_IJK), atol=0.5)
    assert len(slicer.util.getNodesByClass("vtkMRMLMarkupsNode")) == 1


@pytest.mark.parametrize("clicks", [0, 1])
@pytest.mark.parametrize("end", ["Escape", "button", "right button", "other mode"])
def test_a_box_that_is_not_drawn_to_its_end_stays_as_it_was(boxed: Any, end: str, clicks: int) -> None:
    before = boundsOf(boxed)
    draw(boxed, *OTHER_CORNERS_IJK[:clicks])
    assert isPlacing()

    stop(boxed, end)

    assert np.array_equal(boundsOf(boxed), before)
    assert not isPlacing()
    assert not boxed.ui.drawBoxButton.checked
    assert boxed.ui.segmentButton.enabled
    assert boxed.parameters.roi.GetName() == "liver"


def stop(panel: Any, end: str) -> None:
    if end == "Escape":
        QTest.keyClick(panel.ui.drawBoxButton, Qt.Key_Escape)
    elif end == "button":
        panel.click("drawBoxButton")
    elif end == "right button":
        panel.views[0].rightClick(200, 150)
    else:
        slicer.mrmlScene.GetNodeByID("vtkMRMLInteractionNodeSingleton").SwitchToViewTransformMode()
    panel.settle()


def test_after_a_box_was_given_up_segment_lets_it_be_drawn_again(drawing: Any) -> None:
    draw(drawing, CORNERS_IJK[0])

    stop(drawing, "Escape")

    assert drawing.parameters.roi.GetNumberOfControlPoints() == 0
    drawing.click("segmentButton")
    assert isPlacing()


def test_two_clicks_at_one_place_are_no_box(boxed: Any) -> None:
    before = boundsOf(boxed)

    draw(boxed, OTHER_CORNERS_IJK[0], OTHER_CORNERS_IJK[0])

    assert np.array_equal(boundsOf(boxed), before)


def test_escape_is_the_segment_editors_again_afterwards(boxed: Any) -> None:
    assert boxed.ui.segmentEditor.areShortcutsInstalled

    boxed.click("drawBoxButton")
    assert not boxed.ui.segmentEditor.areShortcutsInstalled  # two shortcuts of one key: Qt would use neither

    stop(boxed, "Escape")
    assert boxed.ui.segmentEditor.areShortcutsInstalled


def test_drawing_ends_when_the_user_leaves_the_module_or_closes_the_scene(boxed: Any) -> None:
    before = boundsOf(boxed)
    boxed.click("drawBoxButton")
    boxed.moduleWidget.exit()
    assert not isPlacing()
    assert not boxed.ui.segmentEditor.areShortcutsInstalled
    assert np.array_equal(boundsOf(boxed), before)

    boxed.moduleWidget.enter()
    boxed.click("drawBoxButton")
    slicer.mrmlScene.Clear(False)
    boxed.settle()
    assert not isPlacing()
    assert not boxed.ui.drawBoxButton.checked


def test_a_box_drawn_and_pulled_by_a_handle_is_what_the_engine_segments(boxed: Any, engine: Any, phantom: Any) -> None:
    view, upper = boxed.views[0], expected(CORNERS_IJK)[1]
    handle = worldOf((25, 22, 12))
    handle[:2] = upper[0], expected(CORNERS_IJK)[:, 1].mean()  # the middle of the face towards R
    further = handle + np.array([6, 0, 0])  # 4 voxels

    view.drag(view.pixelOf(handle), view.pixelOf(further))
    boxed.settle()

    assert boundsOf(boxed)[1, 0] == pytest.approx(upper[0] + 6, abs=0.5)
    boxed.click("segmentButton")
    boxed.wait(lambda: engine.asked("segment"))
    [box] = engine.asked("segment")["boxes"]
    assert box["structure"] == "liver"
    assert np.allclose(box["lower_ijk"][:2], [8, 12], atol=1)
    assert np.allclose(box["upper_ijk"][:2], [38, 32], atol=1)
    engine.finishSegment(phantom.liver, phantom.uncertainty, ["liver"])
    boxed.wait(boxed.shown)
    assert boxed.shown() == "Proposed: liver. Check it, then accept what is right."


def test_a_result_hides_the_box_which_can_be_shown_and_hidden(boxed: Any, engine: Any, phantom: Any) -> None:
    display = boxed.parameters.roi.GetDisplayNode()
    assert boxed.ui.boxShownCheckBox.checked

    boxed.click("segmentButton")
    boxed.wait(lambda: engine.asked("segment"))
    engine.finishSegment(phantom.liver, phantom.uncertainty, ["liver"])
    boxed.wait(boxed.shown)
    assert not display.GetVisibility()
    assert not boxed.ui.boxShownCheckBox.checked

    boxed.click("boxShownCheckBox")
    assert display.GetVisibility()
    boxed.click("boxShownCheckBox")
    assert not display.GetVisibility()

    draw(boxed, *OTHER_CORNERS_IJK)
    assert display.GetVisibility()
    assert boxed.ui.boxShownCheckBox.checked


def test_the_proposal_is_an_outline_or_filled_and_shown_in_3d(boxed: Any, engine: Any, phantom: Any) -> None:
    assert boxed.ui.hideButton.toolTip == "There is no proposal yet. Segment the volume first."
    segmentLiver(boxed, engine, phantom)
    node = boxed.parameters.proposal
    outline = boxed.views[0].pixels().copy()
    assert not boxed.ui.proposalFilledCheckBox.checked

    boxed.click("proposalFilledCheckBox")
    filled = boxed.views[0].pixels().copy()
    boxed.click("proposalFilledCheckBox")
    boxed.click("hideButton")
    hidden = boxed.views[0].pixels()

    assert changed(filled, hidden) > 1000
    below_texts = np.s_[40:-40]  # the views say what they show
    assert changed(outline[below_texts], hidden[below_texts]) < 600  # grey values stay, but under the lines
    assert np.ptp(SliceView.pixels(boxed.views[0]).astype(int), axis=-1).max() == 0  # the map is hidden, too
    assert changed(outline, hidden) > 0
    assert not node.GetDisplayNode().GetVisibility2DFill()
    assert not node.GetDisplayNode().GetVisibility()

    boxed.click("show3DButton")
    assert surfacesOf(node) == 1
    segmentLiver(boxed, engine, phantom)
    assert surfacesOf(node) == 1  # the new proposal's
    assert boxed.ui.show3DButton.checked
    boxed.click("show3DButton")
    assert surfacesOf(node) == 0


def segmentLiver(panel: Any, engine: Any, phantom: Any) -> None:
    count = sum(op == "segment" for op, _ in engine.requests)
    panel.click("segmentButton")
    panel.wait(lambda: sum(op == "segment" for op, _ in engine.requests) > count)
    engine.finishSegment(phantom.liver, phantom.uncertainty, ["liver"])
    panel.wait(panel.shown)
    panel.settle()


def changed(picture: np.ndarray, other: np.ndarray) -> int:
    """Return how many pixels differ."""
    return int((picture != other).any(axis=-1).sum())


def surfacesOf(node: Any) -> int:
    """Return how many surfaces of a proposal are shown in 3D."""
    models = slicer.util.getNodesByClass("vtkMRMLModelNode")
    return sum(
        each is node.GetNodeReference("UnCoL.Surface") and each.GetDisplayNode().GetVisibility() for each in models
    )


def test_what_the_user_set_for_showing_a_segmentation_is_not_changed_and_a_new_one_is_seen_through(
    boxed: Any, engine: Any, phantom: Any
) -> None:
    own = phantom.addSegmentation(boxed.parameters.inputVolume)
    own.GetDisplayNode().SetOpacity2DFill(0.7)
    boxed.choose("segmentationSelector", "My segmentation")
    segmentLiver(boxed, engine, phantom)
    boxed.click("acceptAllButton")
    boxed.waitForDetection()
    assert own.GetDisplayNode().GetOpacity2DFill() == pytest.approx(0.7)
    assert own.GetDisplayNode().GetVisibility2DFill()

    made = boxed.ui.segmentationSelector.addNode()
    boxed.parameters.segmentation = None
    boxed.click("acceptAllButton")

    for each in (made, boxed.parameters.segmentation):
        assert each.GetDisplayNode().GetOpacity2DFill() == pytest.approx(0.15)
