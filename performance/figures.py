"""Measure the figures of docs/benchmarks.md: every task through the real command line, one after the other.

    python performance/figures.py --data ../shared/data --out benchmarks/results/figures.json

A task that stands in the results already is left out, so an interrupted sitting goes on where it stopped.
A fine-tuned model segments alone; what fine-tuning proposes for the volume itself is scored beside it ("proposal").
Settings are tried on structures that stand in no table, with a configuration, steps and results of their own:

    python performance/figures.py --task development-14-slices --method model --config trial.json --out trial.out

The reference is used for three things only: the box of the first task, the slices that count as annotated,
and the score on all the other slices. Nothing is tuned or selected by it.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from uncol.core.volume import Volume
from uncol.data.io import read_image, read_labels, write_results
from uncol.data.shape_interpolation import ShapeInterpolation

CHAOS, BODY = "chaos_ct/{}/chaos_ct_liver.nii.gz", "totalseg_ct/{}/ts_body3mm.nii.gz"
LIVER = {"liver": 1}
SIX = {"spleen": 1, "kidney_right": 2, "kidney_left": 3, "liver": 5, "stomach": 6, "aorta": 52}
OTHERS = {"bladder": 21, "vena_cava": 63, "hip_left": 77, "iliopsoas_left": 88, "sacrum": 25, "spinal_cord": 79}
BUDGETS = {"first model": 1.5, "model": 5.0}
"""Minutes of fine-tuning."""


@dataclass(frozen=True)
class Task:
    """One row of the table: which volume, which structures, every how many slices are annotated."""

    name: str
    files: str
    structures: dict[str, int]
    every: int | None
    """Distance between annotated slices along K; None: one 3D box and no annotated slice."""
    goal: float


TASKS = [
    Task("chaos-box", CHAOS, LIVER, None, 0.90),
    Task("chaos-5-slices", CHAOS, LIVER, 16, 0.955),
    Task("chaos-10-slices", CHAOS, LIVER, 8, 0.975),
    Task("body-14-slices", BODY, SIX, 8, 0.90),
    Task("body-7-slices", BODY, SIX, 16, 0.80),
]
DEVELOPMENT_TASKS = [
    Task("development-14-slices", BODY, OTHERS, 8, 0.0),
    Task("development-7-slices", BODY, OTHERS, 16, 0.0),
]
"""Run when they are named only."""


def main() -> None:
    """Run the tasks that are not in the results yet."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/figures.json"))
    parser.add_argument("--task", action="append", help="only this task; repeatable")
    parser.add_argument("--method", action="append", help="only this method; repeatable")
    parser.add_argument("--keep", type=Path, help="keep models and segmentations here, one folder for each run")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--config", type=Path, help="configuration of the fine-tuning, for development")
    parser.add_argument("--steps", type=int, help="steps of the fine-tuning instead of minutes, for development")
    parser.add_argument("--cache", type=Path, help="embeddings for the fine-tuning, for development; new by default")
    chosen = parser.parse_args()
    results: list[dict[str, Any]] = json.loads(chosen.out.read_text()) if chosen.out.exists() else []
    for task in [*TASKS, *DEVELOPMENT_TASKS]:
        if task.name not in (chosen.task or [each.name for each in TASKS]):
            continue
        for method in methods_of(task):
            if chosen.method and method not in chosen.method:
                continue
            if any(each["task"] == task.name and each["method"] == method for each in results):
                continue
            print(f"{task.name}: {method} ...", flush=True)
            results.append(measure(task, method, chosen))
            chosen.out.parent.mkdir(parents=True, exist_ok=True)
            chosen.out.write_text(json.dumps(results, indent=1) + "\n")
            print(row_of(results[-1]), flush=True)
    print(
        "\n".join(
            ["| task | method | Dice | per structure | steps | seconds |", "| --- | --- | --- | --- | --- | --- |"]
        )
    )
    print("\n".join(row_of(each) for each in results))


def methods_of(task: Task) -> list[str]:
    """Return what is compared on a task."""
    if task.every is None:
        return ["frozen teacher"]
    return ["shape interpolation", "frozen teacher", *BUDGETS]


def measure(task: Task, method: str, chosen: argparse.Namespace) -> dict[str, Any]:
    """Run one method on one task and score it on the slices that were not annotated."""
    data, seed, keep = chosen.data, chosen.seed, chosen.keep
    image, labels = data / task.files.format("images"), data / task.files.format("labels")
    reference = read_labels(labels, read_image(image), image.name)
    slices = None if task.every is None else list(range(0, reference.shape_kji[0], task.every))
    with tempfile.TemporaryDirectory() as folder:
        work = keep / f"{task.name}-{method.replace(' ', '-')}-{seed}" if keep else Path(folder)
        started = time.monotonic()
        facts = RUN[method](task, image, labels, reference, slices, work, chosen)
        seconds = time.monotonic() - started
        scores = score(task, work / "result", labels, slices)
        proposed = (work / "proposal").exists()
        proposal = {"proposal": score(task, work / "proposal", labels, slices)} if proposed else {}
    return {
        "task": task.name,
        "method": method,
        "goal": task.goal,
        **scores,
        **proposal,
        "annotated": slices,
        "seed": seed,
        "wall_seconds": round(seconds, 1),
        "machine": f"{platform.machine()}, {platform.system()}",
        **facts,
    }


def from_box(
    task: Task,
    image: Path,
    _labels: Path,
    reference: Volume,
    _slices: list[int] | None,
    work: Path,
    _chosen: argparse.Namespace,
) -> dict[str, Any]:
    """Segment from one tight 3D box per structure."""
    boxes = []
    for name, value in task.structures.items():
        kji = np.argwhere(reference.voxels == value)
        corners = [*kji.min(0)[::-1], *kji.max(0)[::-1]]
        boxes += ["--box", f"{name}={','.join(map(str, corners))}"]
    uncol("segment", image, *boxes, "--out", work / "result", "--cache", work / "cache")
    return {"command": ["segment", "IMAGE", *boxes]}


def interpolated(
    task: Task,
    _image: Path,
    _labels: Path,
    reference: Volume,
    slices: list[int] | None,
    work: Path,
    _chosen: argparse.Namespace,
) -> dict[str, Any]:
    """Interpolate the annotated contours; no learning, no image."""
    result = np.zeros(reference.shape_kji, dtype=np.uint8)
    best = np.zeros(reference.shape_kji, dtype=np.float32)
    in_plane_mm = reference.spacing_mm[1::-1]
    for value in task.structures.values():
        shape = ShapeInterpolation({k: reference.voxels[k] == value for k in slices or []}, in_plane_mm)
        for k in range(len(result)):
            distance = shape.distance_mm(k)
            if distance is not None:
                wins = distance > best[k]
                result[k][wins], best[k][wins] = value, distance[wins]
    write_results(work / "result", {"segmentation.nii.gz": reference.with_voxels(result)}, {})
    return {}


def frozen_teacher(
    task: Task,
    image: Path,
    labels: Path,
    _reference: Volume,
    slices: list[int] | None,
    work: Path,
    _chosen: argparse.Namespace,
) -> dict[str, Any]:
    """Ask the frozen foundation teacher with the boxes of interpolated contours."""
    choice = ["--labels", labels, "--annotated-slices", axis_k(slices), *named(task)]
    uncol("segment", image, *choice, "--out", work / "result", "--cache", work / "cache")
    return {}


def fine_tuned(minutes: float) -> Any:
    """Return the method that fine-tunes for some minutes from a cold cache and segments with the model."""

    def run(
        task: Task,
        image: Path,
        labels: Path,
        _reference: Volume,
        slices: list[int] | None,
        work: Path,
        chosen: argparse.Namespace,
    ) -> dict[str, Any]:
        budget = ["--steps", chosen.steps] if chosen.steps else ["--minutes", minutes]
        choice = ["--annotated-slices", axis_k(slices), *named(task), *budget, "--seed", chosen.seed]
        choice += ["--config", chosen.config] if chosen.config else []
        card = work / "model" / "model.json"
        if not card.exists():
            cache = chosen.cache or work / "cache"
            proposal = ["--proposal", work / "proposal"]
            uncol("fine-tune", "--case", image, labels, *choice, "--out", work / "model", *proposal, "--cache", cache)
        trained = json.loads(card.read_text())["training"]
        segmented = uncol("segment", image, "--model", work / "model", "--out", work / "result")
        return {
            "steps": trained["steps"],
            "seconds": trained["seconds"],
            "segment_seconds": segmented["seconds"],
            "generalized_reliability": trained["generalized_reliability"],
            "specialized_reliability": trained["specialized_reliability"],
            "notes": trained["notes"],
        }

    return run


RUN = {
    "shape interpolation": interpolated,
    "frozen teacher": lambda task, *rest: (from_box if task.every is None else frozen_teacher)(task, *rest),
    **{name: fine_tuned(minutes) for name, minutes in BUDGETS.items()},
}


def score(task: Task, result: Path, labels: Path, slices: list[int] | None) -> dict[str, Any]:
    """Evaluate a segmentation on the slices that were not annotated."""
    choice: list[Any] = []
    if task.every is not None:
        choice += [*named(task), "--exclude-slices", axis_k(slices)]
    else:
        choice += [
            part
            for name, value in zip(task.structures, range(1, 255), strict=False)
            for part in ("--structure", f"{name}={value}")
        ]
    if (result / "uncertainty.nii.gz").exists():
        choice += ["--uncertainty", result / "uncertainty.nii.gz"]
    scores = uncol("evaluate", "--prediction", result / "segmentation.nii.gz", "--reference", labels, *choice)
    return {
        "dice": round(scores["mean_dice"], 4),
        "per_structure": {each["name"]: round(each["dice"], 4) for each in scores["structures"]},
        "hd95_mm": scores["mean_hd95_mm"],
        "uncertainty": scores["uncertainty"],
    }


def uncol(*arguments: Any) -> dict[str, Any]:
    """Run the real command line in a process of its own and return its result object."""
    command = [sys.executable, "-m", "uncol", *map(str, arguments), "--json"]
    done = subprocess.run(command, check=False, text=True, capture_output=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)}\n{done.stderr}")
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def axis_k(slices: list[int] | None) -> str:
    """Write slice numbers as the command line takes them."""
    return "K:" + ",".join(map(str, slices or []))


def named(task: Task) -> list[str]:
    """Return the options that name the structures."""
    return [part for name, value in task.structures.items() for part in ("--structure", f"{name}={value}")]


def row_of(result: dict[str, Any]) -> str:
    """Return one row of the Markdown table."""
    parts = ", ".join(f"{name} {dice:.3f}" for name, dice in result["per_structure"].items())
    cells = [
        result["task"],
        result["method"],
        f"{result['dice']:.3f}" + (f", proposal {result['proposal']['dice']:.3f}" if "proposal" in result else ""),
        parts,
        result.get("steps", "-"),
        result["wall_seconds"],
    ]
    return "| " + " | ".join(map(str, cells)) + " |"


if __name__ == "__main__":
    main()
