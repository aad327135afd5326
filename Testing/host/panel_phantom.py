"""A small CT with a liver for panel tests: image, labels and an uncertainty map, and what a user does with them."""

from __future__ import annotations

from typing import Any

import numpy as np
import slicer
import slicer.util

SHAPE_KJI = (24, 48, 64)
IJK_TO_RAS = np.array([[-1.5, 0, 0, 48], [0, -1.5, 0, 36], [0, 0, 4.0, -46], [0, 0, 0, 1]])
"""Voxels to RAS in mm."""
_CENTER_IJK, _RADII_IJK = (25, 22, 12), (14, 11, 8)


class Phantom:
    """Arrays (K, J, I): `ct` int16 in HU, `liver` and `proposed` bool, `uncertainty` float32 in [0, 1].

    What is proposed lies two voxels to the side of the liver.
    """

    def __init__(self) -> None:
        k, j, i = np.ogrid[: SHAPE_KJI[0], : SHAPE_KJI[1], : SHAPE_KJI[2]]
        body = ((i - 32) / 29) ** 2 + ((j - 24) / 21) ** 2 + 0 * k < 1
        axes = zip((i, j, k), _CENTER_IJK, _RADII_IJK, strict=True)
        distance = np.sqrt(sum(((index - center) / radius) ** 2 for index, center, radius in axes))
        self.liver = distance < 1
        self.proposed = np.roll(self.liver, 2, axis=2)
        ct = np.where(body, 0.0, -1000.0)
        ct[self.liver] = 90
        self.ct = (ct + np.random.default_rng(0).normal(0, 10, SHAPE_KJI)).astype(np.int16)
        self.uncertainty = np.exp(-(((distance - 1) / 0.15) ** 2)).astype(np.float32)

    def addVolume(self) -> Any:
        """Add the CT to the scene."""
        node = slicer.util.addVolumeFromArray(self.ct, ijkToRAS=IJK_TO_RAS, name="CT abdomen")
        node.GetDisplayNode().AutoWindowLevelOff()
        node.GetDisplayNode().SetWindowLevel(400, 40)
        self._volume = node
        return node

    def addBox(self) -> Any:
        """Add a box round the liver, as the user leaves it after pulling its faces."""
        roi = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "liver")
        self.placeBox(roi)
        return roi

    def placeBox(self, roi: Any) -> None:
        """Put a box where the liver is."""
        roi.SetSize(*(2 * radius * spacing for radius, spacing in zip(_RADII_IJK, (1.5, 1.5, 4.0), strict=True)))
        roi.SetCenterWorld(*(IJK_TO_RAS @ [*_CENTER_IJK, 1])[:3])

    def addSegmentation(self, volume: Any, name: str = "liver", nodeName: str = "My segmentation") -> Any:
        """Add a segmentation with one empty segment."""
        node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", nodeName)
        node.CreateDefaultDisplayNodes()
        node.SetReferenceImageGeometryParameterFromVolumeNode(volume)
        node.GetSegmentation().AddEmptySegment(name, name)
        node.GetSegmentation().GetSegment(name).SetColor(0.86, 0.4, 0.31)
        return node

    def paint(self, segmentation: Any, volume: Any, *slicesK: int) -> None:
        """Paint the liver in some axial slices, as a careful user does."""
        segmentId = segmentation.GetSegmentation().GetNthSegmentID(0)
        mask = slicer.util.arrayFromSegmentBinaryLabelmap(segmentation, segmentId, volume)
        mask = np.zeros(SHAPE_KJI, np.uint8) if mask is None else mask.copy()
        mask[list(slicesK)] = self.liver[list(slicesK)]
        slicer.util.updateSegmentBinaryLabelmapFromArray(mask, segmentation, segmentId, volume)

    def addSliceViews(self, host: Any) -> list[Any]:
        """Add the three slice views of the application's usual layout; they show the CT at the middle of the liver."""
        from real_slice_view import RealSliceView

        views = [RealSliceView(host, orientation) for orientation in ("Axial", "Coronal", "Sagittal")]
        for view in views:
            view.show(self._volume, through=(IJK_TO_RAS @ [*_CENTER_IJK, 1])[:3])
        return views
