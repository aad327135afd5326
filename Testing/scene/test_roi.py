"""A box drawn in the slice views becomes the voxels that it touches."""

from __future__ import annotations

import numpy as np
import pytest
import slicer.util
import vtk
from scene_parts import TURN, addBend, addTransform, addVolume

from uncol.core.errors import DataError, GeometryError
from uncol.core.jobs import Box
from uncol.core.volume import Volume
from UnCoLSegmentLib.Scene import Bridge


def addRoi(scene, center=(0, 0, 0), size=(1, 1, 1), directions=None):
    roi = scene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "R")
    roi.SetSize(*size)
    roi.SetCenter(*center)
    if directions is not None:
        matrix = np.eye(4)
        matrix[:3, :3], matrix[:3, 3] = directions, center
        roi.SetAndObserveObjectToNodeMatrix(slicer.util.vtkMatrixFromArray(matrix))
    return roi


def addRoiRound(scene, volume: Volume, lower: tuple[int, ...], upper: tuple[int, ...]):
    """Add the ROI that covers exactly the voxels from `lower` to `upper` (I, J, K)."""
    middle = volume.ijk_to_ras @ [*((np.array(lower) + upper) / 2), 1]
    size = (np.array(upper) - lower + 1) * volume.spacing_mm
    directions = volume.ijk_to_ras[:3, :3] / volume.spacing_mm
    if np.linalg.det(directions) < 0:  # an ROI is right-handed
        directions = directions * [1, 1, -1]
    return addRoi(scene, middle[:3], size, directions)


@pytest.fixture
def plainVolume() -> Volume:
    """A volume of 20 x 30 x 40 voxels of 1 mm; voxel indices are RAS coordinates."""
    return Volume(np.zeros((40, 30, 20), dtype=np.int16), np.eye(4))


def test_a_box_in_line_with_the_voxels_gives_exactly_those(scene, nasty_volume: Volume) -> None:
    roi = addRoiRound(scene, nasty_volume, (1, 0, 1), (3, 1, 1))

    box = Bridge.boxFromRoi(roi, addVolume(nasty_volume), "spleen")

    assert box == Box("spleen", (1, 0, 1), (3, 1, 1))


def test_a_voxel_that_is_touched_belongs_to_the_box(scene, plainVolume: Volume) -> None:
    # From 4.4 to 8.6: voxel 4 ends at 4.5, voxel 9 begins at 8.5.
    roi = addRoi(scene, (6.5, 6.5, 6.5), (4.2, 4.2, 4.2))

    assert Bridge.boxFromRoi(roi, addVolume(plainVolume), "a") == Box("a", (4, 4, 4), (9, 9, 9))


def test_a_box_thinner_than_a_voxel_is_one_voxel_thick(scene, plainVolume: Volume) -> None:
    roi = addRoi(scene, (6, 6, 6), (4, 4, 0.1))

    assert Bridge.boxFromRoi(roi, addVolume(plainVolume), "a") == Box("a", (4, 4, 6), (8, 8, 6))


def test_a_rotated_box_is_enclosed(scene, plainVolume: Volume) -> None:
    turn = np.array([[0.8, -0.6, 0], [0.6, 0.8, 0], [0, 0, 1]])
    # Half sides 5, 2.5 and 2 mm reach 0.8 * 5 + 0.6 * 2.5 = 5.5 along R and 0.6 * 5 + 0.8 * 2.5 = 5 along A.
    roi = addRoi(scene, (10, 10, 10), (10, 5, 4), turn)

    assert Bridge.boxFromRoi(roi, addVolume(plainVolume), "a") == Box("a", (5, 5, 8), (15, 15, 12))


def test_a_box_is_cut_off_at_the_volume(scene, plainVolume: Volume) -> None:
    roi = addRoi(scene, (0, 10, 39), (10, 4, 10))

    assert Bridge.boxFromRoi(roi, addVolume(plainVolume), "a") == Box("a", (0, 8, 34), (5, 12, 39))


@pytest.mark.parametrize(
    ("above", "lower", "upper"),
    [
        # The turn brings the box from around (8, 5, 9) to around (-5, 8, 9).
        pytest.param("roi", None, None, id="box"),
        # The voxel that the turn brings to (8, 5, 9) is (5, -8, 9).
        pytest.param("volume", None, None, id="volume"),
        pytest.param("both", (7, 3, 6), (9, 7, 12), id="both"),
    ],
)
def test_transforms_above_box_and_volume_are_followed(scene, plainVolume: Volume, above, lower, upper) -> None:
    volume = addVolume(plainVolume)
    roi = addRoi(scene, (8, 5, 9), (2, 4, 6))
    addTransform(TURN, *[roi] * (above != "volume"), *[volume] * (above != "roi"))

    if lower is None:
        with pytest.raises(DataError, match='The box "R" lies outside the volume "CT"'):
            Bridge.boxFromRoi(roi, volume, "a")
    else:
        assert Bridge.boxFromRoi(roi, volume, "a") == Box("a", lower, upper)


def test_a_turned_box_covers_the_turned_voxels(scene) -> None:
    volume = Volume(np.zeros((40, 30, 20), dtype=np.int16), np.diag([-1.0, 1, 1, 1]))  # voxel I lies at R = -I
    roi = addRoi(scene, (8, 5, 9), (2, 4, 6))
    addTransform(TURN, roi)  # now around (-5, 8, 9) with sides 4, 2 and 6

    assert Bridge.boxFromRoi(roi, addVolume(volume), "a") == Box("a", (3, 7, 6), (7, 9, 12))


@pytest.mark.parametrize("bent", ["roi", "volume"])
def test_a_bend_above_box_or_volume_is_refused(scene, plainVolume: Volume, bent: str) -> None:
    volume, roi = addVolume(plainVolume), addRoi(scene, (8, 5, 9), (2, 4, 6))
    addBend(volume if bent == "volume" else roi)

    with pytest.raises(GeometryError, match='A non-linear transform lies between "R" and "CT"'):
        Bridge.boxFromRoi(roi, volume, "a")


def test_a_box_that_is_not_drawn_yet_is_refused(scene, plainVolume: Volume) -> None:
    roi = scene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "R")

    with pytest.raises(DataError, match='The box "R" has no size yet'):
        Bridge.boxFromRoi(roi, addVolume(plainVolume), "a")


def test_a_box_of_control_points_is_where_the_user_sees_it(scene, plainVolume: Volume) -> None:
    roi = scene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "R")
    roi.SetROIType(roi.ROITypeBoundingBox)
    for point in ((4, 5, 6), (9, 12, 8)):
        roi.AddControlPoint(vtk.vtkVector3d(*point))

    assert Bridge.boxFromRoi(roi, addVolume(plainVolume), "a") == Box("a", (4, 5, 6), (9, 12, 8))
