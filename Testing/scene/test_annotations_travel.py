"""The table belongs to a segmentation and goes where it goes: undo, save, load, import, clone, another volume."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import slicer
import slicer.util
from scene_parts import addSegmentation, addVolume, maskOf, paint, segmentOf

from uncol.core.jobs import Structure
from uncol.core.volume import Volume
from UnCoLSegmentLib.Scene import Acceptance, Bridge, Grids, Labelmaps, Proposal
from UnCoLSegmentLib.Scene.AnnotatedSlices import AnnotatedTable, detectAnnotated, markComplete, readTable
from UnCoLSegmentLib.Scene.Painting import AcceptedVoxels

SHAPE = (12, 20, 20)
TO_RAS = np.array([[-0.8, 0.6, 0, 12], [-0.6, -0.8, 0, 30], [0, 0, 3.0, -7], [0, 0, 0, 1.0]])


@pytest.fixture
def volume(scene):
    """An oblique volume."""
    return addVolume(Volume(np.zeros(SHAPE, dtype=np.int16), TO_RAS))


@pytest.fixture
def editor(host):
    """Slicer's own logic behind the buttons and keys of the Segment Editor."""
    editor = slicer.vtkSlicerSegmentEditorLogic()
    editor.SetMRMLApplicationLogic(host.logic)
    editor.SetMRMLScene(host.scene)
    editor.SetSegmentEditorNode(host.scene.AddNewNodeByClass("vtkMRMLSegmentEditorNode"))
    return editor


def slab(*slices: int, side: int = 10) -> np.ndarray:
    mask = np.zeros(SHAPE, dtype=bool)
    mask[list(slices), 4 : 4 + side, 4 : 4 + side] = True
    return mask


def propose(volume, user, mask: np.ndarray):
    return Proposal.putProposal(Volume(mask.astype(np.uint8), TO_RAS), [Structure(1, "liver")], volume, None, user)


def complete(table: AnnotatedTable) -> list[int]:
    return [row.index for row in table.complete]


def test_one_undo_takes_back_what_was_accepted_and_nothing_else(volume, editor) -> None:
    """Painted slice 2, accepted slices 4 to 10, undone: slices 4 to 10 had become 'complete, without the structure'."""
    user = addSegmentation({"liver": np.zeros(SHAPE)}, volume)
    editor.SetSegmentationNode(user)
    editor.SaveStateForUndo()
    paint(user, "liver", slab(2), volume)
    detectAnnotated(user, None, volume)
    proposal = propose(volume, user, slab(*range(4, 11)))

    Acceptance.acceptAll(proposal, user, beforeChange=editor.SaveStateForUndo)
    assert complete(detectAnnotated(user, proposal, volume)) == [2]
    editor.Undo()
    afterUndo = detectAnnotated(user, proposal, volume)
    assert np.array_equal(maskOf(user, "liver", volume), slab(2))
    editor.Redo()
    afterRedo = detectAnnotated(user, proposal, volume)

    assert [row.index for row in afterUndo.rows] == [row.index for row in afterRedo.rows] == [2]
    assert complete(afterUndo) == complete(afterRedo) == [2]
    assert np.array_equal(maskOf(user, "liver", volume), slab(2, *range(4, 11)))
    editor.Undo()
    editor.Undo()
    assert detectAnnotated(user, proposal, volume).rows == ()


def test_two_quick_strokes_of_which_one_is_undone_leave_the_other(volume, editor) -> None:
    user = addSegmentation({"liver": np.zeros(SHAPE)}, volume)
    editor.SetSegmentationNode(user)
    for slices in ((2,), (2, 8)):
        editor.SaveStateForUndo()
        paint(user, "liver", slab(*slices), volume)
    assert complete(detectAnnotated(user, None, volume)) == [2, 8]

    editor.Undo()
    assert complete(detectAnnotated(user, None, volume)) == [2]
    editor.Redo()
    assert complete(detectAnnotated(user, None, volume)) == [2, 8]


def test_marking_a_slice_complete_is_undone_and_redone_by_the_editor(volume, editor) -> None:
    user = addSegmentation({"liver": slab(2)}, volume)
    editor.SetSegmentationNode(user)
    detectAnnotated(user, None, volume)
    editor.SaveStateForUndo()
    markComplete(user, volume, "K", 9, True)

    editor.Undo()
    assert complete(detectAnnotated(user, None, volume)) == [2]
    editor.Redo()
    assert complete(detectAnnotated(user, None, volume)) == [2, 9]


def test_what_is_accepted_follows_many_undos_and_new_acceptances(volume, editor) -> None:
    user = addSegmentation({"liver": np.zeros(SHAPE)}, volume)
    editor.SetSegmentationNode(user)
    for turn in range(20):
        Acceptance.acceptAll(propose(volume, user, slab(3)), user, beforeChange=editor.SaveStateForUndo)
        Acceptance.acceptAll(propose(volume, user, slab(5, 6)), user, beforeChange=editor.SaveStateForUndo)
        if turn % 3:
            editor.Undo()
        assert detectAnnotated(user, None, volume).rows == (), turn

    kept = AcceptedVoxels(user).node.GetSegmentation().GetNumberOfSegments()
    assert kept <= 12


def test_a_saved_scene_keeps_table_and_memory(host, volume, tmp_path: Path) -> None:
    user = addSegmentation({"liver": np.zeros(SHAPE)}, volume)
    Acceptance.acceptAll(propose(volume, user, slab(*range(4, 11))), user)
    paint(user, "liver", slab(*range(4, 11)) | slab(6, side=12), volume)
    detectAnnotated(user, None, volume)
    markComplete(user, volume, "K", 0, True)
    slicer.util.saveScene(str(tmp_path / "scene.mrb"))
    host.scene.Clear(False)

    slicer.util.loadScene(str(tmp_path / "scene.mrb"))
    volume, user = slicer.util.getNode("CT"), slicer.util.getNode("Segmentation")

    assert complete(readTable(user, volume)) == [0, 6]
    assert complete(detectAnnotated(user, None, volume)) == [0, 6]


def test_an_empty_segment_does_not_move_the_others_when_the_scene_is_saved(host, volume, tmp_path: Path) -> None:
    painted = slab(3, 7, side=11)
    user = addSegmentation({"liver": np.zeros(SHAPE), "spleen": painted}, volume)
    Labelmaps.alignEmptySegments(user)
    slicer.util.saveScene(str(tmp_path / "scene.mrb"))
    layer = next(each for each in Labelmaps.layersOf(user) if "spleen" in each.values)
    assert np.allclose(layer.lattice, TO_RAS)
    host.scene.Clear(False)

    slicer.util.loadScene(str(tmp_path / "scene.mrb"))

    volume, user = slicer.util.getNode("CT"), slicer.util.getNode("Segmentation")
    assert np.array_equal(maskOf(user, "spleen", volume), painted)


def test_a_segmentation_file_alone_keeps_the_table_and_does_not_take_accepted_slices_for_painted(
    host, volume, tmp_path: Path
) -> None:
    user = addSegmentation({"liver": np.zeros(SHAPE)}, volume)
    Acceptance.acceptAll(propose(volume, user, slab(*range(4, 11))), user)
    paint(user, "liver", slab(*range(4, 11)) | slab(6, side=12), volume)
    detectAnnotated(user, None, volume)
    markComplete(user, volume, "K", 0, True)
    slicer.util.saveNode(user, str(tmp_path / "mine.seg.nrrd"))
    host.scene.Clear(False)

    volume = addVolume(Volume(np.zeros(SHAPE, dtype=np.int16), TO_RAS))
    user = slicer.util.loadSegmentation(str(tmp_path / "mine.seg.nrrd"))

    for _ in range(2):
        table = detectAnnotated(user, None, volume)
        assert complete(table) == [0, 6]
        assert [row.index for row in table.rows] == [0, 6]


def test_a_clone_has_a_table_of_its_own(scene, volume) -> None:
    user = addSegmentation({"liver": slab(2)}, volume)
    detectAnnotated(user, None, volume)
    clone = scene.CreateNodeByClass("vtkMRMLSegmentationNode")
    clone.UnRegister(None)
    clone.Copy(user)
    scene.AddNode(clone)

    markComplete(clone, volume, "K", 9, True)

    assert complete(detectAnnotated(clone, None, volume)) == [2, 9]
    assert complete(detectAnnotated(user, None, volume)) == [2]


def test_a_renamed_segment_keeps_its_slices(volume) -> None:
    user = addSegmentation({"Segment_1": slab(2)}, volume)
    detectAnnotated(user, None, volume)
    segmentOf(user, "Segment_1").SetName("liver")
    user.SetName("another name")

    assert complete(detectAnnotated(user, None, volume)) == [2]


def test_the_table_of_one_patient_is_not_that_of_the_next(volume) -> None:
    first = addSegmentation({"liver": slab(2, 5)}, volume, "first")
    detectAnnotated(first, None, volume)
    markComplete(first, volume, "K", 0, True)
    other = addVolume(Volume(np.zeros(SHAPE, dtype=np.int16), TO_RAS), "other")
    second = addSegmentation({"liver": np.zeros(SHAPE)}, other, "second")

    assert detectAnnotated(second, None, other).rows == ()
    assert complete(detectAnnotated(first, None, volume)) == [0, 2, 5]


def test_slices_of_a_cropped_volume_are_those_at_the_same_place(volume) -> None:
    user = addSegmentation({"liver": slab(5, 8)}, volume)
    detectAnnotated(user, None, volume)
    for index, on in ((1, True), (10, True), (8, False)):
        markComplete(user, volume, "K", index, on)
    cut = TO_RAS.copy()
    cut[:3, 3] = (TO_RAS @ [2, 1, 4, 1])[:3]
    cropped = addVolume(Volume(np.zeros((8, 18, 17), dtype=np.int16), cut), "cropped")

    table = detectAnnotated(user, None, cropped)

    assert [(row.index, row.complete) for row in table.rows] == [(1, True), (4, False), (6, True)]
    labels = Bridge.labelsFromSegmentation(user, cropped, table).labels.volume().voxels
    assert np.array_equal(labels[1] == 1, slab(5)[5, 1:19, 2:19])
    assert [(row.index, row.complete) for row in detectAnnotated(user, None, volume).rows] == [
        (1, True),
        (5, True),
        (8, False),
        (10, True),
    ]


@pytest.mark.parametrize("painted", [(0,), (1,), (0, 1)])
def test_a_slice_of_a_finer_segmentation_is_read_whole(scene, painted: tuple[int, ...]) -> None:
    """The segmentation has twice as many slices; a stroke may lie in either half of the volume's slice, or in both."""
    volume = addVolume(Volume(np.zeros(SHAPE, dtype=np.int16), np.diag([1.0, 1.0, 3.0, 1.0])))
    halved = np.diag([0.5, 0.5, 0.5, 1.0])
    halved[:3, 3] = -0.25
    fine = addVolume(Volume(np.zeros(np.array(SHAPE) * 2, dtype=np.int16), Grids.ijkToRAS(volume) @ halved), "fine")
    mask = np.zeros(np.array(SHAPE) * 2, dtype=bool)
    mask[[2 * 6 + half for half in painted], 8:28, 8:28] = True
    user = addSegmentation({"liver": mask}, fine)

    table = detectAnnotated(user, None, volume)
    labels = Bridge.labelsFromSegmentation(user, volume, table).labels.volume().voxels

    assert complete(table) == [6]
    assert np.array_equal(labels == 1, slab(6))


def test_text_in_the_tag_that_is_none_of_ours_counts_as_nothing(volume) -> None:
    user = addSegmentation({"liver": slab(2)}, volume)
    for text in ("nonsense", "0 0 1 x p1", "0 0 1 3 q1", "0 0 1 3 p-2", "0 0 1 nan p1", ";;", "1 2 3"):
        segmentOf(user, "liver").SetTag("UnCoL.Slices", text)
        assert complete(detectAnnotated(user, None, volume)) == [2], text


def test_the_memory_of_a_closed_patient_is_freed(host, volume) -> None:
    user = addSegmentation({"liver": np.zeros(SHAPE)}, volume)
    Acceptance.acceptAll(propose(volume, user, slab(3, 4)), user)
    gone = []
    for node in (user, AcceptedVoxels(user).node):
        node.AddObserver("DeleteEvent", lambda *_: gone.append(1))
    del user, node

    host.scene.Clear(False)

    assert len(gone) == 2
