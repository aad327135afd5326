"""One sitting of a benchmark: plan, carry out what is missing, and write what has been shown so far."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from uncol.benchmark.cases import CaseReader
from uncol.benchmark.execution import CANCELLED, TrainerFor, carry_out, check_cases
from uncol.benchmark.overview import Overview
from uncol.benchmark.plan import Choice, ConfigOf, plan_runs
from uncol.benchmark.publication import publish
from uncol.benchmark.runs import RunResult, RunSpec, RunStore
from uncol.benchmark.suites import find_benchmarks
from uncol.benchmark.workers import work_side_by_side
from uncol.core.errors import DataError
from uncol.core.progress import Monitor, Progress
from uncol.data.io import check_writable


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


def run_benchmark(job: BenchmarkJob, trainer_for: TrainerFor, config_of: ConfigOf, monitor: Monitor) -> dict[str, Any]:
    """Carry out the runs that are missing and write results, tables and pictures; return a summary.

    Whatever ends it, the tables hold all runs that are finished.

    Raises:
        CancelledError: If the monitor says so; the same job goes on from there.
        UncolError: If the data cannot be used or a result cannot be written; finished runs are kept.
    """
    monitor = monitor.cancelling_with(CANCELLED)
    store = RunStore(job.out)
    plan, readers = _prepare(job, store, config_of, monitor)
    overview = Overview(plan, store, monitor.report)
    try:
        if job.worker_commands:
            work_side_by_side(job.worker_commands, overview.tell, monitor.should_stop)
        else:
            carry_out(plan, readers, store, trainer_for, lambda spec, each: overview.tell(_of(spec, each)), monitor)
    except BaseException as error:
        _publish_after(error, store, job.out)
        raise
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


def work(job: BenchmarkJob, trainer_for: TrainerFor, config_of: ConfigOf, monitor: Monitor) -> dict[str, Any]:
    """Carry out runs beside other processes: no tables, and the progress told is that of the current run.

    Raises:
        CancelledError: If the monitor says so; the same job goes on from there.
        UncolError: If the data cannot be used or a result cannot be written; finished runs are kept.
    """
    monitor = monitor.cancelling_with(CANCELLED)
    store = RunStore(job.out)
    plan, readers = _prepare(job, store, config_of, monitor)
    carry_out(plan, readers, store, trainer_for, lambda spec, progress: monitor.report(_of(spec, progress)), monitor)
    return {"out": str(job.out)}


def _publish_after(error: BaseException, store: RunStore, out: Path) -> None:
    try:
        publish(store, out)
    except Exception as second:  # noqa: BLE001  # whatever it is, what went wrong first is what the user must hear
        error.add_note(f"The tables could not be written either: {second!r}")


def _prepare(
    job: BenchmarkJob, store: RunStore, config_of: ConfigOf, monitor: Monitor
) -> tuple[list[RunSpec], dict[str, CaseReader]]:
    readers = {each.name: CaseReader(each, job.data) for each in find_benchmarks(job.name)}
    plan = [spec for each in readers.values() for spec in plan_runs(each.benchmark, each.splits, job.choice, config_of)]
    _check_same_tests(store.results(), readers, job.out)
    if not job.worker_commands:  # these processes read their cases themselves
        check_cases(plan, readers, store, monitor)
    check_writable(job.out)
    return plan, readers


def _check_same_tests(results: Sequence[RunResult], readers: Mapping[str, CaseReader], out: Path) -> None:
    """Make sure that finished runs were scored on the test cases of today: others cannot be compared with new ones."""
    for name, reader in readers.items():
        today = {(case_id, reader.splits.subject_of(case_id)) for case_id in reader.test_case_ids}
        for result in results:
            if result.spec.benchmark == name and {(score.case, score.subject) for score in result.scores} != today:
                message = (
                    f'"{out}" holds runs on other test cases than those of today, such as "{result.spec.key}". '
                    "Choose another --out, or take the data and splits of these runs."
                )
                raise DataError(message)


def _of(spec: RunSpec, progress: Progress) -> Progress:
    return Progress(f"{spec.title}: {progress.phase}", progress.fraction, None, progress.step, progress.losses)
