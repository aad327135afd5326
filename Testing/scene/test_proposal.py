"""The proposal is a segmentation of its own that looks like the user's."""

from __future__ import annotations

import numpy as np
import pytest
import slicer
from scene_parts import TURN, addSegmentation, addTransform, addVolume, maskOf, segmentOf

from uncol.core.jobs import Structure
from uncol.core.volume import Volume
from UnCoLSegmentLib.Scene import Labelmaps, Proposal

TERMINOLOGY = "Segmentation category~SCT^123037004^Anatomical Structure~SCT^78961009^Spleen~^^~Anatomic codes~^^~^^"
TERMINOLOGY_TAG = slicer.vtkSegment.GetTerminologyEntryTagName()


@pytest.fixture
def labels(make_volume) -> Volume:
    """Labels 1, 2 and 3 in a small oblique left-handed volume."""
    values = np.random.default_rng(0).integers(0, 4, (2, 3, 4))
    return make_volume(values.astype(np.uint8))


STRUCTURES = [Structure(1, "spleen"), Structure(2, "liver"), Structure(3, "tumor")]


def test_each_structure_becomes_a_segment_where_its_label_is(scene, nasty_volume: Volume, labels: Volume) -> None:
    volume = addVolume(nasty_volume)
    addTransform(TURN, volume)

    node = Proposal.putProposal(nasty_volume.with_voxels(labels.voxels), STRUCTURES, volume, None)

    for structure in STRUCTURES:
        assert np.array_equal(maskOf(node, structure.name, volume), labels.voxels == structure.value)
    assert [segment.GetName() for segment in Labelmaps.segmentsOf(node).values()] == ["spleen", "liver", "tumor"]
    assert node.GetSegmentation().GetNumberOfLayers() == 1


def test_segments_look_like_the_users_of_the_same_name(scene, labels: Volume) -> None:
    volume = addVolume(labels)
    user = addSegmentation({"Segment_7": np.zeros((2, 3, 4))}, volume)
    segmentOf(user, "Segment_7").SetName("liver")
    segmentOf(user, "Segment_7").SetColor(0.1, 0.2, 0.3)
    segmentOf(user, "Segment_7").SetTag(TERMINOLOGY_TAG, TERMINOLOGY)

    node = Proposal.putProposal(labels, STRUCTURES, volume, None, user)

    liver = segmentOf(node, "Segment_7")
    assert liver.GetName() == "liver"
    assert liver.GetColor() == (0.1, 0.2, 0.3)
    assert Labelmaps.tagOf(liver, TERMINOLOGY_TAG) == TERMINOLOGY


def test_the_users_segmentation_is_left_alone(scene, labels: Volume) -> None:
    volume = addVolume(labels)
    mask = labels.voxels == 3
    user = addSegmentation({"liver": mask}, volume)
    before = user.GetSegmentation().GetMTime()

    node = Proposal.putProposal(labels, STRUCTURES, volume, None, user)

    assert node is not user
    assert user.GetSegmentation().GetMTime() == before
    assert np.array_equal(maskOf(user, "liver", volume), mask)


def test_structures_that_the_user_has_not_colored_get_colors_that_differ(scene, labels: Volume) -> None:
    node = Proposal.putProposal(labels, STRUCTURES, addVolume(labels), None)

    colors = {segment.GetColor() for segment in Labelmaps.segmentsOf(node).values()}
    assert len(colors) == 3
    assert all(np.abs(np.subtract(color, Proposal._COLORS[:3])).max(axis=1).min() < 1e-6 for color in colors)
    assert slicer.vtkSegment().GetColor() not in colors


def test_a_new_proposal_goes_into_the_same_node_and_keeps_what_is_shown(scene, labels: Volume) -> None:
    volume = addVolume(labels)
    node = Proposal.putProposal(labels, STRUCTURES, volume, None)
    node.GetDisplayNode().SetSegmentVisibility("liver", False)
    segmentOf(node, "liver").SetColor(0.5, 0.6, 0.7)
    newLabels = labels.with_voxels((labels.voxels[::-1] == 2).astype(np.uint8))

    again = Proposal.putProposal(newLabels, [Structure(1, "liver"), Structure(2, "kidney")], volume, node)

    assert again is node
    assert list(Labelmaps.segmentsOf(node)) == ["liver", "kidney"]
    assert np.array_equal(maskOf(node, "liver", volume), labels.voxels[::-1] == 2)
    assert not node.GetDisplayNode().GetSegmentVisibility("liver")
    assert segmentOf(node, "liver").GetColor() == (0.5, 0.6, 0.7)


def test_segments_of_a_new_proposal_come_in_the_order_of_its_structures(scene, labels: Volume) -> None:
    volume = addVolume(labels)
    node = Proposal.putProposal(labels, STRUCTURES, volume, None)

    Proposal.putProposal(labels, [Structure(3, "tumor"), Structure(4, "kidney"), Structure(1, "spleen")], volume, node)

    assert list(Labelmaps.segmentsOf(node)) == ["tumor", "kidney", "spleen"]


def test_a_structure_that_was_not_found_is_an_empty_segment(scene, labels: Volume) -> None:
    volume = addVolume(labels)
    empty = labels.with_voxels(labels.voxels * 0)

    node = Proposal.putProposal(empty, STRUCTURES, volume, None)

    assert list(Labelmaps.segmentsOf(node)) == ["spleen", "liver", "tumor"]
    assert not maskOf(node, "liver", volume).any()


def test_a_new_segments_id_is_not_one_that_the_user_has_for_something_else(scene, labels: Volume) -> None:
    volume = addVolume(labels)
    user = addSegmentation({"liver": np.zeros((2, 3, 4))}, volume)
    segmentOf(user, "liver").SetName("kidney")

    node = Proposal.putProposal(labels, STRUCTURES, volume, None, user)

    assert list(Labelmaps.segmentsOf(node)) == ["spleen", "liver_2", "tumor"]


def test_an_old_surface_is_not_shown_for_the_new_proposal(scene, labels: Volume) -> None:
    volume = addVolume(labels)
    node = Proposal.putProposal(labels, STRUCTURES, volume, None)
    node.CreateClosedSurfaceRepresentation()

    Proposal.putProposal(labels, STRUCTURES, volume, node)

    assert not node.GetSegmentation().ContainsRepresentation("Closed surface")


def test_the_proposal_stands_beside_its_volume_in_the_data_tree(scene, labels: Volume) -> None:
    volume = addVolume(labels)
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    study = hierarchy.CreateStudyItem(hierarchy.GetSceneItemID(), "study")
    hierarchy.CreateItem(study, volume)

    node = Proposal.putProposal(labels, STRUCTURES, volume, None)

    assert hierarchy.GetItemParent(hierarchy.GetItemByDataNode(node)) == study
    assert node.GetAttribute(Proposal.ATTRIBUTE) == "1"
    assert node.GetName() == "CT proposal"
