"""The pictures of a comparison: what the methods are worth, what distance costs, and how the methods learn.

Colors are after Okabe and Ito, which color-blind readers can tell apart; markers and lines differ as well.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter
from numpy.typing import NDArray

from uncol.benchmark.comparison import Comparison, Row
from uncol.benchmark.method_names import WITHOUT_TRAINING
from uncol.benchmark.suites import METHODS, SUPERVISED_ALL, SUPERVISED_PROPOSAL, UNCOL, UNCOL_PAPER, UNCOL_PROPOSAL
from uncol.report.canvas import FONT_PT, INK, dress, make_figure, png_of, running_mean

Curve = NDArray[np.float64]
"""Points (P, 2): step and loss."""

_TRAINED_STYLES = {
    "supervised": ("#4D4D4D", "s", "--"),
    "mean-teacher": ("#B8860B", "v", "-"),
    "ua-mt": ("#D55E00", "^", "-"),
    "bcp": ("#009E73", "D", "-"),
    "uncol-without-generalized": ("#CC79A7", "<", "--"),
    "uncol-without-specialized": ("#A65E8C", ">", "-."),
    "uncol-without-gating": ("#7B3F6B", "h", ":"),
    UNCOL_PAPER: ("#7A6FD0", "+", "--"),
    UNCOL: ("#0072B2", "o", "-"),
    SUPERVISED_PROPOSAL: ("#2F8F83", "1", ":"),
    UNCOL_PROPOSAL: ("#003F66", "p", "-."),
    SUPERVISED_ALL: ("#000000", "*", ":"),
}
_STYLES = {**{name: method.style for name, method in WITHOUT_TRAINING.items()}, **_TRAINED_STYLES}
STYLES = {name: _STYLES[name] for name in METHODS}
"""Color, marker and line of each method."""

SUPERVISED_LOSS = "supervised"
_NO_LOSS = {"step", "seconds", "stage"}
_OTHERS = "#c6ced8"
_LINES_OF_OTHER_LOSSES = ("--", ":", "-.")
_SMALL_PT = FONT_PT - 1.5
_LEARNING_PT = 9.5
_LEARNING_COLUMNS = 4
_CURVE_POINTS, _SMOOTHED_PART = 200, 0.05
_LABEL_GAP = 0.055
"""Least distance between two names beside a plot, as a part of its height."""
_NAME_PLACE = 1.05
_ERROR_SHIFT = 0.014
"""Sideways distance between the points of two methods, as a part of the distance between two label counts."""
_NAMES_PER_PLOT = 2
"""Names of methods that fit beside each other below one plot."""


def dice_png(comparison: Comparison) -> bytes:
    """Draw all methods where all are compared, and those that were run at several label counts against these."""
    benchmark, counts, count = comparison.benchmark, in_order_of_labels(comparison), fullest_count(comparison)
    lines = {method: found for method in STYLES if len(found := _line_of(comparison, method, counts)) > 1}
    panel_count = 2 if lines else 1
    figure = make_figure(6.6 * panel_count, 4.8)
    panels = figure.subplots(1, panel_count, squeeze=False).ravel()
    _draw_rows(panels[-1], comparison.groups[count])
    dress(panels[-1], _title_of_rows(comparison, count, named=not lines), "Dice", "")
    panels[-1].grid(visible=False, axis="y")
    panels[-1].locator_params(axis="x", nbins=5)
    if lines:
        axes = panels[0]
        for place, (method, found) in enumerate(lines.items()):
            _draw_line(axes, method, found, _ERROR_SHIFT * (place - (len(lines) - 1) / 2))
        _draw_full_supervision(axes, comparison)
        axes.set_xticks(range(len(counts)), [benchmark.short_label_text(each) for each in counts])
        axes.set_xlim(-0.25, len(counts) - 0.75)
        x_label = "Annotated slices" if benchmark.supervision == "slices" else "Labeled training subjects"
        dress(axes, f"{benchmark.table}: Dice against labels", x_label, "Dice")
        figure.draw_without_rendering()
        _name_ends(axes)
    return png_of(figure)


def in_order_of_labels(comparison: Comparison) -> list[int]:
    """Return the label counts from few labels to many; 1 slice in 16 is fewer than 1 in 4."""
    return sorted(comparison.groups, reverse=comparison.benchmark.supervision == "slices")


def fullest_count(comparison: Comparison) -> int:
    """Return the label count at which all methods are compared; where it is missing, that with most methods."""
    must = comparison.benchmark.must_count
    return must if must in comparison.groups else max(comparison.groups, key=lambda each: len(comparison.groups[each]))


def _title_of_rows(comparison: Comparison, count: int, *, named: bool) -> str:
    name = f"{comparison.benchmark.table}, " if named else ""
    intervals = ", 95 % intervals" if any(row.dice.is_bounded for row in comparison.groups[count]) else ""
    return f"{name}{comparison.benchmark.label_text(count)}: mean Dice{intervals}"


def _line_of(comparison: Comparison, method: str, counts: Sequence[int]) -> list[tuple[int, Row]]:
    """Return the rows of a method with the places of their label counts; what does not depend on them has none."""
    return [
        (place, row)
        for place, count in enumerate(counts)
        for row in comparison.groups[count]
        if row.method == method != SUPERVISED_ALL
    ]


def _look_of(method: str) -> dict[str, Any]:
    """Return how the line of a method is drawn; ours stands out."""
    color, marker, line = STYLES[method]
    width, size, order = (2.6, 8, 3) if method == UNCOL else (1.5, 6, 2)
    look = {"color": color, "marker": marker, "linestyle": line}
    return {**look, "linewidth": width, "markersize": size, "zorder": order}


def _draw_line(axes: Axes, method: str, points: Sequence[tuple[int, Row]], shift: float) -> None:
    means, ends = np.array([row.dice.mean for _, row in points]), np.array([row.dice.shown for _, row in points])
    places, errors = [place + shift for place, _ in points], np.abs(ends.T - means)
    axes.errorbar(places, means, yerr=errors, elinewidth=1.1, capsize=3, label=method, **_look_of(method))


def _draw_full_supervision(axes: Axes, comparison: Comparison) -> None:
    found = [row for rows in comparison.groups.values() for row in rows if row.method == SUPERVISED_ALL]
    if found:
        dice, color = found[0].dice, STYLES[SUPERVISED_ALL][0]
        axes.axhspan(*dice.shown, color=color, alpha=0.08, linewidth=0)
        axes.axhline(dice.mean, color=color, linestyle=":", linewidth=1.4, label=SUPERVISED_ALL)


def _draw_rows(axes: Axes, rows: Sequence[Row]) -> None:
    ours = next((row for row in rows if row.method == UNCOL), None)
    if ours is not None:
        axes.axvspan(*ours.dice.shown, color=STYLES[UNCOL][0], alpha=0.1, linewidth=0)
    text: dict[str, Any] = {"textcoords": "offset points", "va": "center", "fontsize": _SMALL_PT, "color": INK}
    for place, row in enumerate(rows):
        (color, marker, _), dice = STYLES[row.method], row.dice
        axes.plot(dice.shown, [place, place], color=color, linewidth=2.2)
        axes.plot(dice.mean, place, marker=marker, color=color, markersize=8)
        axes.annotate(f"{dice.mean:.3f}", (dice.shown[1], place), (7, 0), **text)
    axes.set_yticks(range(len(rows)), [row.method for row in rows])
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.margins(x=0.14)


def _name_ends(axes: Axes) -> None:
    """Write each line's name beside its right end instead of a legend; names that would overlap are spread."""
    to_axes = axes.transData + axes.transAxes.inverted()
    ends = []
    for handle, name in zip(*axes.get_legend_handles_labels(), strict=True):
        line = cast(Line2D, handle[0] if isinstance(handle, tuple) else handle)
        x, y = to_axes.transform(np.asarray(line.get_xydata())[-1])
        ends.append((float(y), 1.0 if name == SUPERVISED_ALL else float(x), name))
    ends.sort()
    for (height, place, name), shown in zip(ends, spread([height for height, _, _ in ends], _LABEL_GAP), strict=True):
        color, weight = STYLES[name][0], "bold" if name == UNCOL else "normal"
        axes.annotate(
            name, (place, height), (_NAME_PLACE, shown), xycoords="axes fraction", textcoords="axes fraction",
            va="center", fontsize=_SMALL_PT, color=color, fontweight=weight,
            arrowprops={"arrowstyle": "-", "color": color, "alpha": 0.5, "relpos": (0, 0.5), "shrinkA": 0},
        )  # fmt: skip


def spread(heights: Sequence[float], gap: float) -> list[float]:
    """Return rising heights, at most 1, with a gap between them: lower ones push up, the top pushes back."""
    shown = list(heights)
    for place in range(1, len(shown)):
        shown[place] = max(shown[place], shown[place - 1] + gap)
    excess = max(0.0, shown[-1] - 1.0) if shown else 0.0
    for place in reversed(range(len(shown))):
        above = shown[place + 1] - gap if place + 1 < len(shown) else shown[place] - excess
        shown[place] = min(shown[place], above)
    return shown


def distance_png(comparison: Comparison) -> bytes | None:
    """Draw Dice against the distance to the nearest annotated slice, a plot for each label count; None without any."""
    counts = sorted(count for count, rows in comparison.groups.items() if any(row.dice_by_distance for row in rows))
    if not counts:
        return None
    figure = make_figure(max(5.6, 4.2 * len(counts)), 4.4)
    panels = figure.subplots(1, len(counts), sharex=True, sharey=True, squeeze=False).ravel()
    drawn = {}
    for axes, count in zip(panels, counts, strict=True):
        for row in comparison.groups[count]:
            if row.dice_by_distance:
                points = zip(*row.dice_by_distance.items(), strict=True)
                (drawn[row.method],) = axes.plot(*points, **_look_of(row.method))
        dress(axes, comparison.benchmark.label_text(count), "Distance to an annotated slice (mm)", "")
        axes.set_xlim(left=0)
    panels[0].set_ylabel("Dice", fontsize=FONT_PT, color=INK)
    figure.suptitle(f"{comparison.benchmark.table}: Dice where nobody annotated", fontsize=FONT_PT + 1, color=INK)
    columns = min(len(drawn), _NAMES_PER_PLOT * len(counts))
    figure.legend(drawn.values(), drawn.keys(), loc="outside lower center", ncols=columns, frameon=False)
    return png_of(figure)


def learning_png(comparison: Comparison, count: int) -> bytes | None:
    """Draw the losses at a label count against the steps, mean over the seeds; None where none were recorded.

    One small plot for each method, with the losses of all the others in the background.
    """
    rows = [row for row in comparison.groups[count] if any(row.curves)]
    if not rows:
        return None
    columns = min(_LEARNING_COLUMNS, len(rows))
    lines = math.ceil(len(rows) / columns)
    figure = make_figure(3.1 * columns, 2.7 * lines)
    panels = figure.subplots(lines, columns, sharex=True, sharey=True, squeeze=False).ravel()
    background = [mean_curve(row.curves, SUPERVISED_LOSS) for row in rows]
    for panel, row in zip(panels, rows, strict=False):
        for curve in background:
            panel.plot(*curve.T, color=_OTHERS, linewidth=1.2, zorder=1)
        _draw_losses(panel, row)
    for unused in panels[len(rows) :]:
        unused.set_visible(False)
    for lowest in panels[max(0, len(rows) - columns) : len(rows)]:
        lowest.tick_params(labelbottom=True)
    panels[0].set_yscale("log")
    panels[0].yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    panels[0].yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    panels[0].yaxis.set_minor_formatter(NullFormatter())
    text = comparison.benchmark.label_text(count)
    figure.suptitle(f"{comparison.benchmark.table}, {text}: losses (log) against steps; gray: the other methods")
    return png_of(figure)


def mean_curve(curves: Sequence[Sequence[Mapping[str, Any]]], loss: str) -> Curve:
    """Return the mean over the runs of a loss, smoothed, where all runs have it; no points where one has not."""
    pairs = [np.array([(point["step"], point[loss]) for point in curve if loss in point]) for curve in curves]
    if not all(len(each) for each in pairs):
        return np.empty((0, 2))
    steps = np.linspace(max(each[0, 0] for each in pairs), min(each[-1, 0] for each in pairs), _CURVE_POINTS)
    values = np.mean([np.interp(steps, each[:, 0], each[:, 1]) for each in pairs], axis=0)
    return np.column_stack([steps, running_mean(values, _SMOOTHED_PART)])


def _draw_losses(axes: Axes, row: Row) -> None:
    color = STYLES[row.method][0]
    axes.plot(*mean_curve(row.curves, SUPERVISED_LOSS).T, color=color, linewidth=2.2, zorder=3)
    names = dict.fromkeys(name for curve in row.curves for point in curve for name in point)
    others = [name for name in names if name not in _NO_LOSS | {SUPERVISED_LOSS}]
    for line, name in zip(_LINES_OF_OTHER_LOSSES, others, strict=False):
        curve = mean_curve(row.curves, name)
        if len(curve):
            axes.plot(*curve.T, color=color, linewidth=1.5, linestyle=line, zorder=3)
            _name_curve(axes, curve, name.replace("_", " "), color)
    start = next((point["step"] for point in row.curves[0] if point.get("stage") == 2), None)
    if start is not None:
        axes.axvline(start, color=INK, linewidth=0.8, linestyle=(0, (4, 3)))
    dress(axes, row.method, "", "", _LEARNING_PT)


def _name_curve(axes: Axes, curve: Curve, name: str, color: str) -> None:
    """Write a name below its curve: what lies above may be the curve of another loss."""
    last_third = curve[2 * len(curve) // 3 :]
    place, below = (float(curve[-1, 0]), float(last_third[:, 1].min())), (0, -4)
    size = _LEARNING_PT - 1
    axes.annotate(name, place, below, textcoords="offset points", fontsize=size, color=color, va="top", ha="right")
