"""The comparisons as pictures: Dice against the number of labels, and how the methods learn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from uncol.benchmark.comparison import Comparison, Row
from uncol.benchmark.protocol import SUPERVISED_ALL, UNCOL, Benchmark
from uncol.benchmark.tables import label_count_text


@dataclass(frozen=True)
class Style:
    """How a method is drawn."""

    color: str
    marker: str
    line: str = "-"


STYLES = {
    "shape-interpolation": Style("#8A8A8A", "x", ":"),
    "supervised": Style("#4D4D4D", "s", "--"),
    "mean-teacher": Style("#B8860B", "v"),
    "ua-mt": Style("#D55E00", "^"),
    "bcp": Style("#009E73", "D"),
    "frozen-teacher": Style("#56A0D3", "P", ":"),
    "uncol-without-generalized": Style("#CC79A7", "<", "--"),
    "uncol-without-specialized": Style("#A65E8C", ">", "-."),
    "uncol-without-gating": Style("#7B3F6B", "h", ":"),
    UNCOL: Style("#0072B2", "o"),
    SUPERVISED_ALL: Style("#000000", "*", ":"),
}
"""Colors after Okabe and Ito, which color-blind readers can tell apart; markers and lines differ as well."""

_INK, _AXIS, _GRID = "#1d2733", "#9aa5b1", "#dfe4ea"
_FONT_PT, _DPI = 11.5, 120
_LABEL_GAP = 0.055
"""Least distance between two names beside a plot, as a part of its height."""
_SMOOTHED_PART = 0.05
_CURVE_POINTS = 200
_NO_LOSS = {"step", "seconds", "stage"}


def dice_png(comparison: Comparison) -> bytes:
    """Draw the mean Dice against the number of labels, and all methods at the count where all are compared."""
    figure, (lines, rows) = _figure(2)
    counts = _in_order_of_labels(comparison)
    for place, method in enumerate(comparison.benchmark.methods):
        points = [
            (counts.index(count), row)
            for count in counts
            for row in comparison.groups[count]
            if row.method == method and method != SUPERVISED_ALL
        ]
        if points:
            _draw_line(lines, method, points, 0.012 * (place - len(STYLES) / 2))
    _draw_full_supervision(lines, comparison)
    lines.set_xticks(range(len(counts)), [label_count_text(count, comparison.benchmark) for count in counts])
    lines.set_xlim(-0.35, len(counts) - 0.65)
    _label(lines, "Mean Dice, 95 % intervals", _label_axis(comparison.benchmark), "Dice")
    _name_ends(lines)
    count = _fullest_count(comparison)
    _draw_rows(rows, comparison.groups[count])
    _label(rows, f"At {label_count_text(count, comparison.benchmark)}", "Dice", "")
    return _png(figure)


def learning_png(comparison: Comparison) -> bytes | None:
    """Draw each loss against the steps, mean over the seeds, at the count where all are compared; None without any."""
    rows = [row for row in comparison.groups[_fullest_count(comparison)] if any(row.curves)]
    names = list(dict.fromkeys(name for row in rows for curve in row.curves for point in curve for name in point))
    losses = [name for name in names if name not in _NO_LOSS]
    if not losses:
        return None
    figure, panels = _figure(len(losses))
    for axes, loss in zip(panels, losses, strict=True):
        for row in rows:
            _draw_curve(axes, row.method, _mean_curve(row.curves, loss))
        _label(axes, f"Loss: {loss.replace('_', ' ')}", "Training step", "")
        axes.set_yscale("log")
        _name_ends(axes)
    return _png(figure)


def _in_order_of_labels(comparison: Comparison) -> list[int]:
    """Return the label counts from few labels to many; 1 slice in 16 is fewer than 1 in 4."""
    return sorted(comparison.groups, reverse=comparison.benchmark.supervision == "slices")


def _fullest_count(comparison: Comparison) -> int:
    must = comparison.benchmark.must_count
    return must if must in comparison.groups else max(comparison.groups, key=lambda each: len(comparison.groups[each]))


def _label_axis(benchmark: Benchmark) -> str:
    return "Annotated slices" if benchmark.supervision == "slices" else "Labeled training subjects"


def _draw_line(axes: Axes, method: str, points: Sequence[tuple[int, Row]], shift: float) -> None:
    style, means = STYLES[method], np.array([row.dice.mean for _, row in points])
    errors = np.array([[row.dice.mean - row.dice.low, row.dice.high - row.dice.mean] for _, row in points]).T
    is_ours = method == UNCOL
    axes.errorbar(
        [place + shift for place, _ in points],
        means,
        yerr=np.maximum(errors, 0),
        color=style.color,
        marker=style.marker,
        linestyle=style.line,
        linewidth=2.6 if is_ours else 1.5,
        markersize=8 if is_ours else 6,
        elinewidth=1.1,
        capsize=3,
        zorder=3 if is_ours else 2,
        label=method,
    )


def _draw_full_supervision(axes: Axes, comparison: Comparison) -> None:
    found = [row for rows in comparison.groups.values() for row in rows if row.method == SUPERVISED_ALL]
    if found:
        dice = found[0].dice
        axes.axhspan(dice.low, dice.high, color=STYLES[SUPERVISED_ALL].color, alpha=0.08, linewidth=0)
        axes.axhline(dice.mean, color=STYLES[SUPERVISED_ALL].color, linestyle=":", linewidth=1.4, label=SUPERVISED_ALL)


def _draw_rows(axes: Axes, rows: Sequence[Row]) -> None:
    ours = next((row for row in rows if row.method == UNCOL), None)
    if ours is not None:
        axes.axvspan(ours.dice.low, ours.dice.high, color=STYLES[UNCOL].color, alpha=0.1, linewidth=0)
    for place, row in enumerate(rows):
        style, dice = STYLES[row.method], row.dice
        axes.plot([dice.low, dice.high], [place, place], color=style.color, linewidth=2.2)
        axes.plot(dice.mean, place, marker=style.marker, color=style.color, markersize=8)
        axes.annotate(
            f"{dice.mean:.3f}",
            (dice.high, place),
            (7, 0),
            textcoords="offset points",
            va="center",
            fontsize=10,
            color=_INK,
        )
    axes.set_yticks(range(len(rows)), [row.method for row in rows])
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.margins(x=0.14)
    axes.grid(visible=False, axis="y")


def _mean_curve(
    curves: Sequence[Sequence[Mapping[str, Any]]], loss: str
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return steps and the mean over the runs of a loss, from the first step at which all have it to the last."""
    pairs = [np.array([(point["step"], point[loss]) for point in curve if loss in point]) for curve in curves]
    found = [each for each in pairs if len(each)]
    if not found:
        return np.empty(0), np.empty(0)
    steps = np.linspace(max(each[0, 0] for each in found), min(each[-1, 0] for each in found), _CURVE_POINTS)
    values = np.mean([np.interp(steps, each[:, 0], each[:, 1]) for each in found], axis=0)
    width = max(1, round(_CURVE_POINTS * _SMOOTHED_PART))
    padded = np.pad(values, (width // 2, width - 1 - width // 2), mode="edge")
    return steps, np.convolve(padded, np.full(width, 1 / width), "valid")


def _draw_curve(axes: Axes, method: str, curve: tuple[NDArray[np.float64], NDArray[np.float64]]) -> None:
    style, (steps, values) = STYLES[method], curve
    if len(steps):
        width = 2.6 if method == UNCOL else 1.5
        axes.plot(steps, values, color=style.color, linestyle=style.line, linewidth=width, label=method)


def _name_ends(axes: Axes) -> None:
    """Write each line's name beside its right end instead of a legend; names that would overlap are spread."""
    axes.figure.canvas.draw()
    to_axes = axes.transData + axes.transAxes.inverted()
    ends = []
    for handle, name in zip(*axes.get_legend_handles_labels(), strict=True):
        line = handle[0] if isinstance(handle, tuple) else handle
        is_level = name == SUPERVISED_ALL and len(line.get_xdata()) == 2
        x, y = line.get_xdata()[-1], line.get_ydata()[-1]
        ends.append(
            (float(to_axes.transform((x, y))[1]), 1.0 if is_level else float(to_axes.transform((x, y))[0]), name)
        )
    ends.sort()
    heights = _spread([height for height, _, _ in ends])
    for (height, x, name), shown in zip(ends, heights, strict=True):
        axes.annotate(
            name, (x, height), (1.03, shown), xycoords="axes fraction", textcoords="axes fraction", va="center",
            fontsize=10, color=STYLES[name].color, fontweight="bold" if name == UNCOL else "normal",
            arrowprops={"arrowstyle": "-", "color": STYLES[name].color, "linewidth": 0.6, "alpha": 0.5},
        )  # fmt: skip


def _spread(heights: Sequence[float]) -> list[float]:
    """Return rising heights with at least the gap of a line of text between them, moved as little as need be."""
    shown = list(heights)
    for place in range(1, len(shown)):
        shown[place] = max(shown[place], shown[place - 1] + _LABEL_GAP)
    excess = max(0.0, shown[-1] - 1.0) if shown else 0.0
    for place in reversed(range(len(shown))):
        above = shown[place + 1] - _LABEL_GAP if place + 1 < len(shown) else shown[place] - excess
        shown[place] = min(shown[place], above)
    return shown


def _figure(panel_count: int) -> tuple[Figure, list[Axes]]:
    figure = Figure(figsize=(6.4 * panel_count, 4.8), dpi=_DPI, facecolor="white", layout="constrained")
    FigureCanvasAgg(figure)
    panels = [figure.add_subplot(1, panel_count, place + 1) for place in range(panel_count)]
    for axes in panels:
        axes.grid(color=_GRID, linewidth=0.9)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
        axes.spines[["left", "bottom"]].set_color(_AXIS)
        axes.tick_params(labelsize=_FONT_PT, colors=_INK)
    return figure, panels


def _label(axes: Axes, title: str, x_label: str, y_label: str) -> None:
    axes.set_title(title, loc="left", fontsize=_FONT_PT + 1, color=_INK)
    axes.set_xlabel(x_label, fontsize=_FONT_PT, color=_INK)
    axes.set_ylabel(y_label, fontsize=_FONT_PT, color=_INK)


def _png(figure: Figure) -> bytes:
    buffer = BytesIO()
    figure.savefig(buffer, format="png", facecolor=figure.get_facecolor(), metadata={"Software": None})
    return buffer.getvalue()
