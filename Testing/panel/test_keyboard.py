"""What the keys do: Space and the digits belong to the Segment Editor while the panel is open."""

from __future__ import annotations

from typing import Any

import pytest
from PySide6.QtCore import Qt
from PySide6.QtTest import QTest


@pytest.fixture
def painted(panel: Any, phantom: Any) -> Any:
    """The panel with a box and two annotated slices."""
    volume = phantom.addVolume()
    segmentation = phantom.addSegmentation(volume)
    panel.choose("inputVolumeSelector", "CT abdomen")
    panel.choose("segmentationSelector", "My segmentation")
    panel.parameters.roi = phantom.addBox()
    phantom.paint(segmentation, volume, 6, 12)
    panel.waitForDetection()
    return panel


def test_enter_presses_the_button_that_has_the_focus(painted: Any, engine: Any) -> None:
    button = painted.ui.segmentButton
    painted.reveal(button)
    button.setFocus()

    QTest.keyClick(button, Qt.Key_Return)

    painted.wait(lambda: engine.asked("segment"))


def test_enter_ticks_a_slice_in_the_column_of_ticks(painted: Any) -> None:
    painted.reveal(painted.ui.slicesTable)
    table = painted.ui.slicesTable
    before = [row[3] for row in painted.cells("slicesTable")]

    table.setFocus()
    table.setCurrentCell(0, 3)
    QTest.keyClick(table, Qt.Key_Return)
    painted.settle()

    after = [row[3] for row in painted.cells("slicesTable")]
    assert after[0] != before[0]
    assert after[1:] == before[1:]


def test_f2_renames_the_selected_model(panel: Any, engine: Any) -> None:
    from scripted_engine import writeModel

    writeModel(panel.logic.store.folder / "liver", ["liver"], {})
    panel.logic.modelsChanged.emit()
    panel.clickCell("modelsTable", 0, 0)

    QTest.keyClick(panel.ui.modelsTable, Qt.Key_F2)
    panel.typeInto("modelsTable", "left-liver")

    assert panel.logic.store.names() == ("left-liver",)
