"""The map of a proposal that several runs made: everywhere the largest of their uncertainties.

A run from a box joins what is proposed already. So that a structure can be proposed anew, what each run said is kept by
itself, in a hidden volume; it goes when none of its structures is proposed any more. What a model says about several
structures cannot be taken apart: it counts as long as one of them is left.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import Any

import numpy as np
import slicer
import slicer.util
import vtk
from numpy.typing import NDArray
from slicer.i18n import tr as _

from UnCoLSegmentLib.Scene import Bridge, Grids
from UnCoLSegmentLib.Scene.Attributes import jsonOf, textsOf
from UnCoLSegmentLib.Scene.Results import VOLUME_ROLE

ATTRIBUTE = "UnCoL.UncertaintyPart"
"""On a hidden volume, the filled block of one run's map: JSON list of the structures that it is about."""
FIRST_ATTRIBUTE = "UnCoL.FirstVoxel"
"""On the same: JSON list, the index (I, J, K) in the volume of the block's first voxel."""


def partsOf(volumeNode: Any) -> list[Any]:
    """Return the parts of a volume's map; none where one run made all of it."""
    nodes = slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
    return [node for node in nodes if node.GetAttribute(ATTRIBUTE) and node.GetNodeReference(VOLUME_ROLE) is volumeNode]


def keep(volumeNode: Any, mapNode: Any, structures: Collection[str]) -> None:
    """Keep what was said about some of the proposed structures, before the map is overwritten; forget the rest.

    Args:
        volumeNode: The volume.
        mapNode: Its map so far; None if there is none.
        structures: Names of those that stay.
    """
    parts = partsOf(volumeNode)
    if not all(part.GetImageData() for part in parts):  # Slicer 5.10 saves no voxels of hidden nodes beside a .mrml
        for part in parts:
            _remove(part)
        parts = []
    if structures and not parts and mapNode is not None:
        add(volumeNode, Bridge.snapshotVolume(mapNode).voxels, structures)
    for part in parts:
        about = [each for each in textsOf(part, ATTRIBUTE) if each in structures]
        part.SetAttribute(ATTRIBUTE, json.dumps(about))
        if not about:
            _remove(part)


def add(volumeNode: Any, voxels: NDArray[Any], structures: Collection[str]) -> None:
    """Keep a map (K, J, I) of the whole volume as a part about some structures; nothing where it is 0 everywhere."""
    bits = voxels.view(np.uint32) if voxels.dtype == np.float32 else voxels  # compared faster, in the same order
    region = Grids.nonzeroRegion(bits)
    if region is None:
        return
    node = slicer.vtkMRMLScalarVolumeNode()
    node.SetName(_("{volume} uncertainty, part").format(volume=volumeNode.GetName()))
    node.SetHideFromEditors(True)
    node.SetAttribute(ATTRIBUTE, json.dumps(list(structures)))
    node.SetAttribute(Bridge.UNCERTAINTY_ATTRIBUTE, "1")
    node.SetAttribute(FIRST_ATTRIBUTE, json.dumps(Grids.firstOf(region)))
    node.SetAndObserveImageData(Grids.putVoxels(vtk.vtkImageData(), voxels[region], deep=True))
    volumeNode.GetScene().AddNode(node)
    node.SetNodeReferenceID(VOLUME_ROLE, volumeNode.GetID())


def join(volumeNode: Any, mapNode: Any) -> None:
    """Raise the map, wherever a part says more than it."""
    voxels = Bridge.snapshotVolume(mapNode).voxels
    for part in partsOf(volumeNode):
        own, first = Bridge.snapshotVolume(part).voxels, jsonOf(part, FIRST_ATTRIBUTE)
        if _fits(first, own.shape, voxels.shape):
            region = Grids.moved(Grids.wholeRegion(own.shape), first[::-1])
            np.maximum(voxels[region], own, out=voxels[region])
    mapNode.GetImageData().GetPointData().GetScalars().Modified()
    mapNode.GetImageData().Modified()


def _fits(first: Any, shape: tuple[int, ...], whole: tuple[int, ...]) -> bool:
    """Say whether a block lies inside a volume; in a damaged scene its first voxel may be anything."""
    if not isinstance(first, list) or [type(each) for each in first] != [int] * 3:
        return False
    return all(0 <= start <= size - own for start, own, size in zip(first[::-1], shape, whole, strict=True))


def _remove(node: Any) -> None:
    for each in (node.GetStorageNode(), node):
        if each is not None:
            node.GetScene().RemoveNode(each)
