"""`uncol benchmark`: the command that compares the methods."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from uncol.benchmark.annotator_rounds import TABLE_FILE
from uncol.benchmark.jobs import MOST_SLICES, AnnotatorJob, BenchmarkJob, Choice
from uncol.benchmark.suites import ANNOTATORS, METHODS, SUITES, check_methods, find_benchmarks
from uncol.cli import options
from uncol.cli.console import loading, monitored, print_result, say
from uncol.core.errors import CheckpointError, ConfigError
from uncol.core.files import sha256_of
from uncol.core.foundation_choice import LITE_MEDSAM, FoundationChoice
from uncol.core.freed_memory import keep_freed_memory

if TYPE_CHECKING:  # loading them takes seconds
    from uncol.benchmark.runs import RunSpec
    from uncol.benchmark.trainers import Trainer
    from uncol.foundation.promptable import PromptableModel


def benchmark(
    name: Annotated[str, typer.Argument(metavar="NAME", help=f"{', '.join((*SUITES, *ANNOTATORS))}.")],
    data: Annotated[
        Path, typer.Option(metavar="DIR", help="Folder that holds the benchmark's folder with its splits.json.")
    ],
    out: Annotated[
        Path, typer.Option(metavar="DIR", help="Folder for the results; the same folder goes on where it was.")
    ],
    methods: Annotated[
        str | None, typer.Option(metavar="A,B,...", help=f"What to compare: {', '.join(METHODS)}.")
    ] = None,
    labeled: Annotated[
        options.Texts,
        typer.Option(metavar="N", help="Labeled cases; of slices every n-th, or n; repeatable, or as N1,N2,..."),
    ] = None,
    seeds: Annotated[int | None, typer.Option(help="How many seeds.")] = None,
    steps: Annotated[int | None, typer.Option(help="Training steps of a run.")] = None,
    jobs: Annotated[int, typer.Option(help="Processes of one thread each, side by side.")] = 1,
    device: options.DeviceChoice = "auto",
    cache: options.CacheFolder = None,
    foundation_model: options.FoundationFamily = "LiteMedSAM",
    foundation_weights: options.WeightsFile = None,
    as_json: options.JsonFlag = False,
) -> None:
    """Compare UnCoL with its baselines on test images: a table with intervals, and pictures."""
    foundation = FoundationChoice.of(foundation_model, foundation_weights)
    if name in ANNOTATORS:
        job = AnnotatorJob(
            name,
            data,
            out,
            () if methods is None else tuple(_parts("--methods", methods)),
            most=_one_count(labeled),
            steps=steps or 0,
            device=options.parse_device(device),
        )
        _simulate(job, foundation, options.cache_folder(cache), as_json=as_json)
        return
    choice = Choice(
        methods=() if methods is None else tuple(_parts("--methods", methods)),
        labeled=tuple(_whole_number(part) for text in labeled or () for part in _parts("--labeled", text)),
        seeds=seeds,
        steps=steps,
        device=options.parse_device(device),
        foundation=foundation.family,
        weights_sha256=_weights_sha256(foundation),
    )
    for each in find_benchmarks(name):
        check_methods(choice.methods, each)
    if jobs < 1:
        message = f"--jobs must be at least 1, got {jobs}."
        raise ConfigError(message)
    with loading():
        from uncol.benchmark.report import TABLES_FILE
        from uncol.benchmark.runner import run_benchmark
    trainer = partial(_trainer_of, cache=options.cache_folder(cache), foundation=foundation)
    with monitored(as_json=as_json) as monitor:
        document = run_benchmark(BenchmarkJob(name, data, out, choice, jobs), trainer, monitor)
    if not print_result(document, as_json=as_json):
        say(f"Done. The table of {document['finished']} runs is in {out / TABLES_FILE}")


def _simulate(job: AnnotatorJob, foundation: FoundationChoice, cache: Path | None, *, as_json: bool) -> None:
    with loading():
        from uncol.benchmark.annotator import run_annotator
        from uncol.foundation.loading import load_foundation_model
        from uncol.models.devices import select_device

    def load_teacher() -> PromptableModel | None:
        return load_foundation_model(select_device(job.device), foundation) if foundation.is_installed else None

    with monitored(as_json=as_json) as monitor:
        document = run_annotator(job, load_teacher, cache, monitor)
    if not print_result(document, as_json=as_json):
        for note in document["notes"]:
            say(note)
        say(f"Done. The table of {document['rounds']} rounds is in {job.out / TABLE_FILE}")


def _one_count(labeled: list[str] | None) -> int:
    counts = [_whole_number(part) for text in labeled or () for part in _parts("--labeled", text)]
    if len(counts) > 1 or any(each < 2 for each in counts):
        message = "The annotator begins with two slices and ends with one number of them. Give that with --labeled."
        raise ConfigError(message)
    return counts[0] if counts else MOST_SLICES


def _trainer_of(spec: RunSpec, cache: Path, foundation: FoundationChoice) -> Trainer:
    from uncol.benchmark.trainers import trainer_of

    keep_freed_memory()  # this may be a process of several
    return trainer_of(spec, cache, foundation)


def _parts(option: str, text: str) -> list[str]:
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not parts:
        message = f'{option} "{text}" names nothing. Name at least one, or leave out {option}.'
        raise ConfigError(message)
    return parts


def _whole_number(text: str) -> int:
    if not text.isdecimal():
        message = f'--labeled "{text}" is no number of labeled cases. Give whole numbers, as in --labeled 4,8.'
        raise ConfigError(message)
    return int(text)


def _weights_sha256(foundation: FoundationChoice) -> str:
    """Return the SHA-256 of a file with weights; those of LiteMedSAM are always the same and need none."""
    if foundation.weights is None or foundation.family == LITE_MEDSAM.family:
        return ""
    try:
        return sha256_of(foundation.weights)
    except OSError as error:
        message = (
            f'Foundation weights "{foundation.weights}" could not be read ({error.strerror}). Name an existing file.'
        )
        raise CheckpointError(message) from error
