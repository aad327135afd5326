"""The proposal in 3D: where its surfaces lie, in which colors, and that nothing is left of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import slicer
import slicer.util
from scene_parts import TURN, addSegmentation, addTransform, addVolume
from vtk.util.numpy_support import vtk_to_numpy

from uncol.core.volume import Volume
from UnCoLSegmentLib.Scene import DoubtSurface, UncertaintyDisplay

SHAPE_KJI = (16, 24, 20)
TO_RAS = np.array([[0, -2.0, 0, 30], [-1.5, 0, 0, 20], [0, 0, 3.0, -10], [0, 0, 0, 1]])
"""Left-handed, and its I runs along A."""
RED = (1.0, 0.0, 0.0)
OF_MAP = np.array(UncertaintyDisplay.COLORS[3])
INSIDE = np.zeros(SHAPE_KJI, bool)
INSIDE[4:12, 6:18, 5:15] = True


def addMap(doubt: Any) -> Any:
    return addVolume(Volume(np.full(SHAPE_KJI, doubt, np.float32), TO_RAS), "map")


def places(*ijk: tuple[float, float, float]) -> np.ndarray:
    return np.array([(TO_RAS @ [*each, 1])[:3] for each in ijk])


@pytest.mark.parametrize(
    ("doubt", "unsureFrom", "part"),
    [
        (0.0, 0.5, 0.0),
        (0.5, 0.5, 0.0),
        (0.75, 0.5, 0.25 / 0.45),  # from 0.5 to 0.95 of 1
        (1.0, 0.5, 1.0),
        (0.35, 0.25, 0.10 / 0.225),  # from 0.25 to 0.95 of 0.5
    ],
)
def test_a_point_has_the_structures_color_and_that_of_the_map_where_it_is_unsure(
    host: Any, doubt: float, unsureFrom: float, part: float
) -> None:
    colors = DoubtSurface.colorsAt(places((10, 12, 8)), RED, addMap(doubt), unsureFrom)

    assert np.allclose(colors[0], 255 * (np.array(RED) * (1 - part) + OF_MAP * part), atol=0.51)


def test_the_mean_of_27_voxels_counts_and_what_lies_outside_is_sure(host: Any) -> None:
    doubt = np.zeros(SHAPE_KJI, np.float32)
    doubt[8, 12, 10] = doubt[7, 10, 8] = 1  # two of the 27 round (10, 12, 8): 2/27 of 0.1 to 0.19
    node = addMap(doubt)

    inner, corner = DoubtSurface.colorsAt(places((10.3, 11.8, 8.2), (0, 0, 0)), RED, node, 0.05)

    part = (2 / 27 - 0.05) / (0.095 - 0.05)
    assert np.allclose(inner, 255 * (np.array(RED) * (1 - part) + OF_MAP * part), atol=0.51)
    assert tuple(corner) == (255, 0, 0)


@pytest.fixture
def shown(host: Any) -> tuple[Any, Any]:
    """A proposal of two structures under a transform, whose upper half is unsure, and the model that shows it."""
    volume = addVolume(Volume(np.zeros(SHAPE_KJI, np.int16), TO_RAS))
    proposal = addSegmentation({"liver": INSIDE, "nothing": np.zeros(SHAPE_KJI, bool)}, volume)
    proposal.GetSegmentation().GetSegment("liver").SetColor(*RED)
    doubt = np.zeros(SHAPE_KJI, np.float32)
    doubt[8:] = 1
    node = addMap(doubt)
    addTransform(TURN, volume, proposal, node)
    DoubtSurface.show(proposal, node, 0.5)
    return proposal, DoubtSurface.surfaceOf(proposal)


def test_the_surface_lies_where_the_structure_does_and_shows_the_doubt(shown: tuple[Any, Any]) -> None:
    proposal, model = shown
    data = model.GetPolyData()
    points = vtk_to_numpy(data.GetPoints().GetData())
    ijk = (np.linalg.inv(TO_RAS) @ np.c_[points, np.ones(len(points))].T)[:3].T
    colors = vtk_to_numpy(data.GetPointData().GetArray("Doubt"))
    display = model.GetDisplayNode()

    assert np.allclose(ijk.min(axis=0), (4.5, 5.5, 3.5), atol=0.6)
    assert np.allclose(ijk.max(axis=0), (14.5, 17.5, 11.5), atol=0.6)
    assert (colors[ijk[:, 2] < 6] == (255, 0, 0)).all()
    assert np.allclose(colors[ijk[:, 2] > 9.6], 255 * OF_MAP, atol=0.51)
    assert model.GetTransformNodeID() == proposal.GetTransformNodeID()
    assert display.GetScalarRangeFlag() == slicer.vtkMRMLDisplayNode.UseDirectMapping
    assert (display.GetActiveScalarName(), display.GetScalarVisibility(), display.GetVisibility()) == ("Doubt", 1, 1)
    assert model.GetHideFromEditors()
    assert not model.GetSaveWithScene()


def test_nothing_is_left_when_it_goes(shown: tuple[Any, Any]) -> None:
    proposal, _model = shown

    DoubtSurface.remove(proposal)
    DoubtSurface.remove(proposal)

    assert DoubtSurface.surfaceOf(proposal) is None
    assert not proposal.GetSegmentation().ContainsRepresentation("Closed surface")
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLModelNode") == 0
