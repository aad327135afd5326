"""Between the scene and the engine: nodes become volumes, labels and boxes, and uncertainty becomes a node. No Qt.

A volume's parent transform stays out of its grid: what the engine makes of a volume gets the same parent transform and
so lies where the volume lies. Between nodes with different parents all linear transforms are followed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from copy import copy
from typing import Any, NamedTuple

import numpy as np
import slicer
import slicer.util
import vtk
from numpy.typing import NDArray
from slicer.i18n import tr as _
from vtk.util.numpy_support import vtk_to_numpy

from uncol.core.errors import DataError
from uncol.core.jobs import Box, Structure
from uncol.core.unfinished import volume_digest
from uncol.core.volume import ARRAY_AXIS, UNKNOWN_LABEL, Volume
from UnCoLSegmentLib.Scene import Grids, Labelmaps
from UnCoLSegmentLib.Scene.AnnotatedSlices import AnnotatedSlice, AnnotatedTable
from UnCoLSegmentLib.Scene.Grids import Region

MOST_STRUCTURES = 254
"""Label values that a structure can have; 0 is background, 255 unknown."""

UNCERTAINTY_ATTRIBUTE = "UnCoL.Uncertainty"
"""Set on every uncertainty volume, so that a selector can tell it from images."""

_BOX_TOLERANCE_VOX = 1e-4
"""A box that ends this near to a voxel's edge ends there."""


class SlicesOfLabels:
    """Labels of some slices of a volume, kept as slices: a whole map takes long to make where memory is fresh."""

    def __init__(self, volumeNode: Any) -> None:
        self._shape_kji, self._ijkToRAS = snapshotVolume(volumeNode).shape_kji, Grids.ijkToRAS(volumeNode)
        self._slices: list[tuple[Region, NDArray[np.uint8]]] = []

    def put(self, region: Region, labels: NDArray[np.uint8]) -> None:
        """Add the labels of a slice; where two cross, the later one counts."""
        self._slices.append((region, labels))

    def mapped(self, table: NDArray[np.uint8]) -> SlicesOfLabels:
        """Return the same slices with other values: `table` holds the new one of each old one."""
        new = copy(self)
        new._slices = [(region, table[labels]) for region, labels in self._slices]
        return new

    def volume(self) -> Volume:
        """Return them as uint8 on the volume's grid, 255 in all other slices; call it in a thread, no node is asked."""
        labels = np.full(self._shape_kji, UNKNOWN_LABEL, dtype=np.uint8)
        for region, each in self._slices:
            labels[region] = each
        return Volume(labels, self._ijkToRAS)


class SegmentLabels(NamedTuple):
    """Segments as one label map.

    Attributes:
        labels: The annotated slices; 255 where nobody annotated.
        structures: What the labels mean, in the order of the segments.
        notes: What the user should know, such as overlapping segments.
    """

    labels: SlicesOfLabels
    structures: list[Structure]
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


def volumeDigest(volumeNode: Any) -> str:
    """Return what tells a volume's voxels and grid from others; "" where there are none. Cheap, asked at every change.

    A whole image is never compared: see `uncol.core.unfinished.volume_digest`.
    """
    try:
        return volume_digest(snapshotVolume(volumeNode)) if volumeNode is not None else ""
    except DataError:
        return ""


def labelsFromSegmentation(segmentationNode: Any, volumeNode: Any, annotated: AnnotatedTable) -> SegmentLabels:
    """Return what the annotated slices show, on the volume's grid; voxels of all other slices are 255.

    A slice that is annotated for some segments only, because another was added or begun later, says where these are;
    everything else in it is 255. Where segments overlap, the later one in the list wins. A segment that no annotated
    slice shows is left out. All of this is told in a note. Only the annotated slices are read, so that this is fast
    however large the volume is.

    Raises:
        DataError: If there are too many segments or two of the same name.
        GeometryError: If a non-linear transform lies between segmentation and volume.
    """
    shape = snapshotVolume(volumeNode).shape_kji
    wanted, labels = _Wanted(segmentationNode, volumeNode), SlicesOfLabels(volumeNode)
    overlaps: Counter[tuple[int, int]] = Counter()
    isShown = np.zeros(256, dtype=bool)
    for row in _rowsInside(annotated, shape):
        region = Grids.sliceRegion(shape, row.axis, row.index)
        found, overlapsHere = wanted.labelsIn(region)
        known = found if row.complete else wanted.keepOnly(row.knownIds, found)
        labels.put(region, known)
        isShown |= np.bincount(known.ravel(), minlength=256) > 0
        overlaps += overlapsHere
    shown = [structure for structure in wanted.structures if isShown[structure.value]]
    notes = _overlapNotes(overlaps, wanted.structures)
    notes += _partlyNotes(annotated, Labelmaps.segmentsOf(segmentationNode))
    notes += [_unseenNote(structure) for structure in wanted.structures if structure not in shown]
    return SegmentLabels(labels, shown, notes)


def labelsOfAllSegments(segmentationNode: Any, volumeNode: Any) -> tuple[Volume, list[Structure]]:
    """Return all voxels of all segments, also of the empty ones, on the volume's grid; 0 is background.

    Raises:
        DataError: If there are too many segments or two of the same name.
        GeometryError: If a non-linear transform lies between segmentation and volume.
    """
    shape = snapshotVolume(volumeNode).shape_kji
    wanted = _Wanted(segmentationNode, volumeNode)
    labels, _overlaps = wanted.labelsIn(Grids.wholeRegion(shape))
    return Volume(labels, Grids.ijkToRAS(volumeNode)), wanted.structures


def labelsInSlices(
    segmentationNode: Any, volumeNode: Any, slices: Iterable[str]
) -> tuple[SlicesOfLabels, list[Structure]]:
    """Return all segments as `labelsOfAllSegments` does, but in some slices ("K:12") only: fast.

    Raises:
        DataError: If there are too many segments or two of the same name.
        GeometryError: If a non-linear transform lies between segmentation and volume.
    """
    wanted, labels = _Wanted(segmentationNode, volumeNode), SlicesOfLabels(volumeNode)
    shape = snapshotVolume(volumeNode).shape_kji
    for key in slices:
        axis, _colon, index = key.partition(":")
        region = Grids.sliceRegion(shape, axis, int(index))
        labels.put(region, wanted.labelsIn(region)[0])
    return labels, wanted.structures


def _rowsInside(annotated: AnnotatedTable, shape_kji: tuple[int, int, int]) -> list[AnnotatedSlice]:
    """Return the rows that are annotated, for all segments or for some.

    Raises:
        DataError: If a slice lies outside the volume.
    """
    rows = [row for row in annotated.rows if row.complete or row.knownIds]
    for row in rows:
        size = shape_kji[ARRAY_AXIS[row.axis]]
        if not 0 <= row.index < size:
            message = _(
                "Annotated slice {axis}:{index} lies outside the volume, which has {size} slices that way. Untick it "
                "in the table, or choose the volume that was annotated."
            )
            raise DataError(message.format(axis=row.axis, index=row.index, size=size))
    return rows


class _Wanted:
    """The segments of a segmentation, ready to be read on a volume's grid; values count from 1 in their order."""

    def __init__(self, segmentationNode: Any, volumeNode: Any) -> None:
        segments = Labelmaps.segmentsOf(segmentationNode)
        names = [segment.GetName() for segment in segments.values()]
        _refuseNames(segmentationNode.GetName(), names)
        self.structures = [Structure(value, name) for value, name in enumerate(names, start=1)]
        self._values = {segmentId: value for value, segmentId in enumerate(segments, start=1)}
        toIJK = Grids.rasToIJK(segmentationNode, volumeNode)
        self._layers = Labelmaps.LayersOnGrid(segmentationNode, toIJK, self._values, np.uint8)

    def labelsIn(self, region: Region) -> tuple[NDArray[np.uint8], Counter[tuple[int, int]]]:
        """Return the labels in a region, and how many voxels each pair of overlapping values (low, high) shares."""
        overlaps: Counter[tuple[int, int]] = Counter()
        labels = np.zeros(Grids.shapeOf(region), dtype=np.uint8)
        for part, found in self._layers.read(region):
            overlaps += _overlapsOf(labels[part], found)
            np.maximum(labels[part], found, out=labels[part])
        return labels, overlaps

    def keepOnly(self, segmentIds: Collection[str], labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return labels in which only some segments are known, and everything else, background too, is 255."""
        known = [self._values[each] for each in segmentIds]
        return np.where(np.isin(labels, known), labels, UNKNOWN_LABEL).astype(np.uint8)


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


def _partlyNotes(annotated: AnnotatedTable, segments: dict[str, Any]) -> list[str]:
    """Say in which slices only some segments are known, and which."""
    slices: dict[tuple[str, ...], list[str]] = {}
    for row in annotated.rows:
        if row.knownIds:
            slices.setdefault(row.knownIds, []).append(f"{row.axis}:{row.index}")
    text = _(
        "In {slices} only {names} counts as annotated, as other segments were added later or look only begun there; "
        "the rest of these slices counts as unknown. Tick a slice when all segments are annotated in it."
    )
    return [
        text.format(slices=", ".join(found), names=", ".join(f'"{segments[each].GetName()}"' for each in ids))
        for ids, found in slices.items()
    ]


def _unseenNote(structure: Structure) -> str:
    text = _('"{name}" is in none of the annotated slices, so it is left out. Annotate a slice that shows it.')
    return text.format(name=structure.name)


def isPlaced(roiNode: Any) -> bool:
    """Say whether an ROI is a box: the first of two clicks gives it a place, but no size."""
    return bool(roiNode.GetNumberOfDefinedControlPoints()) and min(roiNode.GetSize()) > 0


def boxFromRoi(roiNode: Any, volumeNode: Any, structureName: str) -> Box:
    """Return the voxels of the volume that an ROI touches; of a rotated ROI the box that encloses it.

    Raises:
        DataError: If the ROI is not drawn yet or lies outside the volume.
        GeometryError: If a non-linear transform is above the ROI or the volume.
    """
    if not isPlaced(roiNode):
        message = _('The box "{name}" has no size yet. Draw it around the structure, in the slice views.')
        raise DataError(message.format(name=roiNode.GetName()))
    shape_kji = snapshotVolume(volumeNode).shape_kji
    boxToIJK = Grids.rasToIJK(roiNode, volumeNode) @ slicer.util.arrayFromVTKMatrix(roiNode.GetObjectToNodeMatrix())
    ijk = (Grids.corners([(-each / 2, each / 2) for each in roiNode.GetSize()]) @ boxToIJK.T)[:, :3]
    lower = np.floor(ijk.min(axis=0) + 0.5 + _BOX_TOLERANCE_VOX).astype(int)
    upper = np.maximum(lower, np.ceil(ijk.max(axis=0) - 0.5 - _BOX_TOLERANCE_VOX).astype(int))
    last = np.array(shape_kji[::-1]) - 1
    if (upper < 0).any() or (lower > last).any():
        message = _('The box "{name}" lies outside the volume "{volume}". Move it over the structure.')
        raise DataError(message.format(name=roiNode.GetName(), volume=volumeNode.GetName()))
    return Box(structureName, *(tuple(np.clip(ends, 0, last).tolist()) for ends in (lower, upper)))


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
    node.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(volume.ijk_to_ras))
    node.SetAndObserveTransformNodeID(volumeNode.GetTransformNodeID())
    voxels = volume.voxels
    owner = voxels if voxels.base is None else voxels.base
    # An array in plain memory is not copied but kept alive by the image.
    isPlain = type(owner) is np.ndarray and voxels.flags.c_contiguous and voxels.flags.writeable
    node.SetAndObserveImageData(Grids.putVoxels(vtk.vtkImageData(), voxels, deep=not isPlain))
    node.EndModify(modified)
    placeInTree(node, volumeNode, isBelow=True)
    return node


def placeInTree(node: Any, volumeNode: Any, *, isBelow: bool) -> None:
    """Place a node below a volume in the data tree, or beside it; items are made where the application has none yet."""
    tree = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(node.GetScene())
    item, place = (
        tree.GetItemByDataNode(each) or tree.CreateItem(tree.GetSceneItemID(), each) for each in (node, volumeNode)
    )
    tree.SetItemParent(item, place if isBelow else tree.GetItemParent(place))
