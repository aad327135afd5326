"""Finished runs as rows of a table, with what their means can be believed to and their distance to UnCoL.

Intervals are over subjects and seeds, differences are paired by both.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import numpy as np
from numpy.typing import NDArray

from uncol.benchmark.runs import RunResult
from uncol.benchmark.scores import LabelScore, PartScore
from uncol.benchmark.suites import BENCHMARKS, SUPERVISED_ALL, UNCOL, Benchmark

_REPLICATES = 10_000
_SEED = 0
_PERCENTILES = (2.5, 97.5)


@dataclass(frozen=True)
class Interval:
    """A mean and its 95 % bootstrap interval, from minus to plus infinity where a single value says nothing of it."""

    mean: float
    low: float
    high: float

    @property
    def is_bounded(self) -> bool:
        """Whether there was more than one value."""
        return math.isfinite(self.low)

    @property
    def shown(self) -> tuple[float, float]:
        """The ends as a picture shows them: the mean itself where there are none."""
        return (self.low, self.high) if self.is_bounded else (self.mean, self.mean)


@dataclass(frozen=True)
class SubjectDice:
    """Mean Dice of one method.

    Attributes:
        seeds: Seeds of the runs, in order.
        subjects: Subjects, in order.
        values: Mean Dice (seeds, subjects) over the structures and images of a subject.
        image_counts: How many images each subject has (subjects,).
    """

    seeds: tuple[int, ...]
    subjects: tuple[str, ...]
    values: NDArray[np.float64]
    image_counts: NDArray[np.float64]


@dataclass(frozen=True)
class PartMeans:
    """One structure, or the mean over all, in a part of the slices that nobody annotated.

    Attributes:
        dice: Mean Dice where anything is shown or found; None where nothing ever is.
        wrong: Wrong voxels there, as a part of all voxels of the structure that are scored.
    """

    dice: float | None
    wrong: float


@dataclass(frozen=True)
class Row:
    """One method at one label count.

    Attributes:
        method: Name of the method.
        labeled: Labeled subjects; with slices: every how manieth is annotated.
        seeds: Seeds of its runs.
        dice: Mean over structures, images and seeds, with its interval.
        subjects: Mean Dice of each subject under each seed, by which rows are paired.
        dice_by_structure: Mean over cases and seeds by name of the structure.
        hd95_mm: Mean over structures, cases and seeds where it is defined; None where it never is.
        undefined_distances: In how many it is not, because one mask was empty.
        distances: How many there are with the undefined ones.
        advantage: UnCoL's Dice minus this method's at the same label count, on the same cases and seeds; None for
            UnCoL itself and where it was not run.
        training_steps: Mean over the runs.
        seconds: Mean time of the training.
        curves: For each run the points of its learning curve.
        dice_by_distance: By distance to the nearest annotated slice, in mm: mean Dice over structures and seeds.
        inside: By name of the structure, between the annotated slices that show it; empty where it was not scored.
        beyond: In the other slices that nobody annotated, likewise.
        auroc: How well the uncertainty finds errors near boundaries, mean over cases and seeds; None without any.
        calibration_error: Expected calibration error there, likewise.
        has_uncertainty: Whether the uncertainty of any run was scored.
    """

    method: str
    labeled: int
    seeds: tuple[int, ...]
    dice: Interval
    subjects: SubjectDice
    dice_by_structure: Mapping[str, float]
    hd95_mm: float | None
    undefined_distances: int
    distances: int
    advantage: Interval | None
    training_steps: int
    seconds: float
    curves: tuple[Sequence[Mapping[str, Any]], ...]
    dice_by_distance: Mapping[float, float]
    inside: Mapping[str, PartMeans]
    beyond: Mapping[str, PartMeans]
    auroc: float | None
    calibration_error: float | None
    has_uncertainty: bool


@dataclass(frozen=True)
class Comparison:
    """Everything that was run on one benchmark with one number of steps.

    Attributes:
        benchmark: The benchmark.
        steps: Steps that every run was given.
        groups: The rows at each label count, in the order of the methods; what is trained on all labels is in each.
        left_out: Finished runs that are not in the rows, because the method was run again with other settings since.
        image_count: How many images were tested.
        subject_count: How many subjects they show.
        machines: Kinds of machines on which the runs were carried out.
    """

    benchmark: Benchmark
    steps: int
    groups: Mapping[int, tuple[Row, ...]]
    left_out: int
    image_count: int
    subject_count: int
    machines: tuple[str, ...]


def compare(results: Iterable[RunResult], benchmark: Benchmark) -> list[Comparison]:
    """Return the comparisons on a benchmark, of folds on all of them, one for each number of steps."""
    own = [result for result in results if BENCHMARKS[result.spec.benchmark].table == benchmark.table]
    return [
        _compare([result for result in own if result.spec.steps == steps], benchmark, steps)
        for steps in sorted({result.spec.steps for result in own})
    ]


def _compare(results: Sequence[RunResult], benchmark: Benchmark, steps: int) -> Comparison:
    cells: dict[tuple[str, int], list[RunResult]] = defaultdict(list)
    for result in results:
        cells[result.spec.method, result.spec.labeled].append(result)
    newest = {cell: _with_newest_settings(found) for cell, found in cells.items()}
    counts = sorted({labeled for method, labeled in newest if method != SUPERVISED_ALL})
    scores = [score for result in results for score in result.scores]
    return Comparison(
        benchmark,
        steps,
        groups={count: _rows(newest, benchmark, count) for count in counts or [labeled for _, labeled in newest]},
        left_out=len(results) - sum(len(found) for found in newest.values()),
        image_count=len({score.case for score in scores}),
        subject_count=len({score.subject for score in scores}),
        machines=tuple(sorted({describe_machine(result.machine) for result in results})),
    )


def _with_newest_settings(results: Sequence[RunResult]) -> list[RunResult]:
    newest = max(results, key=lambda result: result.finished).spec.settings_hash
    return [result for result in results if result.spec.settings_hash == newest]


def _rows(cells: Mapping[tuple[str, int], list[RunResult]], benchmark: Benchmark, count: int) -> tuple[Row, ...]:
    ours = subject_dice(cells[UNCOL, count]) if (UNCOL, count) in cells else None
    return tuple(
        _row(found, ours)
        for method in benchmark.methods
        for (name, labeled), found in cells.items()
        if name == method and (labeled == count or method == SUPERVISED_ALL)
    )


def _row(results: Sequence[RunResult], ours: SubjectDice | None) -> Row:
    spec, scores = results[0].spec, [score for result in results for score in result.scores]
    dice, uncertainty = subject_dice(results), [score for result in results for score in result.uncertainty]
    distances = [score.hd95_mm for score in scores]
    return Row(
        method=spec.method,
        labeled=spec.labeled,
        seeds=dice.seeds,
        dice=bootstrap(dice.values, dice.image_counts),
        subjects=dice,
        dice_by_structure=_means((score.structure, score.dice) for score in scores),
        hd95_mm=_mean_of_defined(distances),
        undefined_distances=distances.count(None),
        distances=len(scores),
        advantage=None if ours is None or spec.method == UNCOL else paired_difference(ours, dice),
        training_steps=round(fmean(result.record.get("steps", spec.steps) for result in results)),
        seconds=fmean(result.record.get("seconds", 0.0) for result in results),
        curves=tuple(result.record.get("curve", ()) for result in results),
        dice_by_distance=dict(sorted(_means(pair for score in scores for pair in score.dice_by_distance).items())),
        inside=_part_means((score, score.inside) for score in scores),
        beyond=_part_means((score, score.beyond) for score in scores),
        auroc=_mean_of_defined(score.error_detection_auroc for score in uncertainty),
        calibration_error=_mean_of_defined(score.expected_calibration_error for score in uncertainty),
        has_uncertainty=bool(uncertainty),
    )


def _part_means(parts: Iterable[tuple[LabelScore, PartScore | None]]) -> dict[str, PartMeans]:
    found: dict[str, list[tuple[LabelScore, PartScore]]] = defaultdict(list)
    for score, part in parts:
        if part is not None:
            found[score.structure].append((score, part))
    return {
        name: PartMeans(
            _mean_of_defined(part.dice for _, part in each),
            fmean(part.wrong_voxels / max(1, score.reference_voxels) for score, part in each),
        )
        for name, each in found.items()
    }


def mean_part(parts: Mapping[str, PartMeans]) -> PartMeans:
    """Return the mean over the structures, at least one."""
    return PartMeans(
        _mean_of_defined(each.dice for each in parts.values()), fmean(each.wrong for each in parts.values())
    )


def _means(pairs: Iterable[tuple[Any, float]]) -> dict[Any, float]:
    found = defaultdict(list)
    for name, value in pairs:
        found[name].append(value)
    return {name: fmean(values) for name, values in found.items()}


def _mean_of_defined(values: Iterable[float | None]) -> float | None:
    defined = [value for value in values if value is not None]
    return fmean(defined) if defined else None


def describe_machine(machine: Mapping[str, Any]) -> str:
    """Return a kind of machine in words."""
    threads = machine["threads"]
    parts = [machine["accelerator"], machine["processor"], f"{threads} thread{'s' if threads > 1 else ''}"]
    return ", ".join(part for part in parts if part)


def subject_dice(results: Sequence[RunResult]) -> SubjectDice:
    """Return the mean Dice of each subject under each seed.

    Several images of one subject (two phases of a heart, two sides of a brain) are no independent cases. A seed counts
    when it has as many folds as any other.

    Args:
        results: Runs of one method that differ in their seed or fold alone.
    """
    scores: dict[int, list[LabelScore]] = defaultdict(list)
    for result in results:
        scores[result.spec.seed] += result.scores
    found = {seed: _means((score.subject, score.dice) for score in each) for seed, each in scores.items()}
    fullest = max(found, key=lambda seed: len(found[seed]))
    by_seed = {seed: means for seed, means in found.items() if means.keys() == found[fullest].keys()}
    images = sorted({(score.subject, score.case) for score in scores[fullest]})
    subjects = [subject for subject, _ in images]
    names, seeds = tuple(dict.fromkeys(subjects)), tuple(sorted(by_seed))
    values = np.array([[by_seed[seed][subject] for subject in names] for seed in seeds])
    return SubjectDice(seeds, names, values, np.array([subjects.count(each) for each in names], dtype=np.float64))


def paired_difference(ours: SubjectDice, theirs: SubjectDice) -> Interval | None:
    """Return by how much one method's Dice is above another's on the same subjects and seeds; None if there are none.

    The differences are resampled, not the two methods by themselves: what makes a case hard for both cancels.
    """
    _, our_seeds, their_seeds = np.intersect1d(ours.seeds, theirs.seeds, return_indices=True)
    _, our_subjects, their_subjects = np.intersect1d(ours.subjects, theirs.subjects, return_indices=True)
    if not our_seeds.size or not our_subjects.size:
        return None
    difference = ours.values[np.ix_(our_seeds, our_subjects)] - theirs.values[np.ix_(their_seeds, their_subjects)]
    return bootstrap(difference, ours.image_counts[our_subjects])


def bootstrap(values: NDArray[np.float64], image_counts: NDArray[np.float64]) -> Interval:
    """Return the mean over seeds and images of a table (seeds, subjects), and the percentile interval of its bootstrap.

    A replicate draws subjects with replacement, and seeds with replacement: every drawn seed counts for all subjects
    of the replicate, because one training decides about all of them. Drawing seeds anew for each subject would average
    the luck of a training away and give intervals that are too narrow. A single value has no spread to be seen.

    Args:
        values: One number for each seed and subject, the mean over the subject's images.
        image_counts: How many images each subject has (subjects,): it weighs as much, and is drawn as a whole.

    Source:
        Owen, "The pigeonhole bootstrap", Annals of Applied Statistics 1(2), 2007, doi:10.1214/07-AOAS122.
    """
    if values.size == 1:
        return Interval(float(values[0, 0]), -math.inf, math.inf)
    generator = np.random.default_rng(_SEED)
    seed_draws, subject_draws = (_draws(count, generator) for count in values.shape)
    sums = np.einsum("rs,sn,rn->r", seed_draws, values * image_counts, subject_draws, optimize=True)
    low, high = np.percentile(sums / (len(values) * (subject_draws @ image_counts)), _PERCENTILES)
    mean = (values * image_counts).sum() / (len(values) * image_counts.sum())
    return Interval(float(mean), float(low), float(high))


def _draws(count: int, generator: np.random.Generator) -> NDArray[np.float64]:
    """Return how often each replicate draws each of `count` items, with replacement: (replicates, count)."""
    return generator.multinomial(count, np.full(count, 1 / count), size=_REPLICATES).astype(np.float64)
