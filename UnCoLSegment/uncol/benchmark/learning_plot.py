"""How the methods learn: one small plot for each, with the losses of all the others in the background."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter
from numpy.typing import NDArray

from uncol.benchmark.comparison import Comparison, Row
from uncol.benchmark.plot_style import INK, STYLES, dress, make_figure, png_of

Curve = NDArray[np.float64]
"""Points (P, 2): step and loss."""

SUPERVISED_LOSS = "supervised"
_NO_LOSS = {"step", "seconds", "stage"}
_OTHERS = "#c6ced8"
_COLUMNS = 4
_WIDTH_IN, _HEIGHT_IN, _FONT_PT = 3.1, 2.7, 9.5
_CURVE_POINTS, _SMOOTHED_PART = 200, 0.05
_LINES_OF_OTHER_LOSSES = ("--", ":", "-.")


def learning_png(comparison: Comparison, count: int) -> bytes | None:
    """Draw the losses at a label count against the steps, mean over the seeds; None where none were recorded."""
    rows = [row for row in comparison.groups[count] if any(row.curves)]
    if not rows:
        return None
    columns = min(_COLUMNS, len(rows))
    lines = math.ceil(len(rows) / columns)
    figure = make_figure(_WIDTH_IN * columns, _HEIGHT_IN * lines)
    panels = figure.subplots(lines, columns, sharex=True, sharey=True, squeeze=False).ravel()
    background = [mean_curve(row.curves, SUPERVISED_LOSS) for row in rows]
    for panel, row in zip(panels, rows, strict=False):
        for curve in background:
            panel.plot(*curve.T, color=_OTHERS, linewidth=1.2, zorder=1)
        _draw(panel, row)
    for unused in panels[len(rows) :]:
        unused.set_visible(False)
    for lowest in panels[max(0, len(rows) - columns) : len(rows)]:
        lowest.tick_params(labelbottom=True)
    panels[0].set_yscale("log")
    panels[0].yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    panels[0].yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    panels[0].yaxis.set_minor_formatter(NullFormatter())
    text = comparison.benchmark.label_text(count)
    figure.suptitle(f"{comparison.benchmark.name}, {text}: losses (log) against steps; gray: the other methods")
    return png_of(figure)


def mean_curve(curves: Sequence[Sequence[Mapping[str, Any]]], loss: str) -> Curve:
    """Return the mean over the runs of a loss, smoothed, where all runs have it; no points where one has not."""
    pairs = [np.array([(point["step"], point[loss]) for point in curve if loss in point]) for curve in curves]
    if not all(len(each) for each in pairs):
        return np.empty((0, 2))
    steps = np.linspace(max(each[0, 0] for each in pairs), min(each[-1, 0] for each in pairs), _CURVE_POINTS)
    values = np.mean([np.interp(steps, each[:, 0], each[:, 1]) for each in pairs], axis=0)
    width = max(1, round(_CURVE_POINTS * _SMOOTHED_PART))
    padded = np.pad(values, (width // 2, width - 1 - width // 2), mode="edge")
    return np.column_stack([steps, np.convolve(padded, np.full(width, 1 / width), "valid")])


def _draw(axes: Axes, row: Row) -> None:
    color = STYLES[row.method].color
    axes.plot(*mean_curve(row.curves, SUPERVISED_LOSS).T, color=color, linewidth=2.2, zorder=3)
    names = dict.fromkeys(name for curve in row.curves for point in curve for name in point)
    others = [name for name in names if name not in _NO_LOSS | {SUPERVISED_LOSS}]
    for line, name in zip(_LINES_OF_OTHER_LOSSES, others, strict=False):
        curve = mean_curve(row.curves, name)
        if len(curve):
            axes.plot(*curve.T, color=color, linewidth=1.5, linestyle=line, zorder=3)
            _name(axes, curve, name.replace("_", " "), color)
    start = next((point["step"] for point in row.curves[0] if point.get("stage") == 2), None)
    if start is not None:
        axes.axvline(start, color=INK, linewidth=0.8, linestyle=(0, (4, 3)))
    dress(axes, row.method, "", "", _FONT_PT)


def _name(axes: Axes, curve: Curve, text: str, color: str) -> None:
    """Write a name below its curve: what lies above may be the curve of another loss."""
    last_third = curve[2 * len(curve) // 3 :]
    place, shift = (float(curve[-1, 0]), float(last_third[:, 1].min())), (0, -4)
    axes.annotate(
        text, place, shift, textcoords="offset points", fontsize=_FONT_PT - 1, color=color, va="top", ha="right"
    )
