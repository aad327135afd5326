"""One sitting of a benchmark: plan, carry out what is missing, and write what has been shown so far."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from uncol.benchmark.cases import CaseReader
from uncol.benchmark.execution import TrainerFor, carry_out
from uncol.benchmark.overview import Overview
from uncol.benchmark.plan import Choice, ConfigOf, plan_runs
from uncol.benchmark.protocol import find_benchmarks
from uncol.benchmark.publication import publish
from uncol.benchmark.runs import RunSpec, RunStore
from uncol.benchmark.workers import work_side_by_side
from uncol.io import check_writable
from uncol.job import Progress, Report, ShouldStop


@dataclass(frozen=True)
class BenchmarkJob:
    """What is to be compared, and where.

    Attributes:
        name: Name of the benchmark on the command line.
        data: Folder that holds the benchmark's folder.
        out: Folder for the results, which several sittings and processes may share.
        choice: What the user wants to be compared.
        worker_commands: Commands of the processes that do the work side by side; none lets this process do it.
    """

    name: str
    data: Path
    out: Path
    choice: Choice = field(default_factory=Choice)
    worker_commands: Sequence[Sequence[str]] = ()


def run_benchmark(
    job: BenchmarkJob, trainer_for: TrainerFor, config_of: ConfigOf, report: Report, should_stop: ShouldStop
) -> dict[str, Any]:
    """Carry out the runs that are missing and write results, tables and pictures; return a summary.

    Whatever ends it, the tables hold all runs that are finished.

    Raises:
        CancelledError: If `should_stop` says so; the same job goes on from there.
        UncolError: If the data cannot be used or a result cannot be written; finished runs are kept.
    """
    plan, readers = _prepare(job, config_of)
    store = RunStore(job.out)
    overview = Overview(plan, store, report)
    try:
        if job.worker_commands:
            work_side_by_side(job.worker_commands, overview.tell, should_stop)
        else:
            carry_out(plan, readers, store, trainer_for, lambda spec, each: overview.tell(_of(spec, each)), should_stop)
    finally:
        files = publish(store, job.out)
    finished = sum(store.is_finished(spec) for spec in plan)
    return {
        "out": str(job.out),
        "finished": finished,
        "planned": len(plan),
        "files": [each.name for each in files],
        "notes": _notes(len(plan) - finished),
    }


def _notes(left: int) -> list[str]:
    count = "1 run is" if left == 1 else f"{left} runs are"
    return [f"{count} left to other processes."] if left else []


def work(
    job: BenchmarkJob, trainer_for: TrainerFor, config_of: ConfigOf, report: Report, should_stop: ShouldStop
) -> dict[str, Any]:
    """Carry out runs beside other processes: no tables, and the progress told is that of the current run.

    Raises:
        CancelledError: If `should_stop` says so; the same job goes on from there.
        UncolError: If the data cannot be used or a result cannot be written; finished runs are kept.
    """
    plan, readers = _prepare(job, config_of)
    store = RunStore(job.out)
    carry_out(plan, readers, store, trainer_for, lambda spec, progress: report(_of(spec, progress)), should_stop)
    return {"out": str(job.out)}


def _prepare(job: BenchmarkJob, config_of: ConfigOf) -> tuple[list[RunSpec], dict[str, CaseReader]]:
    readers = {each.name: CaseReader(each, job.data) for each in find_benchmarks(job.name)}
    plan = [spec for each in readers.values() for spec in plan_runs(each.benchmark, each.splits, job.choice, config_of)]
    check_writable(job.out)
    return plan, readers


def _of(spec: RunSpec, progress: Progress) -> Progress:
    return Progress(f"{spec.title}: {progress.phase}", progress.fraction, None, progress.step, progress.losses)
