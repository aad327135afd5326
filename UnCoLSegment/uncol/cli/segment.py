"""`uncol segment`: the command that segments an image, or a folder of them."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from uncol.cli import options
from uncol.cli.console import loading
from uncol.cli.models import ModelsFolder, store_in
from uncol.cli.options import ANNOTATED_HELP, BOX, SLICES, Texts
from uncol.cli.summary import print_cohort, print_segmentation
from uncol.cli.work import carry_out
from uncol.core import job_texts, jobs
from uncol.core.foundation_choice import LITE_MEDSAM, FoundationChoice
from uncol.core.model_store import find_model
from uncol.core.uncertainty_maps import parse_maps


def segment(
    image: Annotated[
        Path,
        typer.Argument(
            metavar="IMAGE", help="NIfTI, NRRD, MHA, a DICOM folder; with --cohort a folder of them.", readable=False
        ),
    ],
    out: options.OutFolder,
    model: Annotated[
        str | None,
        typer.Option("--model", "-m", metavar="MODEL", help="Model folder that fine-tuning wrote, or name of a model."),
    ] = None,
    models: ModelsFolder = None,
    dicom: Annotated[
        bool, typer.Option("--dicom", help="Write DICOM, too: a SEG and a Parametric Map. For DICOM images.")
    ] = False,
    box: Annotated[
        Texts, typer.Option(metavar=BOX, help="3D box in voxel indices, both ends included; repeatable.")
    ] = None,
    labels: Annotated[
        Path | None, typer.Option(help="Label map with a few annotated slices, 255 elsewhere.", readable=False)
    ] = None,
    annotated_slices: Annotated[Texts, typer.Option(metavar=SLICES, help=ANNOTATED_HELP)] = None,
    structure: options.Structures = None,
    maps: options.Maps = None,
    series: options.Series = None,
    allow_incomplete: options.AllowIncomplete = False,
    device: options.DeviceChoice = "auto",
    cache: options.CacheFolder = None,
    foundation_model: options.FoundationFamily = "LiteMedSAM",
    foundation_weights: options.WeightsFile = None,
    cohort: Annotated[
        bool, typer.Option("--cohort", help="Segment every image in the folder with the model, and write a table.")
    ] = False,
    jobs_count: Annotated[
        int | None,
        typer.Option("--jobs", metavar="N", help="With --cohort: how many images side by side; 1 by default."),
    ] = None,
    dask: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="With --cohort: a Dask scheduler whose workers do the work.")
    ] = None,
    as_json: options.JsonFlag = False,
) -> None:
    """Segment an image with a model, or without one from boxes or a few annotated slices; or a whole folder."""
    of_slices = {"--labels": labels, "--annotated-slices": annotated_slices, "--structure": structure}
    of_one = {"--box": box, "--maps": maps, **of_slices}
    options.check_cohort(cohort=cohort, of_one_image=of_one, of_cohorts={"--jobs": jobs_count, "--dask": dask})
    if cohort:
        learned, computing = find_model(options.needed_by_cohort(model), store_in(models)), options.parse_device(device)
        with loading():
            from uncol.pipelines.cohort import CohortJob, check_failed, run_cohort
        whole = CohortJob(
            folder=image,
            out=out,
            model=learned,
            device=computing,
            dicom=jobs.DicomChoice(series, allow_incomplete),
            as_dicom=dicom,
            jobs=1 if jobs_count is None else jobs_count,
            dask=dask,
        )
        check_failed(carry_out(partial(run_cohort, whole), print_cohort, cache, LITE_MEDSAM, as_json=as_json))
        return
    job = jobs.SegmentJob(
        image=image,
        out=out,
        model=None if model is None else Path(model),
        boxes=options.parsed(box, job_texts.parse_box),
        labels=labels,
        annotated_slices=options.parsed(annotated_slices, job_texts.parse_slices),
        structures=options.parsed(structure, job_texts.parse_structure),
        maps=parse_maps(maps) if maps else (),
        device=options.parse_device(device),
        dicom=jobs.DicomChoice(series, allow_incomplete),
    )
    options.check_only_with_labels(labels, {"--annotated-slices": annotated_slices, "--structure": structure})
    if model is not None:
        job = replace(job, model=find_model(model, store_in(models)))
    foundation = FoundationChoice.of(foundation_model, foundation_weights)
    with loading():
        from uncol.pipelines.segment import run_segment
    carry_out(partial(run_segment, job, as_dicom=dicom), print_segmentation, cache, foundation, as_json=as_json)
