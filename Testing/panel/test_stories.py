"""How many clicks and keys it takes: from a CT to a first segmentation, and from there to a model of one's own."""

from __future__ import annotations

from typing import Any

import pytest

RIGHT_SLICES = 5


@pytest.fixture
def loaded(panel: Any, phantom: Any, host: Any) -> Any:
    """The panel with a CT in three views."""
    phantom.addVolume()
    panel.views = phantom.addSliceViews(host)
    panel.settle()
    panel.acts = 0
    click = panel.click

    def counted(name: str) -> None:
        panel.acts += 1
        click(name)

    panel.click = counted
    return panel


def pixelOf(view: Any, ijk: tuple[float, float, float]) -> Any:
    from panel_phantom import IJK_TO_RAS

    return view.pixelOf((IJK_TO_RAS @ [*ijk, 1])[:3])


def nextStepIsAtHand(panel: Any) -> bool:
    """Say whether exactly one button stands out, is in sight and can be clicked."""
    found = [each for each in vars(panel.ui).values() if each.property("isPrimary")]
    return len(found) == 1 and found[0].isVisible() and found[0].isEnabled()


def test_from_a_loaded_ct_to_a_first_segmentation_by_a_box_takes_six_clicks(
    loaded: Any, engine: Any, phantom: Any
) -> None:
    assert nextStepIsAtHand(loaded)
    loaded.click("segmentButton")
    axial = loaded.views[0]
    for corner in ((11, 11, 12), (39, 33, 12)):
        axial.click(*pixelOf(axial, corner))
        loaded.acts += 1
    loaded.settle()
    assert nextStepIsAtHand(loaded)
    loaded.acts += 2  # the upper and the lower face of the box are pulled in the coronal view
    phantom.placeBox(loaded.parameters.roi)
    loaded.click("segmentButton")
    loaded.wait(lambda: engine.asked("segment"))
    engine.finishSegment(phantom.proposed, phantom.uncertainty, ["liver"])
    loaded.wait(loaded.shown)

    assert loaded.acts <= 6
    assert loaded.parameters.proposal is not None
    assert nextStepIsAtHand(loaded)


def test_from_a_proposal_to_a_model_takes_one_key_for_each_right_slice_and_one_click(
    loaded: Any, engine: Any, phantom: Any
) -> None:
    loaded.parameters.roi = phantom.addBox()
    loaded.click("segmentButton")
    loaded.wait(lambda: engine.asked("segment"))
    engine.finishSegment(phantom.proposed, phantom.uncertainty, ["liver"])
    loaded.wait(loaded.shown)
    loaded.acts = 0

    for _ in range(RIGHT_SLICES):
        assert nextStepIsAtHand(loaded)
        loaded.pressKey("d")
        loaded.acts += 1
        loaded.waitForDetection()
    loaded.click("fineTuneButton")
    loaded.wait(lambda: engine.asked("fine_tune"))

    assert loaded.acts == RIGHT_SLICES + 1
    assert len(loaded.cells("slicesTable")) == RIGHT_SLICES


@pytest.mark.parametrize("key", ["d", "e", "n", "k", "u", "h", "o", "c"])
def test_a_key_is_typed_where_text_is_written(loaded: Any, key: str) -> None:
    loaded.typeText("structureNameEdit", f"{key}{key}")

    assert loaded.ui.structureNameEdit.text == f"{key}{key}"
    assert loaded.cells("slicesTable") == []
    assert not loaded.ui.drawBoxButton.checked


def test_c_shows_the_own_segmentation_alone_as_long_as_it_is_held(loaded: Any, engine: Any, phantom: Any) -> None:
    from PySide6.QtCore import Qt
    from PySide6.QtTest import QTest

    loaded.parameters.roi = phantom.addBox()
    loaded.click("segmentButton")
    loaded.wait(lambda: engine.asked("segment"))
    engine.finishSegment(phantom.proposed, phantom.uncertainty, ["liver"])
    loaded.wait(loaded.shown)
    display = loaded.parameters.proposal.GetDisplayNode()

    loaded.window.setFocus()
    QTest.keyPress(loaded.window, Qt.Key_C)
    assert not display.GetVisibility()

    QTest.keyRelease(loaded.window, Qt.Key_C)
    assert display.GetVisibility()


def test_ctrl_enter_segments_and_cancels(loaded: Any, engine: Any, phantom: Any) -> None:
    from PySide6.QtCore import Qt
    from PySide6.QtTest import QTest

    loaded.parameters.roi = phantom.addBox()
    loaded.window.setFocus()

    QTest.keyClick(loaded.window, Qt.Key_Return, Qt.ControlModifier)
    loaded.wait(lambda: engine.asked("segment"))
    QTest.keyClick(loaded.window, Qt.Key_Return, Qt.ControlModifier)

    loaded.wait(lambda: engine.asked("cancel"))
