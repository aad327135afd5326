"""What all figures have in common: how they are made, their light frame, and their way into a PNG file.

matplotlib is loaded by the first figure and not with this module: whoever only imports a report, such as the command
line, does not wait for it. No window is opened and nothing global is changed.
"""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, GRID, AXIS = "#1d2733", "#dfe4ea", "#9aa5b1"
FONT_PT = 11.5
STRUCTURE_COLORS = ("#56B4E9", "#E69F00", "#00B37D", "#F0E442", "#D55E00", "#CC79A7", "#7FB2FF")
"""Okabe and Ito's palette, which color-blind readers can tell apart, with blue and green light enough for a dark
picture; the report's, the viewer's and the figures'."""
_DPI = 120


def make_figure(width_in: float, height_in: float, color: str = "white") -> Figure:
    """Return an empty figure that no window shows and that arranges its parts itself."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width_in, height_in), dpi=_DPI, facecolor=color, layout="constrained")


def dress(axes: Axes, title: str, x_label: str, y_label: str, font_pt: float = FONT_PT) -> None:
    """Give a plot its title, the names of its axes and a frame that stays in the background."""
    axes.set_title(title, loc="left", fontsize=font_pt + 1, color=INK)
    axes.set_xlabel(x_label, fontsize=font_pt, color=INK)
    axes.set_ylabel(y_label, fontsize=font_pt, color=INK)
    axes.grid(color=GRID, linewidth=0.9)
    axes.set_axisbelow(True)
    axes.set_facecolor("none")
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(AXIS)
    axes.tick_params(labelsize=font_pt - 1, colors=INK)


def running_mean(values: ArrayLike, part: float) -> NDArray[np.float64]:
    """Return values (N,) averaged over a window that is a part of N wide, in [0, 1]; the ends are continued."""
    numbers = np.asarray(values, dtype=np.float64)
    width = max(1, round(len(numbers) * part))
    padded = np.pad(numbers, (width // 2, width - 1 - width // 2), mode="edge")
    return np.convolve(padded, np.full(width, 1 / width), "valid")


def png_of(figure: Figure) -> bytes:
    """Return the figure as the content of a PNG file."""
    buffer = BytesIO()
    figure.savefig(buffer, format="png", facecolor=figure.get_facecolor(), metadata={"Software": None})
    return buffer.getvalue()
