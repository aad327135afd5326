"""A simulated annotator: Dice against annotated slices, and against minutes of somebody's time.

The annotator begins with two slices, and in each round puts one slice more right, chosen by gain, by even spacing or at
random; then all others are proposed anew. Beside it stand registration alone and *Fill between slices*.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from uncol.benchmark.annotator_rounds import (
    ARMS,
    FILL,
    GOAL,
    REGISTRATION,
    STRATEGIES,
    TABLE_FILE,
    Curve,
    Round,
    kept_curves,
    table_of,
    with_curve,
    write_curves,
    write_text,
)
from uncol.benchmark.cases import CaseReader
from uncol.benchmark.jobs import AnnotatorJob
from uncol.benchmark.processes import hold
from uncol.benchmark.suites import ANNOTATORS, find_benchmarks
from uncol.benchmark.user_time import correction_seconds
from uncol.benchmark.without_training import SliceTask, interpolate_morphologically
from uncol.core.config import BudgetConfig, Config
from uncol.core.errors import ConfigError
from uncol.core.jobs import AnnotatedSlices
from uncol.core.next_slices import drawn, farthest
from uncol.core.progress import Monitor
from uncol.core.volume import UNKNOWN_LABEL, Volume, plane_of_axis
from uncol.data.cases import LabeledCase
from uncol.data.io import check_writable
from uncol.evaluation.evaluate import evaluate
from uncol.foundation.embeddings import EmbeddingCache
from uncol.foundation.promptable import PromptableModel
from uncol.inference.few_slices import FewSlices
from uncol.inference.result import Segmentation
from uncol.models.checkpoints import has_checkpoint
from uncol.models.devices import select_device
from uncol.training.proposal import propose
from uncol.training.state import FineTuneSetup
from uncol.training.train import train

TRAINED_AT = (4, 8, 16)
CANCELLED = "The simulation was cancelled. Finished rounds are kept; the same command goes on from here."


class Found(NamedTuple):
    """Labels, and the slice that is suggested next."""

    labels: Volume
    following: int | None


def run_annotator(
    job: AnnotatorJob, load_teacher: Callable[[], PromptableModel | None], cache: Path | None, monitor: Monitor
) -> dict[str, Any]:
    """Simulate what is missing, round after round, and write rounds and table; return a summary.

    Raises:
        CancelledError: If the monitor says so; finished rounds are kept, and the same job goes on from there.
        UncolError: If the data cannot be used, another sitting is at work in the folder or a file cannot be written.
    """
    monitor = monitor.cancelling_with(CANCELLED)
    readers = [CaseReader(each, job.data) for each in find_benchmarks(ANNOTATORS[job.name])]
    check_writable(job.out)
    arms = [GOAL, *(job.arms or ARMS)]
    volumes = [(reader, case_id) for reader in readers for case_id in reader.test_case_ids]
    with hold(job.out):
        kept, embeddings, teacher = kept_curves(job.out), EmbeddingCache(cache), load_teacher()
        notes = [] if teacher else ["The foundation model is not installed: proposals are by registration alone."]
        for number, (reader, case_id) in enumerate(volumes):
            annotator = _Annotator(job, reader, case_id, teacher, embeddings)
            for place, arm in enumerate(arms):
                monitor.step(f"{case_id}, {arm}", (number + place / len(arms)) / len(volumes))
                try:
                    for curve in annotator.rounds(arm, kept, monitor):
                        kept = with_curve(kept, curve)
                        write_curves(job.out, kept)
                except ConfigError as error:
                    if arm != FILL:
                        raise
                    notes.append(str(error))  # the package that it takes is missing
        embeddings.trim()
        notes = list(dict.fromkeys(notes))
        write_text(job.out / TABLE_FILE, "\n\n".join([table_of(kept), *notes]))
    return {"out": str(job.out), "rounds": sum(len(each.rounds) for each in kept), "notes": notes}


class _Annotator:
    """Somebody who knows the reference of one volume and hands over a slice at a time."""

    def __init__(
        self,
        job: AnnotatorJob,
        reader: CaseReader,
        case_id: str,
        teacher: PromptableModel | None,
        cache: EmbeddingCache,
    ) -> None:
        self._job, self._volume = job, f"{reader.benchmark.name}, {case_id}"
        self._image, self._reference = reader.image(case_id), reader.reference(case_id)
        self._structures, self._teacher, self._cache = reader.benchmark.learned_structures, teacher, cache

    def rounds(self, arm: str, kept: Sequence[Curve], monitor: Monitor) -> Iterator[Curve]:
        """Yield the curve after each further round; what was done is not done again."""
        new = self._new_curve(arm)
        curve = next((each for each in kept if replace(each, rounds=()) == new), new)
        found: Found | None = None
        while (slices := self._slices_of_next_round(curve, found)) is None or slices:
            if slices is None:  # what was proposed in the last round, before this sitting
                found = self._proposed(arm, curve.rounds[-1].slices, monitor)
                continue
            minutes = self._minutes(curve, slices, found)
            found = self._proposed(arm, slices, monitor)
            done = Round(slices, round(minutes, 4), self._dice(found.labels, slices), self._trains(arm, slices))
            curve = replace(curve, rounds=(*curve.rounds, done))
            yield curve

    def _new_curve(self, arm: str) -> Curve:
        tool = REGISTRATION if self._teacher is None else f"{REGISTRATION} and {self._teacher.name}"
        if arm in (REGISTRATION, FILL):
            return Curve(self._volume, arm, arm)
        steps = self._job.steps if arm in STRATEGIES else 0
        return Curve(self._volume, arm, tool, steps, self._job.seed if steps or arm == "random" else 0)

    def _slices_of_next_round(self, curve: Curve, found: Found | None) -> tuple[int, ...] | None:
        """Return which slices are annotated then, () after the last round; None where the last proposal is needed."""
        count = len(self._reference.voxels)
        if curve.arm == GOAL:
            return () if curve.rounds else tuple(range(0, count, 2))
        if not curve.rounds:
            return self.start()
        known = curve.rounds[-1].slices
        if len(known) >= min(self._job.most, count - 1):
            return ()
        if found is None:
            return None
        following = farthest(known, count)
        if curve.arm == "expected-gain":
            following = found.following
        elif curve.arm == "random":
            following = drawn(known, count, np.random.default_rng([self._job.seed, len(curve.rounds)]))
        return () if following is None else tuple(sorted([*known, following]))

    def _minutes(self, curve: Curve, slices: tuple[int, ...], found: Found | None) -> float:
        """Return the time up to now with that for the new slices: to put right what is proposed there, if anything."""
        if curve.arm == GOAL:
            return 0.0
        before = curve.rounds[-1] if curve.rounds else Round((), 0.0, 0.0)
        blank = np.zeros_like(self._reference.voxels)
        proposed = blank if found is None else found.labels.voxels
        new = set(slices) - set(before.slices)
        seconds = sum(correction_seconds(proposed[each], self._reference.voxels[each]) for each in sorted(new))
        return before.minutes + seconds / 60

    def start(self) -> tuple[int, ...]:
        """Return two slices, at a quarter and three quarters of where any structure is."""
        shown = np.flatnonzero((self._reference.voxels > 0).any(axis=(1, 2)))
        return tuple(sorted({int(shown[len(shown) // 4]), int(shown[3 * len(shown) // 4])}))

    def _proposed(self, arm: str, slices: tuple[int, ...], monitor: Monitor) -> Found:
        monitor.check()
        known = np.full_like(self._reference.voxels, UNKNOWN_LABEL)
        known[list(slices)] = self._reference.voxels[list(slices)]
        case = LabeledCase(self._image, self._reference.with_voxels(known))
        quiet = replace(monitor, report=lambda _progress: None)
        if arm == FILL:
            task = SliceTask(case, self._structures, _no_teacher, self._cache, quiet)
            return Found(interpolate_morphologically(task).labels, None)
        if self._trains(arm, slices):
            return _suggesting(self._trained(arm, case, len(slices), quiet))
        plane = plane_of_axis(case.image, "K")
        few = FewSlices(case.image, case.labels, self._structures, self._cache, plane=plane)
        if arm == REGISTRATION or self._teacher is None:
            return _suggesting(few.by_registration(monitor=quiet))
        return _suggesting(few.with_foundation_model(self._teacher, monitor=quiet))

    def _trains(self, arm: str, slices: tuple[int, ...]) -> bool:
        return self._job.steps > 0 and arm in STRATEGIES and len(slices) in TRAINED_AT

    def _trained(self, arm: str, case: LabeledCase, count: int, monitor: Monitor) -> Segmentation:
        """Return the proposal after training; a training that was stopped goes on."""
        folder = self._job.out / "training" / f"{self._volume}, {arm}, {count}, {self._job.steps}, {self._job.seed}"
        folder.mkdir(parents=True, exist_ok=True)
        config = replace(Config(), seed=self._job.seed, budget=BudgetConfig(minutes=None, steps=self._job.steps))
        if self._teacher is None:
            config = replace(config, teachers=replace(config.teachers, generalized=False))
        setup = FineTuneSetup(
            cases=[case],
            unlabeled=[],
            structures=self._structures,
            plane=plane_of_axis(case.image, "K"),
            config=config,
            device=select_device(self._job.device),
            teacher=self._teacher,
            cache=self._cache,
        )
        state = train(setup, folder, monitor, resume=has_checkpoint(folder))
        return propose(state, folder, monitor).segmentation

    def _dice(self, labels: Volume, slices: tuple[int, ...]) -> float:
        excluded = [AnnotatedSlices("K", slices)]
        found = evaluate(labels, self._reference, structures=self._structures, excluded=excluded)
        return round(found.mean_dice, 5)


def _suggesting(found: Segmentation) -> Found:
    suggested = found.next_slices.slices[:1] if found.next_slices else ()
    return Found(found.labels, suggested[0].index if suggested else None)


def _no_teacher() -> PromptableModel:
    raise AssertionError  # filling between slices asks nobody
