"""Painted slices are found in any orientation; what was accepted is not taken for painting."""

from __future__ import annotations

import numpy as np
import pytest
from scene_parts import TURN, addBend, addSegmentation, addTransform, addVolume, maskOf, paint, worldOf

from uncol.core.errors import DataError, GeometryError
from uncol.core.jobs import Structure
from uncol.core.volume import Volume
from UnCoLSegmentLib.Scene import Acceptance, Grids, Proposal, SliceViews
from UnCoLSegmentLib.Scene.AnnotatedSlices import (
    AnnotatedSlice,
    AnnotatedTable,
    detectAnnotated,
    markComplete,
    removeSlice,
)
from UnCoLSegmentLib.Scene.Painting import AcceptedVoxels
from UnCoLSegmentLib.Scene.SliceMarks import Kind

SHAPE = (9, 20, 24)
EMPTY = AnnotatedTable()


@pytest.fixture
def volume(scene, make_volume):
    """An oblique volume of 9 slices."""
    return addVolume(make_volume(geometry="oblique", shape_kji=SHAPE))


def disc(axis: str, index: int) -> np.ndarray:
    """Return an elliptic area painted in one slice."""
    k, j, i = np.ogrid[: SHAPE[0], : SHAPE[1], : SHAPE[2]]
    ball = ((k - 4) / 4) ** 2 + ((j - 9) / 7) ** 2 + ((i - 11) / 8) ** 2 < 1
    only = np.zeros(SHAPE, dtype=bool)
    np.moveaxis(only, "KJI".index(axis), 0)[index] = True
    return ball & only


def ball() -> np.ndarray:
    return np.logical_or.reduce([disc("K", index) for index in range(SHAPE[0])])


def slicesOf(table: AnnotatedTable) -> list[str]:
    return [f"{row.axis}:{row.index}" for row in table.rows]


@pytest.mark.parametrize(
    "painted", [["K:4"], ["J:9"], ["I:11"], ["K:3", "K:5"], ["J:6", "J:9", "J:12"], ["K:4", "I:8"]]
)
def test_a_slice_is_found_in_the_orientation_in_which_it_was_painted(volume, painted: list[str]) -> None:
    mask = np.logical_or.reduce([disc(name[0], int(name[2:])) for name in painted])
    segmentation = addSegmentation({"spleen": mask}, volume)

    table = detectAnnotated(segmentation, None, volume)

    assert slicesOf(table) == painted
    assert all(row.complete and row.hasStructure for row in table.rows)


def test_three_axial_and_two_sagittal_slices_are_found_together(volume) -> None:
    painted = ["K:2", "K:4", "K:6", "I:9", "I:13"]
    mask = np.logical_or.reduce([disc(name[0], int(name[2:])) for name in painted])
    segmentation = addSegmentation({"spleen": mask}, volume)

    assert slicesOf(detectAnnotated(segmentation, None, volume)) == painted


def test_a_ball_painted_in_3d_is_cut_along_one_axis_and_left_to_the_user(volume) -> None:
    segmentation = addSegmentation({"spleen": ball()}, volume)

    table = detectAnnotated(segmentation, None, volume)

    assert slicesOf(table) == [f"K:{index}" for index in range(1, 8)]
    assert not table.complete
    assert all(row.kinds == {Kind.MANY} for row in table.rows[1:-1])


def test_painting_in_two_segments_is_found_in_both(volume) -> None:
    segmentation = addSegmentation(
        {"spleen": disc("K", 3), "tumor": disc("K", 3) & disc("I", 11) | disc("K", 6)}, volume
    )

    assert slicesOf(detectAnnotated(segmentation, None, volume)) == ["K:3", "K:6"]


def test_nothing_painted_is_nothing_annotated(scene, volume) -> None:
    segmentation = addSegmentation({"spleen": np.zeros(SHAPE)}, volume)

    assert detectAnnotated(segmentation, None, volume) == EMPTY
    assert detectAnnotated(scene.AddNewNodeByClass("vtkMRMLSegmentationNode"), None, volume) == EMPTY


@pytest.mark.parametrize("geometry", ["left-handed", "sagittal", "oblique left-handed"])
def test_slices_are_counted_by_the_volume_whatever_its_geometry(scene, make_volume, geometry: str) -> None:
    volume = addVolume(make_volume(geometry=geometry, shape_kji=SHAPE))
    segmentation = addSegmentation({"spleen": disc("J", 12)}, volume)
    addTransform(TURN, volume, segmentation)

    assert slicesOf(detectAnnotated(segmentation, None, volume)) == ["J:12"]


def test_slices_are_found_through_the_transform_of_the_segmentation(scene) -> None:
    volume = addVolume(Volume(np.zeros((9, 20, 20), dtype=np.int16), np.eye(4)))
    mask = np.zeros((9, 20, 20))
    mask[2:7, 5:15, 4] = 1  # a slice of constant R, which the quarter turn makes one of constant A
    segmentation = addSegmentation({"spleen": mask}, volume)
    turnInside = TURN.copy()
    turnInside[0, 3] = 19
    addTransform(turnInside, segmentation)

    assert slicesOf(detectAnnotated(segmentation, None, volume)) == ["J:4"]


def test_a_bend_between_the_nodes_is_refused(scene, volume) -> None:
    segmentation = addSegmentation({"spleen": ball()}, volume)
    addBend(volume)

    with pytest.raises(GeometryError, match="A non-linear transform lies between"):
        detectAnnotated(segmentation, None, volume)


@pytest.fixture
def accepted(volume):
    """A segmentation into which a whole proposal was accepted, and that proposal."""
    user = addSegmentation({"spleen": np.zeros(SHAPE)}, volume)
    labels = Volume(ball().astype(np.uint8), Grids.ijkToRAS(volume))
    proposal = Proposal.putProposal(labels, [Structure(1, "spleen")], volume, None, user)
    Acceptance.acceptAll(proposal, user)
    return user, proposal


def test_what_was_accepted_is_not_painted(volume, accepted) -> None:
    user, proposal = accepted

    assert detectAnnotated(user, proposal, volume) == EMPTY


def test_a_correction_of_what_was_accepted_is_painted(volume, accepted) -> None:
    user, proposal = accepted
    paint(user, "spleen", ball() & ~(disc("K", 5) & disc("I", 11)) | np.roll(disc("K", 2), 3, axis=2), volume)

    assert slicesOf(detectAnnotated(user, proposal, volume)) == ["K:2", "K:5"]


def test_a_slice_in_which_voxels_only_vanished_is_shown_and_left_to_the_user(volume, accepted) -> None:
    user, proposal = accepted
    paint(user, "spleen", ball() & ~disc("K", 7), volume)

    table = detectAnnotated(user, proposal, volume)

    assert table.rows == (AnnotatedSlice("K", 7, complete=False, hasStructure=False),)
    assert table.rows[0].kinds == {Kind.ERASED}


def test_a_new_proposal_does_not_turn_what_was_accepted_into_painting(volume, accepted) -> None:
    user, proposal = accepted
    other = Volume(np.roll(ball(), 1, axis=1).astype(np.uint8), Grids.ijkToRAS(volume))
    Proposal.putProposal(other, [Structure(1, "spleen")], volume, proposal, user)

    assert detectAnnotated(user, proposal, volume) == EMPTY


def test_an_accepted_slice_is_not_painted_but_can_be_marked_complete(volume) -> None:
    user = addSegmentation({"spleen": np.zeros(SHAPE)}, volume)
    labels = Volume(ball().astype(np.uint8), Grids.ijkToRAS(volume))
    proposal = Proposal.putProposal(labels, [Structure(1, "spleen")], volume, None, user)
    Acceptance.acceptSlice(proposal, user, volume, "K", 4)

    found = detectAnnotated(user, proposal, volume)
    markComplete(user, volume, "K", 4, True)
    marked = detectAnnotated(user, proposal, volume)

    assert found == EMPTY
    assert marked.rows == (AnnotatedSlice("K", 4, complete=True, hasStructure=True, byUser=True),)


def test_a_proposal_that_was_copied_by_other_means_is_not_painted(volume) -> None:
    user = addSegmentation({"spleen": np.zeros(SHAPE)}, volume)
    labels = Volume(ball().astype(np.uint8), Grids.ijkToRAS(volume))
    proposal = Proposal.putProposal(labels, [Structure(1, "spleen")], volume, None, user)
    paint(user, "spleen", ball() | disc("K", 4) | np.roll(disc("K", 4), 2, axis=1), volume)

    assert slicesOf(detectAnnotated(user, proposal, volume)) == ["K:4"]


def test_a_painted_slice_stays_annotated_when_the_model_has_learned_it_by_heart(volume) -> None:
    user = addSegmentation({"spleen": disc("K", 4)}, volume)
    before = detectAnnotated(user, None, volume)
    labels = Volume(ball().astype(np.uint8), Grids.ijkToRAS(volume))
    proposal = Proposal.putProposal(labels, [Structure(1, "spleen")], volume, None, user)

    assert detectAnnotated(user, proposal, volume) == before


def test_painting_that_was_erased_again_is_forgotten(volume) -> None:
    segmentation = addSegmentation({"spleen": disc("K", 4)}, volume)
    assert slicesOf(detectAnnotated(segmentation, None, volume)) == ["K:4"]
    paint(segmentation, "spleen", np.zeros(SHAPE), volume)

    assert detectAnnotated(segmentation, None, volume) == EMPTY


def test_a_slice_marked_complete_that_holds_nothing_stays(volume) -> None:
    segmentation = addSegmentation({"spleen": disc("K", 4)}, volume)
    markComplete(segmentation, volume, "K", 0, True)

    table = detectAnnotated(segmentation, None, volume)

    assert table.rows == (
        AnnotatedSlice("K", 0, complete=True, hasStructure=False, byUser=True),
        AnnotatedSlice("K", 4, complete=True, hasStructure=True),
    )


def test_a_check_mark_that_the_user_took_away_stays_away(volume) -> None:
    segmentation = addSegmentation({"spleen": disc("K", 4)}, volume)
    detectAnnotated(segmentation, None, volume)
    markComplete(segmentation, volume, "K", 4, False)

    again = detectAnnotated(segmentation, None, volume)

    assert again.rows == (AnnotatedSlice("K", 4, complete=False, hasStructure=True, byUser=True),)


def test_without_a_segment_nobody_knows_of_what_a_slice_is_complete(scene, volume) -> None:
    with pytest.raises(DataError, match="has no segment yet"):
        markComplete(scene.AddNewNodeByClass("vtkMRMLSegmentationNode"), volume, "K", 4, True)


def test_a_slice_taken_out_of_the_table_comes_back_when_it_is_painted_again(volume) -> None:
    segmentation = addSegmentation({"spleen": disc("K", 3) | disc("K", 5)}, volume)
    detectAnnotated(segmentation, None, volume)

    removeSlice(segmentation, volume, "K", 3)
    assert slicesOf(detectAnnotated(segmentation, None, volume)) == ["K:5"]
    assert np.array_equal(maskOf(segmentation, "spleen", volume), disc("K", 3) | disc("K", 5))

    paint(segmentation, "spleen", np.roll(disc("K", 3), 1, axis=2) | disc("K", 3) | disc("K", 5), volume)
    assert slicesOf(detectAnnotated(segmentation, None, volume)) == ["K:3", "K:5"]


@pytest.mark.parametrize(("axis", "ijk"), [("K", (11.5, 9.5, 3)), ("J", (11.5, 3, 4)), ("I", (3, 9.5, 4))])
def test_a_slice_is_jumped_to_in_its_middle_through_all_transforms(volume, axis: str, ijk) -> None:
    addTransform(TURN, volume)

    assert np.allclose(SliceViews.middleOfSlice(volume, axis, 3), worldOf(volume, np.array(ijk)))


def test_the_memory_of_what_was_accepted_is_hidden_and_holds_it(volume, accepted) -> None:
    user, _proposal = accepted

    accepted = AcceptedVoxels(user)

    assert accepted.node.GetHideFromEditors()
    assert accepted.node.GetDisplayNode() is None
    assert np.array_equal(maskOf(accepted.node, accepted.rememberedId("spleen"), volume), ball())
