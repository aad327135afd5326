"""If confidence can be believed: reliability diagrams, drawn as SVG in the colors of the page, light and dark."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from math import floor, sqrt
from typing import TYPE_CHECKING

from uncol.core.error_detection import BAND_MM
from uncol.core.next_slices import without_promise
from uncol.core.promise import StructureCalibration
from uncol.core.reliability import ReliabilityBin, calibration_error
from uncol.report.blocks import drawing, paragraph

if TYPE_CHECKING:  # it loads torch
    from uncol.evaluation.uncertainty_scores import UncertaintyScores

HEADLINE = "Can its confidence be believed?"
_SIDE, _LEFT, _TOP, _BELOW = 240, 52, 12, 46
_LARGEST_DOT, _SMALLEST_DOT = 9.0, 2.0
_FEW_TICKS_BELOW = 0.4
_READ = (
    f"Voxels within {BAND_MM:g} mm of a contour, sorted by how sure the result claims to be. On the dashed line it is "
    "right as often as it claims; below it, it is too sure. The larger a dot, the more voxels."
)


def tried_on_left_out(calibrations: Sequence[StructureCalibration]) -> dict[str, str]:
    """Return the section of a run whose confidence was tried on annotated slices that were left out; {} for others."""
    if not calibrations:
        return {}
    text = (
        "Annotated slices were predicted from the others, as if nobody had annotated them. Hollow: confidence as it "
        "came. Filled: as it stands in the result, brought in line with these very slices."
    )
    drawn, told = "", "".join(map(paragraph, without_promise([each for each in calibrations if not each.after])))
    for each in calibrations:
        if not each.after:
            continue
        gaps = f"{_gap_text('gap before', each.before)}, {_gap_text('after', each.after)}"
        svg = reliability_svg({"before": each.before, "after": each.after}, each.structure)
        drawn += drawing(svg, f"{each.structure}.", f"{each.slices} left-out slices; {gaps}.")
    read = paragraph(f"{text} {_READ}") + f'<div class="diagrams">{drawn}</div>' if drawn else ""
    return {HEADLINE: read + told}


def tried_on_reference(scores: UncertaintyScores | None) -> dict[str, str]:
    """Return the section of a run with a reference; where nothing can be drawn it says why."""
    if scores is None:
        return {HEADLINE: paragraph("Not tried: the result has no uncertainty.")}
    if not scores.reliability:
        why = scores.words.get("calibration_error", "no voxel near a contour was scored")
        return {HEADLINE: paragraph(f"There is no diagram: {why}.")}
    svg = reliability_svg({"after": scores.reliability}, "the result beside the reference")
    caption = f"All structures; {_gap_text('gap', scores.reliability)} on average."
    drawn = drawing(svg, "Beside the reference.", caption)
    return {HEADLINE: paragraph(_READ) + f'<div class="diagrams">{drawn}</div>'}


def reliability_svg(series: Mapping[str, Sequence[ReliabilityBin]], what: str) -> str:
    """Draw accuracy against confidence as a picture of its own, with a line and dots for each series.

    Args:
        series: What is drawn, by the name of its look: `before` or `after`; at least one bin in all.
        what: What it is about, for those who cannot see it.
    """
    bins = [each for one in series.values() for each in one]
    low = floor(10 * min(min(each.confidence, each.accuracy) for each in bins) + 1e-9) / 10
    low = min(low, 0.9)
    step = 0.1 if 1 - low <= _FEW_TICKS_BELOW else 0.2
    ticks = [round(1 - step * count, 1) for count in range(int((1 - low) / step + 1e-9) + 1)]
    most = max(each.voxels for each in bins)

    def x(value: float) -> float:
        return round(_LEFT + (value - low) / (1 - low) * _SIDE, 1)

    def y(value: float) -> float:
        return round(_TOP + (1 - (value - low) / (1 - low)) * _SIDE, 1)

    parts = [
        f'<path class="grid" d="M{x(tick)} {y(low)}V{y(1)}M{x(low)} {y(tick)}H{x(1)}"/>'
        f'<text x="{x(tick)}" y="{y(low) + 17}" text-anchor="middle">{tick:g}</text>'
        f'<text x="{_LEFT - 8}" y="{y(tick) + 4}" text-anchor="end">{tick:g}</text>'
        for tick in ticks
    ]
    parts.append(f'<path class="ideal" d="M{x(low)} {y(low)}L{x(1)} {y(1)}"/>')
    for name, one in series.items():
        if one:
            line = "L".join(f"{x(each.confidence)} {y(each.accuracy)}" for each in one)
            parts.append(f'<path class="{name}" d="M{line}"/>')
        parts += [
            f'<circle class="{name}" cx="{x(each.confidence)}" cy="{y(each.accuracy)}" '
            f'r="{max(_SMALLEST_DOT, _LARGEST_DOT * sqrt(each.voxels / most)):.1f}"/>'
            for each in one
        ]
    parts += [
        f'<text x="{_LEFT + _SIDE / 2:g}" y="{_TOP + _SIDE + 38}" text-anchor="middle">claimed to be right</text>',
        f'<text transform="translate(13 {_TOP + _SIDE / 2:g}) rotate(-90)" text-anchor="middle">is right</text>',
    ]
    width, height = _LEFT + _SIDE + 14, _TOP + _SIDE + _BELOW
    label = escape(f"Reliability diagram, {what}: accuracy against confidence", quote=True)
    return (
        f'<svg class="reliability" viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img" '
        f'aria-label="{label}">{"".join(parts)}</svg>'
    )


def _gap_text(name: str, bins: Sequence[ReliabilityBin]) -> str:
    error = calibration_error(bins)
    return f"{name} {'unknown' if error is None else f'{error:.3f}'}"
