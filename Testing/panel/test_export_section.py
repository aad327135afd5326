"""The button "Export to DICOM...": grey with a reason, or one click and a folder away from two files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import qt
import slicer
from panel_phantom import IJK_TO_RAS
from pydicom import dcmread
from PySide6.QtCore import Qt
from PySide6.QtTest import QTest

from uncol.core.volume import Volume


@pytest.fixture
def dialog() -> Any:
    """The file dialog, with the answers that a test lays down."""
    qt.QFileDialog.answers.clear()
    qt.QFileDialog.asked.clear()
    return qt.QFileDialog


@pytest.fixture
def proposed(panel: Any, phantom: Any, engine: Any, tmp_path: Path) -> Any:
    """The panel with a proposal about a volume from DICOM."""
    from dicom_volume import loadDicom, saveDicom

    volume = loadDicom(saveDicom(tmp_path / "ct", Volume(phantom.ct, IJK_TO_RAS)), "CT abdomen")
    panel.choose("inputVolumeSelector", "CT abdomen")
    panel.parameters.roi = phantom.addBox()
    assert volume.GetImageData().GetDimensions() == phantom.liver.shape[::-1]
    panel.click("segmentButton")
    panel.wait(lambda: engine.asked("segment"))
    engine.finishSegment(phantom.liver, phantom.uncertainty, ["liver"])
    panel.wait(panel.shown)
    panel.unfold("result")
    return panel


def reason(panel: Any) -> str:
    """Why the button is grey."""
    assert not panel.ui.exportDicomButton.enabled
    return str(panel.ui.exportDicomButton.toolTip)


def test_two_files_come_into_the_chosen_folder(proposed: Any, phantom: Any, dialog: Any, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    dialog.answers.append(str(tmp_path / "out"))
    assert "what you painted yourself is not in them" in proposed.ui.exportDicomButton.toolTip

    proposed.click("exportDicomButton")
    assert proposed.ui.nextLabel.text.startswith("Exporting: ")
    proposed.wait(proposed.shown, 60)

    assert dialog.asked == [("Export to DICOM", "", "")]
    assert proposed.shown() == (
        f'"segmentation.dcm" and "uncertainty.dcm" are in "{tmp_path / "out"}". Research use only.'
    )
    seg = dcmread(tmp_path / "out" / "segmentation.dcm")
    assert seg.pixel_array.sum() == phantom.liver.sum()
    assert [each.SegmentLabel for each in seg.SegmentSequence] == ["liver"]
    maps = np.frombuffer(dcmread(tmp_path / "out" / "uncertainty.dcm").FloatPixelData, "<f4")
    assert np.array_equal(maps.reshape(phantom.uncertainty.shape), phantom.uncertainty)  # both go from the feet up


def test_it_works_from_the_keyboard_and_remembers_the_folder(proposed: Any, dialog: Any, tmp_path: Path) -> None:
    dialog.answers += [str(tmp_path), ""]
    button = proposed.ui.exportDicomButton

    button.setFocus()
    QTest.keyClick(button, Qt.Key_Return)
    proposed.wait(proposed.shown, 60)
    QTest.keyClick(button, Qt.Key_Return)

    assert [directory for _, directory, _ in dialog.asked] == ["", str(tmp_path)]


def test_a_user_who_chooses_no_folder_starts_nothing(proposed: Any, engine: Any, dialog: Any) -> None:
    dialog.answers.append("")

    proposed.click("exportDicomButton")

    assert engine.asked("export_dicom") is None
    assert proposed.shown() == ""


def test_it_can_be_cancelled(proposed: Any, engine: Any, dialog: Any, tmp_path: Path) -> None:
    engine.exports = False
    (tmp_path / "out").mkdir()
    dialog.answers.append(str(tmp_path / "out"))
    proposed.click("exportDicomButton")
    proposed.wait(lambda: engine.asked("export_dicom"))
    assert "A run is under way" in reason(proposed)

    proposed.click("cancelRunButton")
    engine.say("export_dicom", "cancelled", message="The export to DICOM was cancelled; nothing was written.")
    proposed.wait(proposed.shown)

    assert proposed.shown() == "Cancelled."
    assert [*(tmp_path / "out").iterdir()] == []


def test_images_that_are_gone_from_the_database_are_told_before_a_folder_is_asked_for(
    proposed: Any, engine: Any, dialog: Any
) -> None:
    slicer.dicomDatabase.files.popitem()

    proposed.click("exportDicomButton")

    assert proposed.shown().startswith("Slicer's DICOM database lacks 1 of the volume's 24 images.")
    assert dialog.asked == []
    assert engine.asked("export_dicom") is None


def test_what_the_engine_refuses_is_shown(proposed: Any, dialog: Any, tmp_path: Path) -> None:
    next(iter(slicer.dicomDatabase.files.values())).unlink()
    dialog.answers.append(str(tmp_path))

    proposed.click("exportDicomButton")
    proposed.wait(proposed.shown, 60)

    assert proposed.shown() == (
        "The DICOM series lacks 1 of its 24 files: they were moved or deleted. Import it again."
    )
    assert [*tmp_path.glob("*.dcm")] == []


def test_why_it_is_grey(panel: Any, phantom: Any, engine: Any) -> None:
    assert reason(panel) == "Choose the volume to segment."

    phantom.addVolume()
    panel.choose("inputVolumeSelector", "CT abdomen")
    assert reason(panel) == "There is no proposal of this volume yet. Segment it first."

    panel.parameters.roi = phantom.addBox()
    panel.click("segmentButton")
    panel.wait(lambda: engine.asked("segment"))
    assert reason(panel).startswith("A run is under way.")
    engine.finishSegment(phantom.liver, phantom.uncertainty, ["liver"])
    panel.wait(panel.shown)
    assert reason(panel) == "The volume was not loaded from DICOM, so there is no patient and no study to export to."
