"""The learning curve as a table and a chart in the scene, shown in the panel and usable in Slicer's plot views."""

from __future__ import annotations

from collections.abc import Sequence

import qt
import slicer
import vtk
from slicer.i18n import tr as _

_COLORS = ((0.12, 0.47, 0.71), (0.84, 0.15, 0.16), (0.17, 0.63, 0.17), (1.0, 0.5, 0.05), (0.58, 0.4, 0.74))
_HEIGHT = 170  # pixels
_STEP = "step"


class LearningCurve:
    """Makes its nodes when there is something to show, and anew after the scene was closed.

    Args:
        place: Widget with a layout that the plot is put into; hidden until then.
    """

    def __init__(self, place: qt.QWidget) -> None:
        self._place, self._plot = place, None
        self.tableNode = self.chartNode = self._viewNode = None

    def show(self, points: Sequence[dict[str, float]]) -> None:
        """Show the losses over the steps.

        Args:
            points: One point of the curve each: `step` and the losses by name; a loss may be missing in some.
        """
        names = list(dict.fromkeys(name for point in points for name in point if name != _STEP))
        if not names:
            return
        if self.tableNode is None or self.tableNode.GetScene() is None:
            self._makeNodes()
        self._fillTable(points, names)
        self._nameSeries(names)
        self._place.visible = True
        if self._plot is None:
            self._makePlot()
        self._plot.setMRMLPlotViewNode(self._viewNode)

    def forget(self) -> None:
        """Hide the plot; the nodes go with their scene."""
        self.tableNode = self.chartNode = self._viewNode = None
        self._place.visible = False

    def _makePlot(self) -> None:
        self._plot = slicer.qMRMLPlotWidget()
        self._plot.setMRMLScene(slicer.mrmlScene)
        self._plot.setMinimumHeight(_HEIGHT)
        self._plot.setAccessibleName(_("Learning curve"))
        self._place.layout().addWidget(self._plot)

    def _makeNodes(self) -> None:
        scene, name = slicer.mrmlScene, _("Learning curve")
        self.tableNode = scene.AddNewNodeByClass("vtkMRMLTableNode", name)
        self.chartNode = scene.AddNewNodeByClass("vtkMRMLPlotChartNode", name)
        self.chartNode.SetTitle(_("Learning curve"))
        self.chartNode.SetXAxisTitle(_("Step"))
        self.chartNode.SetYAxisTitle(_("Loss"))
        self._viewNode = scene.AddNewNodeByClass("vtkMRMLPlotViewNode", name)
        self._viewNode.SetPlotChartNodeID(self.chartNode.GetID())
        self._viewNode.SetSaveWithScene(False)

    def _fillTable(self, points: Sequence[dict[str, float]], names: Sequence[str]) -> None:
        table = vtk.vtkTable()
        for name in (_STEP, *names):
            column = vtk.vtkDoubleArray()
            column.SetName(name)
            for point in points:
                column.InsertNextValue(point.get(name, vtk.vtkMath.Nan()))
            table.AddColumn(column)
        self.tableNode.SetAndObserveTable(table)

    def _nameSeries(self, names: Sequence[str]) -> None:
        chart = self.chartNode
        for number in range(chart.GetNumberOfPlotSeriesNodes(), len(names)):
            series = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLPlotSeriesNode", lossTitle(names[number]))
            series.SetAndObserveTableNodeID(self.tableNode.GetID())
            series.SetPlotType(series.PlotTypeScatter)
            series.SetMarkerStyle(series.MarkerStyleNone)
            series.SetXColumnName(_STEP)
            series.SetColor(*_COLORS[number % len(_COLORS)])
            chart.AddAndObservePlotSeriesNodeID(series.GetID())
        for number, name in enumerate(names):
            series = chart.GetNthPlotSeriesNode(number)
            series.SetName(lossTitle(name))
            series.SetYColumnName(name)


def lossTitle(name: str) -> str:
    """Return what a loss of the engine is called on the screen: by the slices that it is about."""
    titles = {
        "supervised": _("Annotated slices"),
        "pseudo_label": _("Other slices"),
        "distillation": _("Foundation model"),
    }
    return titles.get(name, name)
