"""One slice view composited on the CPU: the pixels of Slicer's own slice pipeline, without OpenGL."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import slicer
import slicer.util
import vtk
from host import Host
from numpy.typing import NDArray
from vtk.util.numpy_support import numpy_to_vtk, vtk_to_numpy

_VIEW_NAMES = {"Axial": "Red", "Coronal": "Green", "Sagittal": "Yellow"}
"""The views of the application's usual layout."""


class SliceView:
    """A slice logic with its nodes. Segments, markups, rulers and legends need OpenGL and are not in the picture.

    Args:
        host: Has the scene.
        orientation: "Axial", "Coronal" or "Sagittal".
        size: Width and height in pixels.
        name: Layout name of the slice node; "" for the usual one of that orientation.

    Attributes:
        node: The slice node.
        layers: The composite node: what is in the background, in the foreground, and how opaque that is.
    """

    def __init__(
        self, host: Host, orientation: str = "Axial", size: tuple[int, int] = (400, 300), name: str = ""
    ) -> None:
        self._logic = slicer.vtkMRMLSliceLogic()
        self._logic.SetMRMLApplicationLogic(host.logic)  # before the scene
        self._logic.SetMRMLScene(host.scene)
        self.node = self._logic.AddSliceNode(name or _VIEW_NAMES[orientation])  # also makes the composite node
        self.node.SetOrientation(orientation)
        self.node.SetDimensions(*size, 1)
        self.node.SetMappedInLayout(1)
        self.layers = self._logic.GetSliceCompositeNode()
        host.logic.GetSliceLogics().AddItem(self._logic)

    def show(
        self, background: Any, foreground: Any = None, opacity: float = 0.5, through: tuple[float, ...] = (0, 0, 0)
    ) -> None:
        """Put two volume nodes on top of each other and cut through a point (R, A, S) in mm."""
        self.layers.SetBackgroundVolumeID(background.GetID())
        self.layers.SetForegroundVolumeID(foreground.GetID() if foreground else None)
        self.layers.SetForegroundOpacity(opacity)
        self.fit()
        self.node.JumpSliceByOffsetting(*through)  # after the fit, which centers the slice

    def fit(self) -> None:
        """Show all of the background; needs its voxels: on a node without an image the view stays black."""
        self._logic.FitSliceToAll()

    def pixels(self) -> NDArray[np.uint8]:
        """Return the picture as (rows, columns, 3), first row on top."""
        self._logic.UpdatePipeline()
        source = self._logic.GetImageDataConnection()
        source.GetProducer().Update()
        image = source.GetProducer().GetOutputDataObject(source.GetIndex())
        columns, rows, _ = image.GetDimensions()
        rgba = vtk_to_numpy(image.GetPointData().GetScalars()).reshape(rows, columns, 4)[::-1]
        return rgba[..., :3] * (rgba[..., 3:] > 0)  # outside the volume: alpha 0, but the color of value 0

    def save(self, path: Path) -> None:
        """Write the picture as PNG."""
        savePicture(self.pixels(), path)

    def worldUnderPixels(self) -> NDArray[np.float64]:
        """Return the world point (R, A, S) in mm under each pixel, as (rows, columns, 3), first row on top."""
        columns, rows, _ = self.node.GetDimensions()
        row, column = np.indices((rows, columns))
        xy = np.stack([column, rows - 1 - row, np.zeros_like(row), np.ones_like(row)], axis=-1)
        xyToRAS = slicer.util.arrayFromVTKMatrix(self.node.GetXYToRAS())
        return (xy @ xyToRAS.T)[..., :3]


def savePicture(pixels: NDArray[np.uint8], path: Path) -> None:
    """Write (rows, columns, 3), first row on top, as PNG."""
    image, writer = vtk.vtkImageData(), vtk.vtkPNGWriter()
    image.SetDimensions(pixels.shape[1], pixels.shape[0], 1)
    image.GetPointData().SetScalars(numpy_to_vtk(np.ascontiguousarray(pixels[::-1]).reshape(-1, 3), deep=True))
    writer.SetInputData(image)
    writer.SetFileName(str(path))
    writer.Write()
