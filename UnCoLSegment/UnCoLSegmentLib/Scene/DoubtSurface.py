"""The proposal in 3D: its surfaces, in the structures' colors, and in that of the map where it is unsure. No Qt."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import slicer
import vtk
from numpy.typing import NDArray
from slicer.i18n import tr as _
from vtk.util.numpy_support import numpy_to_vtk, vtk_to_numpy

from UnCoLSegmentLib.Scene import Bridge, Labelmaps, UncertaintyDisplay

_ROLE = "UnCoL.Surface"
"""Node reference of a proposal to the model that shows it."""
_CLOSED_SURFACE = slicer.vtkSegmentationConverter.GetSegmentationClosedSurfaceRepresentationName()
_COLOR = UncertaintyDisplay.COLORS[3]
_BESIDE = tuple(product((-1, 0, 1), (-2, 0, 2), (-2, 0, 2)))
"""Voxels (K, J, I) round a point whose mean counts: every surface lies in the thin rim of doubt of its contour."""
_FULL_PART = 0.95
"""From this part of the largest doubt on, the color is that of the map."""


def surfaceOf(proposal: Any) -> Any:
    """Return the model that shows a proposal; None if there is none."""
    return proposal.GetNodeReference(_ROLE) if proposal is not None else None


def show(proposal: Any, mapNode: Any, unsureFrom: float) -> None:
    """Show the surfaces of a proposal's segments.

    Args:
        proposal: The proposal.
        mapNode: Its uncertainty map, on the voxels of its volume.
        unsureFrom: The value of the map from which a voxel counts as unsure.
    """
    proposal.CreateClosedSurfaceRepresentation()
    joined = vtk.vtkAppendPolyData()
    for segment in Labelmaps.segmentsOf(proposal).values():
        surface = segment.GetRepresentation(_CLOSED_SURFACE)
        if surface is not None and surface.GetNumberOfPoints():
            joined.AddInputData(_colored(surface, segment.GetColor(), mapNode, unsureFrom))
    joined.Update()
    model = surfaceOf(proposal) or _newModel(proposal)
    model.SetAndObserveTransformNodeID(proposal.GetTransformNodeID())
    model.SetAndObservePolyData(joined.GetOutput())
    display = model.GetDisplayNode()
    display.SetActiveScalar(_("Doubt"), vtk.vtkAssignAttribute.POINT_DATA)
    display.SetScalarRangeFlag(slicer.vtkMRMLDisplayNode.UseDirectMapping)
    display.SetScalarVisibility(True)
    display.SetVisibility(True)


def remove(proposal: Any) -> None:
    """Take the surfaces of a proposal out of the scene; one that stayed would be made anew at each change."""
    proposal.RemoveClosedSurfaceRepresentation()
    model = surfaceOf(proposal)
    if model is not None:
        for each in (model.GetDisplayNode(), model):
            proposal.GetScene().RemoveNode(each)


def colorsAt(
    points: NDArray[np.float64], color: tuple[float, float, float], mapNode: Any, unsureFrom: float
) -> NDArray[np.uint8]:
    """Return the colors (N, 3) of points of a surface, 0 to 255: the structure's, and the map's where that is unsure.

    Args:
        points: Their places (N, 3) in the map's own RAS coordinates, in mm.
        color: The structure's, red, green and blue in [0, 1].
        mapNode: The uncertainty map.
        unsureFrom: The value of the map from which a voxel counts as unsure.
    """
    doubt = Bridge.snapshotVolume(mapNode)
    to_ijk = np.linalg.inv(doubt.ijk_to_ras)
    kji = np.rint((points @ to_ijk[:3, :3].T + to_ijk[:3, 3])[:, ::-1]).astype(int)
    total = np.zeros(len(points))
    for offset in _BESIDE:
        at = kji + offset
        isInside = ((at >= 0) & (at < doubt.shape_kji)).all(axis=1)
        total[isInside] += doubt.voxels[tuple(at[isInside].T)]
    brightest = min(1.0, 2 * unsureFrom)
    part = (total / len(_BESIDE) - unsureFrom) / max(0.01, _FULL_PART * brightest - unsureFrom)
    mixed = np.array(color) + np.clip(part, 0, 1)[:, None] * (np.array(_COLOR) - np.array(color))
    return np.rint(255 * mixed).astype(np.uint8)


def _colored(surface: Any, color: tuple[float, float, float], mapNode: Any, unsureFrom: float) -> Any:
    points = vtk_to_numpy(surface.GetPoints().GetData()).astype(np.float64)
    colors = numpy_to_vtk(colorsAt(points, color, mapNode, unsureFrom), deep=True)
    colors.SetName(_("Doubt"))
    made = vtk.vtkPolyData()
    made.ShallowCopy(surface)
    made.GetPointData().AddArray(colors)
    return made


def _newModel(proposal: Any) -> Any:
    node = slicer.vtkMRMLModelNode()
    node.SetName(_("{proposal} in 3D").format(proposal=proposal.GetName()))
    node.SetHideFromEditors(True)
    node.SetSaveWithScene(False)  # it can be made anew
    proposal.GetScene().AddNode(node)
    node.CreateDefaultDisplayNodes()
    node.GetDisplayNode().SetSaveWithScene(False)
    node.GetDisplayNode().SetVisibility2D(False)
    proposal.SetNodeReferenceID(_ROLE, node.GetID())
    return node
