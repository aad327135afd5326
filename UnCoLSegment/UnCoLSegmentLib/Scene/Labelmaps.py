"""The voxels of segments: read through the layers in which Slicer keeps them, and written back by Slicer itself."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import slicer
import slicer.util
import vtk
from numpy.typing import NDArray
from slicer.i18n import tr as _
from vtk.util.numpy_support import vtk_to_numpy

from uncol.core.errors import DataError
from UnCoLSegmentLib.Scene import Grids
from UnCoLSegmentLib.Scene.Grids import Mask, Matrix, Region

BINARY_LABELMAP = slicer.vtkSegmentationConverter.GetSegmentationBinaryLabelmapRepresentationName()

_Logic = slicer.vtkSlicerSegmentationsModuleLogic
_BEFORE_ALL_OTHERS = 1e6
"""Priority of an observer."""
_GEOMETRY_PARAMETER = slicer.vtkSegmentationConverter.GetReferenceImageGeometryParameterName()


@dataclass(frozen=True)
class Layer:
    """Voxels that several segments share, each with a label value of its own.

    Attributes:
        voxels: Unsigned labels (K, J, I); a view, and only of the part that Slicer keeps.
        ijkToLocal: From the array's voxel indices to the segmentation's own RAS coordinates.
        lattice: The same for the grid's own voxel indices, of which the array's are a part.
        values: Label value by segment ID.
    """

    voxels: NDArray[Any]
    ijkToLocal: Matrix
    lattice: Matrix
    values: dict[str, int]

    def recoder(self, codes: dict[str, int], dtype: Any) -> Callable[[NDArray[Any]], NDArray[Any]]:
        """Return a function that turns the layer's labels into codes by segment ID; everything else becomes 0."""
        highest = np.iinfo(self.voxels.dtype).max if self.voxels.dtype.itemsize <= 2 else int(self.voxels.max())
        table = np.zeros(max(np.iinfo(np.uint8).max, highest, *self.values.values()) + 1, dtype=dtype)
        for segmentId, value in self.values.items():
            table[value] = codes.get(segmentId, 0)
        return lambda voxels: _recode(voxels, table)


def _recode(voxels: NDArray[Any], table: NDArray[Any]) -> NDArray[Any]:
    """Look labels up in a table, in which 0 stays 0; small ones in a table of bytes many times faster than by numpy."""
    highest = int(voxels.max(initial=0))
    if table.dtype != np.uint8 or highest > np.iinfo(np.uint8).max:
        codes = np.zeros(voxels.shape, dtype=table.dtype)
        filled = voxels != 0
        codes[filled] = table[voxels[filled]]
        return codes
    if np.array_equal(table[: highest + 1], np.arange(highest + 1)):
        return voxels.astype(np.uint8, copy=False)
    small, found = voxels.astype(np.uint8, copy=False), table[: np.iinfo(np.uint8).max + 1]
    return np.frombuffer(bytearray(small.tobytes()).translate(found.tobytes()), dtype=np.uint8).reshape(voxels.shape)


class LayersOnGrid:
    """The layers of a segmentation, ready to be read on another grid as codes of the segments.

    Args:
        node: The segmentation; None counts as one without voxels.
        localToIJK: From the segmentation's own RAS coordinates to the grid's voxel indices.
        codes: Number by segment ID; what has none becomes 0.
        dtype: Type of the numbers.
    """

    def __init__(self, node: Any, localToIJK: Matrix, codes: dict[str, int], dtype: Any) -> None:
        self.dtype = dtype
        self.region: Region | None = None
        """The region of the grid that can hold voxels of a segment."""
        self._layers = []
        for layer in layersOf(node) if node is not None else []:
            if not codes.keys() & layer.values.keys():
                continue
            toGrid = localToIJK @ layer.ijkToLocal
            region = Grids.regionOn(toGrid, layer.voxels.shape)
            self.region = Grids.unionOf(self.region, region)
            self._layers.append((layer.voxels, np.linalg.inv(toGrid), region, layer.recoder(codes, dtype)))

    def read(self, region: Region) -> Iterator[tuple[Region, NDArray[Any]]]:
        """Yield each layer's part of a region of the grid, as slices of an array of that region, and its codes."""
        for voxels, fromGrid, filled, recoded in self._layers:
            part = Grids.intersectionOf(region, filled)
            if not Grids.isEmpty(part):
                yield Grids.relative(part, region), recoded(Grids.sampleMost(voxels, fromGrid, part))


def segmentsOf(node: Any) -> dict[str, Any]:
    """Return the segments by ID, in their order."""
    segmentation = node.GetSegmentation()
    return {segmentId: segmentation.GetSegment(segmentId) for segmentId in segmentation.GetSegmentIDs()}


def idOfName(segmentation: Any, name: str) -> str:
    """Return the ID of the first segment of a vtkSegmentation with exactly this name; "" if there is none.

    MRML's own `GetSegmentIdBySegmentName` takes "RV" and "rv" for one name.
    """
    ids = segmentation.GetSegmentIDs()
    return next((str(each) for each in ids if segmentation.GetSegment(each).GetName() == name), "")


def layersOf(node: Any) -> list[Layer]:
    """Return the layers that hold voxels; a segmentation without label maps (a surface) gets them first.

    Raises:
        DataError: If a segment cannot be turned into voxels.
    """
    _needBinaryLabelmaps(node)
    members: dict[Any, dict[str, int]] = {}
    for segmentId, segment in segmentsOf(node).items():
        image = segment.GetRepresentation(BINARY_LABELMAP)
        if image is not None and image.GetPointData().GetScalars() is not None:
            members.setdefault(image, {})[segmentId] = int(segment.GetLabelValue())
    layers = [_layerOf(image, values) for image, values in members.items()]
    return [layer for layer in layers if layer.voxels.size]


def _layerWith(node: Any, segmentId: str) -> Layer | None:
    return next((layer for layer in layersOf(node) if segmentId in layer.values), None)


def _needBinaryLabelmaps(node: Any) -> None:
    segmentation = node.GetSegmentation()
    if not segmentation.GetNumberOfSegments() or segmentation.ContainsRepresentation(BINARY_LABELMAP):
        return
    if segmentation.GetSourceRepresentationName() == BINARY_LABELMAP:
        return  # nothing was ever painted
    if not segmentation.CreateRepresentation(BINARY_LABELMAP):
        message = _('The segments of "{name}" cannot be turned into voxels. Convert them in the Segmentations module.')
        raise DataError(message.format(name=node.GetName()))


def _layerOf(image: Any, values: dict[str, int]) -> Layer:
    extent = image.GetExtent()
    shape = tuple(max(0, extent[2 * axis + 1] - extent[2 * axis] + 1) for axis in (2, 1, 0))
    voxels = vtk_to_numpy(image.GetPointData().GetScalars())
    voxels = voxels.reshape(shape) if voxels.size == np.prod(shape) else np.zeros((0, 0, 0), dtype=np.uint8)
    lattice = Grids.filledBy(image.GetImageToWorldMatrix)
    return Layer(_unsigned(voxels), Grids.translated(lattice, extent[::2]), lattice, values)


def _unsigned(voxels: NDArray[Any]) -> NDArray[Any]:
    """Return labels as unsigned whole numbers, as a view where the type allows it; there are no negative labels."""
    if voxels.dtype.kind == "f":
        return voxels.astype(np.uint16)
    return voxels.view(voxels.dtype.str.replace("i", "u")) if voxels.dtype.kind == "i" else voxels


def orientedImage(voxels: NDArray[Any], lattice: Matrix, part: Region | None, first_ijk: Iterable[int]) -> Any:
    """Return a part of an array (K, J, I), copied, as an oriented image; of no part, one without voxels.

    Args:
        voxels: The array.
        lattice: The grid's matrix.
        part: Which voxels of the array.
        first_ijk: The grid's index of the array's first voxel.
    """
    image = slicer.vtkOrientedImageData()
    image.SetImageToWorldMatrix(slicer.util.vtkMatrixFromArray(lattice))
    part = part or (slice(0, 0),) * 3
    first = [outer + inner for outer, inner in zip(first_ijk, Grids.firstOf(part), strict=True)]
    return Grids.putVoxels(image, voxels[part], first, deep=True)


def workingLattice(node: Any, segmentId: str) -> Matrix | None:
    """Return the grid on which a segment is or will be painted, in the segmentation's own RAS coordinates.

    It is the segment's own, else that of another segment, else the reference geometry; None if there is none of these.
    """
    layer = _layerWith(node, segmentId) or next(iter(layersOf(node)), None)
    if layer is not None:
        return layer.lattice
    geometry = node.GetSegmentation().GetConversionParameter(_GEOMETRY_PARAMETER)
    image = slicer.vtkOrientedImageData()
    if geometry and slicer.vtkSegmentationConverter.DeserializeImageGeometry(geometry, image, False):
        return Grids.filledBy(image.GetImageToWorldMatrix)
    return None


def alignEmptySegments(node: Any) -> None:
    """Give segments without voxels the grid of the others.

    Where nothing overlaps, Slicer brings all segments onto the grid of the first when it saves. That of an empty one is
    1 mm along R, A and S, whatever the image: what was painted would be resampled onto it, and come back shifted.
    """
    layers = layersOf(node)
    if not layers:
        return
    grid = slicer.util.vtkMatrixFromArray(layers[0].lattice)
    with unnoticed(node):
        for segment in segmentsOf(node).values():
            image = segment.GetRepresentation(BINARY_LABELMAP)
            if image is not None and image.GetExtent()[0] > image.GetExtent()[1]:
                image.SetImageToWorldMatrix(grid)


def filledPart(node: Any, segmentId: str) -> tuple[Mask, Matrix, Matrix] | None:
    """Return the block that holds all voxels of a segment; None if it has none.

    Returns:
        Which voxels of the block belong to the segment (K, J, I); the matrix from the block's voxel indices to the
        segmentation's own RAS coordinates; the same for the grid of which the block is a part.
    """
    layer = _layerWith(node, segmentId)
    if layer is None:
        return None
    mask = layer.voxels == layer.values[segmentId]
    region = Grids.nonzeroRegion(mask.view(np.uint8))
    if region is None:
        return None
    return mask[region], Grids.translated(layer.ijkToLocal, Grids.firstOf(region)), layer.lattice


def regionOfSegment(node: Any, segmentId: str, lattice: Matrix) -> Region | None:
    """Return the region of a grid (in the segmentation's own RAS coordinates) that holds all of a segment's voxels."""
    found = filledPart(node, segmentId)
    return None if found is None else Grids.regionOn(np.linalg.inv(lattice) @ found[1], found[0].shape)


def maskOfSegment(node: Any, segmentId: str, lattice: Matrix, region: Region) -> Mask:
    """Return which voxels of a region of a grid (in the segmentation's own RAS coordinates) belong to a segment."""
    layer = _layerWith(node, segmentId)
    if layer is None:
        return np.zeros(Grids.shapeOf(region), dtype=bool)
    matrix = np.linalg.inv(np.linalg.inv(lattice) @ layer.ijkToLocal)
    return Grids.sample(layer.voxels, matrix, region) == layer.values[segmentId]


def writeSegment(node: Any, segmentId: str, mask: Mask, lattice: Matrix, region: Region) -> None:
    """Make a mask the whole content of a segment; Slicer gives it a layer of its own where it overlaps others."""
    filled = Grids.nonzeroRegion(mask.view(np.uint8))
    if filled is None:
        _Logic.ClearSegment(node, segmentId)
        return
    image = orientedImage(mask, lattice, filled, Grids.firstOf(region))
    _write(image, node, segmentId, _Logic.MODE_REPLACE)


def patchSegment(node: Any, segmentId: str, now: Mask, before: Mask, lattice: Matrix, region: Region) -> None:
    """Change a segment within a region only, as a brush does; the rest of a large segment is not touched.

    Args:
        node: The segmentation.
        segmentId: One of its segments.
        now: What the region shall hold.
        before: What it holds.
        lattice: The grid, in the segmentation's own RAS coordinates.
        region: Which voxels of the grid.
    """
    if filledPart(node, segmentId) is None:
        writeSegment(node, segmentId, now, lattice, region)  # merging loses what overlaps others here
        return
    value = int(node.GetSegmentation().GetSegment(segmentId).GetLabelValue())
    voxels = now * np.min_scalar_type(value).type(value)  # merging takes the values as they are; replacing does not
    for mode, changed in ((_Logic.MODE_MERGE_MIN, before & ~now), (_Logic.MODE_MERGE_MAX, now & ~before)):
        part = Grids.nonzeroRegion(changed.view(np.uint8))
        if part is not None:
            image = orientedImage(voxels, lattice, part, Grids.firstOf(region))
            _write(image, node, segmentId, mode, list(image.GetExtent()))


def _write(image: Any, node: Any, segmentId: str, mode: int, *extent: list[int]) -> None:
    if not _Logic.SetBinaryLabelmapToSegment(image, node, segmentId, mode, *extent):
        message = f'Slicer refused to write segment "{segmentId}" of "{node.GetName()}".'
        raise RuntimeError(message)


def tagOf(segment: Any, tag: str) -> str:
    """Return the value of a segment's tag, "" if it has none."""
    value = vtk.reference("")
    return str(value) if segment.GetTag(tag, value) else ""


def setTag(segment: Any, tag: str, value: str) -> None:
    """Give a segment's tag a value; "" takes the tag away, and one that has the value is let be."""
    if tagOf(segment, tag) == value:
        return
    if value:
        segment.SetTag(tag, value)
    else:
        segment.RemoveTag(tag)


@contextmanager
def unnoticed(node: Any) -> Iterator[None]:
    """Let nobody notice that segments are modified inside.

    To Slicer's undo history a modified segment is an edit by the user, after which nothing can be redone. An observer
    that comes first and aborts the event is VTK's way to keep it from the others.
    """
    segmentation = node.GetSegmentation()
    observation = segmentation.AddObserver(
        slicer.vtkSegmentation.SegmentModified,
        lambda *_: segmentation.GetCommand(observation).AbortFlagOn(),
        _BEFORE_ALL_OTHERS,
    )
    try:
        yield
    finally:
        segmentation.RemoveObserver(observation)


def copyLook(pattern: Any, segment: Any) -> None:
    """Give a segment the color and the terminology of another one."""
    segment.SetColor(pattern.GetColor())
    tag = slicer.vtkSegment.GetTerminologyEntryTagName()
    terminology = tagOf(pattern, tag)
    if terminology:
        segment.SetTag(tag, terminology)


def needSegment(node: Any, segmentId: str, pattern: Any) -> Any:
    """Return a segment; if it is not there it is made, empty and with the name, color and terminology of `pattern`."""
    segmentation = node.GetSegmentation()
    segment = segmentation.GetSegment(segmentId)
    if segment is None:
        segmentation.AddEmptySegment(segmentId, pattern.GetName())
        segment = segmentation.GetSegment(segmentId)
        copyLook(pattern, segment)
    return segment


def setOwnVoxels(segment: Any, mask: Mask, lattice: Matrix, region: Region) -> None:
    """Give a segment a layer of its own; several times faster than `writeSegment`, which lets segments share one."""
    filled = Grids.nonzeroRegion(mask.view(np.uint8))
    segment.RemoveAllRepresentations()
    segment.AddRepresentation(BINARY_LABELMAP, orientedImage(mask, lattice, filled, Grids.firstOf(region)))
    segment.SetLabelValue(1)
