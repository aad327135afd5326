"""The export to DICOM as a run: with a real worker from a real series to files, and with one that waits or dies."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import highdicom
import numpy as np
import pytest
import slicer
import slicer.util
from as_slicer_waits import waitAsSlicer
from dicom_volume import loadDicom, saveDicom
from parameters import Parameters
from pydicom import dcmread
from scripted_user import User

from uncol.core.jobs import Structure
from uncol.core.volume import Volume
from UnCoLSegmentLib.Engine.Run import EngineError, RunResult
from UnCoLSegmentLib.Scene import Bridge
from UnCoLSegmentLib.Scene.RunData import SegmentationResult
from UnCoLSegmentLib.Scene.RunScene import RunScene
from UnCoLSegmentLib.Scripting import waitFor

SHAPE = (5, 6, 8)
SPACING = np.diag([0.8, 0.9, 2.5, 1.0])
FLIPPED = np.array([[1, 0, 0, -3], [0, -0.8, 0.6, 5], [0, -0.6, -0.8, 7], [0, 0, 0, 1.0]]) @ SPACING
"""Left-handed and tipped: the files' order of rows and columns makes Slicer turn the stack."""
ORIGIN = {"uncol": "0.1", "model": "organs", "model_sha256": "ab" * 32, "versions": {"torch": "2"}}


def proposed(folder: Path) -> tuple[Parameters, Volume, np.ndarray]:
    """A volume from DICOM with two structures that overlap, and their map."""
    draw = np.random.default_rng(5)
    voxels = np.arange(np.prod(SHAPE), dtype=np.int16).reshape(SHAPE)
    parameters = Parameters(inputVolume=loadDicom(saveDicom(folder, Volume(voxels, FLIPPED))))
    image = Bridge.snapshotVolume(parameters.inputVolume)
    doubts = draw.random(SHAPE, dtype=np.float32)
    masks = draw.random((2, *SHAPE)) < 0.4
    for name, mask, origin in (("liver", masks[0], ORIGIN), ("spleen", masks[1], {})):
        shown = SegmentationResult(
            image.with_voxels(mask.astype(np.uint8)),
            image.with_voxels(doubts),
            (Structure(1, name),),
            joins=True,
            origin=origin,
        )
        run = RunScene(parameters)
        run.showProposal(shown)
        run.showUncertainty(shown)
    return parameters, image, masks


def export(logic: Any, parameters: Parameters, folder: Path) -> RunResult:
    return waitFor(logic, partial(logic.exportDicom, parameters, folder), partial(waitAsSlicer, 10), patience_s=120)


def positions(dataset: Any) -> list[np.ndarray]:
    groups = dataset.PerFrameFunctionalGroupsSequence
    return [np.array(each.PlanePositionSequence[0].ImagePositionPatient, float) for each in groups]


def test_every_voxel_reaches_the_files_from_the_scene_through_a_real_worker(logic, scene, tmp_path: Path) -> None:
    parameters, image, masks = proposed(tmp_path / "ct")
    doubts = slicer.util.arrayFromVolume(parameters.uncertaintyVolume).copy()
    out = tmp_path / "out"
    out.mkdir()

    result = export(logic, parameters, out)

    assert sorted(each.name for each in out.iterdir()) == ["segmentation.dcm", "uncertainty.dcm"]
    assert result.message == f'"segmentation.dcm" and "uncertainty.dcm" are in "{out}". Research use only.'
    assert [each.partition(" is not")[0] for each in result.notes] == ['What made "spleen"']
    seg, pm = highdicom.seg.segread(out / "segmentation.dcm"), dcmread(out / "uncertainty.dcm")
    lps_to_k = np.linalg.inv(image.ijk_to_ras) @ np.diag([-1.0, -1, 1, 1])

    def sliceAt(position: np.ndarray) -> tuple[int, bool]:
        """Which slice of the volume lies where a frame says, and whether its rows run against the volume's."""
        _i, j, k, _ = lps_to_k @ [*position, 1]
        return round(k), round(j) > 0

    found = np.zeros((2, *SHAPE), bool)
    for item, frame, place in zip(
        seg.PerFrameFunctionalGroupsSequence, np.atleast_3d(seg.pixel_array), positions(seg), strict=True
    ):
        k, isTurned = sliceAt(place)
        number = item.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        found[number - 1, k] = frame[::-1] if isTurned else frame
    assert np.array_equal(found, masks)
    for frame, place in zip(np.frombuffer(pm.FloatPixelData, "<f4").reshape(SHAPE), positions(pm), strict=True):
        k, isTurned = sliceAt(place)
        assert np.array_equal(frame[::-1] if isTurned else frame, doubts[k])
    labels = [seg.get_segment_description(number) for number in (1, 2)]
    assert [each.SegmentLabel for each in labels] == ["liver", "spleen"]
    assert seg.DeviceSerialNumber == pm.DeviceSerialNumber == "ab" * 32
    wanted = set(parameters.inputVolume.GetAttribute("DICOM.instanceUIDs").split())
    for made in (seg, pm):
        instances = made.ReferencedSeriesSequence[0].ReferencedInstanceSequence
        assert {each.ReferencedSOPInstanceUID for each in instances} == wanted


def test_names_that_are_taken_are_never_written_over(logic, scene, tmp_path: Path, jobFolders) -> None:
    parameters, _, _ = proposed(tmp_path / "ct")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "uncertainty.dcm").write_text("mine")

    result = export(logic, parameters, tmp_path / "out")

    names = ["segmentation-2.dcm", "uncertainty-2.dcm", "uncertainty.dcm"]
    assert sorted(each.name for each in (tmp_path / "out").iterdir()) == names
    assert (tmp_path / "out" / "uncertainty.dcm").read_text() == "mine"
    assert "segmentation-2.dcm" in result.message


def test_a_cropped_volume_and_a_folder_that_is_not_there_are_one_sentence(logic, scene, tmp_path: Path) -> None:
    parameters, _, _ = proposed(tmp_path / "ct")
    with pytest.raises(
        EngineError, match=r"^The folder .* cannot be written to \(No such file or directory\)\. Choose"
    ):
        export(logic, parameters, tmp_path / "nowhere")

    matrix = np.eye(4)
    matrix[0, 3] = 0.5
    for node in (parameters.inputVolume, parameters.proposal, parameters.uncertaintyVolume):
        transform = slicer.vtkMRMLLinearTransformNode()
        transform.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(matrix))
        node.ApplyTransformMatrix(transform.GetMatrixTransformToParent())
    with pytest.raises(EngineError, match=r"^The volume does not have the voxels of its DICOM images any more"):
        export(logic, parameters, tmp_path)
    assert [*tmp_path.glob("*.dcm")] == []


@pytest.fixture
def waiting(user: User, tmp_path: Path) -> User:
    """A user whose export has been asked for, and an engine that has not answered."""
    user.parameters, _, _ = proposed(tmp_path / "ct")
    user.engine.exports = False
    (tmp_path / "out").mkdir()
    user.logic.exportDicom(user.parameters, tmp_path / "out")
    user.untilAsked("export_dicom")
    return user


def test_nothing_comes_into_the_folder_when_it_is_cancelled(waiting: User, tmp_path: Path) -> None:
    waiting.logic.cancel()
    waiting.engine.say("export_dicom", "cancelled", message="The export to DICOM was cancelled; nothing was written.")

    assert waiting.end() == ("cancelled", "Cancelled.")
    assert [*(tmp_path / "out").iterdir()] == []


def test_an_engine_that_dies_is_told_and_leaves_nothing(waiting: User, tmp_path: Path) -> None:
    waiting.engine.die(-9)

    kind, message = waiting.end()
    assert kind == "failed"
    assert message.startswith("The engine stopped unexpectedly")
    assert [*(tmp_path / "out").iterdir()] == []


def test_no_second_run_begins_meanwhile(waiting: User, tmp_path: Path) -> None:
    assert waiting.logic.runKind == "export"
    assert "A run is under way" in waiting.logic.whyNotExport(waiting.parameters)

    waiting.logic.exportDicom(waiting.parameters, tmp_path / "out")

    assert waiting.end()[0] == "failed"
    assert sum(op == "export_dicom" for op, _ in waiting.engine.requests) == 1
