"""What a run with a reference tells: the result beside the reference and the free baselines."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from math import inf
from typing import TYPE_CHECKING

import numpy as np

from uncol.core.error_detection import BAND_MM
from uncol.core.jobs import Structure
from uncol.core.model_folder import DISCLAIMER
from uncol.report.blocks import figure, panels, paragraph
from uncol.report.confidence import tried_on_reference
from uncol.report.figures import distance_png, first_pass_panels, shown_colors, slice_panels
from uncol.report.outcome import duration_text
from uncol.report.results import BASELINES, METHOD_NAMES, Cut, Method, Results, SliceScore, known_mm

if TYPE_CHECKING:
    from uncol.evaluation.metrics import MaskScores

_OURS: Method = "fine_tuned"


def sections(results: Results) -> dict[str, str]:
    """Return what a run with a reference tells beyond others, as HTML by headline."""
    return {
        "The result in pictures": _pictures(results),
        "The first pass from a box": _first_pass(results),
        "How far from an annotated slice can it be trusted?": _distance(results),
        **tried_on_reference(results.evaluations[_OURS].uncertainty),
        "Structure by structure": _table(results),
        "Which slice to annotate next": _suggestion(results),
        "Where these numbers come from": _provenance(results),
    }


def summary(results: Results) -> str:
    """Return what was done and what came of it, in a few sentences."""
    drawn, count, means = len(results.annotated.indices), len(results.slices), results.mean_dice()
    others = ", ".join(f"{name.lower()} {means[each]:.3f}" for each, name in METHOD_NAMES.items() if each != _OURS)
    sentences = (
        f"The image is {results.source}. {results.annotator}: {drawn} of {count}. From these, and from the "
        f"{count - drawn} slices that nobody annotated, UnCoL learned for {results.training['seconds']:.0f} s.",
        f"On the slices that nobody annotated its mean Dice is {means[_OURS]:.3f} ({others}).",
        *results.warnings(),
        results.reference_use,
    )
    return " ".join(sentences)


def key_numbers(results: Results) -> dict[str, str]:
    """Return what a run with a reference is judged by: numbers by what they are."""
    means = results.mean_dice()
    return {
        "slices were annotated": f"{len(results.annotated.indices)} of {len(results.slices)}",
        **{f"mean Dice: {name.lower()}": f"{means[method]:.3f}" for method, name in METHOD_NAMES.items()},
    }


def _pictures(results: Results) -> str:
    text = (
        "First the reference (white, dashed) and the result of the fine-tuned model (colored); then where the result "
        "has too much (orange) or lacks something (blue); then its uncertainty: bright is unsure, no color is sure."
    )
    across = results.cross_cut(_fullest_row(results))
    headline = f"{across.plane.capitalize()}, across all slices."
    caption = "Steps between slices show here: only annotated slices tie the result down."
    cuts = [*_chosen_slices(results), (across, headline, caption)]
    figures = (_pictured(results, cut, headline, caption) for cut, headline, caption in cuts)
    return paragraph(text) + "".join(figures) + paragraph(_uncertainty_note(results))


def _pictured(results: Results, cut: Cut, headline: str, caption: str) -> str:
    return panels(slice_panels(results, cut), shown_colors(results, cut), headline, caption)


def _chosen_slices(results: Results) -> list[tuple[Cut, str, str]]:
    """Return an annotated slice, the worst of the others and a typical one, each with what to say about it."""
    annotated = {number: results.cut(number) for number in results.annotated.indices}
    fullest = max(annotated, key=lambda number: np.count_nonzero(annotated[number].reference))
    chosen = [(annotated[fullest], f"Slice {fullest}, annotated.", "The model learned from this slice.")]
    scored = sorted(
        (each for each in results.slices if each.distance > 0 and _OURS in each.dice),
        key=lambda each: each.dice[_OURS],
    )
    if scored:
        chosen.append(_described(results, scored[0], "the worst of the slices that nobody annotated"))
    if len(scored) > 1:
        chosen.append(_described(results, scored[len(scored) // 2], "a typical slice that nobody annotated"))
    return chosen


def _described(results: Results, score: SliceScore, role: str) -> tuple[Cut, str, str]:
    plural = "slice" if score.distance == 1 else "slices"
    caption = f"Dice {score.dice[_OURS]:.2f}, {score.distance} {plural} from the nearest annotated one."
    return results.cut(score.number), f"Slice {score.number}, {role}.", caption


def _fullest_row(results: Results) -> int:
    """Return the row of the stack that shows most of all structures, each measured by its own largest row."""
    reference = results.view.stack_from(results.reference.voxels)
    labeled = np.stack([(reference == each.value).sum(axis=(0, 2)) for each in results.structures])
    shares = labeled / np.maximum(labeled.max(axis=1, keepdims=True), 1)
    return int(shares.sum(axis=0).argmax())


def _uncertainty_note(results: Results) -> str:
    scores = results.evaluations[_OURS].uncertainty
    if scores is None or scores.error_detection_auroc is None:
        return f"Within {BAND_MM:g} mm of a boundary there were not both right and wrong voxels to tell apart."
    share = scores.band_errors / scores.band_voxels
    return (
        f"Within {scores.band_mm:g} mm of a boundary {share:.1%} of the voxels are wrong; there a wrong voxel is more "
        f"uncertain than a right one in {100 * scores.error_detection_auroc:.0f} of 100 cases (50 would be chance). "
        f"Confidence and accuracy differ there by {scores.expected_calibration_error:.3f} on average."
    )


def _first_pass(results: Results) -> str:
    text = "The foundation model saw this image for the first time and was given nothing but a box for each structure."
    axis = "IJK".index(results.view.slice_axis)
    spans = [range(box.lower_ijk[axis], box.upper_ijk[axis] + 1) for box in results.boxes]
    number = max(
        ((span[0] + span[-1]) // 2 for span in spans), key=lambda middle: sum(middle in each for each in spans)
    )
    caption = "What the foundation model made of the boxes is colored, the reference white and dashed."
    colors = shown_colors(results, results.cut(number, "first_pass"))
    return paragraph(text) + panels(first_pass_panels(results, number), colors, f"Slice {number}.", caption)


def _distance(results: Results) -> str:
    text = (
        "Shape interpolation is what filling between slices gives without looking at the image. "
        "A model is worth its training where its line stays above both that and the first pass."
    )
    caption = "Each faint mark is a slice, each line the mean at that distance. Annotated slices are left out."
    return paragraph(text) + figure(distance_png(results), "Dice by distance.", caption)


def _table(results: Results) -> str:
    top = "".join(f'<th colspan="2" scope="colgroup">{name}</th>' for name in METHOD_NAMES.values())
    below = "<th>Dice</th><th>HD95 (mm)</th>" * len(METHOD_NAMES)
    rows = "".join(_table_row(structure, scores) for structure, scores in results.scores())
    means = [round(mean, 3) for mean in results.mean_dice().values()]
    mean_row = "".join(f"{_cell(f'{mean:.3f}', mean == max(means))}<td></td>" for mean in means)
    note = (
        "Bold: best of the row. ▼: the fine-tuned model is worse than the first pass or shape interpolation. "
        "HD95: 95% of the two surfaces lie within this distance."
    )
    return (
        f"{paragraph(_verdict(results))}{paragraph(_scores_note(results))}"
        f'<div class="scroll"><table><thead><tr><th rowspan="2">Structure</th>{top}</tr><tr>{below}</tr></thead>'
        f'<tbody>{rows}<tr class="mean"><th scope="row">Mean</th>{mean_row}</tr></tbody></table></div>'
        f"{paragraph(note, 'note')}"
    )


def _verdict(results: Results) -> str:
    """Say for how many structures the fine-tuned model is ahead of what is free, and name those where it is not."""
    rows = [
        (structure.name, scores[_OURS], [scores[each] for each in BASELINES]) for structure, scores in results.scores()
    ]
    behind = [name for name, ours, theirs in rows if _shown_dice(ours) <= max(map(_shown_dice, theirs))]
    nearer = sum(_shown_mm(ours) < min(map(_shown_mm, theirs)) for _, ours, theirs in rows)
    noun = "structure" if len(rows) == 1 else "structures"
    sentence = (
        f"The fine-tuned model is ahead of both first pass and shape interpolation for {len(rows) - len(behind)} of "
        f"{len(rows)} {noun} by Dice, and for {nearer} of {len(rows)} by HD95."
    )
    return f"{sentence} By Dice it is not ahead for: {', '.join(behind)}." if behind else sentence


def _scores_note(results: Results) -> str:
    numbers, count = sorted(results.annotated.indices), len(results.slices)
    note = f"Scored on the {count - len(numbers)} slices that nobody annotated."
    outside = numbers[0] + count - 1 - numbers[-1]
    if outside:
        note += (
            f" Before slice {numbers[0]} and after slice {numbers[-1]}, in {outside} of them, "
            "interpolation has only one side to go by and finds nothing."
        )
    return note


def _shown_dice(scores: MaskScores) -> float:
    return round(scores.dice, 3)


def _shown_mm(scores: MaskScores) -> float:
    return round(known_mm(scores), 1)


def _table_row(structure: Structure, scores: Mapping[Method, MaskScores]) -> str:
    best_dice, best_mm = max(map(_shown_dice, scores.values())), min(map(_shown_mm, scores.values()))
    cells = ""
    for method, score in scores.items():
        dice, distance = _shown_dice(score), _shown_mm(score)
        baselines = [scores[each] for each in BASELINES] if method == _OURS else [score]
        text = "undefined" if distance == inf else f"{distance:.1f}"
        cells += _cell(f"{dice:.3f}", dice == best_dice, dice < max(map(_shown_dice, baselines)))
        cells += _cell(text, distance == best_mm < inf, distance > min(map(_shown_mm, baselines)))
    return f'<tr><th scope="row">{escape(structure.name)}</th>{cells}</tr>'


def _cell(text: str, is_best: bool, is_worse: bool = False) -> str:
    mark = ' <span class="worse" title="worse than the first pass or shape interpolation">▼</span>' if is_worse else ""
    return f'<td class="best">{text}{mark}</td>' if is_best else f"<td>{text}{mark}</td>"


def _suggestion(results: Results) -> str:
    if results.suggestion is None:
        return paragraph("No slice is suggested.")
    number = results.suggestion.file_index
    return _pictured(results, results.cut(number), f"Slice {number}.", results.suggestion.reason)


def _provenance(results: Results) -> str:
    training, device = results.training, results.training["device"].upper()
    taught = " and was a teacher" if training["generalized_teacher"] is not None else ""
    facts = {
        "Image": results.source,
        "Reference": results.reference_source,
        "Training": f"{training['steps']} steps in {duration_text(training['seconds'])} on {device}",
        "Seed": str(training["seed"]),
        "Foundation model": f"{results.foundation_model}; it made the first pass{taught}",
        **training["versions"],
    }
    rows = "".join(
        f'<tr><th scope="row">{escape(name)}</th><td>{escape(text)}</td></tr>' for name, text in facts.items()
    )
    return f'<table class="facts"><tbody>{rows}</tbody></table>' + paragraph(DISCLAIMER, "note")
