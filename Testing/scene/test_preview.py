"""What an unfinished model says is shown in a node of its own, which nobody takes for a result and nobody keeps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import slicer
import slicer.util
from scene_parts import addSegmentation, addVolume, maskOf, segmentOf

from uncol.core.jobs import Structure
from uncol.core.volume import Volume
from UnCoLSegmentLib.Scene import Preview, Proposal

LIVER = [Structure(1, "liver")]


@pytest.fixture
def labels(make_volume) -> Volume:
    return make_volume(np.eye(3, 4, dtype=np.uint8)[None].repeat(2, axis=0))


def segmentations() -> list[Any]:
    return slicer.util.getNodesByClass("vtkMRMLSegmentationNode")


def test_a_preview_is_a_thin_outline_that_says_what_it_is(scene, labels: Volume) -> None:
    volume = addVolume(labels)
    user = addSegmentation({"liver": np.zeros((2, 3, 4))}, volume)
    segmentOf(user, "liver").SetColor(0.1, 0.2, 0.3)

    Preview.Preview(volume).show(labels, LIVER, 82, user)

    [node] = [each for each in segmentations() if each is not user]
    assert node.GetName() == "CT preview, step 82"
    assert node.GetAttribute("UnCoL.Preview") == "1"
    assert node.GetAttribute(Proposal.ATTRIBUTE) is None
    display = node.GetDisplayNode()
    assert (display.GetVisibility2DFill(), display.GetVisibility3D()) == (False, False)
    assert (display.GetVisibility2DOutline(), display.GetSliceIntersectionThickness()) == (True, 1)
    assert np.array_equal(maskOf(node, "liver", volume), labels.voxels == 1)
    assert segmentOf(node, "liver").GetColor() == (0.1, 0.2, 0.3)


def test_the_next_preview_takes_the_place_of_the_first_and_stays_hidden_if_the_user_hid_it(scene, labels) -> None:
    volume = addVolume(labels)
    preview = Preview.Preview(volume)
    preview.show(labels, LIVER, 10, None)
    [node] = segmentations()
    node.GetDisplayNode().SetVisibility(False)

    preview.show(labels.with_voxels(1 - labels.voxels), LIVER, 20, None)

    assert segmentations() == [node]
    assert node.GetName() == "CT preview, step 20"
    assert not node.GetDisplayNode().GetVisibility()
    assert np.array_equal(maskOf(node, "liver", volume), labels.voxels == 0)


def test_what_is_found_without_learning_names_no_step(scene, labels: Volume) -> None:
    Preview.Preview(addVolume(labels)).show(labels, LIVER, 0, None)

    assert segmentations()[0].GetName() == "CT preview"


def test_at_the_end_no_node_is_left_and_what_comes_too_late_is_not_shown(scene, labels: Volume) -> None:
    volume = addVolume(labels)
    before = scene.GetNumberOfNodes()
    preview = Preview.Preview(volume)
    preview.show(labels, LIVER, 10, None)

    preview.end()
    preview.show(labels, LIVER, 20, None)

    assert scene.GetNumberOfNodes() == before


def test_a_preview_that_the_user_removed_does_not_come_back(scene, labels: Volume) -> None:
    preview = Preview.Preview(addVolume(labels))
    preview.show(labels, LIVER, 10, None)
    scene.RemoveNode(segmentations()[0])

    preview.show(labels, LIVER, 20, None)
    preview.end()

    assert segmentations() == []


def test_a_scene_saved_meanwhile_holds_no_preview(scene, labels: Volume, tmp_path: Path) -> None:
    volume = addVolume(labels)
    addSegmentation({"liver": labels.voxels}, volume)
    preview = Preview.Preview(volume)
    preview.show(labels, LIVER, 10, None)
    tree = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    tree.CreateItem(tree.GetSceneItemID(), segmentations()[-1])  # the application's data tree lists every node

    assert slicer.util.saveScene(str(tmp_path / "scene.mrb"))
    scene.Clear(False)
    preview.end()  # the run ends after the scene was closed
    slicer.util.loadScene(str(tmp_path / "scene.mrb"))

    assert [each.GetName() for each in segmentations()] == ["Segmentation"]
    assert len(slicer.util.getNodesByClass("vtkMRMLSegmentationDisplayNode")) == 1
