"""Uncertainty over the volume: colors, threshold, opacity, legend, and the way to the worst region. No Qt.

The map is an ordinary scalar volume in [0, 1]; `Overlay` lays it over its volume.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import slicer
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from slicer.i18n import tr as _

from uncol.core.errors import DataError
from UnCoLSegmentLib.Scene import Bridge, Grids

COLORS = ((0.31, 0.07, 0.21), (0.52, 0.11, 0.35), (0.74, 0.15, 0.50), (0.94, 0.26, 0.65), (1.00, 0.53, 0.78))
"""Colors at 0, 1/4, 1/2, 3/4 and 1: one hue, from dark to bright, so that the worst place is the brightest.

Lighter in equal steps (OKLCH lightness 0.30 to 0.78 at hue 350), so that equal differences of the map look equal.
"""

REGION_MM = 10.0
"""Side of the region whose mean counts when the worst one is looked for."""

LEAST_SHOWN = 0.01
"""Uncertainty below this is never shown: nobody asks for a view that is tinted throughout."""

_TABLE_TAG = "UnCoLUncertaintyColors"
_COLOR_COUNT = 256
_LEGEND_LABELS = 5
_LEGEND_SIZE, _LEGEND_POSITION = (0.1, 0.4), (0.97, 0.06)


def colorTable(scene: Any) -> Any:
    """Return our color table of a scene, which is made at the first call."""
    table = scene.GetSingletonNode(_TABLE_TAG, "vtkMRMLColorTableNode")
    if table is not None:
        return table
    table = slicer.vtkMRMLColorTableNode()
    table.SetName("Uncertainty (UnCoL)")
    table.SetAttribute("Category", "UnCoL")
    table.SetSingletonTag(_TABLE_TAG)
    table.SetTypeToUser()
    table.SetNumberOfColors(_COLOR_COUNT)
    stops = np.linspace(0, 1, len(COLORS))
    for index, value in enumerate(np.linspace(0, 1, _COLOR_COUNT)):
        color = [float(np.interp(value, stops, channel)) for channel in zip(*COLORS, strict=True)]
        table.SetColor(index, f"{value:.3f}", *color, 1.0)
    return scene.AddNode(table)


def show(node: Any, threshold: float) -> None:
    """Show an uncertainty volume in our colors, and only where it reaches the threshold.

    The colors always stand for 0 to 1, whatever the map holds, so that maps can be compared.
    """
    if node.GetDisplayNode() is None:
        node.CreateDefaultDisplayNodes()
    display = node.GetDisplayNode()
    modified = display.StartModify()
    display.SetAndObserveColorNodeID(colorTable(node.GetScene()).GetID())
    display.AutoWindowLevelOff()
    display.SetWindowLevelMinMax(0.0, 1.0)
    display.AutoThresholdOff()
    display.SetThreshold(max(threshold, LEAST_SHOWN), 1.0)
    display.ApplyThresholdOn()
    display.EndModify(modified)


def worstPoint(node: Any) -> tuple[tuple[float, float, float], float]:
    """Return a world point (R, A, S) in mm in the region of the highest mean uncertainty, and that mean.

    Regions are boxes of about 10 mm. Uncertainty often is a thin shell, so that a region's middle may lie beside it:
    the point is the most uncertain place in the region, after smoothing over neighboring voxels.

    Raises:
        DataError: If the map is 0 everywhere.
    """
    volume = Bridge.snapshotVolume(node)
    region, mean = _worstRegion(volume.voxels, volume.spacing_mm)
    if mean <= 0:
        message = _('The uncertainty map "{name}" is 0 everywhere, so there is no worst region.')
        raise DataError(message.format(name=node.GetName()))
    peak = _peak(volume.voxels[region])
    ijk = [first + further for first, further in zip(Grids.firstOf(region), reversed(peak), strict=True)]
    return Grids.toWorld(node, ijk), mean


def _worstRegion(voxels: NDArray[Any], spacing_mm: Sequence[float]) -> tuple[Grids.Region, float]:
    """Return the box with the highest mean; boxes overlap by half, so that one pass over the voxels is enough."""
    edges = [
        np.arange(0, size, max(1, round(REGION_MM / 2 / spacing)))
        for size, spacing in zip(voxels.shape, reversed(spacing_mm), strict=True)
    ]
    sums = _blockSums(voxels, edges)
    counts = [np.diff([*starts, size]) for starts, size in zip(edges, voxels.shape, strict=True)]
    sums, sizes = _pairSums(sums), [_pairSums(each) for each in counts]
    means = sums / (sizes[0][:, None, None] * sizes[1][:, None] * sizes[2])
    place = np.unravel_index(int(means.argmax()), means.shape)
    first = [int(starts[index]) for starts, index in zip(edges, place, strict=True)]
    shape = [int(size[index]) for size, index in zip(sizes, place, strict=True)]
    return Grids.moved(Grids.wholeRegion(shape), first), float(means[place])


def _blockSums(voxels: NDArray[Any], edges: Sequence[NDArray[np.intp]]) -> NDArray[np.float64]:
    """Return the sum of each block that begins at one of the edges along K, J and I."""
    rows, columns = edges[1:]
    slabs = np.split(voxels, edges[0][1:])  # slab by slab, because all at once the memory is what takes the time
    sums = [np.add.reduceat(np.add.reduceat(slab.sum(axis=0), rows, axis=0), columns, axis=1) for slab in slabs]
    return np.array(sums, dtype=np.float64)


def _pairSums(blocks: NDArray[Any]) -> NDArray[Any]:
    """Return the sums of neighboring blocks along each axis that has more than one block."""
    for axis, count in enumerate(blocks.shape):
        if count > 1:
            blocks = sliding_window_view(blocks, 2, axis).sum(axis=-1)
    return blocks


def _peak(voxels: NDArray[Any]) -> tuple[int, int, int]:
    """Return where a block is highest after averaging over 3 x 3 x 3 voxels."""
    smooth = np.pad(voxels.astype(np.float64), 1, mode="edge")
    for axis in range(3):
        smooth = sliding_window_view(smooth, 3, axis).sum(axis=-1)
    return np.unravel_index(int(smooth.argmax()), smooth.shape)


def addLegend(node: Any) -> Any:
    """Return the color legend of an uncertainty volume; it is made at the first call."""
    legend = slicer.vtkSlicerColorLogic.GetColorLegendDisplayNode(node)
    if legend is not None:
        return legend
    legend = slicer.vtkSlicerColorLogic.AddDefaultColorLegendDisplayNode(node)
    legend.SetTitleText(_("Uncertainty"))
    legend.SetNumberOfLabels(_LEGEND_LABELS)
    legend.SetSize(*_LEGEND_SIZE)
    legend.SetPosition(*_LEGEND_POSITION)
    return legend
