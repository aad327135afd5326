"""What an export to DICOM takes out of a scene: labels that may overlap, their look and origin, where images are."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import slicer
import slicer.util
from dicom_volume import loadDicom, saveDicom
from parameters import Parameters
from scene_parts import TURN, addTransform, addVolume, segmentOf

from uncol.core.dicom_export import CodedTerm, Concept
from uncol.core.errors import DataError
from uncol.core.jobs import Structure
from uncol.core.volume import Volume
from UnCoLSegmentLib import Preconditions
from UnCoLSegmentLib.Scene import DicomSource, Labelmaps, Origins, Terminology
from UnCoLSegmentLib.Scene.ExportData import ExportData
from UnCoLSegmentLib.Scene.Maker import MODEL_ATTRIBUTE
from UnCoLSegmentLib.Scene.RunData import SegmentationResult
from UnCoLSegmentLib.Scene.RunScene import RunScene

SHAPE = (5, 6, 8)
GRID = np.array([[-0.8, 0, 0, 12.5], [0, -0.9, 0, -30.25], [0, 0, 2.5, 41.75], [0, 0, 0, 1]])
NASTY = {"uncol": "0.1", "model": 'a|b: "c" \\ \u00e4\n', "training": {"held_out_dice": {"liver": 0.9}}}


@pytest.fixture
def parameters(scene: Any, tmp_path: Path) -> Parameters:
    """A volume from DICOM, without a proposal."""
    voxels = np.arange(np.prod(SHAPE), dtype=np.int16).reshape(SHAPE)
    return Parameters(inputVolume=loadDicom(saveDicom(tmp_path / "ct", Volume(voxels, GRID))))


def propose(parameters: Parameters, name: str, mask: np.ndarray, origin: dict[str, Any], **more: Any) -> None:
    """Propose a structure beside those that are there, as a run from a box does."""
    run = RunScene(parameters)
    labels = Volume(mask.astype(np.uint8), GRID)
    doubts = labels.with_voxels(np.where(mask, 0.5, 0.25).astype(np.float32))
    shown = SegmentationResult(labels, doubts, (Structure(1, name),), joins=True, origin=origin, **more)
    run.showProposal(shown)
    run.showUncertainty(shown)


def taken(parameters: Parameters) -> ExportData:
    return ExportData.take(parameters)


def masks() -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(3)
    return draw.random(SHAPE) < 0.4, draw.random(SHAPE) < 0.4


def test_labels_and_map_are_those_of_the_proposal(parameters: Parameters) -> None:
    liver, _ = masks()
    propose(parameters, "liver", liver, NASTY)

    data = taken(parameters)

    [labels] = data.labels()
    assert np.array_equal(labels.voxels, liver)
    assert np.array_equal(data.uncertainty.voxels, np.where(liver, np.float32(0.5), np.float32(0.25)))
    assert labels.shares_grid_with(data.uncertainty)
    [structure] = data.structures
    color = segmentOf(parameters.proposal, "liver").GetColor()
    assert (structure.name, structure.color) == ("liver", tuple(round(255 * each) for each in color))
    assert structure.origin == NASTY
    assert sorted(data.images) == sorted((Path(data.images[0]).parent).iterdir())
    assert data.notes == ()


def test_structures_that_overlap_come_in_two_label_maps_and_lose_nothing(parameters: Parameters) -> None:
    liver, spleen = masks()
    propose(parameters, "liver", liver, NASTY)
    propose(parameters, "spleen", spleen, {"uncol": "0.2"})

    data = taken(parameters)

    found = data.labels()
    values = {each.name: each.value for each in data.structures}
    for name, mask in (("liver", liver), ("spleen", spleen)):
        assert np.array_equal(np.any([each.voxels == values[name] for each in found], axis=0), mask)
    assert len(found) == 2
    assert {each.name: each.origin.get("uncol") for each in data.structures} == {"liver": "0.1", "spleen": "0.2"}


def test_a_structure_beside_another_needs_no_second_label_map(parameters: Parameters) -> None:
    liver, _ = masks()
    propose(parameters, "liver", liver, {})
    propose(parameters, "spleen", ~liver, {})

    assert [np.unique(each.voxels).tolist() for each in taken(parameters).labels()] == [[1, 2]]


def test_a_proposal_without_any_voxel_can_be_exported(parameters: Parameters) -> None:
    propose(parameters, "liver", np.zeros(SHAPE, bool), NASTY)

    [labels] = taken(parameters).labels()
    assert not labels.voxels.any()


def test_origins_come_back_with_a_scene_and_with_a_file_of_the_proposal(parameters: Parameters, tmp_path: Path) -> None:
    propose(parameters, "liver", masks()[0], NASTY)
    assert slicer.util.saveNode(parameters.proposal, str(tmp_path / "p.seg.nrrd"))
    assert slicer.util.saveScene(str(tmp_path / "scene.mrb"))
    slicer.mrmlScene.Clear(False)

    slicer.util.loadScene(str(tmp_path / "scene.mrb"))

    nodes = {"inputVolume": "CT", "proposal": "CT proposal", "uncertaintyVolume": "CT uncertainty"}
    again = Parameters(**{field: slicer.util.getNode(name) for field, name in nodes.items()})
    assert taken(again).structures[0].origin == NASTY
    other = slicer.util.loadSegmentation(str(tmp_path / "p.seg.nrrd"))
    assert Origins.originOf(segmentOf(other, "liver")) == NASTY


def test_an_origin_that_is_not_noted_is_told_and_not_made_up(parameters: Parameters) -> None:
    liver, spleen = masks()
    propose(parameters, "liver", liver, NASTY)
    propose(parameters, "liver", liver, {})  # as of a preview: what was noted before would be wrong now
    propose(parameters, "spleen", spleen, NASTY)

    data = taken(parameters)

    assert [each.origin for each in data.structures] == [{}, NASTY]
    [note] = data.notes
    assert note.startswith('What made "liver" is not noted in full')


def test_of_a_scene_of_an_earlier_version_the_name_of_the_model_is_known(parameters: Parameters) -> None:
    propose(parameters, "liver", masks()[0], {}, model="organs")

    assert taken(parameters).structures[0].origin == {"model": "organs"}
    assert len(taken(parameters).notes) == 1


def test_a_transform_above_all_three_does_not_matter_and_one_between_them_is_refused(parameters: Parameters) -> None:
    liver, _ = masks()
    propose(parameters, "liver", liver, NASTY)
    three = (parameters.inputVolume, parameters.proposal, parameters.uncertaintyVolume)
    addTransform(TURN, *three)

    assert np.array_equal(taken(parameters).labels()[0].voxels, liver)
    for node in three:
        node.SetAndObserveTransformNodeID(None)
        with pytest.raises(DataError, match='not under the same transform as "CT"'):
            taken(parameters)
        addTransform(TURN, *three)


def test_the_map_is_the_proposals_whatever_else_is_chosen_and_that_of_another_model_is_refused(
    parameters: Parameters,
) -> None:
    propose(parameters, "liver", masks()[0], NASTY)
    own = parameters.uncertaintyVolume
    parameters.uncertaintyVolume = addVolume(Volume(np.zeros(SHAPE, np.float32), GRID))
    assert taken(parameters).uncertainty.voxels.max() == 0.5

    own.SetAttribute(MODEL_ATTRIBUTE, "another")
    with pytest.raises(DataError, match="no proposal with the map that came with it"):
        taken(parameters)


def test_the_term_that_the_user_chose_goes_along_and_that_of_every_new_segment_does_not(host: Any) -> None:
    module = slicer.vtkSlicerTerminologiesModuleLogic()
    slicer.modules.terminologies = SimpleNamespace(logic=lambda: module)
    segment, tag = slicer.vtkSegment(), slicer.vtkSegment.GetTerminologyEntryTagName()
    entry = "List~SCT^123037004^Anatomical Structure~SCT^{}~{}~Anatomic codes~^^~^^"

    assert Terminology.termOf(segment) is None
    segment.SetTag(tag, entry.format("85756007^Tissue", "^^"))
    assert Terminology.termOf(segment) is None
    segment.SetTag(tag, entry.format("64033007^Kidney", "SCT^7771000^Left"))
    assert Terminology.termOf(segment) == CodedTerm(
        Concept("SCT", "123037004", "Anatomical Structure"),
        Concept("SCT", "64033007", "Kidney"),
        Concept("SCT", "7771000", "Left"),
    )
    segment.SetTag(tag, "nonsense")
    assert Terminology.termOf(segment) is None


def test_why_there_is_nothing_to_export_is_one_sentence_each(parameters: Parameters) -> None:
    propose(parameters, "liver", masks()[0], NASTY)
    assert Preconditions.toExport(parameters) == ""

    parameters.inputVolume.SetAttribute(DicomSource.INSTANCES_ATTRIBUTE, None)
    assert "was not loaded from DICOM" in Preconditions.toExport(parameters)
    slicer.mrmlScene.RemoveNode(parameters.uncertaintyVolume)
    other = Parameters(inputVolume=parameters.inputVolume, proposal=parameters.proposal)
    assert "no uncertainty map" in Preconditions.toExport(other)
    other.inputVolume = addVolume(Volume(np.zeros(SHAPE, np.int16), GRID))
    assert "no proposal of this volume" in Preconditions.toExport(other)
    assert "Choose the volume" in Preconditions.toExport(Parameters())


def test_images_that_the_database_does_not_know_are_told(parameters: Parameters) -> None:
    volume = parameters.inputVolume
    assert len(DicomSource.filesOf(volume)) == SHAPE[0]

    slicer.dicomDatabase.files.popitem()
    with pytest.raises(DataError, match=re.escape("lacks 1 of the volume's 5 images. Import the series")):
        DicomSource.filesOf(volume)
    slicer.dicomDatabase.closeDatabase()
    with pytest.raises(DataError, match="database is not open"):
        DicomSource.filesOf(volume)
    del slicer.dicomDatabase
    with pytest.raises(DataError, match="database is not open"):
        DicomSource.filesOf(volume)


def test_accepted_structures_do_not_carry_an_origin(parameters: Parameters) -> None:
    """Once the user has a segment, it is the user's."""
    propose(parameters, "liver", masks()[0], NASTY)
    own = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode")

    segment = Labelmaps.needSegment(own, "liver", segmentOf(parameters.proposal, "liver"))

    assert Origins.originOf(segment) == {}
