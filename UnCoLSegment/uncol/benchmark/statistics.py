"""Means with what they can be believed to: intervals over cases and seeds, and paired differences."""

from __future__ import annotations

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
    """A mean and its 95 % bootstrap interval."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class SubjectDice:
    """Mean Dice of one method.

    Attributes:
        seeds: Seeds of the runs, in order.
        subjects: Subjects, in order.
        values: Mean Dice (seeds, subjects) over the structures and images of a subject.
    """

    seeds: tuple[int, ...]
    subjects: tuple[str, ...]
    values: NDArray[np.float64]


def subject_dice(results: Sequence[RunResult]) -> SubjectDice:
    """Return the mean Dice of each subject under each seed.

    Several images of one subject (two phases of a heart) are no independent cases: they count as one.

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
    return SubjectDice(seeds, subjects, np.array(values))


def mean_interval(dice: SubjectDice) -> Interval:
    """Return the mean Dice over subjects and seeds with its interval."""
    return bootstrap(dice.values)


def paired_difference(ours: SubjectDice, theirs: SubjectDice) -> Interval | None:
    """Return by how much one method's Dice is above another's on the same subjects and seeds; None if there are none.

    The differences are resampled, not the two methods by themselves: what makes a case hard for both cancels.
    """
    seeds = [seed for seed in ours.seeds if seed in theirs.seeds]
    subjects = [subject for subject in ours.subjects if subject in theirs.subjects]
    if not seeds or not subjects:
        return None
    mine, other = (
        each.values[np.ix_([each.seeds.index(s) for s in seeds], [each.subjects.index(s) for s in subjects])]
        for each in (ours, theirs)
    )
    return bootstrap(mine - other)


def bootstrap(values: NDArray[np.float64]) -> Interval:
    """Return the mean of a table (seeds, subjects) and the percentile interval of its bootstrap.

    A replicate draws subjects with replacement, and seeds with replacement: every drawn seed counts for all subjects
    of the replicate, because one training decides about all of them. Drawing seeds anew for each subject would average
    the luck of a training away and give intervals that are too narrow.

    Source:
        Owen, "The pigeonhole bootstrap", Annals of Applied Statistics 1(2), 2007, doi:10.1214/07-AOAS122.
    """
    generator = np.random.default_rng(_SEED)
    seed_parts, subject_parts = (_drawn_parts(count, generator) for count in values.shape)
    means = np.einsum("rs,sn,rn->r", seed_parts, values, subject_parts, optimize=True)
    low, high = np.percentile(means, _PERCENTILES)
    return Interval(float(values.mean()), float(low), float(high))


def _drawn_parts(count: int, generator: np.random.Generator) -> NDArray[np.float64]:
    """Return for each replicate which part of its draws every item has: (replicates, count), rows sum to 1."""
    drawn = generator.multinomial(count, np.full(count, 1 / count), size=_REPLICATES)
    parts: NDArray[np.float64] = drawn / count
    return parts
