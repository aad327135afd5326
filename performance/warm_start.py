"""Measure what old structures lose when a new one is learned from a base model: Dice on slices nobody annotated.

    python performance/warm_start.py --data ../shared/data --steps 400 --start base --start nothing
    python performance/warm_start.py --task development

A base model learns two structures from every 8th slice of one CT. Then a third is added: annotated slices that show it,
with all three structures in them, and the base to start from, or nothing. Nothing is chosen by the scores of the task
"kidney"; settings are chosen on "development" and on "long", whose old structures reach far beyond the new one.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from uncol.core.config import BudgetConfig, Config, TeacherConfig
from uncol.core.jobs import AnnotatedSlices, Structure
from uncol.core.model_folder import has_model
from uncol.core.volume import Volume
from uncol.data.annotations import keep_annotated
from uncol.data.cases import LabeledCase
from uncol.data.io import read_image, read_labels
from uncol.evaluation.metrics import dice
from uncol.foundation.embeddings import EmbeddingCache
from uncol.foundation.lite_medsam import load_lite_medsam
from uncol.inference.student import segment_with_model
from uncol.models.card import Model
from uncol.models.checkpoints import load_model, save_model
from uncol.training.state import FineTuneSetup
from uncol.training.train import fine_tune

FILE = "totalseg_ct/{}/ts_body3mm.nii.gz"
EVERY = 8
TASKS = {
    "kidney": (Structure(5, "liver"), Structure(1, "spleen"), Structure(2, "kidney_right")),
    "long": (Structure(86, "autochthon_left"), Structure(20, "colon"), Structure(25, "sacrum")),
    "development": (Structure(21, "bladder"), Structure(77, "hip_left"), Structure(25, "sacrum")),
}
"""Two structures that the base knows, and the one that is added."""


def main() -> None:
    """Train the base, then from it or from nothing, and print the scores of each as a row."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--task", choices=list(TASKS), default="kidney")
    parser.add_argument("--start", action="append", choices=["base", "nothing"], help="default: both")
    parser.add_argument("--steps", type=int, default=400, help="of each training")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--base", type=Path, help="folder in which the base model is kept for further trials")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument(
        "--cache", type=Path, help="embeddings of the foundation model; it and registration take part then"
    )
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    image = read_image(chosen.data / FILE.format("images"))
    labels = read_labels(chosen.data / FILE.format("labels"), image, "the image")
    structures = TASKS[chosen.task]
    first = range(0, labels.shape_kji[0], EVERY)
    added = [index for index in first if (labels.voxels[index] == structures[-1].value).any()]
    free = [index for index in range(labels.shape_kji[0]) if index not in first]
    print(
        f"{chosen.task}: {len(first)} slices, then {len(added)}; seed {chosen.seed}, {chosen.steps} steps", flush=True
    )
    base = base_of(image, labels, structures[:2], first, chosen)
    tell("the base", scores(base, image, labels, free))
    for start in chosen.start or ["base", "nothing"]:
        model = learn(image, labels, structures, added, base if start == "base" else None, chosen)
        tell(f"from {'the base' if start == 'base' else 'nothing'}", scores(model, image, labels, free))


def base_of(
    image: Volume, labels: Volume, structures: tuple[Structure, ...], slices: range, chosen: argparse.Namespace
) -> Model:
    """Return the base model, which is learned only if it does not lie in the folder for it."""
    if chosen.base is not None and has_model(chosen.base):
        return load_model(chosen.base)
    base = learn(image, labels, structures, slices, None, chosen)
    if chosen.base is not None:
        save_model(base, chosen.base)
    return base


def learn(
    image: Volume,
    labels: Volume,
    structures: tuple[Structure, ...],
    slices: range | list[int],
    base: Model | None,
    chosen: argparse.Namespace,
) -> Model:
    """Return the model that is learned from some slices."""
    cpu = torch.device("cpu")
    settings = Config(seed=chosen.seed, budget=BudgetConfig(minutes=None, steps=chosen.steps))
    if chosen.cache is None:
        settings = replace(settings, teachers=TeacherConfig(generalized=False, registration=False))
    case = LabeledCase(image, keep_annotated(labels, [AnnotatedSlices("K", tuple(slices))], "the labels"))
    teacher = load_lite_medsam(cpu) if chosen.cache else None
    setup = FineTuneSetup([case], (), structures, "axial", settings, cpu, teacher, EmbeddingCache(chosen.cache), base)
    with tempfile.TemporaryDirectory() as folder:
        return fine_tune(setup, Path(folder) / "model")


def scores(model: Model, image: Volume, labels: Volume, slices: list[int]) -> dict[str, float]:
    """Return the Dice of each structure over some slices together."""
    found = segment_with_model(image, model, torch.device("cpu")).labels.voxels[slices]
    truth = np.asarray(labels.voxels[slices])
    return {each.name: dice(found == each.value, truth == each.value) for each in model.card.structures}


def tell(what: str, dices: dict[str, float]) -> None:
    """Print one row."""
    print(f"| {what} | {' | '.join(f'{name} {value:.4f}' for name, value in dices.items())} |", flush=True)


if __name__ == "__main__":
    main()
