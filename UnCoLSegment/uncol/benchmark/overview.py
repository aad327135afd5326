"""How far a whole comparison has come, told as one progress, however many processes work on it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from uncol.benchmark.runs import RunSpec, RunStore
from uncol.core.progress import Progress

_FIRST_GUESS = 0.01
"""Part of the comparison that must be done before the time left is told."""


class Overview:
    """Adds up finished runs and the part that is done of those in progress.

    Args:
        plan: All runs.
        store: Knows which are finished.
        report: Told about the whole.
    """

    def __init__(self, plan: Sequence[RunSpec], store: RunStore, report: Callable[[Progress], None]) -> None:
        self._plan, self._store, self._report = plan, store, report
        self._parts: dict[str, float] = {}
        self._started, self._at_start = time.monotonic(), self._finished() / max(1, len(plan))

    def tell(self, progress: Progress) -> None:
        """Take in how far a run has come, whose title its phase begins with, and report the whole."""
        running = [spec.title for spec in self._plan if progress.phase.startswith(f"{spec.title}: ")]
        self._parts |= dict.fromkeys(running, progress.fraction)
        done = sum(self._part_of(spec) for spec in self._plan) / len(self._plan)
        phase = f"{self._finished()} of {len(self._plan)} runs done; {progress.phase}"
        self._report(Progress(phase, done, self._seconds_left(done), progress.step, progress.losses))

    def _part_of(self, spec: RunSpec) -> float:
        return 1.0 if self._store.is_finished(spec) else self._parts.get(spec.title, 0.0)

    def _finished(self) -> int:
        return sum(self._store.is_finished(spec) for spec in self._plan)

    def _seconds_left(self, done: float) -> float | None:
        new = done - self._at_start
        return (1 - done) / new * (time.monotonic() - self._started) if new > _FIRST_GUESS else None
