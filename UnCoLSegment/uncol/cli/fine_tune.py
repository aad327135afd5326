"""`uncol fine-tune`: the command that trains a model."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from uncol.cli import options
from uncol.cli.console import loading
from uncol.cli.models import ModelsFolder, store_in
from uncol.cli.options import ANNOTATED_HELP, SLICES, Texts
from uncol.cli.summary import print_training
from uncol.cli.work import carry_out
from uncol.core import job_texts, jobs
from uncol.core.config import Config, read_config
from uncol.core.foundation_choice import FoundationChoice
from uncol.core.methods import MODEL_METHODS
from uncol.core.model_store import find_model
from uncol.core.uncertainty_maps import parse_maps


def fine_tune(
    case: Annotated[
        list[str],
        typer.Option(
            metavar="IMAGE LABELS", rich_help_panel=options.DATA, help="Image and its label map, two paths; repeatable."
        ),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="Folder for the model.", readable=False)],
    unlabeled: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="IMAGE",
            rich_help_panel=options.DATA,
            help="Further image without labels; repeatable.",
            readable=False,
        ),
    ] = None,
    annotated_slices: Annotated[
        Texts, typer.Option(metavar=f"[CASE@]{SLICES}", rich_help_panel=options.DATA, help=ANNOTATED_HELP)
    ] = None,
    structure: options.Structures = None,
    minutes: Annotated[
        float | None,
        typer.Option(
            metavar="MIN", rich_help_panel=options.HOW_LONG, help="Time for everything (5 when nothing is given)."
        ),
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option(metavar="N", rich_help_panel=options.HOW_LONG, help="Steps instead of minutes: reproducible."),
    ] = None,
    student: Annotated[
        str | None,
        typer.Option(
            metavar="KIND",
            rich_help_panel=options.ADVANCED,
            help="2d, 3d, or auto: 3d where whole volumes are annotated.",
        ),
    ] = None,
    method: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", rich_help_panel=options.ADVANCED, help=f"{', '.join(MODEL_METHODS)}; uncol is the default."
        ),
    ] = None,
    base: Annotated[
        str | None,
        typer.Option(metavar="MODEL", rich_help_panel=options.DATA, help="Model to start from: its folder or name."),
    ] = None,
    compare_with: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL",
            rich_help_panel=options.ADVANCED,
            help="Model that the new one is compared with: its folder or name; else the base.",
        ),
    ] = None,
    models: ModelsFolder = None,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            metavar=options.FLAG,
            rich_help_panel=options.HOW_LONG,
            help="Go on with the unfinished run in --out.",
        ),
    ] = False,
    proposal: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Folder for what is proposed for the first image, with a report.", readable=False
        ),
    ] = None,
    maps: options.Maps = None,
    seed: Annotated[
        int | None, typer.Option(metavar="N", rich_help_panel=options.ADVANCED, help="Seed of all randomness.")
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(metavar="FILE", rich_help_panel=options.ADVANCED, help="JSON file with further settings."),
    ] = None,
    series: options.Series = None,
    allow_incomplete: options.AllowIncomplete = False,
    device: options.DeviceChoice = "auto",
    cache: options.CacheFolder = None,
    foundation_model: options.FoundationFamily = "LiteMedSAM",
    foundation_weights: options.WeightsFile = None,
    as_json: options.JsonFlag = False,
) -> None:
    """Learn from a few annotated slices and from everything that nobody annotated."""
    job = jobs.FineTuneJob(
        cases=options.parsed(case, options.parse_case),
        out=out,
        unlabeled=tuple(unlabeled or ()),
        annotated_slices=options.parsed(annotated_slices, job_texts.parse_annotated_slices),
        structures=options.parsed(structure, job_texts.parse_structure),
        minutes=minutes,
        steps=steps,
        seed=seed,
        base=None if base is None else find_model(base, store_in(models)),
        compare_with=None if compare_with is None else find_model(compare_with, store_in(models)),
        method=method,
        student=None if student is None else job_texts.parse_student(student),
        resume=resume,
        proposal=proposal,
        maps=parse_maps(maps) if maps else (),
        device=options.parse_device(device),
        dicom=jobs.DicomChoice(series, allow_incomplete),
    )
    settings = read_config(config) if config else Config()
    foundation = FoundationChoice.of(foundation_model, foundation_weights)
    with loading():
        from uncol.pipelines.fine_tune import run_fine_tune
    carry_out(partial(run_fine_tune, job, settings), print_training, cache, foundation, as_json=as_json)
