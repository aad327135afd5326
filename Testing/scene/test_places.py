"""The places to look at: outlined and numbered in the views, told with the proposal, joined by those of later ones."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import slicer
import slicer.util
from scene_parts import addSegmentation, addVolume

from uncol.core.findings import Finding, Findings, Place
from uncol.core.volume import Volume
from UnCoLSegmentLib.Scene import Places

SHAPE_KJI = (6, 20, 20)
TO_RAS = np.diag([-1.0, -1.0, 2.0, 1.0])


@pytest.fixture
def patient(host: Any) -> tuple[Any, Any]:
    """A volume and a proposal about it."""
    volume = addVolume(Volume(np.zeros(SHAPE_KJI, np.int16), TO_RAS))
    return volume, addSegmentation({"liver": np.ones(SHAPE_KJI, bool)}, volume)


def found(name: str, *uncertainties: float) -> Findings:
    places = tuple(
        Place(number, (5 * number, 5, 2), (-5.0 * number, -5.0, 4.0), 1.0, uncertainty, "inside", name, 1)
        for number, uncertainty in enumerate(uncertainties, 1)
    )
    return Findings((Finding(name, 1, 100, 12.5),), places, unsure_from=0.5)


def labels(row: int, count: int) -> Volume:
    voxels = np.zeros(SHAPE_KJI, np.uint8)
    for number in range(1, count + 1):
        voxels[2, row : row + 4, 5 * number - 2 : 5 * number + 3] = number
    return Volume(voxels, TO_RAS)


def nodes() -> tuple[list[Any], list[Any]]:
    kinds = ("vtkMRMLSegmentationNode", "vtkMRMLMarkupsFiducialNode")
    return tuple([n for n in slicer.util.getNodesByClass(kind) if n.GetAttribute(Places.ATTRIBUTE)] for kind in kinds)


def test_each_place_is_outlined_and_carries_its_number(patient: tuple[Any, Any]) -> None:
    volume, proposal = patient

    Places.put(volume, proposal, found("liver", 0.9, 0.7), labels(3, 2), ())

    [outlines], [badges] = nodes()
    assert [outlines.GetSegmentation().GetNthSegment(n).GetName() for n in (0, 1)] == ["1", "2"]
    assert not outlines.GetDisplayNode().GetVisibility2DFill()
    assert [badges.GetNthControlPointLabel(n) for n in (0, 1)] == ["1", "2"]
    assert np.allclose(badges.GetNthControlPointPositionWorld(1), [-10, -5, 4])
    assert badges.GetLocked()
    assert outlines.GetHideFromEditors()


def test_what_is_told_stays_with_the_proposal(patient: tuple[Any, Any]) -> None:
    volume, proposal = patient

    Places.put(volume, proposal, found("liver", 0.9), labels(3, 1), ())

    assert Places.findingsOf(proposal) == found("liver", 0.9)
    assert Places.findingsOf(None) == Findings()


def test_a_new_result_takes_the_place_of_the_one_before(patient: tuple[Any, Any]) -> None:
    volume, proposal = patient
    Places.put(volume, proposal, found("liver", 0.9, 0.7), labels(3, 2), ())

    Places.put(volume, proposal, found("liver"), None, ())

    assert nodes() == ([], [])
    assert Places.findingsOf(proposal).places == ()


def test_a_structure_that_joins_is_ranked_among_the_places_of_the_others(patient: tuple[Any, Any]) -> None:
    volume, proposal = patient
    Places.put(volume, proposal, found("liver", 0.9, 0.6), labels(3, 2), ())

    Places.put(volume, proposal, found("spleen", 0.8), labels(12, 1), ("liver",))

    told = Places.findingsOf(proposal)
    assert [each.name for each in told.structures] == ["liver", "spleen"]
    assert [(each.number, each.structure) for each in told.places] == [(1, "liver"), (2, "spleen"), (3, "liver")]
    [outlines], _badges = nodes()
    second = slicer.util.arrayFromSegmentBinaryLabelmap(outlines, outlines.GetSegmentation().GetNthSegmentID(1), volume)
    assert np.array_equal(second > 0, labels(12, 1).voxels > 0)


def test_outlines_and_numbers_are_hidden_and_shown(patient: tuple[Any, Any]) -> None:
    volume, proposal = patient
    Places.put(volume, proposal, found("liver", 0.9), labels(3, 1), ())

    for isOn in (False, True):
        Places.show(volume, isOn)
        assert [bool(node.GetDisplayNode().GetVisibility()) for each in nodes() for node in each] == [isOn, isOn]
