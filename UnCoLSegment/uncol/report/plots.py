"""The charts of the report as PNG files in memory; no window, no global state of matplotlib."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from uncol.report.story import METHOD_NAMES, LearningCurve, Method, SliceScore

METHOD_COLORS: dict[Method, str] = {"interpolation": "#767676", "first_pass": "#D98200", "fine_tuned": "#0072B2"}
"""Three colors that color-blind readers can tell apart; markers and line styles differ as well."""

_METHOD_MARKERS: dict[Method, str] = {"interpolation": "s", "first_pass": "^", "fine_tuned": "o"}
_METHOD_LINES: dict[Method, str] = {"interpolation": "--", "first_pass": ":", "fine_tuned": "-"}
_LOSS_COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#767676", "#E69F00")

_INK, _AXIS, _GRID = "#1d2733", "#9aa5b1", "#dfe4ea"
_FONT_PT = 12.5
_DPI = 120
_SMOOTHED_PART = 0.04
_MOST_TICKS = 12


def curve_png(curve: LearningCurve) -> bytes:
    """Draw the losses against the steps and, if given, the Dice on annotated slices kept out of training."""
    figure, panels = _light_figure(2 if curve.held_out_dice else 1)
    for color, (name, pairs) in zip(_cycled(_LOSS_COLORS, len(curve.losses)), curve.losses.items(), strict=True):
        _draw_loss(panels[0], name, pairs, color)
    can_be_logarithmic = all(value > 0 for pairs in curve.losses.values() for _, value in pairs)
    panels[0].set_yscale("log" if can_be_logarithmic else "linear")
    _label(panels[0], "Loss", "Training step", "Loss (log scale)" if can_be_logarithmic else "Loss")
    if curve.held_out_dice:
        steps, dice = zip(*curve.held_out_dice, strict=True)
        panels[1].plot(steps, dice, "o-", color=METHOD_COLORS["fine_tuned"], linewidth=2.2, markersize=7)
        _label(panels[1], "Dice on held-out annotated slices", "Training step", "Dice")
        panels[1].set_ylim(min(0.5, *dice) - 0.02, 1.0)
    for axes in panels:
        _draw_stage_boundary(axes, curve.stage2_step)
    _draw_legend(figure, panels[0])
    return _png(figure)


def distance_png(slice_scores: Sequence[SliceScore], slice_spacing_mm: float) -> bytes:
    """Draw the Dice of each slice against its distance to the nearest annotated slice, method beside method."""
    figure, (axes, *_) = _light_figure(1)
    methods = [method for method in METHOD_NAMES if any(method in score.dice for score in slice_scores)]
    for place, method in enumerate(methods):
        shift = 0.14 * (place - (len(methods) - 1) / 2)
        pairs = [(score.distance, score.dice[method]) for score in slice_scores if method in score.dice]
        _draw_distance_line(axes, method, pairs, shift)
    _label(
        axes,
        "",
        f"Slices to the nearest annotated slice (1 slice = {slice_spacing_mm:.3g} mm)",
        "Dice of the slice",
    )
    distances = sorted({score.distance for score in slice_scores})
    axes.set_xticks(distances[:: max(1, len(distances) // _MOST_TICKS)])
    axes.set_ylim(-0.03, 1.03)
    _draw_legend(figure, axes)
    return _png(figure)


def _light_figure(panel_count: int) -> tuple[Figure, list[Axes]]:
    figure = Figure(figsize=(11.0, 4.7), dpi=_DPI, facecolor="white", layout="constrained")
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


def _draw_legend(figure: Figure, axes: Axes) -> None:
    handles, names = axes.get_legend_handles_labels()
    if handles:
        legend = figure.legend(
            handles, names, loc="outside lower center", ncols=3, frameon=False, fontsize=_FONT_PT, labelcolor=_INK
        )
        for text in legend.get_texts():
            text.set_parse_math(False)


def _draw_loss(axes: Axes, name: str, pairs: Sequence[tuple[int, float]], color: str) -> None:
    steps = np.array([step for step, _ in pairs])
    values = np.array([value for _, value in pairs], dtype=np.float64)
    width = max(1, round(len(values) * _SMOOTHED_PART))
    padded = np.pad(values, (width // 2, width - 1 - width // 2), mode="edge")
    axes.plot(steps, values, color=color, linewidth=0.8, alpha=0.3)
    axes.plot(steps, np.convolve(padded, np.full(width, 1 / width), "valid"), color=color, linewidth=2.2, label=name)


def _draw_stage_boundary(axes: Axes, step: int | None) -> None:
    if step is None:
        return
    axes.axvline(step, color=_INK, linewidth=1.3, linestyle=(0, (4, 3)))
    for text, side, shift in (("stage 1", "right", -6), ("stage 2", "left", 6)):
        axes.annotate(
            text,
            (step, 1.0),
            (shift, -4),
            xycoords=("data", "axes fraction"),
            textcoords="offset points",
            ha=side,
            va="top",
            fontsize=_FONT_PT,
            color=_INK,
        )


def _draw_distance_line(axes: Axes, method: Method, pairs: Sequence[tuple[int, float]], shift: float) -> None:
    color, marker = METHOD_COLORS[method], _METHOD_MARKERS[method]
    by_distance: dict[int, list[float]] = {distance: [] for distance in sorted({pair[0] for pair in pairs})}
    for distance, dice in pairs:
        by_distance[distance].append(dice)
    axes.scatter(
        [distance + shift for distance, _ in pairs],
        [dice for _, dice in pairs],
        s=26,
        color=color,
        alpha=0.35,
        linewidths=0,
        marker=marker,
    )
    axes.plot(
        [distance + shift for distance in by_distance],
        [float(np.mean(values)) for values in by_distance.values()],
        color=color,
        marker=marker,
        markersize=8,
        linewidth=2.2,
        linestyle=_METHOD_LINES[method],
        label=METHOD_NAMES[method],
    )


def _cycled(colors: Sequence[str], count: int) -> list[str]:
    return [colors[place % len(colors)] for place in range(count)]


def _png(figure: Figure) -> bytes:
    buffer = BytesIO()
    figure.savefig(buffer, format="png", facecolor=figure.get_facecolor(), metadata={"Software": None})
    return buffer.getvalue()
