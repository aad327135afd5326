"""One run of a benchmark: what it is, who carries it out, and where its result is kept."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from uncol.benchmark.cases import Cases
from uncol.benchmark.locks import try_lock
from uncol.benchmark.scores import LabelScore, Prediction, UncertaintyScore
from uncol.benchmark.suites import BENCHMARKS
from uncol.core.errors import DataError
from uncol.core.jobs import Device
from uncol.core.progress import Monitor
from uncol.data.io import write_results
from uncol.foundation.loading import LITE_MEDSAM, Family

_FORMAT = 1
_HASH_LENGTH = 8
_FORMER_ROTATION_DEG = 12.0
"""What was in force before the rotation could be chosen."""


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
        foundation: Family of the foundation model that takes part, if one does.
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
            settings["data"] = {name: value for name, value in settings["data"].items() if name != "rotation_deg"}
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
    def title(self) -> str:
        """The run in words."""
        return (
            f"{self.benchmark}: {self.method}, {BENCHMARKS[self.benchmark].label_text(self.labeled)}, seed {self.seed}"
        )


@dataclass(frozen=True)
class TrainedRun:
    """What a trainer hands back.

    Attributes:
        predictions: Name of each test case and what was found in it, made one by one as they are asked for.
        record: A JSON object: `steps` and `seconds` of the training over all sittings, `curve` (points with `step`,
            `seconds` and losses by name), and whatever else explains the run.
    """

    predictions: Iterator[tuple[str, Prediction]]
    record: dict[str, Any]


Trainer = Callable[[RunSpec, Cases, Path, Monitor], TrainedRun]
"""Carries out a run: what, with which cases, in which folder, told to whom, until told to stop.

The folder belongs to this run alone. What an earlier call left there is gone on from; when told to stop, the trainer
saves a checkpoint there and raises `CancelledError`. It is removed when the result stands.
"""


@dataclass(frozen=True)
class RunResult:
    """A finished run.

    Attributes:
        spec: What was run.
        scores: Every structure in every test case.
        uncertainty: What the uncertainty of each test case is worth; of runs without one, and of earlier ones, none.
        record: What the trainer says about the training.
        versions: Versions of the programs by name.
        machine: What kind of machine it was.
        finished: When it ended, ISO 8601 in UTC.
    """

    spec: RunSpec
    scores: tuple[LabelScore, ...]
    uncertainty: tuple[UncertaintyScore, ...]
    record: dict[str, Any]
    versions: dict[str, str]
    machine: dict[str, Any]
    finished: str

    def as_document(self) -> dict[str, Any]:
        """Return the result as a JSON object."""
        return {
            "format": _FORMAT,
            **asdict(self.spec),
            "finished": self.finished,
            "versions": self.versions,
            "machine": self.machine,
            "record": self.record,
            "scores": [each.as_document() for each in self.scores],
            "uncertainty": [asdict(each) for each in self.uncertainty],
        }

    @classmethod
    def from_document(cls, document: dict[str, Any]) -> Self:
        """Take the result from a JSON object; a wrong one raises KeyError or TypeError."""
        fields = ("benchmark", "method", "labeled", "seed", "steps", "config", "device")
        return cls(
            spec=RunSpec(
                **{name: document[name] for name in fields},
                foundation=document.get("foundation", LITE_MEDSAM.family),  # earlier runs name none
                weights_sha256=document.get("weights_sha256", ""),
            ),
            scores=tuple(LabelScore.from_document(each) for each in document["scores"]),
            uncertainty=tuple(UncertaintyScore(**each) for each in document.get("uncertainty", ())),
            record=document["record"],
            versions=document["versions"],
            machine=document["machine"],
            finished=document["finished"],
        )


class RunStore:
    """The runs of an output folder, which several processes may share.

    Args:
        folder: Finished runs are in its folder `runs`, one file each; unfinished ones have a folder in `unfinished`.
    """

    def __init__(self, folder: Path) -> None:
        self._finished, self._unfinished, self._locks = folder / "runs", folder / "unfinished", folder / "locks"

    def is_finished(self, spec: RunSpec) -> bool:
        """Say whether the result of a run stands."""
        return self._file(spec).exists()

    def working_folder(self, spec: RunSpec) -> Path:
        """Return the folder in which a run keeps what it needs to go on."""
        folder = self._unfinished / spec.key
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    @contextmanager
    def claim(self, spec: RunSpec) -> Iterator[bool]:
        """Take a run for this process while the body runs.

        Yields:
            Whether it is there to be carried out: not finished, and no other process is at it.
        """
        lock = self._locks / spec.key
        with try_lock(lock) as is_held:
            yield is_held and not self.is_finished(spec)
            if is_held and self.is_finished(spec):
                with suppress(OSError):  # Windows keeps open files
                    lock.unlink(missing_ok=True)

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
        return RunResult.from_document(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError) as error:
        message = f'"{path}" is not the result of a run ({error!r}). Delete it to repeat the run.'
        raise DataError(message) from error
