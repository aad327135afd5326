"""Accepting takes over what was proposed, spares finished work and painting, and tells before it changes anything."""

from __future__ import annotations

import numpy as np
import pytest
import slicer
from scene_parts import TURN, addBend, addSegmentation, addTransform, addVolume, maskOf, paint, segmentOf, worldOf

from uncol.core.errors import GeometryError
from uncol.core.jobs import Structure
from uncol.core.volume import Volume
from UnCoLSegmentLib.Scene import Acceptance, Grids, Labelmaps, Proposal

SHAPE = (6, 7, 8)
Status = slicer.vtkSlicerSegmentationsModuleLogic
LABELS = np.random.default_rng(3).integers(0, 4, SHAPE).astype(np.uint8)
STRUCTURES = [Structure(1, "spleen"), Structure(2, "liver"), Structure(3, "tumor")]


@pytest.fixture(params=["oblique", "left-handed", "sagittal"])
def volume(request, scene, make_volume):
    """A volume in several geometries."""
    return addVolume(make_volume(geometry=request.param, shape_kji=SHAPE))


@pytest.fixture
def plain(scene, make_volume):
    """A volume in one geometry."""
    return addVolume(make_volume(geometry="oblique", shape_kji=SHAPE))


def emptySegmentation(volume):
    return addSegmentation({each.name: np.zeros(SHAPE) for each in STRUCTURES}, volume)


def propose(volume, user=None, labels: np.ndarray = LABELS, structures=STRUCTURES):
    return Proposal.putProposal(Volume(labels, Grids.ijkToRAS(volume)), structures, volume, None, user)


def oneSlice(axis: str, index: int) -> np.ndarray:
    only = np.zeros(SHAPE, dtype=bool)
    np.moveaxis(only, "KJI".index(axis), 0)[index] = True
    return only


def contentOf(segmentation, volume) -> dict[str, list]:
    ids = segmentation.GetSegmentation().GetSegmentIDs()
    return {segmentId: maskOf(segmentation, segmentId, volume).tolist() for segmentId in ids}


def test_one_segment_is_taken_over_and_no_other(volume) -> None:
    user = emptySegmentation(volume)

    summary = Acceptance.acceptSegment(propose(volume, user), user, "liver")

    assert np.array_equal(maskOf(user, "liver", volume), LABELS == 2)
    assert not maskOf(user, "spleen", volume).any()
    assert summary.changed == ("liver",)
    assert summary.text == "Accepted: liver."


def test_all_segments_are_taken_over(volume) -> None:
    user = emptySegmentation(volume)

    summary = Acceptance.acceptAll(propose(volume, user), user)

    for structure in STRUCTURES:
        assert np.array_equal(maskOf(user, structure.name, volume), structure.value == LABELS)
    assert summary.changed == ("spleen", "liver", "tumor")


@pytest.mark.parametrize(("axis", "index"), [("K", 0), ("K", 4), ("J", 3), ("I", 7)])
def test_one_slice_is_taken_over_and_no_other(volume, axis: str, index: int) -> None:
    before = np.roll(LABELS, 2, axis=1)
    user = addSegmentation({each.name: before == each.value for each in STRUCTURES}, volume)

    Acceptance.acceptSlice(propose(volume, user), user, volume, axis, index)

    expected = np.where(oneSlice(axis, index), LABELS, before)
    for structure in STRUCTURES:
        assert np.array_equal(maskOf(user, structure.name, volume), expected == structure.value)


def test_slice_after_slice_adds_up(plain) -> None:
    user = emptySegmentation(plain)
    proposal = propose(plain, user)

    for index in (1, 3, 2):
        Acceptance.acceptSlice(proposal, user, plain, "K", index)

    expected = np.where(oneSlice("K", 1) | oneSlice("K", 2) | oneSlice("K", 3), LABELS, 0)
    for structure in STRUCTURES:
        assert np.array_equal(maskOf(user, structure.name, plain), expected == structure.value)


@pytest.mark.parametrize("accept", ["all", "slice", "segment"])
def test_a_finished_segment_is_never_changed(plain, accept: str) -> None:
    user = emptySegmentation(plain)
    finished = oneSlice("K", 2)
    paint(user, "liver", finished, plain)
    Status.SetSegmentStatus(segmentOf(user, "liver"), Status.Completed)
    proposal = propose(plain, user)

    if accept == "all":
        summary = Acceptance.acceptAll(proposal, user)
    elif accept == "slice":
        summary = Acceptance.acceptSlice(proposal, user, plain, "K", 2)
    else:
        summary = Acceptance.acceptSegment(proposal, user, "liver")

    assert np.array_equal(maskOf(user, "liver", plain), finished)
    reason = "it is marked as completed"
    assert summary.skipped == (("liver", reason),)
    assert summary.text.endswith(f"liver: {reason}.")


def test_a_segment_that_is_in_progress_again_can_be_changed_again(plain) -> None:
    user = emptySegmentation(plain)
    for status in (Status.Completed, Status.InProgress):
        Status.SetSegmentStatus(segmentOf(user, "liver"), status)

    Acceptance.acceptSegment(propose(plain, user), user, "liver")

    assert np.array_equal(maskOf(user, "liver", plain), LABELS == 2)


def test_segments_that_are_not_proposed_stay_even_where_they_overlap(plain) -> None:
    user = addSegmentation({"kidney": LABELS > 0, "vessel": LABELS == 2}, plain)

    Acceptance.acceptAll(propose(plain, user), user)

    assert np.array_equal(maskOf(user, "kidney", plain), LABELS > 0)
    assert np.array_equal(maskOf(user, "vessel", plain), LABELS == 2)
    assert np.array_equal(maskOf(user, "liver", plain), LABELS == 2)


@pytest.mark.parametrize("axis", ["K", "J", "I"])
def test_slices_that_the_user_painted_are_kept(plain, axis: str) -> None:
    user = emptySegmentation(plain)
    painted = oneSlice(axis, 3)
    paint(user, "liver", painted, plain)

    summary = Acceptance.acceptAll(propose(plain, user), user)

    assert np.array_equal(maskOf(user, "liver", plain), np.where(painted, True, LABELS == 2))
    assert np.array_equal(maskOf(user, "spleen", plain), LABELS == 1)
    assert summary.text == "Accepted: spleen, liver, tumor. Slices that you painted were kept: 1."


def test_a_painted_slice_is_replaced_when_that_slice_is_accepted(plain) -> None:
    user = emptySegmentation(plain)
    paint(user, "liver", oneSlice("K", 3), plain)

    Acceptance.acceptSlice(propose(plain, user), user, plain, "K", 3)

    assert np.array_equal(maskOf(user, "liver", plain), (LABELS == 2) & oneSlice("K", 3))


def test_what_was_accepted_before_is_replaced(plain) -> None:
    user = emptySegmentation(plain)
    Acceptance.acceptAll(propose(plain, user), user)
    other = np.roll(LABELS, 1, axis=2)

    summary = Acceptance.acceptAll(propose(plain, user, other), user)

    assert np.array_equal(maskOf(user, "liver", plain), other == 2)
    assert summary.keptSlices == 0


def test_a_structure_that_was_not_found_empties_nothing(plain) -> None:
    user = emptySegmentation(plain)
    Acceptance.acceptAll(propose(plain, user), user)

    summary = Acceptance.acceptAll(propose(plain, user, np.where(LABELS == 2, 0, LABELS)), user)

    assert np.array_equal(maskOf(user, "liver", plain), LABELS == 2)
    assert ("liver", "there is nothing to take over") in summary.skipped


def test_accepting_tells_once_before_the_first_change_and_not_where_nothing_changes(plain) -> None:
    user = emptySegmentation(plain)
    proposal = propose(plain, user)
    seen = []

    def beforeChange() -> None:
        seen.append(contentOf(user, plain))

    before = contentOf(user, plain)
    Acceptance.acceptAll(proposal, user, beforeChange=beforeChange)
    again = Acceptance.acceptAll(proposal, user, beforeChange=beforeChange)

    assert again.text == "Nothing was changed."
    assert seen == [before]


def test_a_new_segment_looks_like_the_proposed_one(scene, plain) -> None:
    user = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "empty")
    proposal = propose(plain)
    segmentOf(proposal, "liver").SetColor(0.1, 0.2, 0.3)
    segmentOf(proposal, "liver").SetTag(slicer.vtkSegment.GetTerminologyEntryTagName(), "a~b")

    Acceptance.acceptAll(proposal, user)

    liver = segmentOf(user, "liver")
    assert liver.GetColor() == (0.1, 0.2, 0.3)
    assert Labelmaps.tagOf(liver, slicer.vtkSegment.GetTerminologyEntryTagName()) == "a~b"
    assert np.array_equal(maskOf(user, "liver", plain), LABELS == 2)


def test_a_changed_segment_is_in_progress(plain) -> None:
    user = emptySegmentation(plain)

    Acceptance.acceptSegment(propose(plain, user), user, "liver")

    assert Status.GetSegmentStatus(segmentOf(user, "liver")) == Status.InProgress
    assert Status.GetSegmentStatus(segmentOf(user, "spleen")) == Status.NotStarted


def test_a_segment_is_found_again_after_it_was_renamed(plain) -> None:
    user = emptySegmentation(plain)
    proposal = propose(plain, user)
    segmentOf(user, "liver").SetName("left liver lobe")

    Acceptance.acceptSegment(proposal, user, "liver")

    assert np.array_equal(maskOf(user, "liver", plain), LABELS == 2)


def test_in_another_segmentation_the_name_counts_and_not_the_id(plain) -> None:
    proposal = propose(plain, emptySegmentation(plain))
    other = addSegmentation({"liver": np.zeros(SHAPE)}, plain, "other")
    segmentOf(other, "liver").SetName("kidney")

    Acceptance.acceptSegment(proposal, other, "liver")

    found = other.GetSegmentation().GetSegmentIdBySegmentName("liver")
    assert found != "liver"
    assert not maskOf(other, "liver", plain).any()
    assert np.array_equal(maskOf(other, found, plain), LABELS == 2)


def test_a_target_under_another_transform_gets_the_segment_where_it_is_seen(scene) -> None:
    volume = addVolume(Volume(np.zeros((4, 9, 9), dtype=np.int16), np.eye(4)))
    labels = np.zeros((4, 9, 9), dtype=np.uint8)
    labels[1, 2:4, 3:8] = 1
    proposal = propose(volume, None, labels, [Structure(1, "spleen")])
    user = addSegmentation({"spleen": np.zeros((4, 9, 9))}, volume)
    turn = TURN.copy()
    turn[0, 3] = 8
    addTransform(turn, user)

    Acceptance.acceptAll(proposal, user)

    # The turn brings the target's own (r, a) to (8 - a, r); so proposed (R, A) is own (A, 8 - R).
    own = maskOf(withoutTransform(user), "spleen", volume)
    assert sorted((r, 8 - a) for _s, a, r in np.argwhere(own).tolist()) == sorted(
        (a, r) for _s, a, r in np.argwhere(labels).tolist()
    )


def test_one_slice_is_taken_over_through_transforms(scene) -> None:
    volume = addVolume(Volume(np.zeros((4, 9, 9), dtype=np.int16), np.eye(4)))
    labels = np.ones((4, 9, 9), dtype=np.uint8)
    proposal = propose(volume, None, labels, [Structure(1, "spleen")])
    user = addSegmentation({"spleen": np.zeros((4, 9, 9))}, volume)
    turn = TURN.copy()
    turn[0, 3] = 8
    addTransform(turn, user)

    Acceptance.acceptSlice(proposal, user, volume, "I", 2)

    own = maskOf(withoutTransform(user), "spleen", volume)
    assert np.argwhere(own.any(axis=(0, 2))).ravel().tolist() == [6]  # R = 8 - a = 2
    assert own[:, 6].all()


def withoutTransform(segmentation):
    segmentation.SetAndObserveTransformNodeID(None)
    return segmentation


def test_a_target_on_a_finer_grid_keeps_its_grid(scene, plain, make_volume) -> None:
    third = np.diag([1 / 3, 1 / 3, 1 / 3, 1])
    third[:3, 3] = -1 / 3
    fine = addVolume(Volume(np.zeros((18, 21, 24), dtype=np.int16), Grids.ijkToRAS(plain) @ third), "fine")
    kept = np.zeros((18, 21, 24), dtype=bool)
    kept[4, 5, 6] = True
    user = addSegmentation({"kidney": kept, "liver": np.zeros((18, 21, 24))}, fine)

    Acceptance.acceptSegment(propose(plain), user, "liver")

    assert np.array_equal(maskOf(user, "liver", fine), np.kron(LABELS == 2, np.ones((3, 3, 3), dtype=bool)))
    assert np.array_equal(maskOf(user, "kidney", fine), kept)


def test_accepted_voxels_lie_where_they_were_proposed_in_the_world(scene, make_volume) -> None:
    volume = addVolume(make_volume(geometry="sagittal", shape_kji=SHAPE))
    user = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "empty")
    labels = np.zeros(SHAPE, dtype=np.uint8)
    labels[4, 2, 6] = 1

    Acceptance.acceptAll(propose(volume, None, labels, [Structure(1, "spleen")]), user)

    bounds = [0.0] * 6
    user.GetRASBounds(bounds)
    middle = [(low + high) / 2 for low, high in zip(bounds[::2], bounds[1::2], strict=True)]
    assert np.allclose(middle, worldOf(volume, np.array([6, 2, 4])))


def test_a_bend_between_proposal_and_target_is_refused(plain) -> None:
    user = emptySegmentation(plain)
    proposal = propose(plain, user)
    addBend(user)

    with pytest.raises(GeometryError, match='A non-linear transform lies between "CT proposal" and "Segmentation"'):
        Acceptance.acceptAll(proposal, user)
