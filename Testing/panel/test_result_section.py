"""The map over the volume: which one, how opaque, from which value on, its legend, and where to look."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import slicer
from slice_view import SliceView

from UnCoLSegmentLib.Scene import Places


@pytest.fixture
def mapped(panel: Any, phantom: Any, engine: Any, host: Any) -> Any:
    """The panel with slice views and an uncertainty map, its section unfolded."""
    phantom.addVolume()
    panel.views = phantom.addSliceViews(host)
    panel.choose("inputVolumeSelector", "CT abdomen")
    panel.parameters.roi = phantom.addBox()
    panel.click("segmentButton")
    panel.wait(lambda: engine.asked("segment"))
    phantom.uncertainty *= 0.4
    phantom.uncertainty[12:17, 26:33, 24:34] = 0.95
    phantom.uncertainty[7:12, 12:19, 18:28] = 0.75
    engine.finishSegment(phantom.liver, phantom.uncertainty, ["liver"])
    panel.wait(panel.shown)
    for view in panel.views:
        view.fit()
    panel.unfold("result", "correct")
    return panel


@pytest.fixture
def heated(mapped: Any) -> Any:
    """The same with the map over the views."""
    mapped.click("unsureButton")
    return mapped


def coloredPixels(panel: Any) -> int:
    """Return how many pixels of the axial view are not grey, without proposal and legend."""
    return int(np.count_nonzero(np.ptp(SliceView.pixels(panel.views[0]).astype(int), axis=-1)))


def test_a_new_map_lies_over_the_volume_in_every_slice_view(heated: Any) -> None:
    node = heated.parameters.uncertaintyVolume

    for view in heated.views:
        assert view.layers.GetBackgroundVolumeID() == heated.parameters.inputVolume.GetID()
        assert view.layers.GetForegroundVolumeID() == node.GetID()
        assert view.layers.GetForegroundOpacity() == 0.5
    assert coloredPixels(heated) > 0


def test_opacity_and_threshold_of_the_sliders_reach_the_views(heated: Any) -> None:
    many = coloredPixels(heated)

    heated.ui.thresholdSlider.value = 0.8
    heated.ui.opacitySlider.value = 0.25
    heated.settle()

    assert heated.parameters.uncertaintyThreshold == 0.8
    assert heated.views[0].layers.GetForegroundOpacity() == 0.25
    assert 0 < coloredPixels(heated) < many


def test_the_legend_is_shown_with_the_map_and_can_be_hidden(heated: Any) -> None:
    legend = slicer.vtkSlicerColorLogic.GetColorLegendDisplayNode(heated.parameters.uncertaintyVolume)
    assert legend.GetVisibility()
    assert legend.GetTitleText() == "Uncertainty"

    heated.click("legendShownCheckBox")

    assert not legend.GetVisibility()


def test_the_legend_is_drawn_only_in_views_that_show_the_map(heated: Any) -> None:
    heated.views[1].layers.SetForegroundVolumeID(None)
    withLegend = [view.pixels().copy() for view in heated.views]

    heated.click("legendShownCheckBox")
    changed = [np.any(view.pixels() != before) for view, before in zip(heated.views, withLegend, strict=True)]

    assert changed == [True, False, True]


def test_an_overlay_of_the_user_comes_back_when_the_map_is_switched_off(heated: Any, phantom: Any) -> None:
    pet = phantom.addVolume()
    layers = heated.views[0].layers
    heated.click("unsureButton")
    layers.SetForegroundVolumeID(pet.GetID())
    layers.SetForegroundOpacity(0.25)

    heated.click("unsureButton")
    heated.click("unsureButton")
    assert layers.GetForegroundVolumeID() == heated.parameters.uncertaintyVolume.GetID()

    heated.click("unsureButton")
    assert layers.GetForegroundVolumeID() == pet.GetID()
    assert layers.GetForegroundOpacity() == pytest.approx(0.25)


def test_a_compare_view_that_is_added_later_gets_the_map_and_other_patients_do_not(heated: Any, phantom: Any) -> None:
    own, other = (SliceView(heated.host, name=name) for name in ("Compare1", "Compare2"))
    other.layers.SetBackgroundVolumeID(phantom.addVolume().GetID())

    own.layers.SetBackgroundVolumeID(heated.parameters.inputVolume.GetID())

    assert own.layers.GetForegroundVolumeID() == heated.parameters.uncertaintyVolume.GetID()
    assert other.layers.GetForegroundVolumeID() is None


def test_what_the_user_shows_otherwise_is_not_changed_back_by_every_click(heated: Any) -> None:
    heated.views[0].layers.SetForegroundOpacity(0.1)

    heated.choose("planeComboBox", "Coronal")

    assert heated.views[0].layers.GetForegroundOpacity() == 0.1


def test_the_places_are_ranked_shown_one_after_the_other_and_ticked(mapped: Any) -> None:
    mapped.ui.nextPlaceButton.click()
    mapped.photograph("16-where-to-look")

    rows = mapped.cells("placesTable")
    assert len(rows) >= 2
    assert [row[0] for row in rows] == [str(number) for number in range(1, len(rows) + 1)]
    assert [row[3] for row in rows] == sorted((row[3] for row in rows), reverse=True)
    assert [row[4] for row in rows] == ["seen"] + [""] * (len(rows) - 1)
    [crosshair] = slicer.util.getNodesByClass("vtkMRMLCrosshairNode")
    places = [Places.findingsOf(mapped.parameters.proposal).places[index].ras_mm for index in (0, 1)]
    for view in mapped.views:  # in the middle, even if the user had zoomed elsewhere
        assert np.allclose(slicer.util.arrayFromVTKMatrix(view.node.GetSliceToRAS())[:3, 3], places[0])
    assert np.allclose(crosshair.GetCrosshairRAS(), places[0])
    assert mapped.shown().startswith(f"Place 1 of {len(rows)}: ")

    mapped.pressKey("n")
    assert np.allclose(crosshair.GetCrosshairRAS(), places[1])
    mapped.pressKey("N")
    assert np.allclose(crosshair.GetCrosshairRAS(), places[0])


def test_a_place_whose_slice_is_done_is_ticked_so(mapped: Any) -> None:
    mapped.click("nextPlaceButton")

    mapped.click("sliceIsRightButton")
    mapped.waitForDetection()

    assert mapped.cells("placesTable")[0][4] == "done"


def test_each_structure_has_its_volume_and_what_is_sure_and_possible(mapped: Any, phantom: Any) -> None:
    text = mapped.ui.structuresLabel.text

    volume_ml = phantom.liver.sum() * 1.5 * 1.5 * 4 / 1000
    assert f"<b>{volume_ml:.1f} ml</b>" in text
    assert "Sure: " in text
    assert "possible: " in text


def test_regions_are_numbered_outlines_then_comes_heat_then_nothing(mapped: Any) -> None:
    assert mapped.ui.unsureButton.text == "Unsure: regions (U)"
    kinds = ("vtkMRMLSegmentationNode", "vtkMRMLMarkupsNode")
    nodes = [each for kind in kinds for each in slicer.util.getNodesByClass(kind)]
    places = [each for each in nodes if each.GetAttribute("UnCoL.Places")]
    assert len(places) == 2
    assert all(each.GetDisplayNode().GetVisibility() for each in places)
    assert coloredPixels(mapped) == 0
    regions = mapped.views[0].pixels().copy()

    mapped.pressKey("u")
    assert mapped.ui.unsureButton.text == "Unsure: heat (U)"
    assert not any(each.GetDisplayNode().GetVisibility() for each in places)
    assert coloredPixels(mapped) > 0

    mapped.pressKey("u")
    assert mapped.ui.unsureButton.text == "Unsure: off (U)"
    assert coloredPixels(mapped) == 0
    assert np.any(mapped.views[0].pixels() != regions)


def test_a_map_without_places_says_so(mapped: Any, engine: Any, phantom: Any) -> None:
    mapped.click("segmentButton")
    mapped.wait(lambda: sum(op == "segment" for op, _ in engine.requests) == 2)
    engine.finishSegment(phantom.liver, np.zeros_like(phantom.uncertainty), ["liver"])
    mapped.wait(mapped.shown)
    mapped.settle()

    assert not mapped.ui.placesTable.isVisible()
    assert mapped.ui.nextPlaceButton.toolTip == "No place stands out: the proposal is unsure along its border at most."


def test_a_proposal_of_the_foundation_model_says_how_to_get_a_score(mapped: Any) -> None:
    assert mapped.ui.trustLabel.text == (
        "Not measured: this proposal comes from the foundation model. Annotate a few slices and fine-tune to get a "
        "score."
    )


def test_a_model_of_another_patient_is_not_measured_on_this_volume(mapped: Any, engine: Any, phantom: Any) -> None:
    from scripted_engine import writeModel

    writeModel(mapped.logic.store.folder / "other-patient", ["liver"], {"liver": 0.9})
    mapped.logic.modelsChanged.emit()
    mapped.choose("modelComboBox", "other-patient")
    mapped.click("segmentButton")
    mapped.wait(lambda: engine.asked("segment")["model"])
    engine.finishSegment(phantom.liver, phantom.uncertainty, ["liver"])
    mapped.wait(mapped.shown)

    assert mapped.ui.trustLabel.text == "Not measured on this volume: the model learned from another one."


def test_only_uncertainty_maps_can_be_chosen_as_map(mapped: Any) -> None:
    selector = mapped.ui.uncertaintySelector

    assert selector.listedNames() == ["CT abdomen uncertainty"]


def test_without_a_map_every_control_says_what_is_missing(panel: Any) -> None:
    panel.unfold("result")

    missing = "There is no uncertainty map yet. Segment the volume first."
    for name in ("unsureButton", "opacitySlider", "thresholdSlider", "legendShownCheckBox"):
        assert not getattr(panel.ui, name).enabled
        assert getattr(panel.ui, name).toolTip == missing
