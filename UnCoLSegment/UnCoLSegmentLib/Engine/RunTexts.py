"""What is told of a run that ended well, as sentences for the user."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from slicer.i18n import tr as _

from UnCoLSegmentLib.Scene import Rounds
from UnCoLSegmentLib.Scene.RunData import RunInputs


def notesIn(document: dict[str, Any]) -> tuple[str, ...]:
    """Return the notes of a report, or of the record of a training."""
    return tuple(map(str, document.get("notes", ())))


def verdictText(verdict: Rounds.Verdict, report: dict[str, Any], fewSteps: int | None, unchanged: Sequence[str]) -> str:
    """Return whether a new model is used, and what to know about what is shown.

    Args:
        verdict: Whether it is used.
        report: That of the proposal shown.
        fewSteps: How many steps there was time for, if that is too few to learn much.
        unchanged: The volumes, by their names, from which was learned and for which nothing new is proposed.
    """
    text = _verdictText(verdict, report, fewSteps)
    if unchanged:
        also = _("{text} Nothing new is proposed for {names}, as the new model is not used.")
        text = also.format(text=text, names=", ".join(unchanged))
    return text


def _verdictText(verdict: Rounds.Verdict, report: dict[str, Any], fewSteps: int | None) -> str:
    if fewSteps is not None:
        text = _("{verdict} But there was time for {steps} steps only: give more minutes and fine-tune again.")
        return text.format(verdict=verdict.sentence, steps=fewSteps)
    if verdict.isBetter or not report.get("by_both_teachers"):
        return verdict.sentence
    text = _("{verdict} The proposal shown was still made by the new model, together with the foundation model.")
    return text.format(verdict=verdict.sentence)


def foundText(report: dict[str, Any], inputs: RunInputs) -> str:
    """Return what was proposed, or what to do where nothing was found."""
    found = [each["name"] for each in report["structures"] if each["voxels"]]
    if found:
        return _("Proposed: {names}. Check it, then accept what is right.").format(names=", ".join(found))
    if inputs.model:
        known = ", ".join(each["name"] for each in report["structures"])
        text = _(
            "Nothing was found. The model looks for: {names}. Choose another model, or annotate a few slices and "
            "fine-tune."
        )
        return text.format(names=known)
    if inputs.labels is not None:
        return _("Nothing was found. Annotate more slices that show the structure, or fine-tune.")
    return _("Nothing was found. Draw the box tighter, or annotate a few slices and fine-tune.")
