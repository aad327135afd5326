"""A small set of images for benchmarks, a real method that learns it at once, and runs and results by hand."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from uncol.benchmark.cases import Cases
from uncol.benchmark.prediction import Prediction
from uncol.benchmark.runs import RunResult, RunSpec
from uncol.benchmark.scores import LabelScore, UncertaintyScore
from uncol.benchmark.suites import BENCHMARKS
from uncol.benchmark.trainers import TrainedRun
from uncol.core.progress import Monitor, Progress
from uncol.core.volume import Volume
from uncol.data.io import write_results

SHAPE_KJI = (8, 10, 12)
TRAIN = [f"hippocampus_{number:03d}" for number in range(1, 7)]
TEST = ["hippocampus_101", "hippocampus_102"]
MACHINE = {"system": "Linux", "processor": "A processor", "cores": 2, "threads": 1, "accelerator": None}


def write_case(folder: Path, case_id: str, image: np.ndarray, labels: np.ndarray) -> None:
    """Write voxels (K, J, I) as a case of a benchmark folder; I runs to the left, 1 x 1 x 2 mm."""
    grid = np.diag([-1.0, -1.0, 2.0, 1.0])
    write_results(folder / "images", {f"{case_id}.nii.gz": Volume(image.astype(np.float32), grid)}, {})
    write_results(folder / "labels", {f"{case_id}.nii.gz": Volume(labels.astype(np.uint8), grid)}, {})


def phantom_case(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return image and labels (K, J, I): an anterior block of 60 and a posterior one of 100 in noise round 20."""
    generator = np.random.default_rng(seed)
    labels = np.zeros(SHAPE_KJI, dtype=np.uint8)
    start = generator.integers(1, 3)
    labels[2:6, start : start + 3, 2:9] = 1
    labels[2:6, start + 3 : start + 6, 2:9] = 2
    return np.array([20.0, 60.0, 100.0])[labels] + generator.normal(0, 4, SHAPE_KJI), labels


def write_splits(folder: Path, **lists: object) -> None:
    """Write a `splits.json`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "splits.json").write_text(json.dumps(lists))


def small_set(data: Path) -> Path:
    """Write a set of three cases: a is labeled, b is not, c is tested."""
    labels = np.arange(24).reshape(2, 3, 4) % 3
    for case_id in "abc":
        write_case(data / "hippocampus", case_id, np.arange(24.0).reshape(2, 3, 4), labels)
    write_splits(data / "hippocampus", train=["a", "b"], test=["c"], labeled_1=["a"])
    return data


def train_thresholds(spec: RunSpec, cases: Cases, folder: Path, monitor: Monitor) -> TrainedRun:
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
    of_model = predictions() if spec.of_model else None
    return TrainedRun(predictions(), {"steps": spec.steps, "seconds": 1.0, "curve": curve}, of_model)


def make_spec(method: str = "uncol", labeled: int = 2, seed: int = 0, steps: int = 3, **config: object) -> RunSpec:
    """Return a run on the generated set."""
    return RunSpec("hippocampus", method, labeled, seed, steps, {"seed": seed, **config})


def make_result(
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
