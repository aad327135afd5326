"""The runs of a comparison: which there are, what each one is, and where its result is kept."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Self

from uncol.benchmark.jobs import Choice
from uncol.benchmark.method_names import WITHOUT_TRAINING
from uncol.benchmark.scores import LabelScore, UncertaintyScore
from uncol.benchmark.splits import Splits
from uncol.benchmark.suites import BENCHMARKS, SUPERVISED_ALL, Benchmark, check_methods, config_document
from uncol.core.errors import ConfigError, DataError
from uncol.core.files import read_limited
from uncol.core.foundation_choice import LITE_MEDSAM, Family
from uncol.core.jobs import Device
from uncol.core.methods import METHODS
from uncol.core.records import from_document, to_document
from uncol.core.strict_json import read_json
from uncol.data.io import write_results

_LARGEST_FILE_BYTES = 256 << 20
_FORMAT = 1
_HASH_LENGTH = 8
_FORMER_ROTATION_DEG = 12.0
"""What was in force before the rotation could be chosen."""
_ASKING = {
    *(name for name, method in METHODS.items() if method.uses_foundation_model),
    *(name for name, method in WITHOUT_TRAINING.items() if method.uses_foundation_model),
}
"""Methods whose outcome depends on the foundation model."""


@dataclass(frozen=True)
class RunSpec:
    """Everything that decides about the outcome of a run, and the device that it runs on.

    Attributes:
        benchmark: Name of the benchmark.
        method: Name of the method.
        labeled: Number of labeled subjects; with slices: every how manieth is annotated.
        seed: Seed of all randomness.
        steps: Training steps.
        config: The effective configuration, a JSON object.
        device: auto, cpu, cuda or mps.
        foundation: Family of the foundation model that takes part, if one does; earlier runs name none.
        weights_sha256: SHA-256 of its weights; none for those of LiteMedSAM, which are always the same.
    """

    benchmark: str
    method: str
    labeled: int
    seed: int
    steps: int
    config: dict[str, Any]
    device: Device = "auto"
    foundation: Family = LITE_MEDSAM.family
    weights_sha256: str = ""

    @property
    def settings_hash(self) -> str:
        """What distinguishes configuration and foundation model from others, whatever the seed."""
        settings = {name: value for name, value in self.config.items() if name != "seed"}
        # The names of earlier runs stay as they are.
        if settings.get("data", {}).get("rotation_deg") == _FORMER_ROTATION_DEG:
            settings["data"] = _without(settings["data"], "rotation_deg")
        if "teachers" in settings and not self._registers:
            settings["teachers"] = _without(settings["teachers"], "registration")
        if self.foundation != LITE_MEDSAM.family:
            settings["foundation"] = self.foundation
        if self.weights_sha256:
            settings["weights_sha256"] = self.weights_sha256
        return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:_HASH_LENGTH]

    @property
    def key(self) -> str:
        """Name of the run in files: another configuration is another run."""
        parts = (self.benchmark, self.method, f"{self.labeled}", f"seed{self.seed}", f"{self.steps}steps")
        return "-".join((*parts, self.settings_hash))

    @property
    def _registers(self) -> bool:
        """Whether annotated slices are carried to others in this run."""
        return METHODS[self.method].registration and BENCHMARKS[self.benchmark].supervision == "slices"

    @property
    def of_model(self) -> RunSpec | None:
        """The run of the same training whose result is the model's own; None unless this one proposes."""
        if self.method in WITHOUT_TRAINING or not METHODS[self.method].proposal_of:
            return None
        method = METHODS[self.method].proposal_of
        config = config_document(BENCHMARKS[self.benchmark], method, self.seed, self.steps)
        asked = (self.foundation, self.weights_sha256) if method in _ASKING else ()
        return RunSpec(self.benchmark, method, self.labeled, self.seed, self.steps, config, self.device, *asked)

    @property
    def title(self) -> str:
        """The run in words."""
        labels = BENCHMARKS[self.benchmark].label_text(self.labeled)
        return f"{self.benchmark}: {self.method}, {labels}, seed {self.seed}"


def _without(settings: dict[str, Any], left_out: str) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if name != left_out}


def plan_runs(benchmark: Benchmark, splits: Splits, choice: Choice) -> list[RunSpec]:
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
    steps, pairs = choice.steps or benchmark.steps, list(dict.fromkeys(_pairs(benchmark, splits, choice, counts)))

    def spec(method: str, labeled: int, seed: int) -> RunSpec:
        config = config_document(benchmark, method, seed, steps)
        foundation = (choice.foundation, choice.weights_sha256) if method in _ASKING else ()
        return RunSpec(benchmark.name, method, labeled, seed, steps, config, choice.device, *foundation)

    seeds = range(choice.seeds or benchmark.seeds)
    return [spec(method, labeled, seed) for seed in seeds for method, labeled in pairs]


def _pairs(benchmark: Benchmark, splits: Splits, choice: Choice, counts: list[int]) -> Iterator[tuple[str, int]]:
    for count in counts:
        for method in benchmark.methods:
            if method in (choice.methods or benchmark.default_methods(count)):
                yield method, len(splits.train) if method == SUPERVISED_ALL else count


@dataclass(frozen=True)
class RunResult:
    """A finished run.

    Attributes:
        spec: What was run.
        finished: When it ended, ISO 8601 in UTC.
        versions: Versions of the programs by name.
        machine: What kind of machine it was.
        record: What the trainer says about the training.
        scores: Every structure in every test case.
        uncertainty: What the uncertainty of each test case is worth; of runs without one, and of earlier ones, none.
    """

    spec: RunSpec
    finished: str
    versions: dict[str, str]
    machine: dict[str, Any]
    record: dict[str, Any]
    scores: tuple[LabelScore, ...]
    uncertainty: tuple[UncertaintyScore, ...] = ()

    def as_document(self) -> dict[str, Any]:
        """Return the result as a JSON object; the fields of the run stand among its own."""
        document = to_document(self)
        return {"format": _FORMAT, **document.pop("spec"), **document}

    @classmethod
    def from_document(cls, document: dict[str, Any]) -> Self:
        """Take the result from a JSON object.

        Raises:
            ConfigError: If it is not one.
        """
        names = {each.name for each in fields(RunSpec)}
        own = {name: value for name, value in document.items() if name not in names}
        own["spec"] = {name: value for name, value in document.items() if name in names}
        return from_document(cls, own, "Result", passed_over=("format",))


class RunStore:
    """The runs of an output folder.

    Args:
        folder: Finished runs are in its folder `runs`, one file each; unfinished ones have a folder in `unfinished`.
    """

    def __init__(self, folder: Path) -> None:
        self._finished, self._unfinished = folder / "runs", folder / "unfinished"

    def is_finished(self, spec: RunSpec) -> bool:
        """Say whether the result of a run stands."""
        return self._file(spec).exists()

    def working_folder(self, spec: RunSpec) -> Path:
        """Return the folder in which a run keeps what it needs to go on."""
        folder = self._unfinished / spec.key
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def save(self, result: RunResult) -> None:
        """Write the result of a run, whole or not at all, and remove what it needed to go on.

        Raises:
            OutputError: If it could not be written.
        """
        write_results(self._finished, {}, {self._file(result.spec).name: json.dumps(result.as_document()) + "\n"})
        shutil.rmtree(self._unfinished / result.spec.key, ignore_errors=True)

    def results(self) -> list[RunResult]:
        """Return all finished runs, by name.

        Raises:
            DataError: If a file is damaged.
        """
        return [_read(path) for path in sorted(self._finished.glob("*.json"))]

    def _file(self, spec: RunSpec) -> Path:
        return self._finished / f"{spec.key}.json"


def _read(path: Path) -> RunResult:
    try:
        return RunResult.from_document(read_json(read_limited(path, _LARGEST_FILE_BYTES)))
    except (OSError, ValueError, AttributeError, ConfigError) as error:
        message = f'"{path}" is not the result of a run ({error!r}). Delete it to repeat the run.'
        raise DataError(message) from error
