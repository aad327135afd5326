"""Which volume and segmentation can be chosen, which volume is chosen unasked, and the views of the chosen one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import slicer
import slicer.util
from real_slice_view import RealSliceView
from scene_parts import addSegmentation

NONE = "Select a volume"
ALONG_THE_PATIENT = np.diag([-1.0, -1, 3, 1])
TILTED = np.array([[-1.2, 0, -1.8, 48], [0, -1.5, 0, 36], [-0.9, 0, 2.4, -46], [0, 0, 0, 1]])
"""Voxels to RAS in mm: the slices are tipped by 36.9 degrees."""


def addCT(name: str, ijkToRAS: Any = ALONG_THE_PATIENT) -> Any:
    return slicer.util.addVolumeFromArray(np.zeros((6, 8, 10), np.int16), ijkToRAS=ijkToRAS, name=name)


def backgroundsOf(views: list[Any]) -> list[str]:
    nodes = [slicer.mrmlScene.GetNodeByID(view.layers.GetBackgroundVolumeID() or "") for view in views]
    return [node.GetName() if node else "" for node in nodes]


@pytest.fixture
def views(host: Any) -> list[Any]:
    """Three slice views that show nothing."""
    return [RealSliceView(host, orientation, (120, 90)) for orientation in ("Axial", "Coronal", "Sagittal")]


def chosen(panel: Any) -> str:
    panel.settle()
    return panel.ui.inputVolumeSelector.currentNode().GetName() if panel.ui.inputVolumeSelector.currentNode() else NONE


def test_a_volume_that_is_loaded_while_the_panel_is_open_is_chosen(panel: Any) -> None:
    assert chosen(panel) == NONE

    volume = addCT("CT")

    assert chosen(panel) == "CT"
    assert panel.parameters.inputVolume is volume
    assert panel.ui.drawBoxButton.enabled


def test_the_volume_that_the_user_has_shown_meanwhile_is_chosen_on_coming_back(panel: Any, views: list[Any]) -> None:
    volumes = addCT("prior"), addCT("CT")
    assert chosen(panel) == NONE
    panel.moduleWidget.exit()
    views[2].show(volumes[1])

    panel.moduleWidget.enter()

    assert chosen(panel) == "CT"


def test_of_two_volumes_the_one_that_is_shown_is_chosen(openPanel: Any, engine: Any, views: list[Any]) -> None:
    addCT("prior")
    views[0].show(addCT("CT"))

    assert chosen(openPanel(engine)) == "CT"


def test_of_two_volumes_that_are_not_shown_none_is_chosen(openPanel: Any, engine: Any) -> None:
    addCT("prior")
    addCT("CT")

    assert chosen(openPanel(engine)) == NONE


def test_a_volume_in_the_views_of_another_layout_is_not_shown(openPanel: Any, engine: Any, views: list[Any]) -> None:
    views[0].show(addCT("prior"))
    views[0].node.SetMappedInLayout(0)
    views[1].show(addCT("CT"))

    assert chosen(openPanel(engine)) == "CT"


def test_another_volume_does_not_take_the_place_of_the_chosen_one(panel: Any, views: list[Any]) -> None:
    views[0].show(addCT("CT"))
    assert chosen(panel) == "CT"

    views[0].show(addCT("another"))

    assert chosen(panel) == "CT"


def test_label_maps_and_what_the_engine_made_are_never_chosen_nor_listed(
    panel: Any, views: list[Any], phantom: Any, engine: Any
) -> None:
    phantom.addVolume()
    panel.choose("inputVolumeSelector", "CT abdomen")
    panel.parameters.roi = phantom.addBox()
    panel.click("segmentButton")
    panel.wait(lambda: engine.asked("segment"))
    engine.finishSegment(phantom.liver, phantom.uncertainty, ["liver"])
    panel.wait(panel.shown)
    slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "labels")
    preview = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "preview")
    preview.SetAttribute("UnCoL.Preview", "1")
    slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "mine")
    panel.settle()

    assert panel.ui.inputVolumeSelector.listedNames() == ["CT abdomen"]
    assert panel.ui.segmentationSelector.listedNames() == ["mine"]
    assert panel.ui.uncertaintySelector.listedNames() == ["CT abdomen uncertainty"]

    slicer.mrmlScene.RemoveNode(panel.parameters.inputVolume)
    assert chosen(panel) == NONE  # although the map is the only volume, and is shown


def test_a_chosen_volume_is_shown_and_fills_the_views(panel: Any, views: list[Any]) -> None:
    views[0].show(addCT("prior"))
    addCT("CT", np.array([[-1.0, 0, 0, 500], [0, -1, 0, 500], [0, 0, 3, 500], [0, 0, 0, 1]]))
    panel.settle()

    panel.choose("inputVolumeSelector", "CT")

    assert backgroundsOf(views) == ["CT"] * 3
    place = slicer.util.arrayFromVTKMatrix(views[0].node.GetSliceToRAS())[:3, 3]
    assert np.allclose(place, [495, 496, 507], atol=6)


def test_choosing_the_volume_that_a_view_shows_changes_no_view(panel: Any, views: list[Any]) -> None:
    views[0].show(addCT("CT"))
    views[1].show(addCT("PET"))
    panel.settle()

    panel.choose("inputVolumeSelector", "CT")

    assert backgroundsOf(views) == ["CT", "PET", ""]


def test_what_is_hidden_is_a_list_of_ids(panel: Any) -> None:
    model = panel.ui.segmentationSelector.sortFilterProxyModel()

    with pytest.raises(TypeError, match="hiddenNodeIDs is a list of node IDs, not 'vtkMRMLSegmentationNode1'"):
        model.hiddenNodeIDs = "vtkMRMLSegmentationNode1"
    with pytest.raises(AttributeError):
        model.hiddenNodeIds = []


def test_views_that_cut_across_the_slices_are_offered_to_be_rotated(panel: Any, views: list[Any]) -> None:
    volume = addCT("MR", TILTED)
    for view in views:
        view.show(volume)
    panel.choose("inputVolumeSelector", "MR")
    panel.unfold("correct")
    assert panel.ui.alignViewsRow.isVisible()

    panel.click("alignViewsButton")

    assert not panel.ui.alignViewsRow.isVisible()
    assert views[0].node.GetOrientation() == "Reformat"


def test_a_slice_of_an_oblique_volume_is_marked_in_the_rotated_view(panel: Any, views: list[Any]) -> None:
    volume = addCT("MR", TILTED)
    for view in views:
        view.show(volume, through=tuple((TILTED @ [5, 4, 3, 1])[:3]))
    panel.choose("inputVolumeSelector", "MR")
    panel.parameters.segmentation = addSegmentation({"liver": np.zeros((6, 8, 10))}, volume)
    panel.click("alignViewsButton")

    panel.click("sliceIsEmptyButton")

    assert [row[0] for row in panel.cells("slicesTable")] == ["Axial 3"]
    assert panel.shown() == ""
