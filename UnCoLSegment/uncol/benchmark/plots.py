"""What the methods are worth: Dice against the number of labels, and all methods side by side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from uncol.benchmark.comparison import Comparison, Row
from uncol.benchmark.plot_style import FONT_PT, INK, STYLES, dress, make_figure, png_of
from uncol.benchmark.suites import SUPERVISED_ALL, UNCOL, Benchmark

_WIDTH_IN, _HEIGHT_IN = 6.6, 4.8
_LABEL_GAP = 0.055
"""Least distance between two names beside a plot, as a part of its height."""
_NAME_PLACE = 1.05
_ERROR_SHIFT = 0.014
"""Sideways distance between the points of two methods, as a part of the distance between two label counts."""


def dice_png(comparison: Comparison) -> bytes:
    """Draw all methods where all are compared, and those that were run at several label counts against these."""
    counts = in_order_of_labels(comparison)
    lines = {method: found for method in STYLES if len(found := _line_of(comparison, method, counts)) > 1}
    figure = make_figure(_WIDTH_IN * (2 if lines else 1), _HEIGHT_IN)
    panels = figure.subplots(1, 2 if lines else 1, squeeze=False).ravel()
    count = fullest_count(comparison)
    _draw_rows(panels[-1], comparison.groups[count])
    dress(panels[-1], _title_of_rows(comparison, count, named=not lines), "Dice", "")
    panels[-1].grid(visible=False, axis="y")
    panels[-1].locator_params(axis="x", nbins=5)
    if lines:
        axes = panels[0]
        for place, (method, found) in enumerate(lines.items()):
            _draw_line(axes, method, found, _ERROR_SHIFT * (place - (len(lines) - 1) / 2))
        _draw_full_supervision(axes, comparison)
        axes.set_xticks(range(len(counts)), [str(count) for count in _tick_texts(counts, comparison.benchmark)])
        axes.set_xlim(-0.25, len(counts) - 0.75)
        dress(axes, f"{comparison.benchmark.name}: Dice against labels", _label_axis(comparison.benchmark), "Dice")
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
    name = f"{comparison.benchmark.name}, " if named else ""
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


def _tick_texts(counts: Sequence[int], benchmark: Benchmark) -> list[str]:
    return [f"{count}" if benchmark.supervision == "cases" else f"1 in {count}" for count in counts]


def _label_axis(benchmark: Benchmark) -> str:
    return "Annotated slices" if benchmark.supervision == "slices" else "Labeled training subjects"


def _draw_line(axes: Axes, method: str, points: Sequence[tuple[int, Row]], shift: float) -> None:
    style, means = STYLES[method], np.array([row.dice.mean for _, row in points])
    ends = np.array([row.dice.shown for _, row in points])
    is_ours = method == UNCOL
    axes.errorbar(
        [place + shift for place, _ in points],
        means,
        yerr=np.abs(ends.T - means),
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
        axes.axhspan(*dice.shown, color=STYLES[SUPERVISED_ALL].color, alpha=0.08, linewidth=0)
        axes.axhline(dice.mean, color=STYLES[SUPERVISED_ALL].color, linestyle=":", linewidth=1.4, label=SUPERVISED_ALL)


def _draw_rows(axes: Axes, rows: Sequence[Row]) -> None:
    ours = next((row for row in rows if row.method == UNCOL), None)
    if ours is not None:
        axes.axvspan(*ours.dice.shown, color=STYLES[UNCOL].color, alpha=0.1, linewidth=0)
    for place, row in enumerate(rows):
        style, dice = STYLES[row.method], row.dice
        axes.plot(dice.shown, [place, place], color=style.color, linewidth=2.2)
        axes.plot(dice.mean, place, marker=style.marker, color=style.color, markersize=8)
        axes.annotate(
            f"{dice.mean:.3f}",
            (dice.shown[1], place),
            (7, 0),
            textcoords="offset points",
            va="center",
            fontsize=FONT_PT - 1.5,
            color=INK,
        )
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
        axes.annotate(
            name,
            (place, height),
            (_NAME_PLACE, shown),
            xycoords="axes fraction",
            textcoords="axes fraction",
            va="center",
            fontsize=FONT_PT - 1.5,
            color=STYLES[name].color,
            fontweight="bold" if name == UNCOL else "normal",
            arrowprops={"arrowstyle": "-", "color": STYLES[name].color, "alpha": 0.5, "relpos": (0, 0.5), "shrinkA": 0},
        )


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
