"""`uncol demo`: the command that shows the whole story on one volume."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from uncol.cli import options
from uncol.cli.console import loading
from uncol.cli.summary import print_demo
from uncol.cli.work import carry_out
from uncol.core import job_texts, jobs
from uncol.core.foundation_choice import LITE_MEDSAM
from uncol.demo.job import DemoJob


def demo(
    out: options.OutFolder = Path("demo-output"),
    image: Annotated[Path | None, typer.Option(help="Your own CT; with --labels.", readable=False)] = None,
    labels: Annotated[
        Path | None, typer.Option(help="Its full label map, the simulated annotator.", readable=False)
    ] = None,
    structure: options.Structures = None,
    every: Annotated[int, typer.Option(help="Annotate every n-th slice.")] = 8,
    minutes: Annotated[float, typer.Option(metavar="MIN", help="Time for fine-tuning.")] = 3.0,
    series: options.Series = None,
    allow_incomplete: options.AllowIncomplete = False,
    device: options.DeviceChoice = "auto",
    cache: options.CacheFolder = None,
    as_json: options.JsonFlag = False,
) -> None:
    """Run the whole story on one volume and write a report with pictures."""
    job = DemoJob(
        out=out,
        image=image,
        labels=labels,
        structures=options.parsed(structure, job_texts.parse_structure),
        every=every,
        minutes=minutes,
        device=options.parse_device(device),
        dicom=jobs.DicomChoice(series, allow_incomplete),
    )
    with loading():
        from uncol.demo.run import run_demo
    carry_out(partial(run_demo, job), print_demo, cache, LITE_MEDSAM, as_json=as_json)
