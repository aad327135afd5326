"""Nodes become volumes and labels, whatever their grids and transforms; uncertainty becomes a node."""

from __future__ import annotations

import gc
from pathlib import Path

import numpy as np
import pytest
import slicer
import slicer.util
import vtk
from scene_parts import TURN, addBend, addSegmentation, addTransform, addVolume, maskOf, paint, segmentOf, worldOf
from vtk.util.numpy_support import vtk_to_numpy

from uncol.core.errors import DataError, GeometryError
from uncol.core.jobs import Structure
from uncol.core.volume import Volume
from uncol.data.io import write_results
from UnCoLSegmentLib.Scene import Bridge
from UnCoLSegmentLib.Scene.AnnotatedSlices import AnnotatedSlice, AnnotatedTable


def tableOf(*slices: tuple[str, int]) -> AnnotatedTable:
    return AnnotatedTable.of(AnnotatedSlice(axis, index, complete=True, hasStructure=True) for axis, index in slices)


def allSlicesOf(volumeNode) -> AnnotatedTable:
    return tableOf(*(("K", index) for index in range(volumeNode.GetImageData().GetDimensions()[2])))


def randomMask(shape: tuple[int, ...], seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).random(shape) < 0.4


@pytest.mark.parametrize("dtype", [np.int16, np.uint16, np.float32, np.uint8])
def test_a_snapshot_is_the_nodes_voxels_and_grid_without_a_copy(scene, nasty_volume: Volume, dtype) -> None:
    node = addVolume(nasty_volume.with_voxels((nasty_volume.voxels * 1000).astype(dtype)))

    snapshot = Bridge.snapshotVolume(node)

    assert snapshot.voxels.dtype == dtype
    assert np.shares_memory(snapshot.voxels, slicer.util.arrayFromVolume(node))
    assert np.allclose(snapshot.ijk_to_ras, nasty_volume.ijk_to_ras)


def test_a_snapshot_leaves_the_parent_transform_out(scene, make_volume) -> None:
    node = addVolume(make_volume())
    before = Bridge.snapshotVolume(node).ijk_to_ras

    addTransform(TURN, node)

    assert np.array_equal(Bridge.snapshotVolume(node).ijk_to_ras, before)


def test_a_volume_without_voxels_is_refused(scene) -> None:
    node = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "nothing")

    with pytest.raises(DataError, match='The volume "nothing" holds no voxels'):
        Bridge.snapshotVolume(node)


def test_a_color_image_is_refused(scene) -> None:
    node = slicer.util.addVolumeFromArray(np.zeros((2, 3, 4, 3)), name="photo", nodeClassName="vtkMRMLVectorVolumeNode")

    with pytest.raises(DataError, match='"photo" has 3 numbers for each voxel'):
        Bridge.snapshotVolume(node)


@pytest.mark.parametrize(("axis", "index"), [("K", 1), ("J", 2), ("I", 0)])
def test_only_annotated_slices_are_known(scene, nasty_volume: Volume, axis: str, index: int) -> None:
    volume = addVolume(nasty_volume)
    mask = randomMask(nasty_volume.shape_kji)
    segmentation = addSegmentation({"spleen": mask}, volume)

    annotated, structures, notes = Bridge.labelsFromSegmentation(segmentation, volume, tableOf((axis, index)))
    labels = annotated.volume()

    expected = np.full(mask.shape, 255)
    place = [slice(None)] * 3
    place["KJI".index(axis)] = index
    expected[tuple(place)] = mask[tuple(place)]
    assert labels.voxels.dtype == np.uint8
    assert np.array_equal(labels.voxels, expected)
    assert np.allclose(labels.ijk_to_ras, nasty_volume.ijk_to_ras)
    assert (structures, notes) == ([Structure(1, "spleen")], [])


def test_a_slice_that_is_not_complete_stays_unknown(scene, make_volume) -> None:
    volume = addVolume(make_volume())
    segmentation = addSegmentation({"spleen": np.ones((2, 3, 4))}, volume)
    table = AnnotatedTable.of([AnnotatedSlice("K", 0, False, True), AnnotatedSlice("K", 1, True, True)])

    labels = Bridge.labelsFromSegmentation(segmentation, volume, table).labels.volume()

    assert (labels.voxels[0] == 255).all()
    assert (labels.voxels[1] == 1).all()


def test_an_annotated_slice_without_the_structure_is_background(scene, make_volume) -> None:
    volume = addVolume(make_volume())
    mask = np.zeros((2, 3, 4))
    mask[0] = 1
    segmentation = addSegmentation({"spleen": mask}, volume)

    labels = Bridge.labelsFromSegmentation(segmentation, volume, tableOf(("K", 0), ("K", 1))).labels.volume()

    assert (labels.voxels[1] == 0).all()


def test_an_annotated_slice_outside_the_volume_is_refused(scene, make_volume) -> None:
    volume = addVolume(make_volume())

    message = (
        "Annotated slice K:2 lies outside the volume, which has 2 slices that way. Untick it in the table, or choose "
        "the volume that was annotated."
    )
    with pytest.raises(DataError, match=message):
        Bridge.labelsFromSegmentation(addSegmentation({}, volume), volume, tableOf(("K", 2)))


def test_labels_of_a_left_handed_file_lie_where_they_were_painted(scene, make_volume, tmp_path: Path) -> None:
    write_results(tmp_path, {"ct.nrrd": make_volume(geometry="left-handed")}, {})
    volume = slicer.util.loadVolume(str(tmp_path / "ct.nrrd"))
    mask = randomMask((2, 3, 4))
    segmentation = addSegmentation({"spleen": mask}, volume)

    labels = Bridge.labelsFromSegmentation(segmentation, volume, allSlicesOf(volume)).labels.volume()
    write_results(tmp_path, {"labels.nrrd": labels}, {})
    readBack = slicer.util.loadVolume(str(tmp_path / "labels.nrrd"))

    assert np.array_equal(slicer.util.arrayFromVolume(readBack), mask)
    assert np.allclose(worldOf(readBack, np.array([3, 2, 1])), worldOf(volume, np.array([3, 2, 1])))


def test_a_cropped_volume_gets_its_part_of_the_segments(scene, make_volume) -> None:
    whole = make_volume(shape_kji=(5, 6, 7))
    mask = randomMask((5, 6, 7))
    segmentation = addSegmentation({"spleen": mask}, addVolume(whole))
    cropped = Volume(whole.voxels[1:4, 2:6, 3:5], whole.ijk_to_ras @ shifted(3, 2, 1))
    volume = addVolume(cropped, "cropped")

    labels = Bridge.labelsFromSegmentation(segmentation, volume, allSlicesOf(volume)).labels.volume()

    assert np.array_equal(labels.voxels, mask[1:4, 2:6, 3:5])


def test_a_segmentation_beyond_the_volume_is_read_where_they_meet(scene, make_volume) -> None:
    inner = make_volume(shape_kji=(3, 4, 5))
    outer = Volume(np.zeros((5, 6, 7), dtype=np.float32), inner.ijk_to_ras @ shifted(-1, -1, -1))
    mask = randomMask((5, 6, 7))
    segmentation = addSegmentation({"spleen": mask}, addVolume(outer, "outer"))

    labels, structures = Bridge.labelsOfAllSegments(segmentation, addVolume(inner))

    assert np.array_equal(labels.voxels, mask[1:4, 1:5, 1:6])
    assert structures == [Structure(1, "spleen")]


def test_a_segmentation_on_a_finer_grid_is_read_by_the_majority_in_each_voxel(scene, make_volume) -> None:
    coarse = make_volume(geometry="oblique", shape_kji=(3, 4, 5))
    # Three fine voxels to a coarse one along each axis: 27 in all, so that 14 are most of them.
    third = np.diag([1 / 3, 1 / 3, 1 / 3, 1])
    third[:3, 3] = -1 / 3
    fine = Volume(np.zeros((9, 12, 15), dtype=np.float32), coarse.ijk_to_ras @ third)
    mask = randomMask((9, 12, 15))
    segmentation = addSegmentation({"spleen": mask}, addVolume(fine, "fine"))

    labels, _structures = Bridge.labelsOfAllSegments(segmentation, addVolume(coarse))

    counts = mask.reshape(3, 3, 4, 3, 5, 3).sum(axis=(1, 3, 5))
    assert np.array_equal(labels.voxels, counts >= 14)


@pytest.mark.parametrize("above", ["volume", "segmentation", "both"])
def test_linear_transforms_above_either_node_are_followed(scene, make_volume, above: str) -> None:
    volume = addVolume(make_volume(geometry="anisotropic", shape_kji=(6, 7, 8)))
    segmentation = addSegmentation({"spleen": np.zeros((6, 7, 8)), "liver": randomMask((6, 7, 8))}, volume)
    tilt = np.array([[0.8, -0.6, 0, 3.1], [0.6, 0.8, 0, -2.2], [0, 0, 1, 1.3], [0, 0, 0, 1]])
    addTransform(tilt, *[volume] * (above != "segmentation"), *[segmentation] * (above != "volume"))

    labels, structures = Bridge.labelsOfAllSegments(segmentation, volume)

    assert np.array_equal(labels.voxels, 2 * expectedByWorld(segmentation, volume))
    assert structures == [Structure(1, "spleen"), Structure(2, "liver")]


def expectedByWorld(segmentation, volume) -> np.ndarray:
    """For each voxel of the volume: what Slicer keeps at that world point in the segment "liver"."""
    image = slicer.vtkOrientedImageData()
    segmentation.GetBinaryLabelmapRepresentation("liver", image)  # without parent transform
    kept = vtk_to_numpy(image.GetPointData().GetScalars())
    extent = image.GetExtent()
    kept = kept.reshape(extent[5] - extent[4] + 1, extent[3] - extent[2] + 1, extent[1] - extent[0] + 1)
    lattice, above = vtk.vtkMatrix4x4(), vtk.vtkMatrix4x4()
    image.GetImageToWorldMatrix(lattice)
    if segmentation.GetParentTransformNode():
        segmentation.GetParentTransformNode().GetMatrixTransformToWorld(above)
    toWorld = slicer.util.arrayFromVTKMatrix(above) @ slicer.util.arrayFromVTKMatrix(lattice)
    shape = slicer.util.arrayFromVolume(volume).shape
    result = np.zeros(shape, dtype=np.uint8)
    for k, j, i in np.ndindex(shape):
        point = worldOf(volume, np.array([i, j, k]))
        index = np.floor((np.linalg.inv(toWorld) @ [*point, 1])[:3] + 0.5).astype(int) - extent[::2]
        if (index >= 0).all() and (index < kept.shape[::-1]).all():
            result[k, j, i] = kept[tuple(index[::-1])] > 0
    return result


def test_a_quarter_turn_above_the_segmentation_turns_its_labels(scene) -> None:
    volume = addVolume(Volume(np.zeros((1, 3, 3), dtype=np.int16), np.eye(4)))
    mask = np.zeros((1, 3, 3))
    mask[0, 0, 2] = 1  # at (R, A, S) = (2, 0, 0), which the quarter turn brings to (0, 2, 0)
    segmentation = addSegmentation({"spleen": mask}, volume)
    addTransform(TURN, segmentation)

    labels, _structures = Bridge.labelsOfAllSegments(segmentation, volume)

    assert np.argwhere(labels.voxels).tolist() == [[0, 2, 0]]


@pytest.mark.parametrize("bent", ["volume", "segmentation"])
def test_a_transform_that_is_not_linear_is_refused(scene, make_volume, bent: str) -> None:
    volume = addVolume(make_volume())
    segmentation = addSegmentation({"spleen": np.ones((2, 3, 4))}, volume)
    addBend(volume if bent == "volume" else segmentation)

    with pytest.raises(GeometryError, match='A non-linear transform lies between "Segmentation" and "CT"'):
        Bridge.labelsFromSegmentation(segmentation, volume, tableOf(("K", 0)))


def test_one_bend_above_both_does_no_harm(scene, make_volume) -> None:
    volume = addVolume(make_volume())
    segmentation = addSegmentation({"spleen": np.ones((2, 3, 4))}, volume)
    addBend(volume, segmentation)

    assert (Bridge.labelsOfAllSegments(segmentation, volume)[0].voxels == 1).all()


def test_where_segments_overlap_the_later_one_counts_and_a_note_says_so(scene, make_volume) -> None:
    volume = addVolume(make_volume())
    organ, tumor = np.zeros((2, 3, 4)), np.zeros((2, 3, 4))
    organ[0, :, :3] = 1  # 9 voxels
    tumor[0, 1, 1:] = 1  # 3 voxels, 2 of them in the organ
    segmentation = addSegmentation({"organ": organ, "tumor": tumor}, volume)

    annotated, _structures, notes = Bridge.labelsFromSegmentation(segmentation, volume, tableOf(("K", 0)))
    labels = annotated.volume()

    assert labels.voxels[0].tolist() == [[1, 1, 1, 0], [1, 2, 2, 2], [1, 1, 1, 0]]
    assert notes == ['"organ" and "tumor" overlap in 2 voxels of the annotated slices; there, "tumor" counts.']
    assert np.array_equal(maskOf(segmentation, "organ", volume), organ > 0)


def test_an_overlap_of_one_voxel_is_told_in_the_singular(scene, make_volume) -> None:
    volume = addVolume(make_volume())
    organ, tumor = np.zeros((2, 3, 4)), np.zeros((2, 3, 4))
    organ[0, 1, :2] = 1
    tumor[0, 1, 1:] = 1
    segmentation = addSegmentation({"organ": organ, "tumor": tumor}, volume)

    notes = Bridge.labelsFromSegmentation(segmentation, volume, tableOf(("K", 0))).notes

    assert notes == ['"organ" and "tumor" overlap in 1 voxel of the annotated slices; there, "tumor" counts.']


def test_three_segments_on_three_layers_keep_their_order(scene, make_volume) -> None:
    volume = addVolume(make_volume())
    masks = {name: randomMask((2, 3, 4), seed) for seed, name in enumerate("abc")}
    segmentation = addSegmentation(masks, volume)

    labels, structures = Bridge.labelsOfAllSegments(segmentation, volume)

    expected = np.where(masks["c"], 3, np.where(masks["b"], 2, masks["a"] * 1))
    assert segmentation.GetSegmentation().GetNumberOfLayers() > 1
    assert np.array_equal(labels.voxels, expected)
    assert [each.name for each in structures] == ["a", "b", "c"]


def test_a_segment_that_no_annotated_slice_shows_is_left_out_with_a_note(scene, make_volume) -> None:
    volume = addVolume(make_volume())
    shown = np.zeros((2, 3, 4))
    shown[0, 1, 1] = 1
    segmentation = addSegmentation({"empty": shown * 0, "elsewhere": shown[::-1], "shown": shown}, volume)

    annotated, structures, notes = Bridge.labelsFromSegmentation(segmentation, volume, tableOf(("K", 0)))
    labels = annotated.volume()

    assert structures == [Structure(3, "shown")]
    assert labels.voxels[0, 1, 1] == 3
    assert [note.split('"')[1] for note in notes] == ["empty", "elsewhere"]


def test_a_segmentation_without_reference_geometry_is_read(scene, make_volume) -> None:
    volume = addVolume(make_volume())
    mask = randomMask((2, 3, 4))
    segmentation = scene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    segmentation.GetSegmentation().AddEmptySegment("spleen", "spleen")
    paint(segmentation, "spleen", mask, volume)

    assert np.array_equal(Bridge.labelsOfAllSegments(segmentation, volume)[0].voxels, mask)


def test_a_segmentation_that_nobody_painted_is_all_background(scene, make_volume) -> None:
    volume = addVolume(make_volume())
    segmentation = addSegmentation({"spleen": np.zeros((2, 3, 4))}, volume)

    labels, structures = Bridge.labelsOfAllSegments(segmentation, volume)

    assert not labels.voxels.any()
    assert structures == [Structure(1, "spleen")]


def test_a_surface_is_turned_into_voxels(scene) -> None:
    volume = addVolume(Volume(np.zeros((20, 20, 20), dtype=np.int16), np.eye(4)))
    ball = vtk.vtkSphereSource()
    ball.SetCenter(10, 10, 10)
    ball.SetRadius(6)
    ball.SetThetaResolution(40)
    ball.SetPhiResolution(40)
    ball.Update()
    segmentation = scene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    segmentation.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    segmentation.GetSegmentation().SetSourceRepresentationName("Closed surface")
    segmentation.AddSegmentFromClosedSurfaceRepresentation(ball.GetOutput(), "ball", (1, 0, 0), "ball")

    labels, _structures = Bridge.labelsOfAllSegments(segmentation, volume)

    assert np.count_nonzero(labels.voxels) == pytest.approx(4 / 3 * np.pi * 6**3, rel=0.05)
    assert labels.voxels[10, 10, 10] == 1


def test_two_segments_of_one_name_are_refused(scene, make_volume) -> None:
    volume = addVolume(make_volume())
    segmentation = addSegmentation({"a": np.zeros((2, 3, 4)), "b": np.zeros((2, 3, 4))}, volume)
    segmentOf(segmentation, "b").SetName("a")

    with pytest.raises(DataError, match='Several segments of "Segmentation" are called "a"'):
        Bridge.labelsOfAllSegments(segmentation, volume)


def test_more_segments_than_label_values_are_refused(scene, make_volume) -> None:
    volume = addVolume(make_volume())
    segmentation = addSegmentation({f"s{number}": np.zeros((2, 3, 4)) for number in range(255)}, volume)

    with pytest.raises(DataError, match='"Segmentation" has 255 segments; at most 254 can be used'):
        Bridge.labelsOfAllSegments(segmentation, volume)


def test_uncertainty_lies_where_its_volume_lies(scene, nasty_volume: Volume) -> None:
    volume = addVolume(nasty_volume)
    addTransform(TURN, volume)

    node = Bridge.putUncertainty(nasty_volume, volume, None, "CT uncertainty")

    assert np.array_equal(slicer.util.arrayFromVolume(node), nasty_volume.voxels)
    assert np.allclose(worldOf(node, np.array([3, 2, 1])), worldOf(volume, np.array([3, 2, 1])))
    assert node.GetParentTransformNode() is volume.GetParentTransformNode()
    assert node.GetName() == "CT uncertainty"


def test_uncertainty_is_a_child_of_its_volume_in_the_data_tree(scene, make_volume) -> None:
    volume = addVolume(make_volume())
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    patient = hierarchy.CreateSubjectItem(hierarchy.GetSceneItemID(), "patient")
    hierarchy.CreateItem(patient, volume)

    node = Bridge.putUncertainty(make_volume(), volume, None, "u")

    item = hierarchy.GetItemByDataNode(node)
    assert hierarchy.GetItemParent(item) == hierarchy.GetItemByDataNode(volume)
    assert hierarchy.GetItemParent(hierarchy.GetItemByDataNode(volume)) == patient


def test_new_uncertainty_replaces_the_old_one_in_its_node(scene, make_volume) -> None:
    volume = addVolume(make_volume())
    first = Bridge.putUncertainty(make_volume(), volume, None, "u")
    display = first.GetDisplayNode()

    second = Bridge.putUncertainty(make_volume(np.full((2, 3, 4), 0.5, dtype=np.float32)), volume, first, "u")

    assert second is first
    assert second.GetDisplayNode() is display
    assert (slicer.util.arrayFromVolume(second) == 0.5).all()


def test_voxels_that_the_node_shares_outlive_their_array(scene, make_volume) -> None:
    voxels = np.arange(200_000, dtype=np.float32).reshape(2, 100, 1000)
    nodeId = Bridge.putUncertainty(make_volume(voxels), addVolume(make_volume()), None, "u").GetID()
    expected = voxels.copy()

    del voxels
    gc.collect()
    np.full((2, 100, 1000), -1, dtype=np.float32)  # would take the freed memory

    assert np.array_equal(slicer.util.arrayFromVolume(scene.GetNodeByID(nodeId)), expected)


def shifted(i: float, j: float, k: float) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, 3] = (i, j, k)
    return matrix
