"""What the default overlay colors after a few steps of fine-tuning, and how much of what is wrong lies in it.

    python performance/overlay.py chaos-6-slices --steps 80 150 330 --data ../shared/data
    python performance/overlay.py development-7-slices --steps 80 330 --data ../shared/data

The real command line fine-tunes so many steps; what that proposes, and what the model alone finds, is then shown as
the product shows it: the places to look at, which are the default, and the map as heat, as it is and within 15 mm of
a structure. Counted are all voxels for what is colored, and for what is wrong those that differ from the reference in
slices that nobody annotated; "at the contour" is the part of these that touches the contour that was found. Settings
are tried on the development structures alone. With `--keep` a further sitting shows the results of an earlier one
without training again.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from figures import BODY, CHAOS, LIVER, OTHERS, Task, axis_k, named, uncol
from numpy.typing import NDArray

from uncol.core.error_detection import label_boundary
from uncol.core.jobs import Structure
from uncol.core.uncertainty_maps import unsure_from
from uncol.core.volume import Volume
from uncol.data.io import read_image, read_labels, read_map
from uncol.report.places import near_structures, where_to_look

TASKS = {
    each.name: each
    for each in (
        Task("chaos-6-slices", CHAOS, LIVER, 13, 0.0),
        Task("development-7-slices", BODY, OTHERS, 16, 0.0),
        *(Task(f"development-{name}", BODY, {name: value}, 16, 0.0) for name, value in OTHERS.items()),
    )
}
COLUMNS = (
    "task",
    "steps",
    "who",
    "Dice",
    "wrong, ml",
    "at the contour",
    "places",
    "of all voxels",
    "of the wrong",
    "heat, of all voxels",
    "of the wrong",
    "heat near, of all voxels",
    "of the wrong",
)


def main() -> None:
    """Fine-tune where that is not done yet, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("task", choices=list(TASKS), nargs="+")
    parser.add_argument("--steps", type=int, nargs="+", default=[80, 150, 330])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--keep", type=Path, help="keep models and results here")
    chosen = parser.parse_args()
    print("| " + " | ".join(COLUMNS) + " |\n|" + " --- |" * len(COLUMNS), flush=True)
    with tempfile.TemporaryDirectory() as folder:
        for task in chosen.task:
            for steps in chosen.steps:
                work = (chosen.keep or Path(folder)) / f"{task}-{steps}"
                for row in rows_of(TASKS[task], steps, chosen.data, work):
                    print("| " + " | ".join(row) + " |", flush=True)


def rows_of(task: Task, steps: int, data: Path, work: Path) -> list[list[str]]:
    """Return the rows of one fine-tuning: of its proposal, and of the model alone."""
    image, labels = data / task.files.format("images"), data / task.files.format("labels")
    grid = read_image(image)
    reference = only(read_labels(labels, grid, image.name), task)
    slices = list(range(0, reference.shape_kji[0], task.every or 1))
    if not (work / "model" / "model.json").exists():
        choice = ["--annotated-slices", axis_k(slices), *named(task), "--steps", steps, "--seed", 0]
        out = ["--out", work / "model", "--proposal", work / "proposal", "--cache", work.parent / "cache"]
        uncol("fine-tune", "--case", image, labels, *choice, *out)
        uncol("segment", image, "--model", work / "model", "--out", work / "alone")
    rows = []
    for who, folder in (("proposal", work / "proposal"), ("model alone", work / "alone")):
        found = read_labels(folder / "segmentation.nii.gz", grid, image.name)
        doubt = read_map(folder / "uncertainty.nii.gz", grid, image.name)
        structures = [Structure(value, name) for name, value in task.structures.items()]
        rows.append([task.name, str(steps), who, *numbers_of(found, doubt, reference, slices, structures)])
    return rows


def only(labels: Volume, task: Task) -> Volume:
    """Return the labels of the task's structures alone."""
    wanted = np.isin(labels.voxels, list(task.structures.values()))
    return labels.with_voxels(np.where(wanted, labels.voxels, 0).astype(np.uint8))


def numbers_of(found: Volume, doubt: Volume, reference: Volume, slices: list[int], structures: list[Structure]) -> Any:
    """Return the cells of a row."""
    look = where_to_look(found, doubt, structures)
    judged = np.ones(found.shape_kji, np.bool_)
    judged[slices] = False
    wrong = (found.voxels != reference.voxels) & judged
    dice = np.mean([dice_of(found.voxels == s.value, reference.voxels == s.value, judged) for s in structures])
    wrong_ml = np.count_nonzero(wrong) * float(np.prod(found.spacing_mm)) / 1000
    rim = label_boundary(found.voxels)
    heat = doubt.voxels >= unsure_from(len(structures))
    near = heat & near_structures(found.voxels, found.spacing_mm[::-1])
    shown = [percent(part) for mask in (look.numbers > 0, heat, near) for part in (mask, mask[wrong])]
    return [f"{dice:.3f}", f"{wrong_ml:.1f}", percent(rim[wrong]), str(len(look.places)), *shown]


def dice_of(found: NDArray[np.bool_], reference: NDArray[np.bool_], judged: NDArray[np.bool_]) -> float:
    """Return the Dice of two masks where they are judged."""
    both = np.count_nonzero(found & reference & judged)
    return float(2 * both / max(1, np.count_nonzero(found & judged) + np.count_nonzero(reference & judged)))


def percent(mask: NDArray[np.bool_]) -> str:
    """Return which part of a mask is set, in percent."""
    return f"{100 * mask.mean():.2f} %" if mask.size else "-"


if __name__ == "__main__":
    main()
