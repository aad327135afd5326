"""The report of a run, whichever: one HTML file that needs no network and no other file."""

from __future__ import annotations

import re
from collections.abc import Mapping
from html import escape

from uncol.core.model_folder import DISCLAIMER
from uncol.report import comparison
from uncol.report.blocks import code, facts_table, figure, number_cards, paragraph
from uncol.report.confidence import tried_on_left_out
from uncol.report.figures import curve_png, stage2_step
from uncol.report.outcome import Outcome, duration_text, facts, sentences, trust
from uncol.report.results import Results
from uncol.report.viewer import Parts, Scene, page, viewer_of, web_text

_LOOK = "Look through it"
_BIBTEX = """@article{lu2026uncol,
  author  = {Lu, W. and Hong, Y. and Yang, Y.},
  title   = {Harmonizing Generalization and Specialization: Uncertainty-Informed Collaborative Learning for
             Semi-supervised Medical Image Segmentation},
  journal = {IEEE Transactions on Medical Imaging},
  year    = {2026},
  doi     = {10.1109/TMI.2026.3664940}
}"""


def write(results: Results, scene: Scene, command: str = "") -> str:
    """Return the report of a run with a reference as the text of one HTML file.

    Args:
        results: The run.
        scene: The same to look through.
        command: The command line without names of files; "" for none.
    """
    outcome = scene.outcome
    more = comparison.sections(results)
    notes = sentences(results.warnings(), results.notes)
    numbers = {**_numbers(outcome), **comparison.key_numbers(results)}
    return _page(results.title, comparison.summary(results), outcome, numbers, notes, more, viewer_of(scene), command)


def write_run(title: str, outcome: Outcome, scene: Scene | None, command: str = "") -> str:
    """Return the report of a run without a reference; without a scene, of one that segmented no image."""
    viewer = None if scene is None else viewer_of(scene)
    more = tried_on_left_out(outcome.calibration)
    return _page(title, trust(outcome), outcome, _numbers(outcome), list(outcome.notes), more, viewer, command)


def _page(
    title: str,
    summary: str,
    outcome: Outcome,
    numbers: Mapping[str, str],
    notes: list[str],
    more: Mapping[str, str],
    viewer: Parts | None,
    command: str,
) -> str:
    warnings = "".join(f"<li>{escape(each)}</li>" for each in sentences(notes))
    sections = {
        **({} if viewer is None else {_LOOK: viewer.html}),
        **more,
        **_learning(outcome, summary),
        "Methods": _methods(outcome, command),
        "Notes and errors": paragraph("None.") if not notes else paragraph(f"{len(sentences(notes))}, at the top."),
    }
    links = "".join(f'<a href="#{_anchor(name)}">{escape(name)}</a>' for name in sections)
    body = (
        f"<nav>{links}</nav>\n<main>\n<header><h1>{escape(title)}</h1>{paragraph(summary)}"
        f'<p class="disclaimer">{DISCLAIMER}</p>{number_cards(numbers, _details(outcome))}'
        f"{f'<ul class=warnings>{warnings}</ul>' if warnings else ''}</header>\n"
        + "\n".join(_section(name, content) for name, content in sections.items())
        + "\n</main>\n"
    )
    style = web_text("report.css") + ("" if viewer is None else viewer.style)
    policy = "default-src 'none'; style-src 'unsafe-inline'; img-src data:" if viewer is None else viewer.policy
    return page(title, style, body, policy)


def _section(name: str, content: str) -> str:
    if name == _LOOK:
        return f'<section class="look" id="{_anchor(name)}" aria-label="{name}">{content}</section>'
    return f'<section id="{_anchor(name)}"><h2>{escape(name)}</h2>{content}</section>'


def _anchor(name: str) -> str:
    return re.sub(r"[^a-z]+", "-", name.lower()).strip("-")


def _numbers(outcome: Outcome) -> dict[str, str]:
    numbers = {each.name: each.size_text for each in outcome.findings if each.size_text}
    numbers |= {f"{name}: Dice on held-out slices": f"{dice:.3f}" for name, dice in outcome.held_out_dice.items()}
    training = outcome.training
    if "seconds" in training and "steps" in training:
        numbers["training"] = f"{training['steps']:,} steps in {duration_text(training['seconds'])}"
    if outcome.seconds is not None:
        numbers[f"to segment on {outcome.device.upper()}"] = duration_text(outcome.seconds)
    return numbers


def _details(outcome: Outcome) -> dict[str, str]:
    """Return what is known of the structures' volumes and Dice besides, by name."""
    return {
        each.name: " · ".join(
            sentences(each.range_text, each.predicted_text and f"expected Dice {each.predicted_text}")
        )
        for each in outcome.findings
    }


def _learning(outcome: Outcome, summary: str) -> dict[str, str]:
    curve = outcome.training.get("curve")
    if not curve:
        return {}
    text = "Stage 1 learns from the annotated slices only."
    if stage2_step(curve) is not None:
        text += " From the dashed line on, stage 2 also learns from all the slices that nobody annotated."
    caption = "Thin: every value. Thick: running mean. Losses of different kinds cannot be compared with each other."
    told = ("" if trust(outcome) == summary else paragraph(trust(outcome))) + paragraph(text)
    drawn = f"<details><summary>Losses</summary>{figure(curve_png(curve), 'Training.', caption)}</details>"
    return {"How the model learned": told + drawn}


def _methods(outcome: Outcome, command: str) -> str:
    names = ", ".join(each.name for each in outcome.findings)
    annotated = sum(len(each.indices) for each in outcome.annotated)
    training = outcome.training
    done = "learned" if outcome.size_ijk is None else "segmented"
    told = [f"{names}: {done} with UnCoL {outcome.version} (research software) by {outcome.made_by}."]
    if annotated:
        told.append(f"{annotated} slices of the image were annotated by hand and stay as they are.")
    if training:
        learned = sum(training.get("annotated_slices") or [])
        taught = f" and by {training['generalized_teacher']}" if training.get("generalized_teacher") else ""
        told.append(
            f"The model learned for {training.get('steps')} steps ({duration_text(float(training.get('seconds', 0)))}, "
            f"method {training.get('method')}, seed {training.get('seed')}) from "
            f"{learned} annotated and {sum(training.get('slices') or []) - learned} other slices, taught by "
            f"its own moving average{taught} (Lu, Hong, Yang, 2026)."
        )
    told.append("Uncertainty is the normalized entropy of the class probabilities, from 0 (certain) to 1.")
    rows = facts(outcome)
    rows |= {f"{name}, SHA-256": each for name, each in outcome.files.items()}
    return (
        code(" ".join(told))
        + (f"<h3>Command, without names of files</h3>{code(command)}" if command else "")
        + f"<details><summary>Citation (BibTeX)</summary>{code(_BIBTEX)}</details>"
        + f"<details><summary>Versions and checksums</summary>{facts_table(rows)}</details>"
    )
