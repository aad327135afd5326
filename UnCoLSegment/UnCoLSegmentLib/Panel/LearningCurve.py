"""The learning curve as a table and a chart in the scene, shown in the panel and usable in Slicer's plot views.

The parameter node refers to both, so that a panel that is loaded again, or a scene, brings no second set.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import qt
import slicer
import slicer.util
import vtk
from slicer.i18n import tr as _

_COLORS = ((0.12, 0.47, 0.71), (0.84, 0.15, 0.16), (0.17, 0.63, 0.17), (1.0, 0.5, 0.05), (0.58, 0.4, 0.74))
_HEIGHT = 170  # pixels
_STEP = "step"
_TABLE_ROLE, _CHART_ROLE = "learningCurveTable", "learningCurveChart"
_VIEW = "UnCoLLearningCurve"
"""Layout name of the plot view in the panel, by which it is found again."""


class LearningCurve:
    """Makes its nodes when there is something to show.

    Args:
        place: Widget with a layout that the plot is put into; hidden until then.
    """

    def __init__(self, place: qt.QWidget) -> None:
        self._place, self._plot = place, None
        self._table = self._chart = None

    def show(self, points: Sequence[dict[str, float]], parameterNode: Any) -> None:
        """Show the losses over the steps.

        Args:
            points: One point of the curve each: `step` and the losses by name; a loss may be missing in some.
            parameterNode: The node that refers to table and chart.
        """
        names = list(dict.fromkeys(name for point in points for name in point if name != _STEP))
        if not names:
            return
        self._table = _nodeFor(parameterNode, _TABLE_ROLE, "vtkMRMLTableNode")
        self._chart = _nodeFor(parameterNode, _CHART_ROLE, "vtkMRMLPlotChartNode")
        self._chart.SetTitle(_("Learning curve"))
        self._chart.SetXAxisTitle(_("Step"))
        self._chart.SetYAxisTitle(_("Loss"))
        self._fillTable(points, names)
        self._nameSeries(names)
        self._place.visible = True
        if self._plot is None:
            self._makePlot()
        self._plot.setMRMLPlotViewNode(_viewOf(self._chart))

    def forget(self) -> None:
        """Hide the plot; the nodes go with their scene."""
        self._table = self._chart = None
        if self._plot is not None:
            self._plot.setMRMLPlotViewNode(None)
        self._place.visible = False

    def _makePlot(self) -> None:
        self._plot = slicer.qMRMLPlotWidget()
        self._plot.setMRMLScene(slicer.mrmlScene)
        self._plot.plotController().setVisible(False)
        self._plot.setAttribute(qt.Qt.WA_TransparentForMouseEvents)  # the mouse wheel scrolls the panel
        self._plot.setMinimumHeight(_HEIGHT)
        self._plot.setAccessibleName(_("Learning curve"))
        self._place.layout().addWidget(self._plot)

    def _fillTable(self, points: Sequence[dict[str, float]], names: Sequence[str]) -> None:
        table = vtk.vtkTable()
        for name in (_STEP, *names):
            column = vtk.vtkDoubleArray()
            column.SetName(name)
            for point in points:
                column.InsertNextValue(point.get(name, vtk.vtkMath.Nan()))
            table.AddColumn(column)
        self._table.SetAndObserveTable(table)

    def _nameSeries(self, names: Sequence[str]) -> None:
        chart = self._chart
        for number in range(chart.GetNumberOfPlotSeriesNodes(), len(names)):
            series = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLPlotSeriesNode", lossTitle(names[number]))
            series.SetAndObserveTableNodeID(self._table.GetID())
            series.SetPlotType(series.PlotTypeScatter)
            series.SetMarkerStyle(series.MarkerStyleNone)
            series.SetXColumnName(_STEP)
            series.SetColor(*_COLORS[number % len(_COLORS)])
            chart.AddAndObservePlotSeriesNodeID(series.GetID())
        for number, name in enumerate(names):
            series = chart.GetNthPlotSeriesNode(number)
            series.SetName(lossTitle(name))
            series.SetYColumnName(name)


def _nodeFor(parameterNode: Any, role: str, className: str) -> Any:
    """Return the node that the panel's parameters name; it is made when there is none."""
    node = parameterNode.GetNodeReference(role)
    if node is None:
        node = slicer.mrmlScene.AddNewNodeByClass(className, _("Learning curve"))
        parameterNode.SetNodeReferenceID(role, node.GetID())
    return node


def _viewOf(chart: Any) -> Any:
    """Return the view of the panel's plot, which is not saved with the scene."""
    views = slicer.util.getNodesByClass("vtkMRMLPlotViewNode")
    view = next((each for each in views if each.GetLayoutName() == _VIEW), None)
    if view is None:
        view = slicer.mrmlScene.CreateNodeByClass("vtkMRMLPlotViewNode")
        view.UnRegister(None)
        view.SetName(_("Learning curve"))
        view.SetLayoutName(_VIEW)
        view.SetSaveWithScene(False)
        # Before it comes into the scene: the layout manager leaves views alone that belong to something else.
        view.SetAndObserveParentLayoutNodeID(chart.GetID())
        view = slicer.mrmlScene.AddNode(view)
    view.SetPlotChartNodeID(chart.GetID())
    return view


def lossTitle(name: str) -> str:
    """Return what a loss of the engine is called on the screen: by the slices that it is about."""
    titles = {
        "supervised": _("Annotated slices"),
        "pseudo_label": _("Other slices"),
        "distillation": _("Foundation model"),
    }
    return titles.get(name, name)
