"""How far a whole comparison has come, told as one progress, however many processes work on it."""

from __future__ import annotations

import time
from collections.abc import Sequence

from uncol.benchmark.runs import RunSpec, RunStore
from uncol.job import Progress, Report

_FIRST_GUESS = 0.01
"""Part of the comparison that must be done before the time left is told."""


class Overview:
    """Adds up finished runs and the part that is done of those in progress.

    Args:
        plan: All runs.
        store: Knows which are finished.
        report: Told about the whole.
    """

    def __init__(self, plan: Sequence[RunSpec], store: RunStore, report: Report) -> None:
        self._plan, self._store, self._report = plan, store, report
        self._parts: dict[int, float] = {}
        self._started, self._at_start = time.monotonic(), self._finished() / max(1, len(plan))

    def tell(self, worker: int, progress: Progress) -> None:
        """Take in how far a worker's current run has come, and report the whole."""
        self._parts[worker] = progress.fraction
        finished = self._finished()
        done = min(1.0, (finished + sum(self._parts.values())) / len(self._plan))
        phase = f"{finished} of {len(self._plan)} runs done; {progress.phase}"
        self._report(Progress(phase, done, self._seconds_left(done), progress.step, progress.losses))

    def _finished(self) -> int:
        return sum(self._store.is_finished(spec) for spec in self._plan)

    def _seconds_left(self, done: float) -> float | None:
        new = done - self._at_start
        return (1 - done) / new * (time.monotonic() - self._started) if new > _FIRST_GUESS else None
