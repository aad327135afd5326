"""`uncol benchmark`: the command that compares the methods."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from uncol.benchmark.execution import TrainerFor
from uncol.benchmark.plan import DEFAULT_SEEDS, Choice
from uncol.benchmark.publication import TABLES_FILE
from uncol.benchmark.runs import RunSpec, Trainer
from uncol.benchmark.session import BenchmarkJob, run_benchmark, work
from uncol.benchmark.settings import config_document
from uncol.benchmark.suites import BENCHMARKS, METHODS, SUITES
from uncol.benchmark.trainer import train
from uncol.benchmark.untrained import untrained
from uncol.cli.console import ProgressDisplay, print_json, say
from uncol.cli.options import (
    CacheFolder,
    DeviceChoice,
    FoundationFamily,
    JsonFlag,
    WeightsFile,
    cache_folder,
    parse_device,
)
from uncol.core.errors import CheckpointError, ConfigError
from uncol.core.files import sha256_of
from uncol.core.progress import Monitor
from uncol.foundation.loading import LITE_MEDSAM, FoundationModel


def benchmark_command(stoppable: Callable[[], AbstractContextManager[Callable[[], bool]]]) -> Callable[..., None]:
    """Return the command; its work is done within `stoppable`, which lends what says whether to stop."""

    def benchmark(
        name: Annotated[str, typer.Argument(metavar="NAME", help=f"{', '.join(SUITES)}.")],
        data: Annotated[Path, typer.Option(help="Folder that holds the benchmark's folder with its splits.json.")],
        out: Annotated[Path, typer.Option(help="Folder for the results; the same folder goes on where it was.")],
        methods: Annotated[
            str | None, typer.Option(metavar="A,B,...", help=f"What to compare: {', '.join(METHODS)}.")
        ] = None,
        labeled: Annotated[
            list[str] | None,
            typer.Option(metavar="N", help="Labeled cases, or every n-th slice; repeatable, or as N1,N2,..."),
        ] = None,
        seeds: Annotated[int, typer.Option(help="How many seeds.")] = DEFAULT_SEEDS,
        steps: Annotated[int | None, typer.Option(help="Training steps of a run.")] = None,
        jobs: Annotated[int, typer.Option(help="Processes of one thread each, side by side.")] = 1,
        device: DeviceChoice = "auto",
        cache: CacheFolder = None,
        foundation_model: FoundationFamily = "LiteMedSAM",
        foundation_weights: WeightsFile = None,
        as_json: JsonFlag = False,
        runs_only: Annotated[bool, typer.Option("--runs-only", hidden=True, help="One of several processes.")] = False,
    ) -> None:
        """Compare UnCoL with its baselines on test images: a table with intervals, and pictures."""
        foundation = FoundationModel.of(foundation_model, foundation_weights)
        choice = Choice(
            methods=() if methods is None else tuple(_parts("--methods", methods)),
            labeled=tuple(_whole_number(part) for text in labeled or () for part in _parts("--labeled", text)),
            seeds=seeds,
            steps=steps,
            device=parse_device(device),
            foundation=foundation.family,
            weights_sha256=_weights_sha256(foundation),
        )
        _check_jobs(jobs)
        command = worker_command(name, data, out, choice, cache, foundation)
        job = BenchmarkJob(
            name=name,
            data=data,
            out=out,
            choice=choice,
            worker_commands=[command] * jobs if jobs > 1 else [],
        )
        trainer_for = _trainer_for(cache_folder(cache), foundation)
        with ProgressDisplay(as_json=as_json) as display, stoppable() as should_stop:
            carry_out = work if runs_only else run_benchmark
            document = carry_out(job, trainer_for, config_document, Monitor(display, should_stop))
        if as_json:
            print_json({"event": "result", **document})
            return
        for note in document["notes"]:
            say(note)
        done = f"{document['finished']} of {document['planned']} runs"
        if document["files"]:
            say(f"Done: {done}. The table is in {out / TABLES_FILE}")
        else:
            say(f"{done} are finished, so there is no table yet.")

    return benchmark


def _trainer_for(cache: Path, foundation: FoundationModel) -> TrainerFor:
    def choose(spec: RunSpec) -> Trainer:
        without_training = untrained(BENCHMARKS[spec.benchmark], spec.method, cache, foundation)
        return without_training or partial(train, cache=cache, foundation=foundation)

    return choose


def worker_command(
    name: str, data: Path, out: Path, choice: Choice, cache: Path | None, foundation: FoundationModel
) -> tuple[str, ...]:
    """Return the command of a process that carries out runs beside others, with the same choices as this one."""
    options = {
        "--data": data,
        "--out": out,
        "--methods": ",".join(choice.methods) or None,
        "--labeled": ",".join(map(str, choice.labeled)) or None,
        "--seeds": choice.seeds,
        "--steps": choice.steps,
        "--device": choice.device,
        "--cache": cache,
        "--foundation-model": foundation.family,
        "--foundation-weights": foundation.weights,
    }
    given = [part for option, value in options.items() if value is not None for part in (option, str(value))]
    return (sys.executable, "-m", "uncol", "benchmark", name, *given, "--runs-only", "--json")


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


def _weights_sha256(foundation: FoundationModel) -> str:
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


def _check_jobs(jobs: int) -> None:
    if jobs < 1:
        message = f"--jobs must be at least 1, got {jobs}."
        raise ConfigError(message)
