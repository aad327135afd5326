"""What the distance to the nearest annotated slice costs: beside one, every method does well."""

from __future__ import annotations

from uncol.benchmark.comparison import Comparison
from uncol.benchmark.plot_style import FONT_PT, INK, STYLES, dress, make_figure, png_of
from uncol.benchmark.suites import UNCOL

_WIDTH_IN, _HEIGHT_IN, _LEAST_WIDTH_IN = 4.2, 4.4, 5.6
_NAMES_PER_PLOT = 2
"""Names of methods that fit beside each other below one plot."""


def distance_png(comparison: Comparison) -> bytes | None:
    """Draw Dice against the distance to the nearest annotated slice, a plot for each label count; None without any."""
    counts = sorted(count for count, rows in comparison.groups.items() if any(row.dice_by_distance for row in rows))
    if not counts:
        return None
    figure = make_figure(max(_LEAST_WIDTH_IN, _WIDTH_IN * len(counts)), _HEIGHT_IN)
    panels = figure.subplots(1, len(counts), sharex=True, sharey=True, squeeze=False).ravel()
    drawn = {}
    for axes, count in zip(panels, counts, strict=True):
        for row in comparison.groups[count]:
            if row.dice_by_distance:
                style, is_ours = STYLES[row.method], row.method == UNCOL
                (drawn[row.method],) = axes.plot(
                    list(row.dice_by_distance),
                    list(row.dice_by_distance.values()),
                    color=style.color,
                    marker=style.marker,
                    linestyle=style.line,
                    linewidth=2.6 if is_ours else 1.5,
                    markersize=8 if is_ours else 6,
                    zorder=3 if is_ours else 2,
                )
        dress(axes, comparison.benchmark.label_text(count), "Distance to an annotated slice (mm)", "")
        axes.set_xlim(left=0)
    panels[0].set_ylabel("Dice", fontsize=FONT_PT, color=INK)
    figure.suptitle(f"{comparison.benchmark.name}: Dice where nobody annotated", fontsize=FONT_PT + 1, color=INK)
    columns = min(len(drawn), _NAMES_PER_PLOT * len(counts))
    figure.legend(drawn.values(), drawn.keys(), loc="outside lower center", ncols=columns, frameon=False)
    return png_of(figure)
