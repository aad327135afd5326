"""Stand-in for the plot widget: draws the lines of a real chart node, so that a learning curve can be looked at."""

from __future__ import annotations

from typing import Any

import mrml_widgets
import numpy as np
import qt
import slicer
from PySide6.QtCore import QPointF, QRectF, Qt
from PySide6.QtGui import QColor, QPainter, QPaintEvent, QPen, QPolygonF

_MARGINS = (44, 22, 10, 34)  # left, top, right, bottom, in pixels


class qMRMLPlotWidget(mrml_widgets.qMRMLWidget):
    """Shows what the chart of its plot view node names."""

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._viewNode = None
        self._controller = qt.QWidget(self)

    def setMRMLScene(self, scene: Any) -> None:
        """Nothing here lists nodes of the scene."""

    def setMRMLPlotViewNode(self, node: Any) -> None:
        self._viewNode = node
        self.update()

    def plotController(self) -> Any:
        """Return the bar with the controls of the view."""
        return self._controller

    def mrmlPlotViewNode(self) -> Any:
        return self._viewNode

    def curves(self) -> dict[str, np.ndarray]:
        """Return each series' points (n, 2) by its name."""
        chart = self._viewNode.GetPlotChartNode() if self._viewNode else None
        names: list[str] = []
        if chart:
            chart.GetPlotSeriesNodeNames(names)
            series = [chart.GetNthPlotSeriesNode(index) for index in range(chart.GetNumberOfPlotSeriesNodes())]
            return {each.GetName(): _points(each) for each in series}
        return {}

    def paintEvent(self, _event: QPaintEvent) -> None:
        painter = QPainter(self)
        painter.setRenderHint(QPainter.Antialiasing)
        painter.fillRect(self.rect, Qt.white)
        curves = {name: points for name, points in self.curves().items() if len(points)}
        if not curves:
            return
        left, top, right, bottom = _MARGINS
        area = QRectF(left, top, self.width - left - right, self.height - top - bottom)
        everything = np.concatenate(list(curves.values()))
        low, high = everything.min(axis=0), everything.max(axis=0)
        low[1], high = min(low[1], 0), np.where(high > low, high, low + 1)
        chart = self._viewNode.GetPlotChartNode()
        self._drawAxes(painter, area, low, high, chart)
        for number, (name, points) in enumerate(curves.items()):
            scaled = (points - low) / (high - low)
            line = [QPointF(area.left() + x * area.width(), area.bottom() - y * area.height()) for x, y in scaled]
            color = QColor.fromRgbF(*chart.GetNthPlotSeriesNode(number).GetColor())
            painter.setPen(QPen(color, chart.GetNthPlotSeriesNode(number).GetLineWidth()))
            painter.drawPolyline(QPolygonF(line))
            if chart.GetLegendVisibility():
                painter.drawText(QRectF(area.right() - 150, area.top() + 15 * number, 146, 15), Qt.AlignRight, name)

    def _drawAxes(self, painter: QPainter, area: QRectF, low: Any, high: Any, chart: Any) -> None:
        painter.setPen(Qt.black)
        painter.drawRect(area)
        painter.drawText(QRectF(0, 2, self.width, 18), Qt.AlignCenter, chart.GetTitle() or "")
        below = QRectF(area.left(), area.bottom() + 2, area.width(), 15)
        painter.drawText(below, Qt.AlignLeft, f"{low[0]:.0f}")
        painter.drawText(below, Qt.AlignRight, f"{high[0]:.0f}")
        painter.drawText(below.translated(0, 14), Qt.AlignCenter, chart.GetXAxisTitle() or "")
        beside = QRectF(0, area.top(), area.left() - 4, area.height())
        painter.drawText(beside, Qt.AlignRight | Qt.AlignTop, f"{high[1]:.2f}")
        painter.drawText(beside, Qt.AlignRight | Qt.AlignBottom, f"{low[1]:.2f}")


def _points(series: Any) -> np.ndarray:
    table = series.GetTableNode()
    columns = [table.GetTable().GetColumnByName(name) for name in (series.GetXColumnName(), series.GetYColumnName())]
    rows = table.GetNumberOfRows()
    values = [[column.GetVariantValue(row).ToDouble() for row in range(rows)] for column in columns]
    points = np.array(values, dtype=float).T.reshape(rows, 2)
    return points[np.isfinite(points).all(axis=1)]


slicer.qMRMLPlotWidget = qMRMLPlotWidget
