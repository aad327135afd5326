"""Which slice the user looks at: rotated views, oblique volumes, compare layouts, views of other layouts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import slicer
import slicer.util
from scene_parts import TURN, addTransform, addVolume, worldOf
from slice_view import SliceView

from uncol.core.volume import ARRAY_AXIS, Volume, view_slices
from UnCoLSegmentLib.Scene import SliceViews

SHAPE_KJI = (10, 12, 14)
INDEX = 4
TILT = np.array([[0.8, -0.6, 0, 0], [0.6, 0.8, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
PLANES = ("axial", "coronal", "sagittal")


@pytest.fixture
def volume(make_volume: Any, host: Any) -> Any:
    """A volume along the axes of the patient."""
    return addVolume(make_volume(np.zeros(SHAPE_KJI), geometry="anisotropic"))


@pytest.fixture
def oblique(make_volume: Any, host: Any) -> Any:
    """A volume that is turned by 36.9 degrees about S and lies in views that are not."""
    return addVolume(make_volume(np.zeros(SHAPE_KJI), geometry="oblique"))


def addViews(host: Any, volume: Any) -> dict[str, SliceView]:
    """Add the usual three views, which show a volume, by their planes."""
    views = {plane: SliceView(host, plane.capitalize()) for plane in PLANES}
    for view in views.values():
        view.show(volume, through=worldOf(volume, np.array((7, 6, 5))))
    return views


def middle(volume: Any, axis: str, index: int = INDEX) -> tuple[float, ...]:
    return SliceViews.middleOfSlice(volume, axis, index)


@pytest.mark.parametrize("plane", PLANES)
def test_after_views_are_aligned_with_any_volume_they_show_its_slices(host: Any, nasty_volume: Volume, plane) -> None:
    volume = addVolume(Volume(np.zeros(SHAPE_KJI), nasty_volume.ijk_to_ras))
    axis = view_slices(nasty_volume, plane).slice_axis
    views = addViews(host, volume)

    SliceViews.rotateToVolume(volume)
    SliceViews.jumpTo(middle(volume, axis))

    assert SliceViews.shownSlice(volume, plane) == (axis, INDEX)
    assert SliceViews.unalignedViews(volume) == []
    assert views[plane].node.IsMappedInLayout()


@pytest.mark.parametrize("plane", PLANES)
def test_the_same_holds_under_a_transform(host: Any, oblique: Any, plane) -> None:
    addTransform(TURN @ TILT @ TILT, oblique)
    addViews(host, oblique)

    SliceViews.rotateToVolume(oblique)

    assert SliceViews.unalignedViews(oblique) == []
    world = Volume(np.zeros(SHAPE_KJI), SliceViews.worldFromVoxels(oblique))
    axis = view_slices(world, plane).slice_axis
    SliceViews.jumpTo(middle(oblique, axis))
    assert SliceViews.shownSlice(oblique, plane) == (axis, INDEX)


def test_views_that_cut_across_the_slices_are_found(host: Any, volume: Any, oblique: Any) -> None:
    views = addViews(host, volume)
    assert SliceViews.unalignedViews(volume) == []

    for view in views.values():
        view.show(oblique)
    assert SliceViews.unalignedViews(oblique) == [views["coronal"].node, views["sagittal"].node]
    assert SliceViews.unalignedViews(volume) == []  # no view shows it


def test_a_view_turned_by_a_few_degrees_cuts_across_slices(host: Any, volume: Any) -> None:
    views = addViews(host, volume)

    turn(views["axial"], 0.5)  # 11 mm away from the middle, 0.1 mm
    assert SliceViews.unalignedViews(volume) == []
    turn(views["axial"], 15)
    assert SliceViews.unalignedViews(volume) == [views["axial"].node]


def turn(view: SliceView, degrees: float) -> None:
    """Turn a view about its own horizontal axis."""
    angle = np.deg2rad(degrees)
    rotation = np.eye(4)
    rotation[1:3, 1:3] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    matrix = slicer.util.arrayFromVTKMatrix(view.node.GetSliceToRAS()) @ rotation
    view.node.GetSliceToRAS().DeepCopy(slicer.util.vtkMatrixFromArray(matrix))
    view.node.UpdateMatrices()


def test_a_rotated_view_shows_the_slice_in_its_middle_until_another_plane_is_nearer(host: Any, volume: Any) -> None:
    views = addViews(host, volume)
    SliceViews.jumpTo(middle(volume, "K"))

    turn(views["axial"], 20)
    assert views["axial"].node.GetOrientation() == "Reformat"
    assert SliceViews.shownSlice(volume, "axial") == ("K", INDEX)

    turn(views["axial"], 20)
    assert SliceViews.shownSlice(volume, "axial") is None


def test_a_view_of_another_layout_is_not_what_the_user_looks_at(host: Any, volume: Any) -> None:
    hidden, shown = (SliceView(host, "Axial", name=name) for name in ("Compare1", "Red"))
    for view, index in ((shown, 3), (hidden, 6)):
        view.show(volume, through=middle(volume, "K", index))
    hidden.node.SetMappedInLayout(0)

    assert SliceViews.shownSlice(volume, "axial") == ("K", 3)

    shown.node.SetMappedInLayout(0)
    assert SliceViews.shownSlice(volume, "axial") is None


def test_of_two_axial_views_the_one_that_shows_the_volume_counts(host: Any, volume: Any, oblique: Any) -> None:
    own, other = (SliceView(host, "Axial", name=name) for name in ("Compare1", "Compare2"))
    own.show(volume, through=middle(volume, "K", 3))
    other.show(oblique, through=middle(volume, "K", 6))

    assert SliceViews.shownSlice(volume, "axial") == ("K", 3)


def test_of_two_views_of_the_volume_the_one_moved_last_counts(host: Any, volume: Any) -> None:
    views = [SliceView(host, "Axial", name=name) for name in ("Compare1", "Compare2")]
    for view in views:
        view.show(volume, through=middle(volume, "K", 3))

    for view, index in ((views[0], 6), (views[1], 7), (views[0], 2)):
        view.node.JumpSliceByOffsetting(*middle(volume, "K", index))
        assert SliceViews.shownSlice(volume, "axial") == ("K", index)


def test_a_view_beside_the_volume_shows_none_of_its_slices(host: Any, volume: Any) -> None:
    addViews(host, volume)

    SliceViews.jumpTo(middle(volume, "K", -1))
    assert SliceViews.shownSlice(volume, "axial") is None
    SliceViews.jumpTo(middle(volume, "K", SHAPE_KJI[ARRAY_AXIS["K"]]))
    assert SliceViews.shownSlice(volume, "axial") is None


def test_jumping_keeps_what_is_in_view_and_centering_brings_a_point_into_the_middle(host: Any, volume: Any) -> None:
    views = addViews(host, volume)
    before = slicer.util.arrayFromVTKMatrix(views["axial"].node.GetSliceToRAS())
    point = worldOf(volume, np.array((2, 3, INDEX)))

    SliceViews.jumpTo(point)
    jumped = slicer.util.arrayFromVTKMatrix(views["axial"].node.GetSliceToRAS())
    assert np.allclose(jumped[:2, 3], before[:2, 3])
    assert jumped[2, 3] == pytest.approx(point[2])

    SliceViews.centerOn(point)
    for view in views.values():
        assert np.allclose(slicer.util.arrayFromVTKMatrix(view.node.GetSliceToRAS())[:3, 3], point)
    [crosshair] = slicer.util.getNodesByClass("vtkMRMLCrosshairNode")
    assert np.allclose(crosshair.GetCrosshairRAS(), point)


def test_showing_a_volume_puts_it_into_the_views_of_the_layout_and_fits_them(
    host: Any, volume: Any, oblique: Any
) -> None:
    views = addViews(host, volume)
    views["sagittal"].node.SetMappedInLayout(0)

    SliceViews.showVolume(oblique, host.logic)

    shown = [views[plane].layers.GetBackgroundVolumeID() for plane in PLANES]
    assert shown == [oblique.GetID(), oblique.GetID(), volume.GetID()]
    assert SliceViews.shownVolumes() == [oblique, oblique]
