"""The report of a run: one HTML file that needs no network, no script and no other file."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from html import escape
from math import inf
from statistics import fmean

import numpy as np

from uncol.report.pictures import Style, first_pass_png, slice_png, uncertainty_scale
from uncol.report.plots import curve_png, distance_png
from uncol.report.story import METHOD_NAMES, Comparison, Method, Provenance, ReferenceKind, Score, SliceScore, Story

DISCLAIMER = "Research use only. Not a medical device."

_REFERENCE_SENTENCES: dict[ReferenceKind, str] = {
    "given": "the label map that came with the image; who drew it, and how well, is not known here",
    "none": "none; the simulated annotator copied the first pass, so nothing here says how accurate the result is",
    "generated": "generated together with the image; exact, but easier than a patient",
}

_STYLE = """
:root { --ink: #1d2733; --soft: #52606d; --line: #d9dfe6; --accent: #0072b2; --paper: #ffffff; }
* { box-sizing: border-box; }
body { margin: 0; background: #f4f6f8; color: var(--ink); line-height: 1.55;
  font-family: system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; font-size: 17px; }
main { max-width: 1080px; margin: 0 auto; padding: 40px 28px 64px; background: var(--paper); }
h1 { font-size: 2em; line-height: 1.2; margin: 0 0 .4em; letter-spacing: -.01em; }
h2 { font-size: 1.32em; margin: 2.4em 0 .4em; padding-top: .9em; border-top: 1px solid var(--line); }
p { margin: .5em 0; max-width: 46em; }
.disclaimer { display: inline-block; margin: .6em 0 0; padding: .3em .8em; border: 1px solid #b45309;
  border-radius: 4px; color: #8a3d00; background: #fff8ef; font-weight: 600; }
.numbers { display: grid; grid-template-columns: repeat(auto-fit, minmax(168px, 1fr)); gap: 12px; margin: 1.6em 0 0;
  padding: 0; list-style: none; }
.numbers li { border: 1px solid var(--line); border-radius: 8px; padding: 10px 14px; }
.numbers b { display: block; font-size: 1.45em; line-height: 1.25; font-variant-numeric: tabular-nums; }
.numbers span, figcaption, .note { color: var(--soft); font-size: .94em; }
figure { margin: 1.2em 0 1.8em; break-inside: avoid; }
figure img { display: block; width: 100%; min-width: 660px; height: auto; border-radius: 6px; }
figcaption { margin-top: .5em; }
figcaption b { color: var(--ink); }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; margin: .8em 0; }
th, td { padding: .5em .7em; border-bottom: 1px solid var(--line); text-align: right; white-space: nowrap; }
th { font-weight: 600; color: var(--soft); }
th[scope=row], th[rowspan], .facts td { text-align: left; }
.facts td { white-space: normal; overflow-wrap: anywhere; }
thead th[colspan] { text-align: center; color: var(--ink); }
tbody tr:last-child.mean { border-top: 2px solid var(--ink); }
td.best { font-weight: 700; color: var(--ink); background: #eef6fb; }
.worse { color: #a33b00; font-weight: 600; }
@media (max-width: 640px) { main { padding: 24px 14px 40px; } body { font-size: 16px; } }
@media print { body { background: #fff; font-size: 11pt; } main { max-width: none; padding: 0; }
  .numbers { grid-template-columns: repeat(5, 1fr); } h2 { break-after: avoid; }
  figure img { -webkit-print-color-adjust: exact; print-color-adjust: exact; } }
"""


def write_report(story: Story) -> str:
    """Return the report as the text of one self-contained HTML file."""
    style = Style(story.window, story.structures, uncertainty_scale(story.uncertainty))
    sections = (
        _section("The result in pictures", _pictures(story, style)),
        _section("The first pass from a box", _first_pass(story, style)),
        _section("How the model learned", _curve(story)),
        _section("How far from an annotated slice can it be trusted?", _distance(story)),
        _section("Structure by structure", _table(story)),
        _section("Which slice to annotate next", _suggestion(story, style)),
        _section("Where these numbers come from", _provenance(story.provenance)),
    )
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<link rel="icon" href="data:,">\n'
        f"<title>{escape(story.title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<main>\n"
        f"<header><h1>{escape(story.title)}</h1><p>{escape(story.summary)}</p>"
        f'<p class="disclaimer">{DISCLAIMER}</p>{_key_numbers(story)}</header>\n'
        + "\n".join(sections)
        + "\n</main>\n</body>\n</html>\n"
    )


def _section(title: str, content: str) -> str:
    return f"<section><h2>{escape(title)}</h2>{content}</section>"


def _paragraph(text: str, css_class: str = "") -> str:
    attribute = f' class="{css_class}"' if css_class else ""
    return f"<p{attribute}>{escape(text)}</p>" if text else ""


def _figure(png: bytes, alt: str, headline: str, caption: str) -> str:
    source = f"data:image/png;base64,{b64encode(png).decode('ascii')}"
    return (
        f'<figure><div class="scroll"><img src="{source}" alt="{escape(alt)}"></div>'
        f"<figcaption><b>{escape(headline)}</b> {escape(caption)}</figcaption></figure>"
    )


def _key_numbers(story: Story) -> str:
    numbers = [
        (f"{len(story.annotated_slices)} of {story.image.shape[0]}", "slices were annotated"),
        (_duration(story.provenance.seconds), f"training on {story.provenance.device}"),
    ]
    means = [(name, _mean_dice(story.comparisons, method)) for method, name in METHOD_NAMES.items()]
    numbers += [(f"{mean:.3f}", f"mean Dice: {name.lower()}") for name, mean in means if mean is not None]
    items = "".join(f"<li><b>{escape(number)}</b><span>{escape(text)}</span></li>" for number, text in numbers)
    return f'<ul class="numbers">{items}</ul>'


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


def _mean_dice(comparisons: Sequence[Comparison], method: Method) -> float | None:
    if not comparisons or any(method not in each.scores for each in comparisons):
        return None
    return fmean(each.scores[method].dice for each in comparisons)


def _pictures(story: Story, style: Style) -> str:
    text = (
        "Left: the reference (white, dashed) and the result of the fine-tuned model (colored). "
        "Right: the same slice under the model's uncertainty; bright is unsure, no color is sure."
    )
    figures = [
        _figure(slice_png(story.cut(index), style), f"{headline} {caption}", headline, caption)
        for index, headline, caption in _chosen_slices(story)
    ]
    row = _largest_row(story)
    headline = f"{story.cross_plane.capitalize()}, across all slices."
    caption = "Steps between slices show here: only annotated slices tie the result down."
    figures.append(_figure(slice_png(story.cross_cut(row), style), f"{headline} {caption}", headline, caption))
    return _paragraph(text) + "".join(figures) + _paragraph(story.uncertainty_note)


def _chosen_slices(story: Story) -> list[tuple[int, str, str]]:
    """Return an annotated slice, the worst of the others and a typical one, each with what to say about it."""
    chosen = []
    if story.annotated_slices:
        labeled = (story.reference > 0).sum(axis=(1, 2))
        best = max(story.annotated_slices, key=lambda index: int(labeled[index]))
        chosen.append((best, f"Slice {story.slice_number(best)}, annotated.", "The model learned from this slice."))
    scored = [score for score in story.slice_scores if score.distance > 0 and "fine_tuned" in score.dice]
    scored.sort(key=lambda score: score.dice["fine_tuned"])
    if scored:
        chosen.append(_described(story, scored[0], "the worst of the slices that nobody annotated"))
    if len(scored) > 1:
        chosen.append(_described(story, scored[len(scored) // 2], "a typical slice that nobody annotated"))
    return chosen


def _described(story: Story, score: SliceScore, role: str) -> tuple[int, str, str]:
    plural = "slice" if score.distance == 1 else "slices"
    return (
        score.slice_index,
        f"Slice {story.slice_number(score.slice_index)}, {role}.",
        f"Dice {score.dice['fine_tuned']:.2f}, {score.distance} {plural} from the nearest annotated one.",
    )


def _largest_row(story: Story) -> int:
    labeled = np.stack([(story.reference == each.value).sum(axis=(0, 2)) for each in story.structures])
    shares = labeled / np.maximum(labeled.max(axis=1, keepdims=True), 1)
    return int(shares.sum(axis=0).argmax())


def _first_pass(story: Story, style: Style) -> str:
    if story.first_pass is None:
        return _paragraph("There was no first pass: no foundation model is installed, or no box was drawn.")
    text = "The foundation model saw this image for the first time and was given nothing but a box for each structure."
    if not story.boxes:
        return _paragraph("The foundation model made a first pass from the annotated slices.")
    middles = [(box.lower[0] + box.upper[0]) // 2 for box in story.boxes]
    index = max(middles, key=lambda middle: sum(box.lower[0] <= middle <= box.upper[0] for box in story.boxes))
    boxes = [box for box in story.boxes if box.lower[0] <= index <= box.upper[0]]
    headline = f"Slice {story.slice_number(index)}."
    caption = (
        "Left: the boxes. Right: what the foundation model made of them (colored) and the reference (white, dashed)."
    )
    png = first_pass_png(story.first_pass_cut(index), boxes, style)
    return _paragraph(text) + _figure(png, f"First pass, slice {story.slice_number(index)}.", headline, caption)


def _curve(story: Story) -> str:
    if story.curve is None or not any(story.curve.losses.values()):
        return _paragraph("No losses were recorded.")
    text = "Stage 1 learns from the annotated slices only."
    if story.curve.stage2_step is not None:
        text += " From the dashed line on, stage 2 also learns from all the slices that nobody annotated."
    caption = "Thin: every value. Thick: running mean. Losses of different kinds cannot be compared with each other."
    return _paragraph(text) + _figure(curve_png(story.curve), "Losses against training steps.", "Training.", caption)


def _distance(story: Story) -> str:
    scores = [score for score in story.slice_scores if score.distance > 0]
    if not scores:
        return _paragraph("No slice apart from the annotated ones was scored.")
    text = (
        "Shape interpolation is what filling between slices gives without looking at the image. "
        "A model is worth its training where its line stays above."
    )
    caption = "Each faint mark is a slice, each line the mean at that distance. Annotated slices are left out."
    png = distance_png(scores, story.spacing_mm[0])
    return _paragraph(text) + _figure(png, "Dice against distance.", "Dice by distance.", caption)


def _table(story: Story) -> str:
    methods = [method for method in METHOD_NAMES if any(method in each.scores for each in story.comparisons)]
    if not methods:
        return _paragraph("No reference was given, so nothing could be scored.")
    top = "".join(f'<th colspan="2" scope="colgroup">{escape(METHOD_NAMES[method])}</th>' for method in methods)
    below = "<th>Dice</th><th>HD95 (mm)</th>" * len(methods)
    rows = "".join(_table_row(each, methods) for each in story.comparisons) + _mean_row(story.comparisons, methods)
    table = (
        f'<div class="scroll"><table><thead><tr><th rowspan="2">Structure</th>{top}</tr><tr>{below}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div>"
    )
    note = (
        "Bold: best of the row. ▼: the fine-tuned model is worse than shape interpolation. "
        "HD95: 95% of the two surfaces lie within this distance."
    )
    return _paragraph(_verdict(story.comparisons)) + _paragraph(story.scores_note) + table + _paragraph(note, "note")


def _verdict(comparisons: Sequence[Comparison]) -> str:
    """Say for how many structures the fine-tuned model is ahead, and name those where it is not."""
    pairs = [
        (each.structure.name, each.scores["fine_tuned"], each.scores["interpolation"])
        for each in comparisons
        if {"fine_tuned", "interpolation"} <= each.scores.keys()
    ]
    if not pairs:
        return ""
    behind = [name for name, ours, theirs in pairs if _shown_dice(ours) <= _shown_dice(theirs)]
    nearer = sum(_shown_distance(ours) < _shown_distance(theirs) for _, ours, theirs in pairs)
    noun = "structure" if len(pairs) == 1 else "structures"
    sentence = (
        f"The fine-tuned model is ahead of shape interpolation for {len(pairs) - len(behind)} of {len(pairs)} "
        f"{noun} by Dice, and for {nearer} of {len(pairs)} by HD95."
    )
    return f"{sentence} By Dice it is not ahead for: {', '.join(behind)}." if behind else sentence


def _shown_dice(score: Score) -> float:
    return round(score.dice, 3)


def _shown_distance(score: Score) -> float:
    return inf if score.hd95_mm is None else round(score.hd95_mm, 1)


def _table_row(comparison: Comparison, methods: Sequence[Method]) -> str:
    scores = comparison.scores
    best_dice = max((_shown_dice(score) for score in scores.values()), default=0.0)
    best_distance = min((_shown_distance(score) for score in scores.values()), default=inf)
    cells = ""
    for method in methods:
        if method not in scores:
            cells += "<td></td><td></td>"
            continue
        score = scores[method]
        baseline = scores.get("interpolation", score) if method == "fine_tuned" else score
        dice, distance = _shown_dice(score), _shown_distance(score)
        distance_text = "undefined" if distance == inf else f"{distance:.1f}"
        cells += _cell(f"{dice:.3f}", dice == best_dice, dice < _shown_dice(baseline))
        cells += _cell(distance_text, distance == best_distance < inf, distance > _shown_distance(baseline))
    return f'<tr><th scope="row">{escape(comparison.structure.name)}</th>{cells}</tr>'


def _cell(text: str, is_best: bool, is_worse_than_interpolation: bool = False) -> str:
    mark = ' <span class="worse" title="worse than shape interpolation">▼</span>' if is_worse_than_interpolation else ""
    return f'<td class="best">{text}{mark}</td>' if is_best else f"<td>{text}{mark}</td>"


def _mean_row(comparisons: Sequence[Comparison], methods: Sequence[Method]) -> str:
    means = {method: _mean_dice(comparisons, method) for method in methods}
    best = max((round(mean, 3) for mean in means.values() if mean is not None), default=None)
    cells = "".join(
        "<td></td><td></td>" if mean is None else _cell(f"{mean:.3f}", round(mean, 3) == best) + "<td></td>"
        for mean in means.values()
    )
    return f'<tr class="mean"><th scope="row">Mean</th>{cells}</tr>'


def _suggestion(story: Story, style: Style) -> str:
    if story.suggestion is None:
        return _paragraph("No slice is suggested.")
    index = story.suggestion.slice_index
    headline = f"Slice {story.slice_number(index)}."
    png = slice_png(story.cut(index), style)
    return _figure(png, f"{headline} {story.suggestion.reason}", headline, story.suggestion.reason)


def _provenance(provenance: Provenance) -> str:
    facts = [
        ("Image", provenance.data_source),
        ("Reference", _REFERENCE_SENTENCES[provenance.reference]),
        ("Training", f"{provenance.steps} steps in {_duration(provenance.seconds)} on {provenance.device}"),
        ("Seed", str(provenance.seed)),
        *((name, version) for name, version in provenance.versions.items()),
    ]
    rows = "".join(f'<tr><th scope="row">{escape(name)}</th><td>{escape(text)}</td></tr>' for name, text in facts)
    return f'<table class="facts"><tbody>{rows}</tbody></table>' + _paragraph(DISCLAIMER, "note")
