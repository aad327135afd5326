"""One sitting of a benchmark: plan, carry out what is missing, and write what has been shown so far."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache, partial
from pathlib import Path
from typing import Any

import monai
import numpy as np
import torch

from uncol import __version__
from uncol.benchmark.cases import CaseReader
from uncol.benchmark.jobs import BenchmarkJob
from uncol.benchmark.prediction import Prediction
from uncol.benchmark.processes import hold, work_side_by_side
from uncol.benchmark.report import publish
from uncol.benchmark.runs import RunResult, RunSpec, RunStore, plan_runs
from uncol.benchmark.scores import score_predictions
from uncol.benchmark.suites import BENCHMARKS, find_benchmarks
from uncol.benchmark.trainers import Trainer
from uncol.core.errors import CancelledError, DataError
from uncol.core.progress import Monitor, Progress
from uncol.data.io import check_writable

TrainerOf = Callable[[RunSpec], Trainer]
"""Says who carries out a run; with several processes it goes through pickle."""

CANCELLED = "The benchmark was cancelled. Finished runs are kept; the same command goes on from here."
_TRAINING_PART = 0.9
"""Part of a run's progress that training is; the rest is segmenting the test cases."""
_FIRST_GUESS = 0.01
"""Part of the comparison that must be done before the time left is told."""
_PROCESSORS = Path("/proc/cpuinfo")
_PROCESSOR_NAME = "model name"


def run_benchmark(job: BenchmarkJob, trainer_of: TrainerOf, monitor: Monitor) -> dict[str, Any]:
    """Carry out the runs that are missing and write results, tables and pictures; return a summary.

    Whatever ends it, the tables hold all runs that are finished.

    Raises:
        CancelledError: If the monitor says so; the same job goes on from there.
        UncolError: If the data cannot be used, another sitting is at work in the folder or a result cannot be written;
            finished runs are kept.
    """
    monitor, store = monitor.cancelling_with(CANCELLED), RunStore(job.out)
    readers = {each.name: CaseReader(each, job.data) for each in find_benchmarks(job.name)}
    plan = [spec for each in readers.values() for spec in plan_runs(each.benchmark, each.splits, job.choice)]
    _check_same_tests(store.results(), readers, job.out)
    _check_cases(plan, readers, store, monitor)
    check_writable(job.out)
    with hold(job.out):
        try:
            _carry_out_missing(job, plan, readers, store, trainer_of, monitor)
        except BaseException as error:
            _publish_after(error, store, job.out)
            raise
        return {"out": str(job.out), "finished": len(plan), "files": [each.name for each in publish(store, job.out)]}


def _publish_after(error: BaseException, store: RunStore, out: Path) -> None:
    try:
        publish(store, out)
    except Exception as second:  # noqa: BLE001  # whatever it is, what went wrong first is what the user must hear
        error.add_note(f"The tables could not be written either: {second!r}")


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


def _check_cases(plan: Sequence[RunSpec], readers: Mapping[str, CaseReader], store: RunStore, monitor: Monitor) -> None:
    """Read everything that the missing runs need: what is wrong with a file is told before the first of them."""
    for name, reader in readers.items():
        counts = {spec.labeled for spec in plan if spec.benchmark == name and not store.is_finished(spec)}
        for part in reader.read_all(sorted(counts)) if counts else ():
            monitor.step(f"{name}: checking the cases", part)


def _carry_out_missing(
    job: BenchmarkJob,
    plan: Sequence[RunSpec],
    readers: dict[str, CaseReader],
    store: RunStore,
    trainer_of: TrainerOf,
    monitor: Monitor,
) -> None:
    tell = Overview(plan, store, monitor.report).tell
    missing = {spec.key: spec for spec in plan if not store.is_finished(spec)}
    for proposing in list(missing.values()):
        if proposing.of_model is not None:  # comes with it
            missing.pop(proposing.of_model.key, None)
    if job.jobs > 1:
        readers.clear()  # the processes read their cases themselves
        tasks = {key: partial(_carry_out_beside, spec, job, trainer_of) for key, spec in missing.items()}
        work_side_by_side(tasks, job.jobs, tell, monitor)
        return
    for key, spec in missing.items():
        told = replace(monitor, report=partial(tell, key))
        carry_out(spec, readers[spec.benchmark], store, trainer_of(spec), told)


def _carry_out_beside(spec: RunSpec, job: BenchmarkJob, trainer_of: TrainerOf, monitor: Monitor) -> None:
    carry_out(spec, _reader_of(spec.benchmark, job.data), RunStore(job.out), trainer_of(spec), monitor)


@cache
def _reader_of(benchmark: str, data: Path) -> CaseReader:
    """Return the cases of a benchmark, which a process of several reads once for all its runs."""
    return CaseReader(BENCHMARKS[benchmark], data)


def carry_out(spec: RunSpec, reader: CaseReader, store: RunStore, trainer: Trainer, monitor: Monitor) -> None:
    """Carry out a run, or go on with it, and keep its result; that of a proposal also tells what its model is worth.

    Args:
        spec: What to run.
        reader: The cases of its benchmark.
        store: Where its result is kept.
        trainer: Who carries it out.
        monitor: Told how far the run has come, and asked at every step whether to stop.

    Raises:
        CancelledError: If the monitor says so; the same run goes on from there.
        UncolError: If the data cannot be used or the result cannot be written.
    """

    def report(progress: Progress) -> None:
        done = _TRAINING_PART * min(1.0, (progress.step or 0) / spec.steps)
        monitor.report(replace(progress, fraction=done, seconds_left=None))

    def keep(spec: RunSpec, predictions: Iterator[tuple[str, Prediction]], record: dict[str, Any]) -> None:
        scoring = monitor.part(_TRAINING_PART, 1.0).each(reader.test_case_ids, "Scoring the test cases")
        scored = (prediction for _, prediction in zip(scoring, predictions, strict=True))
        scores = score_predictions(scored, reader, spec.labeled)
        finished = datetime.now(UTC).isoformat("T", "seconds")
        store.save(RunResult(spec, finished, versions(), machine(), record, scores.labels, scores.uncertainty))

    try:
        monitor.step("Reading the cases", 0.0)
        cases, folder = reader.cases(spec.labeled), store.working_folder(spec)
        trained = trainer(spec, cases, folder, replace(monitor, report=report))
        if spec.of_model is not None and trained.of_model is not None and not store.is_finished(spec.of_model):
            keep(spec.of_model, trained.of_model, {**trained.record, "method": spec.of_model.method})
        keep(spec, trained.predictions, trained.record)
    except CancelledError as error:
        raise CancelledError(CANCELLED) from error


class Overview:
    """One progress of a whole comparison: adds up finished runs and the part that is done of those in progress.

    Args:
        plan: All runs.
        store: Knows which are finished.
        report: Told about the whole.
    """

    def __init__(self, plan: Sequence[RunSpec], store: RunStore, report: Callable[[Progress], None]) -> None:
        self._plan, self._store, self._report = {spec.key: spec for spec in plan}, store, report
        self._parts: dict[str, float] = {}
        self._started, self._at_start = time.monotonic(), self._finished() / max(1, len(plan))

    def tell(self, key: str, progress: Progress) -> None:
        """Take in how far a run has come, and report the whole."""
        self._parts[key] = progress.fraction
        done = sum(self._part_of(spec) for spec in self._plan.values()) / len(self._plan)
        phase = f"{self._finished()} of {len(self._plan)} runs done; {self._plan[key].title}: {progress.phase}"
        self._report(replace(progress, phase=phase, fraction=done, seconds_left=self._seconds_left(done)))

    def _part_of(self, spec: RunSpec) -> float:
        return 1.0 if self._store.is_finished(spec) else self._parts.get(spec.key, 0.0)

    def _finished(self) -> int:
        return sum(self._store.is_finished(spec) for spec in self._plan.values())

    def _seconds_left(self, done: float) -> float | None:
        new = done - self._at_start
        return (1 - done) / new * (time.monotonic() - self._started) if new > _FIRST_GUESS else None


def versions() -> dict[str, str]:
    """Return the versions of what computes the results."""
    packages = {each.__name__: str(each.__version__) for each in (torch, monai, np)}
    return {"uncol": __version__, "python": platform.python_version(), **packages}


def machine() -> dict[str, Any]:
    """Return what kind of machine this is; nothing that names this one."""
    return {
        "system": platform.system(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "accelerator": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }


def _processor() -> str:
    try:
        lines = _PROCESSORS.read_text(encoding="utf-8").splitlines()
    except OSError:  # not Linux
        return platform.processor() or platform.machine()
    named = [line.partition(":")[2].strip() for line in lines if line.startswith(_PROCESSOR_NAME)]
    return named[0] if named else platform.machine()
