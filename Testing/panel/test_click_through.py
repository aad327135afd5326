"""One complete round by mouse and keyboard with a real worker: box, proposal, correction, fine-tune, uncertainty."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import slicer
import slicer.util
import vtk

from uncol.demo.phantom import LIVER, make_phantom

MINUTES = float(os.environ.get("UNCOL_CLICK_MINUTES", "0.5"))
PATIENCE_S = 400.0 + 60 * MINUTES


@pytest.fixture
def patient(host: Any) -> Any:
    """A generated CT in the scene with slice views, and where its liver is."""
    from real_slice_view import RealSliceView

    phantom = make_phantom((24, 80, 96), (4.0, 4.0, 8.0))
    volume = slicer.util.addVolumeFromArray(phantom.image.voxels, ijkToRAS=phantom.image.ijk_to_ras, name="CT abdomen")
    volume.GetDisplayNode().AutoWindowLevelOff()
    volume.GetDisplayNode().SetWindowLevel(400, 40)
    views = [RealSliceView(host, orientation, (420, 300)) for orientation in ("Axial", "Coronal", "Sagittal")]
    return volume, phantom.labels.voxels == LIVER, views


@pytest.mark.slow
def test_a_user_gets_from_a_box_to_a_model_of_their_own_without_leaving_the_panel(
    openPanel: Any, patient: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from workplace_picture import saveWorkplace

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    volume, liver, views = patient
    panel = openPanel()
    panel.choose("inputVolumeSelector", "CT abdomen")

    # A box, and the foundation model's proposal.
    panel.typeText("structureNameEdit", "liver")
    panel.click("drawBoxButton")
    placeBox(panel.parameters.roi, volume, liver)
    panel.click("segmentButton")
    panel.wait(panel.shown, PATIENCE_S)
    assert panel.shown().startswith("Proposed: liver"), panel.shown()
    first = diceOf(panel, liver)
    assert first > 0.5

    # The user takes it over, corrects three slices, and says so of one that is empty.
    panel.click("acceptAllButton")
    slices = np.quantile(np.flatnonzero(liver.any(axis=(1, 2))), [0.2, 0.5, 0.8]).astype(int)
    paint(panel.parameters.segmentation, volume, liver, slices)
    panel.waitForDetection()
    assert [row[2:] for row in panel.cells("slicesTable")] == [["yes", "[x]"]] * 3
    for view in views:
        view.fit()
    ijkToRAS = slicer.util.arrayFromVTKMatrix(worldOf(volume))
    empty = int(np.flatnonzero(~liver.any(axis=(1, 2)))[0])
    views[0].node.JumpSliceByOffsetting(*(ijkToRAS @ [48, 40, empty, 1])[:3])
    panel.click("sliceIsEmptyButton")
    assert ["none", "[x]"] in [row[2:] for row in panel.cells("slicesTable")]

    # Learning, the shortest time that the slider offers; cancelled once on the way and resumed.
    panel.ui.minutesSlider.value = MINUTES
    panel.click("fineTuneButton")
    panel.wait(lambda: len(panel.logic.curve) >= 2, PATIENCE_S)
    panel.click("cancelRunButton")
    panel.wait(panel.shown, 5)
    saved = "What was learned is saved; Resume goes on from there."
    told = f"Cancelled. The proposal is the best that was found so far. {saved}"
    assert panel.shown() == told
    panel.click("resumeButton")
    panel.wait(lambda: panel.logic.state.value == "idle" and panel.shown(), PATIENCE_S)
    assert panel.shown().startswith("First model, in use now."), panel.shown()
    [entry] = panel.cells("roundsTable")
    assert entry[2].startswith("liver 0.")
    assert entry[2] != "liver 0.00"
    assert entry[3] == "in use"

    # The new model's proposal and where it is unsure.
    assert panel.ui.modelComboBox.currentText == "liver (in use)"
    assert diceOf(panel, liver) > 0.5
    panel.click("suggestSliceButton")
    if panel.ui.nextPlaceButton.enabled:
        panel.click("nextPlaceButton")
        assert panel.shown().startswith("Place 1 of ")
    panel.unfold("result", "correct")
    picture = panel.photograph("17-after-a-round")
    saveWorkplace(picture, views, picture.with_name("overview.png"))
    assert panel.host.errors == []


def placeBox(roi: Any, volume: Any, mask: np.ndarray) -> None:
    """Pull the faces of a box to the structure."""
    ijkToRAS = slicer.util.arrayFromVTKMatrix(worldOf(volume))
    found = np.argwhere(mask)[:, ::-1]
    corners = np.array([found.min(axis=0) - 0.5, found.max(axis=0) + 0.5])
    world = (ijkToRAS @ np.c_[corners, np.ones(2)].T)[:3].T
    roi.SetCenterWorld(*world.mean(axis=0))
    roi.SetSize(*np.abs(world[1] - world[0]))


def paint(segmentation: Any, volume: Any, mask: np.ndarray, slices: np.ndarray) -> None:
    """Correct some axial slices of the first segment, as a careful user does."""
    segmentId = segmentation.GetSegmentation().GetNthSegmentID(0)
    painted = slicer.util.arrayFromSegmentBinaryLabelmap(segmentation, segmentId, volume).copy()
    painted[slices] = mask[slices]
    slicer.util.updateSegmentBinaryLabelmapFromArray(painted, segmentation, segmentId, volume)


def diceOf(panel: Any, truth: np.ndarray) -> float:
    """Return how well the proposal agrees with the truth."""
    proposal = panel.parameters.proposal
    segmentId = proposal.GetSegmentation().GetNthSegmentID(0)
    found = slicer.util.arrayFromSegmentBinaryLabelmap(proposal, segmentId, panel.parameters.inputVolume) > 0
    return 2 * np.count_nonzero(found & truth) / (np.count_nonzero(found) + np.count_nonzero(truth))


def worldOf(volume: Any) -> Any:
    """Return the matrix from voxels to RAS; there is no transform above the volume."""
    matrix = vtk.vtkMatrix4x4()
    volume.GetIJKToRASMatrix(matrix)
    return matrix
