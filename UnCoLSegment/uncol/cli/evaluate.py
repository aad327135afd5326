"""`uncol evaluate`: the command that measures a segmentation."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from uncol.cli import options
from uncol.cli.console import loading, print_evaluation, print_result, say
from uncol.cli.options import SLICES, Texts
from uncol.core import job_texts, jobs


def evaluate(
    prediction: Annotated[Path, typer.Option(help="Segmentation to judge.", readable=False)],
    reference: Annotated[Path, typer.Option(help="Label map to judge it by; 255 is left out.", readable=False)],
    uncertainty: Annotated[
        Path | None, typer.Option(help="Uncertainty map of the segmentation.", readable=False)
    ] = None,
    exclude_slices: Annotated[Texts, typer.Option(metavar=SLICES, help="Slices that do not count; repeatable.")] = None,
    only_slices: Annotated[Texts, typer.Option(metavar=SLICES, help="Slices that alone count; repeatable.")] = None,
    structure: options.Structures = None,
    earlier: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE", help="Evaluation of another patient, as --json wrote it; repeatable.", readable=False
        ),
    ] = None,
    series: options.Series = None,
    allow_incomplete: options.AllowIncomplete = False,
    as_json: options.JsonFlag = False,
) -> None:
    """Measure a segmentation: Dice, HD95 and ASD in mm, and what its uncertainty is worth."""
    structures = options.parsed(structure, job_texts.parse_structure)
    excluded, only = (options.parsed(each, job_texts.parse_slices) for each in (exclude_slices, only_slices))
    with loading():
        from uncol.pipelines.evaluate import run_evaluate
    document = run_evaluate(
        prediction,
        reference,
        uncertainty=uncertainty,
        structures=structures,
        excluded=excluded,
        only=only,
        dicom=jobs.DicomChoice(series, allow_incomplete),
        earlier=tuple(earlier or ()),
    )
    if not print_result(document, as_json=as_json):
        for note in document["notes"]:
            say(note)
        print_evaluation(document)
