"""The command line: the only place that knows the console, its arguments and exit codes."""

from __future__ import annotations

import logging
import sys
import traceback
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Annotated, Any

import typer

from uncol.cli import options
from uncol.cli.benchmark import benchmark
from uncol.cli.console import accept_any_name, monitored, on_signals, print_result, say
from uncol.cli.doctor import examine
from uncol.cli.evaluate import evaluate
from uncol.cli.groups import EXAMPLES, MEASURE, START, WORK, command_of, make_app
from uncol.cli.models import ModelsFolder, store_in
from uncol.cli.models import commands as models_commands
from uncol.cli.options import ANNOTATED_HELP, BOX, SLICES, Texts
from uncol.cli.summary import print_cohort, print_demo, print_diagnosis, print_segmentation, print_training
from uncol.cli.view import view
from uncol.core import job_texts, jobs
from uncol.core.config import Config, read_config
from uncol.core.errors import EXIT_BUG, MEMORY_IS_FULL, CancelledError, UncolError, says_memory_is_full
from uncol.core.freed_memory import keep_freed_memory
from uncol.core.methods import MODEL_METHODS
from uncol.core.model_store import find_model
from uncol.core.uncertainty_maps import parse_maps
from uncol.demo.run import DemoJob, run_demo
from uncol.foundation.loading import LITE_MEDSAM, FoundationChoice
from uncol.pipelines.cohort import CohortJob, check_failed, run_cohort
from uncol.pipelines.context import Context
from uncol.pipelines.fine_tune import run_fine_tune
from uncol.pipelines.segment import run_segment

app = make_app()
_command = partial(command_of, app)


class _Interrupted(BaseException):
    """Ctrl-C where nothing asks for it; typer would give KeyboardInterrupt its own ending."""


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise _Interrupted


@_command("demo", START)
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
    _carry_out(partial(run_demo, job), print_demo, cache, LITE_MEDSAM, as_json=as_json)


@_command("doctor", START)
def doctor(
    everything: Annotated[bool, typer.Option("--all", metavar=options.FLAG, help="Also tell what is well.")] = False,
    cache: options.CacheFolder = None,
    foundation_model: options.FoundationFamily = "LiteMedSAM",
    foundation_weights: options.WeightsFile = None,
    as_json: options.JsonFlag = False,
) -> None:
    """Say what this machine can do, how fast it learns, and what to do about what is missing."""
    document = examine(options.cache_folder(cache), FoundationChoice.of(foundation_model, foundation_weights))
    if not print_result(document, as_json=as_json):
        print_diagnosis(document, everything=everything)


@_command("segment", WORK)
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
        whole = CohortJob(
            folder=image,
            out=out,
            model=find_model(options.needed_by_cohort(model), store_in(models)),
            device=options.parse_device(device),
            dicom=jobs.DicomChoice(series, allow_incomplete),
            as_dicom=dicom,
            jobs=1 if jobs_count is None else jobs_count,
            dask=dask,
        )
        check_failed(_carry_out(partial(run_cohort, whole), print_cohort, cache, LITE_MEDSAM, as_json=as_json))
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
    _carry_out(partial(run_segment, job, as_dicom=dicom), print_segmentation, cache, foundation, as_json=as_json)


@_command("fine-tune", WORK)
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
    _carry_out(partial(run_fine_tune, job, settings), print_training, cache, foundation, as_json=as_json)


_command("view", WORK)(view)
app.add_typer(models_commands, name="models", rich_help_panel=WORK, epilog=f"Example: {EXAMPLES['models']}")


_command("evaluate", MEASURE)(evaluate)
_command("benchmark", MEASURE)(benchmark)


def main() -> None:
    """Run the command line and leave with 0 done, 1 our bug, 2 the user can fix it, 130 cancelled."""
    accept_any_name()
    logging.basicConfig(format="%(levelname)s: %(message)s", stream=sys.stderr, level=logging.WARNING)
    keep_freed_memory()
    sys.exit(_exit_code())


def _exit_code() -> int:
    try:
        with on_signals(_interrupt):
            app(args=options.join_cases(sys.argv[1:]))
    except _Interrupted:
        say("The command was cancelled.")
        return CancelledError.exit_code
    except UncolError as error:
        say(str(error))
        return error.exit_code
    except Exception as error:  # noqa: BLE001  # the last resort: a bug of ours gets its traceback and its own exit code
        if says_memory_is_full(error):
            say(MEMORY_IS_FULL)
            return UncolError.exit_code
        traceback.print_exc()
        say("This is a bug in UnCoL. Please report it with the lines above.")
        return EXIT_BUG
    return 0


def _carry_out(
    work: Callable[[Context], dict[str, Any]],
    tell: Callable[[Mapping[str, Any]], None],
    cache: Path | None,
    foundation: FoundationChoice,
    *,
    as_json: bool,
) -> dict[str, Any]:
    """Do a piece of work and tell what came of it, a program or a person."""
    with monitored(as_json=as_json) as monitor:
        told = (lambda _: None) if as_json else say
        command = options.without_names(sys.argv[1:])
        document = work(Context(monitor, options.cache_folder(cache), foundation, say=told, command=command))
    if not print_result(document, as_json=as_json):
        tell(document)
    return document
