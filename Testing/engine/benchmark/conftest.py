"""A small generated set in the layout of hippocampus, a real method that learns it at once, and results by hand."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from uncol.benchmark.cases import CaseReader, Cases
from uncol.benchmark.runs import RunResult, RunSpec, TrainedRun, Trainer
from uncol.benchmark.scores import LabelScore, Prediction, UncertaintyScore
from uncol.benchmark.suites import BENCHMARKS
from uncol.core.progress import Monitor, Progress
from uncol.core.volume import Volume
from uncol.data.io import write_results

SHAPE_KJI = (8, 10, 12)
TRAIN = [f"hippocampus_{number:03d}" for number in range(1, 7)]
TEST = ["hippocampus_101", "hippocampus_102"]
MACHINE = {"system": "Linux", "processor": "A processor", "cores": 2, "threads": 1, "accelerator": None}


def _write_case(folder: Path, case_id: str, image: np.ndarray, labels: np.ndarray) -> None:
    """Write voxels (K, J, I) as a case of a benchmark folder; I runs to the left, 1 x 1 x 2 mm."""
    grid = np.diag([-1.0, -1.0, 2.0, 1.0])
    write_results(folder / "images", {f"{case_id}.nii.gz": Volume(image.astype(np.float32), grid)}, {})
    write_results(folder / "labels", {f"{case_id}.nii.gz": Volume(labels.astype(np.uint8), grid)}, {})


def _phantom_case(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return image and labels (K, J, I): an anterior block of 60 and a posterior one of 100 in noise round 20."""
    generator = np.random.default_rng(seed)
    labels = np.zeros(SHAPE_KJI, dtype=np.uint8)
    start = generator.integers(1, 3)
    labels[2:6, start : start + 3, 2:9] = 1
    labels[2:6, start + 3 : start + 6, 2:9] = 2
    return np.array([20.0, 60.0, 100.0])[labels] + generator.normal(0, 4, SHAPE_KJI), labels


@pytest.fixture(scope="session")
def phantom_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder whose `hippocampus` has six training and two test cases; two or four are labeled."""
    data = tmp_path_factory.mktemp("data")
    for seed, case_id in enumerate([*TRAIN, *TEST]):
        _write_case(data / "hippocampus", case_id, *_phantom_case(seed))
    _write_splits(data / "hippocampus", train=TRAIN, test=TEST, labeled_2=TRAIN[::3], labeled_4=TRAIN[:4])
    return data


def _write_splits(folder: Path, **lists: object) -> None:
    """Write a `splits.json`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "splits.json").write_text(json.dumps(lists))


@pytest.fixture
def reader(phantom_data: Path) -> CaseReader:
    """The cases of the generated set."""
    return CaseReader(BENCHMARKS["hippocampus"], phantom_data)


def _train_thresholds(spec: RunSpec, cases: Cases, folder: Path, monitor: Monitor) -> TrainedRun:
    """Learn the mean grey value of every class, one labeled case a step; each voxel then goes to the nearest.

    It saves what it has learned at every step and goes on from there, as a trainer must.
    """
    saved = folder / "learned.json"
    learned: list[list[float]] = json.loads(saved.read_text()) if saved.exists() else []
    labeled = list(cases.labeled.values())
    for step in range(len(learned), spec.steps):
        monitor.check()
        case = labeled[step % len(labeled)]
        classes = range(len(cases.structures) + 1)
        learned.append([float(case.image.voxels[case.labels.voxels == value].mean()) for value in classes])
        saved.write_text(json.dumps(learned))
        monitor.report(Progress("Learning", step / spec.steps, step=step + 1, losses={"supervised": 1 / (step + 1)}))
    means = np.mean(learned, axis=0)

    def predictions() -> Iterator[tuple[str, Prediction]]:
        for case_id, image in cases.test.items():
            nearest = np.abs(image.voxels[..., None] - means).argmin(-1)
            yield case_id, Prediction(image.with_voxels(nearest.astype(np.uint8)))

    curve = [{"step": step + 1, "stage": 1, "supervised": 1 / (step + 1)} for step in range(spec.steps)]
    return TrainedRun(predictions(), {"steps": spec.steps, "seconds": 1.0, "curve": curve})


def _spec_of(method: str = "uncol", labeled: int = 2, seed: int = 0, steps: int = 3, **config: object) -> RunSpec:
    """Return a run on the generated set."""
    return RunSpec("hippocampus", method, labeled, seed, steps, {"seed": seed, **config})


@pytest.fixture
def make_result() -> Callable[..., RunResult]:
    """Return `_result_of`: a finished run with scores by hand."""
    return _result_of


@pytest.fixture
def make_spec() -> Callable[..., RunSpec]:
    """Return `_spec_of`: a run on the generated set."""
    return _spec_of


@pytest.fixture
def write_case() -> Callable[..., None]:
    """Return `_write_case`."""
    return _write_case


@pytest.fixture
def write_splits() -> Callable[..., None]:
    """Return `_write_splits`."""
    return _write_splits


@pytest.fixture
def small_set(write_case: Callable[..., None], write_splits: Callable[..., None]) -> Callable[[Path], Path]:
    """Return a function that writes a set of three cases: a is labeled, b is not, c is tested."""

    def write(data: Path) -> Path:
        labels = np.arange(24).reshape(2, 3, 4) % 3
        for case_id in "abc":
            write_case(data / "hippocampus", case_id, np.arange(24.0).reshape(2, 3, 4), labels)
        write_splits(data / "hippocampus", train=["a", "b"], test=["c"], labeled_1=["a"])
        return data

    return write


@pytest.fixture
def train_thresholds() -> Trainer:
    """Return `_train_thresholds`, a method that learns thresholds of the grey value."""
    return _train_thresholds


def _result_of(
    method: str,
    dice: dict[str, float | tuple[float, float]],
    *,
    labeled: int = 8,
    seed: int = 0,
    steps: int = 1500,
    hd95_mm: float | None = 2.0,
    finished: str = "2026-01-01T00:00:00+00:00",
    benchmark: str = "hippocampus",
    dice_by_distance: tuple[tuple[float, float], ...] = (),
    uncertainty: tuple[UncertaintyScore, ...] = (),
    **config: object,
) -> RunResult:
    """Return a finished run with the Dice of each subject: one for all structures, or one for each."""
    structures = BENCHMARKS[benchmark].learned_structures
    scores = tuple(
        LabelScore(subject, subject, structure.name, value, hd95_mm, 1.0, 10, 10, dice_by_distance)
        for subject, given in dice.items()
        for structure, value in zip(structures, given if isinstance(given, tuple) else [given] * 9, strict=False)
    )
    curve = [{"step": step, "stage": 1 + (step > 700), "supervised": 700 / step} for step in range(100, 1501, 100)]
    return RunResult(
        spec=RunSpec(benchmark, method, labeled, seed, steps, {"seed": seed, **config}),
        scores=scores,
        uncertainty=uncertainty,
        record={"steps": steps, "seconds": 60.0, "curve": curve},
        versions={"uncol": "0"},
        machine=MACHINE,
        finished=finished,
    )
