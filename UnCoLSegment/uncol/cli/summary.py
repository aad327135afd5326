"""What a person is told at the end of a run: structures with their ml and Dice, how long it took, what to do next."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

from uncol.cli.console import print_table, say
from uncol.core.next_slices import sentences_of
from uncol.report.outcome import Outcome, duration_text, sentences

_ALWAYS_TOLD = ("Training",)
"""What one wants to know before one waits."""


def print_segmentation(document: Mapping[str, Any]) -> None:
    """Tell what `segment` gave, a JSON object of `pipelines.segment.run_segment`."""
    outcome = Outcome.of_segmentation(document)
    _print_findings(outcome)
    for sentence in sentences_of(document, below_a_table=True):
        say(sentence)
    _say_next(document["out"], f"uncol view {shlex.quote(document['out'])}")


def print_cohort(document: Mapping[str, Any]) -> None:
    """Tell what `segment --cohort` gave, a JSON object of `pipelines.cohort.run_cohort`."""
    for note in sentences(document["notes"]):
        say(note)
    done = document["images"] - len(document["failed"]) - document["kept"]
    say(f"{done} of {document['images']} images segmented, {document['kept']} kept from before.")
    _say_next(document["out"], f"open {shlex.quote(document['table'])}")


def print_training(document: Mapping[str, Any]) -> None:
    """Tell what `fine-tune` gave, a JSON object of `pipelines.fine_tune.run_fine_tune`."""
    proposal = document.get("proposal")
    outcome = Outcome.of_training(document, document["out"])
    if proposal:
        found = Outcome.of_segmentation({**proposal, "model": document["out"], "training": dict(document)})
        _print_findings(found)
        for sentence in sentences_of(proposal, below_a_table=True):
            say(sentence)
        say(f"The model is in {document['out']}")
        _say_next(proposal["out"], f"uncol view {shlex.quote(proposal['out'])}")
        return
    _print_findings(outcome)
    _say_next(document["out"], f"uncol segment IMAGE -m {shlex.quote(document['out'])} -o RESULT")


def print_demo(document: Mapping[str, Any]) -> None:
    """Tell what `demo` gave, a JSON object of `demo.run.run_demo`."""
    outcome = Outcome.of_segmentation(document["segmentation"])
    for note in sentences(document["notes"]):
        say(note)
    volumes = {each.name: each.volume_text for each in outcome.findings}
    methods = {"fine_tuned": "Dice", "first_pass": "first pass", "interpolation": "interpolation"}
    rows = [
        [each["name"], volumes[each["name"]], *(f"{each[method]['dice']:.3f}" for method in methods)]
        for each in document["structures"]
    ]
    print_table("On slices that nobody annotated", ["structure", "volume", *methods.values()], rows)
    _say_learned(outcome)
    _say_next(document["report"], f"uncol view {shlex.quote(document['out'])}")


def print_diagnosis(document: Mapping[str, Any], *, everything: bool) -> None:
    """Tell what `doctor` found, a JSON object of `cli.examination.examine`: what needs doing, or all of it."""
    checks = [each for each in document["checks"] if everything or each["advice"] or each["name"] in _ALWAYS_TOLD]
    columns = ["what", "state", *(["what to do"] if any(each["advice"] for each in checks) else [])]
    rows = [[each["name"], each["state"], each["advice"]][: len(columns)] for each in checks]
    print_table(f"UnCoL {document['version']}", columns, rows)
    if document["ok"]:
        say("All is well." + ("" if everything else " --all lists everything that was looked at."))


def _print_findings(outcome: Outcome) -> None:
    for note in sentences(outcome.notes):
        say(note)
    held_out = outcome.held_out_dice
    columns = {
        "volume": [each.volume_text for each in outcome.findings],
        "expected Dice": [each.predicted_text for each in outcome.findings],
        "Dice, held-out slices": [
            f"{held_out[each.name]:.3f}" if each.name in held_out else "" for each in outcome.findings
        ],
    }
    filled = {name: texts for name, texts in columns.items() if any(texts)}
    rows = [[each.name, *texts] for each, *texts in zip(outcome.findings, *filled.values(), strict=True)]
    print_table(f"By {outcome.made_by}", ["structure", *filled], rows)
    is_foreseen = any(each.predicted_text for each in outcome.findings)
    for sentence in sentences("" if is_foreseen else outcome.why_no_dice, outcome.verdict_text):
        say(sentence)
    _say_learned(outcome)


def _say_learned(outcome: Outcome) -> None:
    training = outcome.training
    device = str(training.get("device", "")).upper()
    if "steps" in training and "seconds" in training:
        say(f"Learned {training['steps']:,} steps in {duration_text(training['seconds'])} on {device}.")
    if outcome.seconds is not None:
        say(f"Segmented in {duration_text(outcome.seconds)} on {outcome.device.upper()}.")


def _say_next(where: str, command: str) -> None:
    say(f"Done. Results are in {where}")
    say(f"Next: {command}")
