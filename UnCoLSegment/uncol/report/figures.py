"""The figures of the report as PNG files in memory: slices, losses, and Dice against distance."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import cycle
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from uncol.core.jobs import Box
from uncol.core.volume import UNKNOWN_LABEL, Plane
from uncol.foundation.boxes import box_of_mask
from uncol.report.canvas import INK, STRUCTURE_COLORS, dress, make_figure, png_of, running_mean
from uncol.report.results import METHOD_NAMES, Cut, Method, Results

if TYPE_CHECKING:
    from matplotlib.axes import Axes

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
_TOO_MUCH, _MISSING, _ERROR_ALPHA = (255, 138, 31), (53, 167, 255), 200
"""Colors of errors, as in the viewer."""
_SHOWN_PART = 0.02
_SMOOTHED_PART = 0.04
_MOST_TICKS = 12
_SIDE_LETTERS: dict[Plane, tuple[str, str]] = {"axial": ("R", "L"), "coronal": ("R", "L"), "sagittal": ("A", "P")}


def slice_panels(results: Results, cut: Cut) -> dict[str, bytes]:
    """Draw one slice with reference and result outlined, with its errors, and under its uncertainty, by title."""
    return {
        "Reference and result": _panel(results, cut, lambda axes: _draw_contours(axes, results, cut)),
        "Errors": _panel(results, cut, lambda axes: _draw_errors(axes, cut)),
        "Uncertainty": _panel(results, cut, lambda axes: _draw_uncertainty(axes, cut, results.uncertainty_scale)),
    }


def first_pass_panels(results: Results, number: int) -> dict[str, bytes]:
    """Draw the file's slice of this number with the boxes that prompted the first pass, and with the first pass."""
    cut = results.cut(number, "first_pass")

    def draw_boxes(axes: Axes) -> None:
        for box, color in zip(results.boxes, cycle(STRUCTURE_COLORS), strict=False):
            _draw_box(axes, results, box, number, color)

    return {
        "What was given: a box": _panel(results, cut, draw_boxes),
        "First pass and reference": _panel(results, cut, lambda axes: _draw_contours(axes, results, cut)),
    }


def shown_colors(results: Results, cut: Cut) -> dict[str, str]:
    """Return the colors of the structures that a slice shows, in the result or in the reference, by name."""
    shown = {*np.unique(cut.result).tolist(), *np.unique(cut.reference).tolist()}
    colored = zip(results.structures, cycle(STRUCTURE_COLORS), strict=False)
    return {structure.name: color for structure, color in colored if structure.value in shown}


def curve_png(curve: Sequence[Mapping[str, float]]) -> bytes:
    """Draw the losses against the steps, with a line where stage 2 begins: after the last point of stage 1."""
    figure = make_figure(11.0, 4.7, "none")
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
    figure = make_figure(11.0, 4.7, "none")
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


def _panel(results: Results, cut: Cut, draw: Callable[[Axes], None]) -> bytes:
    """Draw something over a plane, cropped to what is more than background, at most 6 in high."""
    visible = cut.image > results.window[0]
    rows, columns = (_with_margin(np.flatnonzero(visible.mean(axis) > _SHOWN_PART), visible.shape[1 - axis])
                     for axis in (1, 0))  # fmt: skip
    aspect = cut.spacing_mm[0] / cut.spacing_mm[1]
    picture_in = _PANEL_IN * aspect * (rows[1] - rows[0]) / (columns[1] - columns[0])
    figure = make_figure(_PANEL_IN, min(picture_in, _TALLEST_PANEL_IN), _DARK)
    figure.set_layout_engine("none")
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    low, high = results.window
    axes.imshow(cut.image, cmap="gray", vmin=low, vmax=high, interpolation="bicubic", aspect=aspect)
    axes.set(xlim=(columns[0] - 0.5, columns[1] - 0.5), ylim=(rows[1] - 0.5, rows[0] - 0.5), autoscale_on=False)
    axes.set_axis_off()
    draw(axes)
    for letter, place, side in zip(_SIDE_LETTERS[cut.plane], (0.015, 0.985), ("left", "right"), strict=True):
        axes.text(place, 0.5, letter, ha=side, va="center", transform=axes.transAxes, **_outlined(_ON_DARK))
    return png_of(figure)


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


def _draw_errors(axes: Axes, cut: Cut) -> None:
    """Fill what the result has too much and what it lacks; where nobody knows, nothing is wrong."""
    known = cut.reference != UNKNOWN_LABEL
    differs = known & (cut.result != cut.reference)
    colors = np.zeros((*differs.shape, 4), dtype=np.uint8)
    colors[differs & (cut.result > 0)] = (*_TOO_MUCH, _ERROR_ALPHA)
    colors[differs & (cut.result == 0)] = (*_MISSING, _ERROR_ALPHA)
    axes.imshow(colors, interpolation="nearest", aspect=axes.get_aspect())


def _draw_uncertainty(axes: Axes, cut: Cut, scale: float) -> None:
    axes.imshow(
        cut.uncertainty,
        cmap="inferno",
        vmin=0.0,
        vmax=scale,
        alpha=np.clip(cut.uncertainty / scale * 3.0, 0, 0.92),
        interpolation="bilinear",
        aspect=axes.get_aspect(),
    )
