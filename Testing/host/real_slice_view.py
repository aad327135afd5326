"""A slice view as the application draws it: Slicer's own displayable managers, offscreen, with real mouse events.

Below the class everything is Slicer's C++ code, drawn by VTK through EGL. So place mode, the handles of a box, outlines
of segments, the crosshair and the color legend behave here as they do on a user's screen.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import slicer
import slicer.util
import vtk
from host import Host
from numpy.typing import NDArray
from slice_view import SliceView
from vtk.util.numpy_support import vtk_to_numpy

_MANAGERS = (
    "vtkMRMLMarkupsDisplayableManager",
    "vtkMRMLSegmentationsDisplayableManager2D",
    "vtkMRMLCrosshairDisplayableManager",
    "vtkMRMLColorLegendDisplayableManager",
)
_DRAG_STEPS = 8


class RealSliceView(SliceView):
    """A slice view with a renderer, an interactor and Slicer's interaction style.

    Pixels are counted from the lower left, as the mouse is. The host closes the view.
    """

    def __init__(
        self, host: Host, orientation: str = "Axial", size: tuple[int, int] = (400, 300), name: str = ""
    ) -> None:
        super().__init__(host, orientation, size, name)
        self._openWindow(size)
        self._takeMouse(host)
        host.views.append(self)

    def _openWindow(self, size: tuple[int, int]) -> None:
        self._window, self._renderer = vtk.vtkRenderWindow(), vtk.vtkRenderer()
        self._window.SetOffScreenRendering(1)
        self._window.SetMultiSamples(0)
        self._window.SetSize(*size)
        self._window.AddRenderer(self._renderer)
        # Handles are drawn in the coordinates of a view that is 2 high, round 0; VTK would fit its camera to them.
        self._renderer.GetActiveCamera().ParallelProjectionOn()
        self._renderer.GetActiveCamera().SetPosition(0, 0, 1)
        self._mapper, image = vtk.vtkImageMapper(), vtk.vtkActor2D()
        self._mapper.SetColorWindow(255)
        self._mapper.SetColorLevel(127.5)
        image.SetMapper(self._mapper)
        image.GetProperty().SetDisplayLocationToBackground()
        self._renderer.AddViewProp(image)

    def _takeMouse(self, host: Host) -> None:
        self._interactor = vtk.vtkGenericRenderWindowInteractor()
        self._interactor.SetRenderWindow(self._window)
        self._interactor.SetInteractorStyle(vtk.vtkInteractorStyleUser())
        factory = slicer.vtkMRMLSliceViewDisplayableManagerFactory.GetInstance()
        factory.SetMRMLApplicationLogic(host.logic)
        for name in _MANAGERS:
            if not factory.IsDisplayableManagerRegistered(name):
                factory.RegisterDisplayableManager(name)
        self._style = slicer.vtkMRMLSliceViewInteractorStyle()
        self._style.SetInteractor(self._interactor)
        self._managers = factory.InstantiateDisplayableManagers(self._renderer)
        self._managers.SetMRMLDisplayableNode(self.node)
        self._style.SetDisplayableManagers(self._managers)
        self._style.SetSliceLogic(self._logic)
        self._interactor.Initialize()
        self._window.Render()
        self._send("EnterEvent", (1, 1))

    def renderWindow(self) -> Any:
        """Return VTK's window, as the view's widget does."""
        return self._window

    def scheduleRender(self) -> None:
        """Drawn when the picture is asked for."""

    def close(self) -> None:
        """Take the view away, as the application does at its end."""
        self._style.SetDisplayableManagers(None)
        self._managers.SetMRMLDisplayableNode(None)
        self._window.Finalize()

    def click(self, *place: float) -> None:
        """Move the mouse to a pixel and click the left button."""
        self.drag(place, place)

    def drag(self, start: tuple[float, ...], end: tuple[float, ...]) -> None:
        """Press the left button at one pixel and release it at another."""
        self._send("MouseMoveEvent", (start[0] - 3, start[1]))
        self._send("MouseMoveEvent", start)
        self._send("LeftButtonPressEvent", start)
        for place in np.linspace(start, end, _DRAG_STEPS) if start != end else ():
            self._send("MouseMoveEvent", tuple(place))
        self._send("LeftButtonReleaseEvent", end)
        self._window.Render()

    def rightClick(self, *place: float) -> None:
        """Move the mouse to a pixel and click the right button."""
        self._send("MouseMoveEvent", place)
        self._send("RightButtonPressEvent", place)
        self._send("RightButtonReleaseEvent", place)
        self._window.Render()

    def pixelOf(self, ras: Any) -> tuple[float, ...]:
        """Return the pixel at which a world point (R, A, S) in mm lies, in this slice or in front of it."""
        xyToRAS = slicer.util.arrayFromVTKMatrix(self.node.GetXYToRAS())
        return tuple((np.linalg.inv(xyToRAS) @ [*ras, 1])[:2])

    def pixels(self) -> NDArray[np.uint8]:
        """Return the picture as (rows, columns, 3), first row on top."""
        self._logic.UpdatePipeline()
        self._mapper.SetInputConnection(self._logic.GetImageDataConnection())
        self._window.Render()
        grabbed = vtk.vtkWindowToImageFilter()
        grabbed.SetInput(self._window)
        grabbed.ReadFrontBufferOff()
        grabbed.Update()
        image = grabbed.GetOutput()
        columns, rows, _ = image.GetDimensions()
        return vtk_to_numpy(image.GetPointData().GetScalars()).reshape(rows, columns, 3)[::-1]

    def _send(self, event: str, place: tuple[float, ...]) -> None:
        self._interactor.SetEventInformation(round(place[0]), round(place[1]), 0, 0, chr(0), 0, None)
        self._interactor.InvokeEvent(event)
