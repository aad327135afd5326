"""Between the scene and the engine: nodes become volumes, labels and boxes, and uncertainty becomes a node. No Qt.

A volume's parent transform stays out of its grid: what the engine makes of a volume gets the same parent transform and
so lies where the volume lies. Between nodes with different parents all linear transforms are followed.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import slicer
import vtk
from numpy.typing import NDArray
from slicer.i18n import tr as _
from vtk.util.numpy_support import numpy_to_vtk, vtk_to_numpy

from uncol.core.errors import DataError
from uncol.core.jobs import Box, Structure
from uncol.core.volume import ARRAY_AXIS, UNKNOWN_LABEL, Volume
from UnCoLSegmentLib.Scene import Grids, Labelmaps
from UnCoLSegmentLib.Scene.AnnotatedSlices import AnnotatedTable
from UnCoLSegmentLib.Scene.Grids import Matrix, Region

MOST_STRUCTURES = 254
"""Label values that a structure can have; 0 is background, 255 unknown."""

UNCERTAINTY_ATTRIBUTE = "UnCoL.Uncertainty"
"""Set on every uncertainty volume."""

_BOX_TOLERANCE_VOX = 1e-4
"""A box that ends this near to a voxel's edge ends there."""


class SegmentLabels(NamedTuple):
    """Segments as one label map.

    Attributes:
        labels: uint8 on the volume's grid; 255 where nobody annotated.
        structures: What the labels mean, in the order of the segments.
        segmentIds: The segment of each structure.
        notes: What the user should know, such as overlapping segments.
    """

    labels: Volume
    structures: list[Structure]
    segmentIds: list[str]
    notes: list[str]


def snapshotVolume(volumeNode: Any) -> Volume:
    """Return a volume node's voxels, as a view, and its grid; a parent transform is left out.

    Raises:
        DataError: If the node holds no voxels or several numbers for each.
    """
    image = volumeNode.GetImageData()
    scalars = image.GetPointData().GetScalars() if image is not None else None
    if scalars is None or not scalars.GetNumberOfTuples():
        message = _('The volume "{name}" holds no voxels. Load it again, or choose another one.')
        raise DataError(message.format(name=volumeNode.GetName()))
    if scalars.GetNumberOfComponents() != 1:
        message = _('The volume "{name}" has {count} numbers for each voxel, such as a color image. Choose a gray one.')
        raise DataError(message.format(name=volumeNode.GetName(), count=scalars.GetNumberOfComponents()))
    voxels = vtk_to_numpy(scalars).reshape(tuple(reversed(image.GetDimensions())))
    return Volume(voxels, Grids.ijkToRAS(volumeNode))


def labelsFromSegmentation(segmentationNode: Any, volumeNode: Any, annotated: AnnotatedTable) -> SegmentLabels:
    """Return what the annotated slices show, on the volume's grid; voxels of all other slices are 255.

    Where segments overlap, the later one in the list wins. A segment that no annotated slice shows is left out. Both
    are told in a note. Only the annotated slices are read, so that this is fast however large the volume is.

    Raises:
        DataError: If there are too many segments or two of the same name.
        GeometryError: If a non-linear transform lies between segmentation and volume.
    """
    shape = snapshotVolume(volumeNode).shape_kji
    wanted = _Wanted(segmentationNode, volumeNode)
    labels = np.full(shape, UNKNOWN_LABEL, dtype=np.uint8)
    filled = wanted.regionOn(shape) or (slice(0, 0),) * 3
    overlaps: Counter[tuple[int, int]] = Counter()
    isShown = np.zeros(256, dtype=bool)
    for region in annotatedRegions(annotated, shape):
        labels[region] = 0
        inner = Grids.intersectionOf(region, filled)
        if not Grids.isEmpty(inner):
            labels[inner], overlapsHere = wanted.labelsIn(inner)
            isShown[np.unique(labels[inner])] = True
            overlaps += overlapsHere
    shown = [structure for structure in wanted.structures if isShown[structure.value]]
    notes = _overlapNotes(overlaps, wanted.structures)
    notes += [_unseenNote(structure) for structure in wanted.structures if structure not in shown]
    ids = [wanted.segmentIds[structure.value - 1] for structure in shown]
    return SegmentLabels(Volume(labels, Grids.ijkToRAS(volumeNode)), shown, ids, notes)


def labelsOfAllSegments(segmentationNode: Any, volumeNode: Any) -> tuple[Volume, list[Structure]]:
    """Return all voxels of all segments, also of the empty ones, on the volume's grid; 0 is background.

    Raises:
        DataError: If there are too many segments or two of the same name.
        GeometryError: If a non-linear transform lies between segmentation and volume.
    """
    shape = snapshotVolume(volumeNode).shape_kji
    wanted = _Wanted(segmentationNode, volumeNode)
    labels = np.zeros(shape, dtype=np.uint8)
    filled = wanted.regionOn(shape)
    if filled is not None:
        labels[filled] = wanted.labelsIn(filled)[0]
    return Volume(labels, Grids.ijkToRAS(volumeNode)), wanted.structures


def annotatedRegions(annotated: AnnotatedTable, shape_kji: tuple[int, int, int]) -> list[Region]:
    """Return one region for each annotated slice.

    Raises:
        DataError: If a slice lies outside the volume.
    """
    regions = []
    for row in annotated.rows:
        if not row.complete:
            continue
        size = shape_kji[ARRAY_AXIS[row.axis]]
        if not 0 <= row.index < size:
            message = _(
                "Annotated slice {axis}:{index} lies outside the volume, which has {size} slices that way. Untick it "
                "in the table, or choose the volume that was annotated."
            )
            raise DataError(message.format(axis=row.axis, index=row.index, size=size))
        region = list(Grids.wholeRegion(shape_kji))
        region[ARRAY_AXIS[row.axis]] = slice(row.index, row.index + 1)
        regions.append((region[0], region[1], region[2]))
    return regions


class _Wanted:
    """The segments of a segmentation, ready to be read on a volume's grid; values count from 1 in their order."""

    def __init__(self, segmentationNode: Any, volumeNode: Any) -> None:
        segments = Labelmaps.segmentsOf(segmentationNode)
        names = [segment.GetName() for segment in segments.values()]
        _refuseNames(segmentationNode.GetName(), names)
        self.segmentIds = list(segments)
        self.structures = [Structure(value, name) for value, name in enumerate(names, start=1)]
        toIJK = np.linalg.inv(Grids.ijkToRAS(volumeNode)) @ Grids.matrixBetween(segmentationNode, volumeNode)
        values = {segmentId: value for value, segmentId in enumerate(segments, start=1)}
        self._layers = [
            (layer.voxels, toIJK @ layer.ijkToLocal, layer.recoder(values, np.uint8))
            for layer in Labelmaps.layersOf(segmentationNode)
        ]

    def regionOn(self, shape_kji: tuple[int, int, int]) -> Region | None:
        """Return the region of the volume that can hold voxels of a segment."""
        filled: Region | None = None
        for voxels, matrix, _recoded in self._layers:
            filled = Grids.unionOf(filled, Grids.regionOn(matrix, voxels.shape))
        if filled is None:
            return None
        inside = Grids.intersectionOf(filled, Grids.wholeRegion(shape_kji))
        return None if Grids.isEmpty(inside) else inside

    def labelsIn(self, region: Region) -> tuple[NDArray[np.uint8], Counter[tuple[int, int]]]:
        """Return the labels in a region, and how many voxels each pair of overlapping values (low, high) shares."""
        overlaps: Counter[tuple[int, int]] = Counter()
        labels: NDArray[np.uint8] | None = None
        for voxels, matrix, recoded in self._layers:
            found = recoded(Grids.sample(voxels, np.linalg.inv(matrix), region))
            if labels is None:
                labels = found
                continue
            overlaps += _overlapsOf(labels, found)
            np.maximum(labels, found, out=labels)
        return (np.zeros(Grids.shapeOf(region), dtype=np.uint8) if labels is None else labels), overlaps


def _overlapsOf(labels: NDArray[np.uint8], others: NDArray[np.uint8]) -> Counter[tuple[int, int]]:
    both = np.minimum(labels, others) > 0
    if not both.any():
        return Counter()
    pairs = np.sort(np.stack([labels[both], others[both]]), axis=0)
    found, counts = np.unique(pairs, axis=1, return_counts=True)
    return Counter({(low, high): count for (low, high), count in zip(found.T.tolist(), counts.tolist(), strict=True)})


def _refuseNames(name: str, names: Sequence[str]) -> None:
    if len(names) > MOST_STRUCTURES:
        message = _('"{name}" has {count} segments; at most {most} can be used. Remove those that you do not need.')
        raise DataError(message.format(name=name, count=len(names), most=MOST_STRUCTURES))
    twice = [each for each, count in Counter(names).items() if count > 1]
    if twice:
        message = _('Several segments of "{name}" are called "{segment}". Give each its own name.')
        raise DataError(message.format(name=name, segment=twice[0]))


def _overlapNotes(overlaps: Counter[tuple[int, int]], structures: Sequence[Structure]) -> list[str]:
    names = [structure.name for structure in structures]
    one = _('"{first}" and "{second}" overlap in 1 voxel of the annotated slices; there, "{second}" counts.')
    many = _('"{first}" and "{second}" overlap in {count} voxels of the annotated slices; there, "{second}" counts.')
    return [
        (one if count == 1 else many).format(first=names[low - 1], second=names[high - 1], count=count)
        for (low, high), count in sorted(overlaps.items())
    ]


def _unseenNote(structure: Structure) -> str:
    text = _('"{name}" is in none of the annotated slices, so it is left out. Annotate a slice that shows it.')
    return text.format(name=structure.name)


def boxFromRoi(roiNode: Any, volumeNode: Any, structureName: str) -> Box:
    """Return the voxels of the volume that an ROI touches; of a rotated ROI the box that encloses it.

    Raises:
        DataError: If the ROI is not drawn yet or lies outside the volume.
        GeometryError: If a non-linear transform is above the ROI or the volume.
    """
    size = roiNode.GetSize()
    if not roiNode.GetNumberOfControlPoints() or min(size) <= 0:
        message = _('The box "{name}" has no size yet. Draw it round the structure, in the slice views.')
        raise DataError(message.format(name=roiNode.GetName()))
    shape_kji = snapshotVolume(volumeNode).shape_kji
    corners = np.array(
        [[x * size[0] / 2, y * size[1] / 2, z * size[2] / 2, 1.0] for x, y, z in itertools.product((-1, 1), repeat=3)]
    )
    ijk = (corners @ _boxToIJK(roiNode, volumeNode).T)[:, :3]
    lower = np.floor(ijk.min(axis=0) + 0.5 + _BOX_TOLERANCE_VOX).astype(int)
    upper = np.maximum(lower, np.ceil(ijk.max(axis=0) - 0.5 - _BOX_TOLERANCE_VOX).astype(int))
    last = np.array(shape_kji[::-1]) - 1
    if (upper < 0).any() or (lower > last).any():
        message = _('The box "{name}" lies outside the volume "{volume}". Move it over the structure.')
        raise DataError(message.format(name=roiNode.GetName(), volume=volumeNode.GetName()))
    lowerI, lowerJ, lowerK = np.clip(lower, 0, last).tolist()
    upperI, upperJ, upperK = np.clip(upper, 0, last).tolist()
    return Box(structureName, (lowerI, lowerJ, lowerK), (upperI, upperJ, upperK))


def _boxToIJK(roiNode: Any, volumeNode: Any) -> Matrix:
    """Return the matrix from the ROI's own axes, with its center as origin, to the volume's voxel indices."""
    boxToLocal = Grids.asArray(roiNode.GetObjectToNodeMatrix())
    rasToIJK: Matrix = np.linalg.inv(Grids.ijkToRAS(volumeNode))
    return rasToIJK @ Grids.matrixBetween(roiNode, volumeNode) @ boxToLocal


def putUncertainty(volume: Volume, volumeNode: Any, node: Any, name: str) -> Any:
    """Put an uncertainty map into a volume node, a new one where `node` is None, and return that.

    It gets the parent transform of the volume that it is about, and its place below it in the data tree.
    """
    if node is None:
        node = slicer.vtkMRMLScalarVolumeNode()
        node.SetAttribute(UNCERTAINTY_ATTRIBUTE, "1")
        volumeNode.GetScene().AddNode(node)
        node.CreateDefaultDisplayNodes()
        node.GetDisplayNode().AutoWindowLevelOff()  # or else all voxels are searched for the best window
    modified = node.StartModify()
    node.SetName(name)
    node.SetIJKToRASMatrix(Grids.asMatrix(volume.ijk_to_ras))
    node.SetAndObserveTransformNodeID(volumeNode.GetTransformNodeID())
    node.SetAndObserveImageData(_imageOf(volume.voxels))
    node.EndModify(modified)
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(node.GetScene())
    hierarchy.SetItemParent(hierarchyItem(node), hierarchyItem(volumeNode))
    return node


def hierarchyItem(node: Any) -> int:
    """Return a node's item in the data tree, which is made where the application has not done so yet."""
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(node.GetScene())
    item = hierarchy.GetItemByDataNode(node)
    return int(item or hierarchy.CreateItem(hierarchy.GetSceneItemID(), node))


def _imageOf(voxels: NDArray[Any]) -> Any:
    """Return voxels (K, J, I) as image data; an array in plain memory is not copied but kept alive by it."""
    image = vtk.vtkImageData()
    image.SetDimensions(*reversed(voxels.shape))
    owner = voxels if voxels.base is None else voxels.base
    isPlain = type(owner) is np.ndarray and voxels.flags.c_contiguous and voxels.flags.writeable
    scalars = numpy_to_vtk(np.ascontiguousarray(voxels).reshape(-1), deep=not isPlain)
    scalars.SetName("Uncertainty")
    image.GetPointData().SetScalars(scalars)
    return image
