"""How the benchmark's pictures look: one color, marker and line for each method, and a light frame."""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from uncol.benchmark.suites import SUPERVISED_ALL, UNCOL, UNCOL_PROPOSAL


@dataclass(frozen=True)
class Style:
    """How a method is drawn."""

    color: str
    marker: str
    line: str = "-"


STYLES = {
    "shape-interpolation": Style("#8A8A8A", "X", ":"),
    "supervised": Style("#4D4D4D", "s", "--"),
    "mean-teacher": Style("#B8860B", "v"),
    "ua-mt": Style("#D55E00", "^"),
    "bcp": Style("#009E73", "D"),
    "frozen-teacher": Style("#56A0D3", "P", ":"),
    "uncol-without-generalized": Style("#CC79A7", "<", "--"),
    "uncol-without-specialized": Style("#A65E8C", ">", "-."),
    "uncol-without-gating": Style("#7B3F6B", "h", ":"),
    UNCOL: Style("#0072B2", "o"),
    UNCOL_PROPOSAL: Style("#003F66", "p", "-."),
    SUPERVISED_ALL: Style("#000000", "*", ":"),
}
"""Colors after Okabe and Ito, which color-blind readers can tell apart; markers and lines differ as well."""

INK, GRID = "#1d2733", "#dfe4ea"
FONT_PT = 11.5
_AXIS, _DPI = "#9aa5b1", 120


def make_figure(width_in: float, height_in: float) -> Figure:
    """Return an empty figure that no window shows."""
    figure = Figure(figsize=(width_in, height_in), dpi=_DPI, facecolor="white", layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def dress(axes: Axes, title: str, x_label: str, y_label: str, font_pt: float = FONT_PT) -> None:
    """Give a plot its title, the names of its axes and a frame that stays in the background."""
    axes.set_title(title, loc="left", fontsize=font_pt + 1, color=INK)
    axes.set_xlabel(x_label, fontsize=font_pt, color=INK)
    axes.set_ylabel(y_label, fontsize=font_pt, color=INK)
    axes.grid(color=GRID, linewidth=0.9)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(_AXIS)
    axes.tick_params(labelsize=font_pt - 1, colors=INK)


def png_of(figure: Figure) -> bytes:
    """Return the figure as the content of a PNG file."""
    buffer = BytesIO()
    figure.savefig(buffer, format="png", facecolor=figure.get_facecolor(), metadata={"Software": None})
    return buffer.getvalue()
