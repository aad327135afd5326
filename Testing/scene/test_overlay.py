"""The map over its volume, in the views that show it and nowhere else, and what was there comes back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import slicer
import slicer.util
from scene_parts import addVolume
from slice_view import SliceView

from UnCoLSegmentLib.Scene import Bridge
from UnCoLSegmentLib.Scene.Overlay import Overlay


@pytest.fixture
def overlay(host: Any) -> Any:
    """The overlay of a panel that is open."""
    opened = Overlay(host.scene)
    yield opened
    opened.close()


@pytest.fixture
def ct(make_volume: Any, host: Any) -> Any:
    return addVolume(make_volume(geometry="oblique"), "CT")


@pytest.fixture
def pet(make_volume: Any, host: Any) -> Any:
    return addVolume(make_volume(geometry="oblique"), "PET")


@pytest.fixture
def uncertainty(make_volume: Any, ct: Any) -> Any:
    """A map about the CT."""
    return Bridge.putUncertainty(make_volume(geometry="oblique"), ct, None, "map")


def addView(host: Any, background: Any, foreground: Any = None, name: str = "Red") -> SliceView:
    view = SliceView(host, name=name)
    view.show(background, foreground, opacity=0.3)
    return view


def foregroundOf(view: SliceView) -> tuple[str, float]:
    """Return name and opacity of what lies over the volume."""
    node = slicer.mrmlScene.GetNodeByID(view.layers.GetForegroundVolumeID() or "")
    return node.GetName() if node else "", view.layers.GetForegroundOpacity()


def test_only_views_that_show_the_volume_get_the_map(overlay: Any, host: Any, ct: Any, pet: Any, uncertainty) -> None:
    own, other = addView(host, ct), addView(host, pet, ct, "Compare1")

    overlay.show(ct, uncertainty, 0.5)

    assert foregroundOf(own) == ("map", 0.5)
    assert foregroundOf(other) == ("CT", pytest.approx(0.3))
    assert other.layers.GetBackgroundVolumeID() == pet.GetID()


def test_an_overlay_of_the_user_comes_back_when_the_map_is_hidden(overlay, host, ct, pet, uncertainty) -> None:
    fused, plain = addView(host, ct, pet), addView(host, ct, name="Green")
    overlay.show(ct, uncertainty, 0.5)
    overlay.show(ct, uncertainty, 0.7)

    overlay.hide()

    assert foregroundOf(fused) == ("PET", pytest.approx(0.3))
    assert foregroundOf(plain) == ("", pytest.approx(0.3))


def test_it_comes_back_when_the_map_is_removed(overlay, host, ct, pet, uncertainty) -> None:
    fused = addView(host, ct, pet)
    overlay.show(ct, uncertainty, 0.5)

    host.scene.RemoveNode(uncertainty)
    overlay.hide()

    assert foregroundOf(fused) == ("PET", pytest.approx(0.3))


def test_an_overlay_that_was_removed_meanwhile_does_not_come_back(overlay, host, ct, pet, uncertainty) -> None:
    fused = addView(host, ct, pet)
    overlay.show(ct, uncertainty, 0.5)

    host.scene.RemoveNode(pet)
    overlay.hide()

    assert foregroundOf(fused) == ("", pytest.approx(0.3))


def test_a_view_that_comes_later_gets_the_map(overlay, host, ct, uncertainty) -> None:
    overlay.show(ct, uncertainty, 0.5)

    later = SliceView(host, name="Compare1")
    later.layers.SetBackgroundVolumeID(ct.GetID())

    assert foregroundOf(later) == ("map", 0.5)


def test_a_view_that_shows_another_volume_later_loses_the_map(overlay, host, ct, pet, uncertainty) -> None:
    view = addView(host, ct)
    overlay.show(ct, uncertainty, 0.5)

    view.layers.SetBackgroundVolumeID(pet.GetID())
    assert foregroundOf(view) == ("", pytest.approx(0.3))

    view.layers.SetBackgroundVolumeID(ct.GetID())
    assert foregroundOf(view) == ("map", 0.5)


def test_what_the_user_puts_over_the_volume_instead_stays_until_the_map_is_shown_anew(
    overlay, host, ct, pet, uncertainty
) -> None:
    view = addView(host, ct)
    overlay.show(ct, uncertainty, 0.5)
    view.layers.SetForegroundVolumeID(pet.GetID())

    overlay.show(ct, uncertainty, 0.6)
    assert foregroundOf(view)[0] == "PET"

    overlay.hide()
    assert foregroundOf(view)[0] == "PET"

    overlay.show(ct, uncertainty, 0.6)
    assert foregroundOf(view) == ("map", 0.6)


def test_a_second_map_takes_the_place_of_the_first(overlay, host, ct, pet, uncertainty, make_volume) -> None:
    fused = addView(host, ct, pet)
    second = Bridge.putUncertainty(make_volume(geometry="oblique"), ct, None, "second")
    overlay.show(ct, uncertainty, 0.5)

    overlay.show(ct, second, 0.5)
    assert foregroundOf(fused) == ("second", 0.5)

    overlay.hide()
    assert foregroundOf(fused) == ("PET", pytest.approx(0.3))


def test_what_was_there_survives_saving_and_loading(overlay, host, ct, pet, uncertainty, tmp_path: Path) -> None:
    view = addView(host, ct, pet)
    overlay.show(ct, uncertainty, 0.5)
    assert slicer.util.saveScene(str(tmp_path / "scene.mrb"))
    overlay.forget()
    host.scene.Clear(False)

    slicer.util.loadScene(str(tmp_path / "scene.mrb"))
    assert foregroundOf(view) == ("map", 0.5)
    view.layers.SetForegroundOpacity(0.1)  # by the user
    overlay.show(slicer.util.getNode("CT"), slicer.util.getNode("map"), 0.5)
    assert foregroundOf(view) == ("map", pytest.approx(0.1))

    overlay.hide()
    assert foregroundOf(view) == ("PET", pytest.approx(0.3))


def test_a_closed_scene_leaves_nothing_to_restore(overlay, host, ct, pet, uncertainty, make_volume) -> None:
    view = addView(host, ct, pet)
    overlay.show(ct, uncertainty, 0.5)
    overlay.forget()
    host.scene.Clear(False)

    following = addVolume(make_volume(geometry="oblique"), "next patient")
    view.show(following)
    overlay.hide()
    assert foregroundOf(view)[0] == ""


def test_a_view_that_is_removed_is_let_go(overlay, host, ct, uncertainty) -> None:
    gone: list[str] = []
    layers = host.scene.AddNewNodeByClass("vtkMRMLSliceCompositeNode")
    layers.AddObserver("DeleteEvent", lambda _node, event: gone.append(event))
    overlay.show(ct, uncertainty, 0.5)

    host.scene.RemoveNode(layers)
    del layers

    assert gone == ["DeleteEvent"]
