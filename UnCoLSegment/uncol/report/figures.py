"""The figures of the report as PNG files in memory: slices, losses, and Dice against distance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import cycle
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from uncol.core.jobs import Box
from uncol.core.volume import Plane
from uncol.foundation.boxes import box_of_mask
from uncol.report.canvas import INK, STRUCTURE_COLORS, dress, make_figure, png_of, running_mean
from uncol.report.results import METHOD_NAMES, Cut, Method, Results

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_METHOD_LOOKS: dict[Method, dict[str, Any]] = {
    "interpolation": {"color": "#767676", "marker": "s", "linestyle": "--"},
    "first_pass": {"color": "#D98200", "marker": "^", "linestyle": ":"},
    "fine_tuned": {"color": "#0072B2", "marker": "o", "linestyle": "-"},
}
_LOSSES = {
    "supervised": ("annotated slices", "#0072B2"),
    "pseudo_label": ("slices that nobody annotated", "#D55E00"),
    "distillation": ("the foundation model's features", "#009E73"),
}
_REFERENCE_LOOK: dict[str, Any] = {"colors": "#ffffff", "linestyles": [(0, (3.0, 2.2))], "linewidths": 1.3}

_DARK, _ON_DARK = "#0b0d10", "#f2f4f6"
_FONT_PT = 12.5
_PANEL_IN, _TALLEST_PANEL_IN = 5.3, 6.0
_LEGEND_COLUMNS = 7
_SHOWN_PART = 0.02
_SMOOTHED_PART = 0.04
_MOST_TICKS = 12
_SIDE_LETTERS: dict[Plane, tuple[str, str]] = {"axial": ("R", "L"), "coronal": ("R", "L"), "sagittal": ("A", "P")}


def slice_png(results: Results, cut: Cut) -> bytes:
    """Draw one slice twice: with reference and result outlined, and under its uncertainty."""
    figure, left, right = _dark_figure(results, cut, ("Reference and result", "Uncertainty of the result"))
    _draw_contours(left, results, cut)
    _draw_uncertainty(figure, right, cut, results.uncertainty_scale)
    _name_structures(figure, results, cut)
    return png_of(figure)


def first_pass_png(results: Results, number: int) -> bytes:
    """Draw the file's slice of this number with the boxes that prompted the first pass, and with the first pass."""
    cut = results.cut(number, "first_pass")
    figure, left, right = _dark_figure(results, cut, ("What was given: a box", "First pass and reference"))
    for box, color in zip(results.boxes, cycle(STRUCTURE_COLORS), strict=False):
        _draw_box(left, results, box, number, color)
    _draw_contours(right, results, cut)
    _name_structures(figure, results, cut)
    return png_of(figure)


def curve_png(curve: Sequence[Mapping[str, float]]) -> bytes:
    """Draw the losses against the steps, with a line where stage 2 begins: after the last point of stage 1."""
    figure = make_figure(11.0, 4.7)
    axes = figure.subplots()
    for loss, (name, color) in _LOSSES.items():
        points = [(point["step"], point[loss]) for point in curve if loss in point]
        if points:
            steps, values = zip(*points, strict=True)
            marker = "o" if len(points) == 1 else None  # a line through a single point cannot be seen
            axes.plot(steps, values, color=color, linewidth=0.8, alpha=0.3, marker=marker)
            axes.plot(steps, running_mean(values, _SMOOTHED_PART), color=color, linewidth=2.2, label=name)
    is_logarithmic = all(point[loss] > 0 for point in curve for loss in _LOSSES if loss in point)
    dress(axes, "Loss", "Training step", "Loss (log scale)" if is_logarithmic else "Loss", _FONT_PT)
    if is_logarithmic:
        axes.set_yscale("log", subs=(2, 5))
        axes.tick_params(which="minor", labelsize=_FONT_PT - 1, colors=INK)
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_formatter("{x:g}")
    boundary = stage2_step(curve)
    if boundary is not None:
        axes.axvline(boundary, color=INK, linewidth=1.3, linestyle=(0, (4, 3)))
        for text, side in (("stage 1  ", "right"), ("  stage 2", "left")):
            where = axes.get_xaxis_transform()
            axes.text(boundary, 0.99, text, fontsize=_FONT_PT, color=INK, ha=side, va="top", transform=where)
    figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=_FONT_PT, labelcolor=INK)
    return png_of(figure)


def stage2_step(curve: Sequence[Mapping[str, float]]) -> int | None:
    """Return the last step of stage 1 in a learning curve; None if stage 2 was never reached."""
    first_stage = [int(point["step"]) for point in curve if point["stage"] == 1]
    return max(first_stage, default=0) if len(first_stage) < len(curve) else None


def distance_png(results: Results) -> bytes:
    """Draw the Dice of each slice against its distance to the nearest annotated slice, method beside method."""
    figure = make_figure(11.0, 4.7)
    axes = figure.subplots()
    scores = [each for each in results.slices if each.distance > 0]
    distances = sorted({each.distance for each in scores})
    for shift, (method, name) in zip((-0.14, 0.0, 0.14), METHOD_NAMES.items(), strict=True):
        look = _METHOD_LOOKS[method]
        by_distance = {
            distance: [each.dice[method] for each in scores if each.distance == distance and method in each.dice]
            for distance in distances
        }
        means = {distance + shift: np.mean(dice) for distance, dice in by_distance.items() if dice}
        faint = {"color": look["color"], "marker": look["marker"], "alpha": 0.35, "linewidths": 0, "s": 26}
        for distance, dice in by_distance.items():
            axes.scatter([distance + shift] * len(dice), dice, **faint)
        axes.plot(list(means), list(means.values()), markersize=8, linewidth=2.2, label=name, **look)
    x_label = f"Slices to the nearest annotated slice (1 slice = {results.view.spacing_mm[0]:.3g} mm)"
    dress(axes, "", x_label, "Dice of the slice", _FONT_PT)
    axes.set_xticks(distances[:: max(1, len(distances) // _MOST_TICKS)])
    axes.set_ylim(-0.03, 1.03)
    figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=_FONT_PT, labelcolor=INK)
    return png_of(figure)


def _dark_figure(results: Results, cut: Cut, titles: tuple[str, str]) -> tuple[Figure, Axes, Axes]:
    """Show a plane twice, cropped to what is more than background, at most 6 in high, with room for names below."""
    visible = cut.image > results.window[0]
    rows, columns = (_with_margin(np.flatnonzero(visible.mean(axis) > _SHOWN_PART), visible.shape[1 - axis])
                     for axis in (1, 0))  # fmt: skip
    aspect = cut.spacing_mm[0] / cut.spacing_mm[1]
    picture_in = _PANEL_IN * aspect * (rows[1] - rows[0]) / (columns[1] - columns[0])
    legend_in = 0.42 * (1 + len(results.structures) // _LEGEND_COLUMNS)
    height_in = min(picture_in, _TALLEST_PANEL_IN) + legend_in + 0.45
    figure = make_figure(2 * _PANEL_IN + 1.25, height_in, _DARK)
    figure.set_layout_engine("compressed", w_pad=0.1, h_pad=0.08)
    panels = figure.subplots(1, 2)
    for axes, title in zip(panels, titles, strict=True):
        low, high = results.window
        axes.imshow(cut.image, cmap="gray", vmin=low, vmax=high, interpolation="bicubic", aspect=aspect)
        axes.set(xlim=(columns[0] - 0.5, columns[1] - 0.5), ylim=(rows[1] - 0.5, rows[0] - 0.5), autoscale_on=False)
        axes.set_axis_off()
        axes.set_title(title, color=_ON_DARK, fontsize=_FONT_PT + 1, loc="left", pad=7)
        for letter, place, side in zip(_SIDE_LETTERS[cut.plane], (0.015, 0.985), ("left", "right"), strict=True):
            axes.text(place, 0.5, letter, ha=side, va="center", transform=axes.transAxes, **_outlined(_ON_DARK))
    return figure, panels[0], panels[1]


def _with_margin(lines: NDArray[np.intp], side: int) -> tuple[int, int]:
    margin = side // 40 + 1
    return (max(0, int(lines[0]) - margin), min(side, int(lines[-1]) + margin + 1)) if lines.size else (0, side)


def _draw_contours(axes: Axes, results: Results, cut: Cut) -> None:
    for structure, color in zip(results.structures, cycle(STRUCTURE_COLORS), strict=False):
        result_look = {"colors": color, "linestyles": "solid", "linewidths": 2.2}
        for labels, look in ((cut.result, result_look), (cut.reference, _REFERENCE_LOOK)):
            framed = np.pad((labels == structure.value).astype(np.float32), 1)
            if framed.any():
                rows, columns = (np.arange(-1, side + 1) for side in labels.shape)
                axes.contour(columns, rows, framed, levels=[0.5], **look)


def _draw_box(axes: Axes, results: Results, box: Box, number: int, color: str) -> None:
    from matplotlib.patches import Rectangle

    inside = np.zeros(results.image.shape_kji, dtype=np.bool_)
    ends = zip(box.lower_ijk[::-1], box.upper_ijk[::-1], strict=True)
    inside[tuple(slice(lower, upper + 1) for lower, upper in ends)] = True
    mask = results.view.stack_from(inside)[results.view.stack_index(number, len(results.slices))]
    if not mask.any():
        return
    top, left, bottom, right = box_of_mask(mask) - 0.5  # from the edges of pixels to the axes, where 0 is a center
    axes.add_patch(Rectangle((left, top), right - left, bottom - top, fill=False, edgecolor=color, linewidth=2.4))
    axes.text(left + 0.5, top + 0.5 - 0.02 * len(mask), box.structure, parse_math=False, **_outlined(color))


def _outlined(color: str) -> dict[str, Any]:
    """Return the look of a text that can be read on any picture."""
    from matplotlib.patheffects import withStroke

    return {"color": color, "fontsize": _FONT_PT, "path_effects": [withStroke(linewidth=2, foreground=_DARK)]}


def _draw_uncertainty(figure: Figure, axes: Axes, cut: Cut, scale: float) -> None:
    shown = axes.imshow(
        cut.uncertainty,
        cmap="inferno",
        vmin=0.0,
        vmax=scale,
        alpha=np.clip(cut.uncertainty / scale * 3.0, 0, 0.92),
        interpolation="bilinear",
        aspect=axes.get_aspect(),
    )
    bar = figure.colorbar(shown, ax=axes, shrink=0.84, aspect=25, pad=0.02)
    bar.set_ticks([0.0, scale / 2, scale], labels=["0 sure", f"{scale / 2:.2g}", f"{scale:.2g}\nunsure"])
    bar.ax.tick_params(colors=_ON_DARK, labelsize=_FONT_PT)
    bar.outline.set_edgecolor(_ON_DARK)


def _name_structures(figure: Figure, results: Results, cut: Cut) -> None:
    from matplotlib.lines import Line2D

    lines = {"reference": Line2D([], [], color="#ffffff", linewidth=1.6, linestyle=_REFERENCE_LOOK["linestyles"][0])}
    for structure, color in zip(results.structures, cycle(STRUCTURE_COLORS), strict=False):
        if structure.value in cut.result or structure.value in cut.reference:
            lines[structure.name] = Line2D([], [], color=color, linewidth=3)
    looks = {"ncols": _LEGEND_COLUMNS, "frameon": False, "handlelength": 1.6, "columnspacing": 1.4}
    legend = figure.legend(
        lines.values(), lines, loc="outside lower left", fontsize=_FONT_PT, labelcolor=_ON_DARK, **looks
    )
    for text in legend.get_texts():
        text.set_parse_math(False)
