"""Finished runs as rows of a table: one for each method and label count, with its distance to UnCoL."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from uncol.benchmark.runs import RunResult
from uncol.benchmark.scores import LabelScore
from uncol.benchmark.statistics import Interval, SubjectDice, mean_interval, paired_difference, subject_dice
from uncol.benchmark.suites import SUPERVISED_ALL, UNCOL, Benchmark


@dataclass(frozen=True)
class Row:
    """One method at one label count.

    Attributes:
        method: Name of the method.
        labeled: Labeled subjects; with slices: every how manieth is annotated.
        seeds: Seeds of its runs.
        dice: Mean over structures, images and seeds, with its interval.
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
        auroc: How well the uncertainty finds errors near boundaries, mean over cases and seeds; None without any.
        calibration_error: Expected calibration error there, likewise.
        has_uncertainty: Whether the uncertainty of any run was scored.
    """

    method: str
    labeled: int
    seeds: tuple[int, ...]
    dice: Interval
    dice_by_structure: Mapping[str, float]
    hd95_mm: float | None
    undefined_distances: int
    distances: int
    advantage: Interval | None
    training_steps: int
    seconds: float
    curves: tuple[Sequence[Mapping[str, Any]], ...]
    dice_by_distance: Mapping[float, float]
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
    """Return the comparisons on a benchmark, one for each number of steps."""
    own = [result for result in results if result.spec.benchmark == benchmark.name]
    return [
        _compare([result for result in own if result.spec.steps == steps], benchmark, steps)
        for steps in sorted({result.spec.steps for result in own})
    ]


def _compare(results: Sequence[RunResult], benchmark: Benchmark, steps: int) -> Comparison:
    cells: dict[tuple[str, int], list[RunResult]] = {}
    for result in results:
        cells.setdefault((result.spec.method, result.spec.labeled), []).append(result)
    newest = {cell: _with_newest_settings(found) for cell, found in cells.items()}
    counts = sorted({labeled for method, labeled in newest if method != SUPERVISED_ALL}) or [
        labeled for _, labeled in newest
    ]
    used = sum(len(found) for found in newest.values())
    return Comparison(
        benchmark=benchmark,
        steps=steps,
        groups={count: _rows(newest, benchmark, count) for count in counts},
        left_out=len(results) - used,
        image_count=len({score.case for result in results for score in result.scores}),
        subject_count=len({score.subject for result in results for score in result.scores}),
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
    dice, structures = subject_dice(results), dict.fromkeys(score.structure for score in scores)
    distances = [score.hd95_mm for score in scores if score.hd95_mm is not None]
    doubts = [score for result in results for score in result.uncertainty]
    return Row(
        method=spec.method,
        labeled=spec.labeled,
        seeds=dice.seeds,
        dice=mean_interval(dice),
        dice_by_structure={
            name: fmean(score.dice for score in scores if score.structure == name) for name in structures
        },
        hd95_mm=_mean_of_defined(distances),
        undefined_distances=len(scores) - len(distances),
        distances=len(scores),
        advantage=None if ours is None or spec.method == UNCOL else paired_difference(ours, dice),
        training_steps=round(fmean(result.record.get("steps", spec.steps) for result in results)),
        seconds=fmean(result.record.get("seconds", 0.0) for result in results),
        curves=tuple(result.record.get("curve", ()) for result in results),
        dice_by_distance=_dice_by_distance(scores),
        auroc=_mean_of_defined([score.error_detection_auroc for score in doubts]),
        calibration_error=_mean_of_defined([score.expected_calibration_error for score in doubts]),
        has_uncertainty=bool(doubts),
    )


def _dice_by_distance(scores: Sequence[LabelScore]) -> dict[float, float]:
    found: dict[float, list[float]] = {}
    for score in scores:
        for distance_mm, dice in score.dice_by_distance:
            found.setdefault(distance_mm, []).append(dice)
    return {distance_mm: fmean(found[distance_mm]) for distance_mm in sorted(found)}


def _mean_of_defined(values: Iterable[float | None]) -> float | None:
    defined = [value for value in values if value is not None]
    return fmean(defined) if defined else None


def describe_machine(machine: Mapping[str, Any]) -> str:
    """Return a kind of machine in words."""
    threads = machine["threads"]
    parts = [machine["accelerator"], machine["processor"], f"{threads} thread{'s' if threads > 1 else ''}"]
    return ", ".join(part for part in parts if part)
