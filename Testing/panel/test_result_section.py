"""The map over the volume: which one, how opaque, from which value on, its legend and its worst region."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import slicer
from slice_view import SliceView


@pytest.fixture
def mapped(panel: Any, phantom: Any, engine: Any, host: Any) -> Any:
    """The panel with slice views and an uncertainty map, its section unfolded."""
    phantom.addVolume()
    panel.views = phantom.addSliceViews(host)
    panel.choose("inputVolumeSelector", "CT abdomen")
    panel.parameters.roi = phantom.addBox()
    panel.click("segmentButton")
    panel.wait(lambda: engine.asked("segment"))
    phantom.uncertainty[14, 30, 20:40] = 1  # the worst region: in a slice of its own
    phantom.uncertainty[13:16, 28:33, 20:40] = np.maximum(phantom.uncertainty[13:16, 28:33, 20:40], 0.9)
    engine.finishSegment(phantom.liver, phantom.uncertainty, ["liver"])
    panel.wait(panel.shown)
    for view in panel.views:
        view.fit()
    panel.unfold("result")
    return panel


def coloredPixels(panel: Any) -> int:
    """Return how many pixels of the axial view are not grey, without proposal and legend."""
    return int(np.count_nonzero(np.ptp(SliceView.pixels(panel.views[0]).astype(int), axis=-1)))


def test_a_new_map_lies_over_the_volume_in_every_slice_view(mapped: Any) -> None:
    node = mapped.parameters.uncertaintyVolume

    for view in mapped.views:
        assert view.layers.GetBackgroundVolumeID() == mapped.parameters.inputVolume.GetID()
        assert view.layers.GetForegroundVolumeID() == node.GetID()
        assert view.layers.GetForegroundOpacity() == 0.5
    assert coloredPixels(mapped) > 0


def test_opacity_and_threshold_of_the_sliders_reach_the_views(mapped: Any) -> None:
    many = coloredPixels(mapped)

    mapped.ui.thresholdSlider.value = 0.8
    mapped.ui.opacitySlider.value = 0.25
    mapped.settle()

    assert mapped.parameters.uncertaintyThreshold == 0.8
    assert mapped.views[0].layers.GetForegroundOpacity() == 0.25
    assert 0 < coloredPixels(mapped) < many


def test_show_over_volume_hides_and_shows_the_map(mapped: Any) -> None:
    mapped.click("unsureButton")
    assert coloredPixels(mapped) == 0
    assert not slicer.vtkSlicerColorLogic.GetColorLegendDisplayNode(mapped.parameters.uncertaintyVolume).GetVisibility()

    mapped.click("unsureButton")
    assert coloredPixels(mapped) > 0


def test_the_legend_is_shown_with_the_map_and_can_be_hidden(mapped: Any) -> None:
    legend = slicer.vtkSlicerColorLogic.GetColorLegendDisplayNode(mapped.parameters.uncertaintyVolume)
    assert legend.GetVisibility()
    assert legend.GetTitleText() == "Uncertainty"

    mapped.click("legendShownCheckBox")

    assert not legend.GetVisibility()


def test_the_legend_is_drawn_only_in_views_that_show_the_map(mapped: Any) -> None:
    mapped.views[1].layers.SetForegroundVolumeID(None)
    withLegend = [view.pixels().copy() for view in mapped.views]

    mapped.click("legendShownCheckBox")
    changed = [np.any(view.pixels() != before) for view, before in zip(mapped.views, withLegend, strict=True)]

    assert changed == [True, False, True]


def test_an_overlay_of_the_user_comes_back_when_the_map_is_switched_off(mapped: Any, phantom: Any) -> None:
    pet = phantom.addVolume()
    layers = mapped.views[0].layers
    mapped.click("unsureButton")
    layers.SetForegroundVolumeID(pet.GetID())
    layers.SetForegroundOpacity(0.25)

    mapped.click("unsureButton")
    assert layers.GetForegroundVolumeID() == mapped.parameters.uncertaintyVolume.GetID()

    mapped.click("unsureButton")
    assert layers.GetForegroundVolumeID() == pet.GetID()
    assert layers.GetForegroundOpacity() == pytest.approx(0.25)


def test_a_compare_view_that_is_added_later_gets_the_map_and_other_patients_do_not(mapped: Any, phantom: Any) -> None:
    own, other = (SliceView(mapped.host, name=name) for name in ("Compare1", "Compare2"))
    other.layers.SetBackgroundVolumeID(phantom.addVolume().GetID())

    own.layers.SetBackgroundVolumeID(mapped.parameters.inputVolume.GetID())

    assert own.layers.GetForegroundVolumeID() == mapped.parameters.uncertaintyVolume.GetID()
    assert other.layers.GetForegroundVolumeID() is None


def test_what_the_user_shows_otherwise_is_not_changed_back_by_every_click(mapped: Any) -> None:
    mapped.views[0].layers.SetForegroundOpacity(0.1)

    mapped.choose("planeComboBox", "Coronal")

    assert mapped.views[0].layers.GetForegroundOpacity() == 0.1


def test_jump_to_worst_region_centers_the_views_there_and_says_how_unsure_it_is(mapped: Any) -> None:
    mapped.views[0].node.SetSliceOrigin(0, 0, 0)
    mapped.click("nextPlaceButton")
    mapped.photograph("16-worst-region")

    shown = round((mapped.views[0].node.GetSliceOffset() + 46) / 4)
    assert 13 <= shown <= 15
    [crosshair] = slicer.util.getNodesByClass("vtkMRMLCrosshairNode")
    for view in mapped.views:  # in the middle, even if the user had zoomed elsewhere
        place = slicer.util.arrayFromVTKMatrix(view.node.GetSliceToRAS())[:3, 3]
        assert np.allclose(place, crosshair.GetCrosshairRAS())
    assert mapped.shown().startswith("Most uncertain place: 0.")


def test_a_map_that_is_sure_of_everything_has_no_worst_region_and_says_so(mapped: Any) -> None:
    slicer.util.arrayFromVolume(mapped.parameters.uncertaintyVolume)[:] = 0

    mapped.click("nextPlaceButton")

    assert "is 0 everywhere" in mapped.shown()


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
    for name in ("nextPlaceButton", "opacitySlider", "thresholdSlider", "legendShownCheckBox"):
        assert not getattr(panel.ui, name).enabled
        assert getattr(panel.ui, name).toolTip == missing
