"""The slices of the report as PNG files in memory; no window, no global state of matplotlib."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray

from uncol.core.jobs import Structure
from uncol.core.volume import Plane
from uncol.report.story import Cut, StackBox

STRUCTURE_COLORS = ("#E69F00", "#56B4E9", "#009E73", "#F0E442", "#D55E00", "#CC79A7", "#7FB2FF")
"""Okabe and Ito's palette, which color-blind readers can tell apart, with a blue light enough for a dark picture."""

_DARK, _ON_DARK = "#0b0d10", "#f2f4f6"
_FONT_PT = 12.5
_DPI = 120
_PANEL_IN = 5.3
_TALLEST_PANEL_IN = 6.0
_REFERENCE_COLOR = "#ffffff"
_REFERENCE_LINE = (0, (3.0, 2.2))
_UNCERTAINTY_COLORS = "inferno"
_SMALLEST_UNCERTAINTY_SCALE = 0.2
_LEGEND_COLUMNS = 7
_SHOWN_PART = 0.02
_SIDE_LETTERS: dict[Plane, tuple[str, str]] = {"axial": ("R", "L"), "coronal": ("R", "L"), "sagittal": ("A", "P")}


@dataclass(frozen=True)
class Style:
    """What all pictures of one report share.

    Attributes:
        window: Grey values shown as black and white.
        structures: What is outlined, in the order of the colors.
        uncertainty_scale: Uncertainty that gets the brightest color.
    """

    window: tuple[float, float]
    structures: tuple[Structure, ...]
    uncertainty_scale: float

    def color(self, structure: Structure) -> str:
        """Return a structure's color."""
        return STRUCTURE_COLORS[self.structures.index(structure) % len(STRUCTURE_COLORS)]


def uncertainty_scale(uncertainty: NDArray[Any]) -> float:
    """Return the end of the color scale: the highest uncertainty but for a thousandth, rounded up to a tenth."""
    highest = float(np.quantile(uncertainty, 0.999)) if uncertainty.size else 0.0
    return min(1.0, max(_SMALLEST_UNCERTAINTY_SCALE, float(np.ceil(highest * 10 - 1e-6)) / 10))


def slice_png(cut: Cut, style: Style) -> bytes:
    """Draw one slice twice: with reference and result outlined, and under its uncertainty."""
    figure, (left, right), legend = _dark_figure(cut, style)
    _draw_image(left, cut, style, "Reference and result")
    _draw_contours(left, cut, style)
    _draw_image(right, cut, style, "Uncertainty of the result")
    _draw_uncertainty(figure, right, cut, style)
    _draw_legend(legend, cut, style)
    return _png(figure)


def first_pass_png(cut: Cut, boxes: Sequence[StackBox], style: Style) -> bytes:
    """Draw one slice without and with the first pass, with the boxes that prompted it."""
    figure, (left, right), legend = _dark_figure(cut, style)
    for axes, title in ((left, "What was given: a box"), (right, "First pass and reference")):
        _draw_image(axes, cut, style, title)
    for box in boxes:
        _draw_box(left, box, cut, style.color(box.structure))
    _draw_contours(right, cut, style)
    _draw_legend(legend, cut, style)
    return _png(figure)


def _dark_figure(cut: Cut, style: Style) -> tuple[Figure, tuple[Axes, Axes], Axes]:
    rows, columns = _shown_part(cut, style)
    height_mm = (rows.stop - rows.start) * cut.spacing_mm[0]
    width_mm = (columns.stop - columns.start) * cut.spacing_mm[1]
    picture_in = min(_PANEL_IN * height_mm / width_mm, _TALLEST_PANEL_IN)
    legend_in = 0.42 * (1 + len(style.structures) // _LEGEND_COLUMNS)
    width_in, height_in = 2 * _PANEL_IN + 1.25, picture_in + legend_in + 0.45
    figure = Figure(figsize=(width_in, height_in), dpi=_DPI, facecolor=_DARK)
    FigureCanvasAgg(figure)
    panels = [
        figure.add_axes((left_in / width_in, legend_in / height_in, _PANEL_IN / width_in, picture_in / height_in))
        for left_in in (0.05, _PANEL_IN + 0.15)
    ]
    for panel in panels:
        panel.set_xlim(columns.start - 0.5, columns.stop - 0.5)
        panel.set_ylim(rows.stop - 0.5, rows.start - 0.5)
    legend = figure.add_axes((0.0, 0.0, 1.0, legend_in / height_in))
    legend.set_axis_off()
    return figure, (panels[0], panels[1]), legend


def _shown_part(cut: Cut, style: Style) -> tuple[slice, slice]:
    """Return the rows and columns that show more than background, with a margin."""
    visible = cut.image > style.window[0]
    parts = []
    for axis in (1, 0):
        share = visible.mean(axis=axis)
        lines = np.flatnonzero(share > _SHOWN_PART)
        side = share.shape[0]
        margin = side // 40 + 1
        bounds = (lines[0] - margin, lines[-1] + margin + 1) if lines.size else (0, side)
        parts.append(slice(max(0, int(bounds[0])), min(side, int(bounds[1]))))
    return parts[0], parts[1]


def _draw_image(axes: Axes, cut: Cut, style: Style, title: str) -> None:
    limits = axes.get_xlim(), axes.get_ylim()
    low, high = style.window
    axes.imshow(cut.image, cmap="gray", vmin=low, vmax=high, interpolation="bicubic", aspect=_aspect(cut))
    axes.set_xlim(limits[0])
    axes.set_ylim(limits[1])
    axes.set_axis_off()
    for letter, place, side in zip(_SIDE_LETTERS[cut.plane], (0.015, 0.985), ("left", "right"), strict=True):
        axes.text(place, 0.5, letter, color=_ON_DARK, fontsize=_FONT_PT, ha=side, va="center", transform=axes.transAxes)
    axes.set_title(title, color=_ON_DARK, fontsize=_FONT_PT + 1, loc="left", pad=7)


def _aspect(cut: Cut) -> float:
    return cut.spacing_mm[0] / cut.spacing_mm[1]


def _draw_contours(axes: Axes, cut: Cut, style: Style) -> None:
    for structure in style.structures:
        result = cut.result == structure.value
        _draw_contour(axes, result, style.color(structure), 2.2, "solid")
        _draw_contour(axes, cut.reference == structure.value, _REFERENCE_COLOR, 1.3, _REFERENCE_LINE)


def _draw_contour(axes: Axes, mask: NDArray[np.bool_], color: str, width: float, line: Any) -> None:
    if mask.any() and min(mask.shape) > 1:
        framed = np.pad(mask.astype(np.float32), 1)
        rows, columns = (np.arange(-1, side + 1) for side in mask.shape)
        axes.contour(columns, rows, framed, levels=[0.5], colors=[color], linewidths=width, linestyles=[line])


def _draw_box(axes: Axes, box: StackBox, cut: Cut, color: str) -> None:
    (top, left), (bottom, right) = box.lower[1:], box.upper[1:]
    corner = (left - 0.5, top - 0.5)
    axes.add_patch(Rectangle(corner, right - left + 1, bottom - top + 1, fill=False, edgecolor=color, linewidth=2.4))
    axes.text(
        left,
        top - 0.02 * cut.image.shape[0],
        box.structure.name,
        color=color,
        fontsize=_FONT_PT,
        va="bottom",
        parse_math=False,
        path_effects=[withStroke(linewidth=2, foreground=_DARK)],
    )


def _draw_uncertainty(figure: Figure, axes: Axes, cut: Cut, style: Style) -> None:
    scale = Normalize(0.0, style.uncertainty_scale)
    share = np.clip(cut.uncertainty / style.uncertainty_scale, 0, 1)
    axes.imshow(
        cut.uncertainty,
        cmap=_UNCERTAINTY_COLORS,
        norm=scale,
        alpha=np.clip(share * 3.0, 0, 0.92),
        interpolation="bilinear",
        aspect=_aspect(cut),
    )
    place = axes.get_position()
    width_in = figure.get_figwidth()
    bar = figure.add_axes(
        (place.x1 + 0.12 / width_in, place.y0 + 0.08 * place.height, 0.16 / width_in, 0.84 * place.height)
    )
    colorbar = figure.colorbar(ScalarMappable(scale, _UNCERTAINTY_COLORS), cax=bar)
    middle, end = style.uncertainty_scale / 2, style.uncertainty_scale
    colorbar.set_ticks([0.0, middle, end], labels=["0 sure", f"{middle:.2g}", f"{end:.2g}\nunsure"])
    colorbar.ax.tick_params(colors=_ON_DARK, labelsize=_FONT_PT)
    colorbar.outline.set_edgecolor(_ON_DARK)


def _draw_legend(axes: Axes, cut: Cut, style: Style) -> None:
    present = [
        each for each in style.structures if (cut.result == each.value).any() or (cut.reference == each.value).any()
    ]
    handles = [Line2D([], [], color=_REFERENCE_COLOR, linewidth=1.6, linestyle=_REFERENCE_LINE)]
    handles += [Line2D([], [], color=style.color(structure), linewidth=3) for structure in present]
    names = ["reference", *(structure.name for structure in present)]
    legend = axes.legend(
        handles,
        names,
        loc="center left",
        ncols=_LEGEND_COLUMNS,
        frameon=False,
        fontsize=_FONT_PT,
        labelcolor=_ON_DARK,
        handlelength=1.6,
        columnspacing=1.4,
    )
    for text in legend.get_texts():
        text.set_parse_math(False)


def _png(figure: Figure) -> bytes:
    buffer = BytesIO()
    figure.savefig(buffer, format="png", facecolor=figure.get_facecolor(), metadata={"Software": None})
    return buffer.getvalue()
