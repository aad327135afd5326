"""Which runs a comparison consists of, in an order in which its table grows evenly."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from uncol.benchmark.runs import RunSpec
from uncol.benchmark.splits import Splits
from uncol.benchmark.suites import SUPERVISED_ALL, Benchmark, check_methods
from uncol.core.errors import ConfigError
from uncol.core.jobs import Device
from uncol.core.methods import METHODS
from uncol.foundation.loading import LITE_MEDSAM, Family

DEFAULT_SEEDS = 3

ConfigOf = Callable[[Benchmark, str, int, int], dict[str, Any]]
"""Gives the effective configuration of a method for a seed and a number of steps, as a JSON object."""

_ASKING = {name for name, method in METHODS.items() if method.asks_foundation_model}
"""Methods whose outcome depends on the foundation model."""


@dataclass(frozen=True)
class Choice:
    """What the user wants to be compared.

    Attributes:
        methods: Names; none leaves it to the benchmark.
        labeled: Label counts; none takes all of the benchmark.
        seeds: How many seeds: 0, 1, 2, ...
        steps: Training steps of a run; None leaves it to the benchmark.
        device: Where to train.
        foundation: Family of the foundation model.
        weights_sha256: SHA-256 of its weights; none for those of LiteMedSAM, which are always the same.
    """

    methods: tuple[str, ...] = ()
    labeled: tuple[int, ...] = ()
    seeds: int = DEFAULT_SEEDS
    steps: int | None = None
    device: Device = "auto"
    foundation: Family = LITE_MEDSAM.family
    weights_sha256: str = ""

    def __post_init__(self) -> None:
        for option, value in (("--seeds", self.seeds), ("--steps", self.steps)):
            if value is not None and value < 1:
                message = f"{option} must be at least 1, got {value}."
                raise ConfigError(message)


def plan_runs(benchmark: Benchmark, splits: Splits, choice: Choice, config_of: ConfigOf) -> list[RunSpec]:
    """Return the runs of a benchmark: seed by seed, the count at which all methods are compared first.

    A run on all labels is the same at every label count and occurs once for each seed.

    Raises:
        ConfigError: If a method or a label count does not exist.
    """
    check_methods(choice.methods, benchmark)
    counts = sorted(
        choice.labeled or benchmark.labeled_counts, key=lambda count: (count != benchmark.must_count, count)
    )
    for count in counts:
        splits.labeled_subjects(count)
    steps = choice.steps or benchmark.steps
    pairs = list(dict.fromkeys(_pairs(benchmark, splits, choice.methods, counts)))
    return [
        RunSpec(
            benchmark.name,
            method,
            labeled,
            seed,
            steps,
            config_of(benchmark, method, seed, steps),
            choice.device,
            *((choice.foundation, choice.weights_sha256) if method in _ASKING else ()),
        )
        for seed in range(choice.seeds)
        for method, labeled in pairs
    ]


def _pairs(
    benchmark: Benchmark, splits: Splits, chosen: tuple[str, ...], counts: list[int]
) -> Iterator[tuple[str, int]]:
    for count in counts:
        for method in benchmark.methods:
            if method in (chosen or benchmark.default_methods(count)):
                yield method, len(splits.train) if method == SUPERVISED_ALL else count
