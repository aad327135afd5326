"""Means with what they can be believed to: intervals over cases and seeds, and paired differences."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np
from numpy.typing import NDArray

from uncol.benchmark.runs import RunResult

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


def subject_dice(results: Sequence[RunResult]) -> SubjectDice:
    """Return the mean Dice of each subject under each seed.

    Several images of one subject (two phases of a heart, two sides of a brain) are no independent cases.

    Args:
        results: Runs of one method that differ in their seed alone.
    """
    by_seed = {result.spec.seed: result for result in results}
    seeds = tuple(sorted(by_seed))
    subjects = tuple(sorted({score.subject for result in results for score in result.scores}))
    values = [
        [fmean(score.dice for score in by_seed[seed].scores if score.subject == subject) for subject in subjects]
        for seed in seeds
    ]
    images = {(score.subject, score.case) for result in results for score in result.scores}
    counts = [sum(subject == each for each, _ in images) for subject in subjects]
    return SubjectDice(seeds, subjects, np.array(values), np.array(counts, dtype=np.float64))


def mean_interval(dice: SubjectDice) -> Interval:
    """Return the mean Dice over subjects and seeds with its interval."""
    return bootstrap(dice.values, dice.image_counts)


def paired_difference(ours: SubjectDice, theirs: SubjectDice) -> Interval | None:
    """Return by how much one method's Dice is above another's on the same subjects and seeds; None if there are none.

    The differences are resampled, not the two methods by themselves: what makes a case hard for both cancels.
    """
    seeds = [seed for seed in ours.seeds if seed in theirs.seeds]
    subjects = [subject for subject in ours.subjects if subject in theirs.subjects]
    if not seeds or not subjects:
        return None
    places = [ours.subjects.index(subject) for subject in subjects]
    mine = ours.values[np.ix_([ours.seeds.index(seed) for seed in seeds], places)]
    other = theirs.values[
        np.ix_([theirs.seeds.index(seed) for seed in seeds], [theirs.subjects.index(each) for each in subjects])
    ]
    return bootstrap(mine - other, ours.image_counts[places])


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
