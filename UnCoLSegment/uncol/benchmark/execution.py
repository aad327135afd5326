"""Carries out the runs of a plan one after the other; what is finished is skipped, what was begun goes on."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import monai
import numpy as np
import torch

from uncol import __version__
from uncol.benchmark.cases import CaseReader
from uncol.benchmark.runs import RunResult, RunSpec, RunStore, Trainer
from uncol.benchmark.scores import Prediction, score_predictions
from uncol.core.errors import CancelledError
from uncol.core.progress import Monitor, Progress

Tell = Callable[[RunSpec, Progress], None]
"""Told how far a run has come; the progress's fraction is that of the run."""

TrainerFor = Callable[[RunSpec], Trainer]
"""Says who carries out a run."""

CANCELLED = "The benchmark was cancelled. Finished runs are kept; the same command goes on from here."
_TRAINING_PART = 0.9
"""Part of a run's progress that training is; the rest is segmenting the test cases."""
_PROCESSORS = Path("/proc/cpuinfo")
_PROCESSOR_NAME = "model name"


def check_cases(plan: Sequence[RunSpec], readers: Mapping[str, CaseReader], store: RunStore, monitor: Monitor) -> None:
    """Read everything that the missing runs need: what is wrong with a file is told before the first of them.

    Raises:
        CancelledError: If the monitor says so.
        DataError: If an image or label map cannot be used.
    """
    for name, reader in readers.items():
        counts = {spec.labeled for spec in plan if spec.benchmark == name and not store.is_finished(spec)}
        for part in reader.read_all(sorted(counts)) if counts else ():
            monitor.step(f"{name}: checking the cases", part)


def carry_out(
    plan: Sequence[RunSpec],
    readers: Mapping[str, CaseReader],
    store: RunStore,
    trainer_for: TrainerFor,
    tell: Tell,
    monitor: Monitor,
) -> None:
    """Carry out every run that is not finished and that no other process is at.

    Args:
        plan: The runs, in their order.
        readers: The cases by name of the benchmark.
        store: Where results are kept.
        trainer_for: Says who carries out a run.
        tell: Told about progress.
        monitor: Asked at every step whether to stop.

    Raises:
        CancelledError: If the monitor says so; the same plan goes on from there.
        UncolError: If the data cannot be used or a result cannot be written; finished runs are kept.
    """
    for spec in plan:
        with store.claim(spec) as is_free:
            if is_free:
                store.save(_carry_out_one(spec, readers[spec.benchmark], store, trainer_for(spec), tell, monitor))


def _carry_out_one(
    spec: RunSpec, reader: CaseReader, store: RunStore, trainer: Trainer, tell: Tell, monitor: Monitor
) -> RunResult:
    def report(progress: Progress) -> None:
        done = min(1.0, (progress.step or 0) / spec.steps)
        tell(spec, Progress(progress.phase, _TRAINING_PART * done, None, progress.step, progress.losses))

    monitor.check()
    tell(spec, Progress("Reading the cases", 0.0))
    try:
        trained = trainer(spec, reader.cases(spec.labeled), store.working_folder(spec), replace(monitor, report=report))
        test_count = len(reader.test_case_ids)
        scores = score_predictions(
            _one_by_one(trained.predictions, test_count, spec, tell, monitor), reader, spec.labeled
        )
    except CancelledError as error:
        raise CancelledError(CANCELLED) from error
    return RunResult(
        spec=spec,
        scores=scores.labels,
        uncertainty=scores.uncertainty,
        record=trained.record,
        versions=versions(),
        machine=machine(),
        finished=datetime.now(UTC).isoformat("T", "seconds"),
    )


def _one_by_one(
    predictions: Iterator[tuple[str, Prediction]], test_count: int, spec: RunSpec, tell: Tell, monitor: Monitor
) -> Iterator[tuple[str, Prediction]]:
    for number, prediction in enumerate(predictions):
        monitor.check()
        tell(spec, Progress("Scoring the test cases", _TRAINING_PART + (1 - _TRAINING_PART) * number / test_count))
        yield prediction


def versions() -> dict[str, str]:
    """Return the versions of what computes the results."""
    return {
        "uncol": __version__,
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "monai": str(monai.__version__),
        "numpy": np.__version__,
    }


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
