"""Uncertainty over the volume: colors, threshold, opacity and legend. No Qt.

The map is an ordinary scalar volume in [0, 1]; `Overlay` lays it over its volume.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import slicer
from slicer.i18n import tr as _

COLORS = ((0.31, 0.07, 0.21), (0.52, 0.11, 0.35), (0.74, 0.15, 0.50), (0.94, 0.26, 0.65), (1.00, 0.53, 0.78))
"""Colors at 0, 1/4, 1/2, 3/4 and 1: one hue, from dark to bright, so that the worst place is the brightest.

Lighter in equal steps (OKLCH lightness 0.30 to 0.78 at hue 350), so that equal differences of the map look equal.
"""

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


def show(node: Any, threshold: float, unsureFrom: float = 0.5) -> None:
    """Show an uncertainty volume in our colors, and only where it reaches the threshold.

    Args:
        node: The volume.
        threshold: In [0, 1], where 0.5 is where a voxel counts as unsure.
        unsureFrom: The value of the map from which a voxel counts as unsure; the brightest color stands for twice that.
    """
    brightest = min(1.0, 2 * unsureFrom)
    if node.GetDisplayNode() is None:
        node.CreateDefaultDisplayNodes()
    display = node.GetDisplayNode()
    modified = display.StartModify()
    display.SetAndObserveColorNodeID(colorTable(node.GetScene()).GetID())
    display.AutoWindowLevelOff()
    display.SetWindowLevelMinMax(0.0, brightest)
    display.AutoThresholdOff()
    display.SetThreshold(max(threshold * brightest, LEAST_SHOWN), 1.0)
    display.ApplyThresholdOn()
    display.EndModify(modified)


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
