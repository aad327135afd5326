"""Models and unfinished runs that version 0.1.0 wrote as it stood before the engine had rooms: they can still be used.

They lie in `models/written_by_0_1_0` and were made by its `run_fine_tune` from `image_and_labels()` below, with the
annotated slices K:0,2,4,6,7 and `settings(steps)`: `model` with 80 steps; `unfinished` with 12 steps, and the worker's
`should_stop` saying yes after the ninth, which is in stage 2.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from uncol.core.volume import Volume
from uncol.data.io import read_labels, write_results
from uncol.models.checkpoints import has_checkpoint, load_model

ENGINE_FOLDER = Path(__file__).resolve().parents[2] / "UnCoLSegment"
WRITTEN = Path(__file__).resolve().parent / "models" / "written_by_0_1_0"


def image_and_labels() -> tuple[Volume, Volume]:
    """A ball with a texture, made of whole numbers alone: the checkpoint names the hash of its voxels."""
    k, j, i = np.indices((8, 32, 32))
    inside = ((k - 4) * 3) ** 2 + (j - 16) ** 2 + (i - 14) ** 2 < 100
    grey = 100 * inside + (7 * k + 5 * j + 3 * i) % 16
    matrix = np.diag([-1.0, -1.0, 3.0, 1.0])
    return Volume(grey.astype(np.int16), matrix), Volume((3 * inside).astype(np.uint8), matrix)


def settings(steps: int) -> dict[str, Any]:
    return {
        "student": {"channels": [4, 4, 4, 4, 4]},
        "teachers": {"generalized": False},
        "data": {"neighbor_count": 3},
        "budget": {"steps": steps, "stage1_part": 0.5},
    }


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with copies of what was written, the image and its labels."""
    image, labels = image_and_labels()
    shutil.copytree(WRITTEN, tmp_path, dirs_exist_ok=True)
    write_results(
        tmp_path, {"ct.nii.gz": image, "labels.nii.gz": labels}, {"settings.json": json.dumps(settings(steps=12))}
    )
    return tmp_path


def uncol(folder: Path, *arguments: str) -> dict[str, Any]:
    """Run a command there; return its result."""
    ended = subprocess.run(
        [sys.executable, "-m", "uncol", *arguments, "--device", "cpu", "--json"],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ENGINE_FOLDER)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout.splitlines()[-1])


def test_a_model_is_read_and_segments(folder: Path) -> None:
    image, labels = image_and_labels()

    uncol(folder, "segment", "ct.nii.gz", "--model", "model", "--out", "found")

    found = read_labels(folder / "found" / "segmentation.nii.gz", image, "ct.nii.gz").voxels == 3
    truth = labels.voxels == 3
    assert 2 * (found & truth).sum() / (found.sum() + truth.sum()) > 0.8


def test_an_unfinished_run_is_resumed_and_ends_as_a_model(folder: Path) -> None:
    before = load_model(folder / "model").card

    slices = ["--annotated-slices", "K:0,2,4,6,7", "--config", "settings.json"]
    uncol(folder, "fine-tune", "--case", "ct.nii.gz", "labels.nii.gz", *slices, "--out", "unfinished", "--resume")

    card = load_model(folder / "unfinished").card
    assert not has_checkpoint(folder / "unfinished")
    assert (card.training["steps"], card.structures, card.window) == (12, before.structures, before.window)
    # nine steps as they were, three more
    assert card.training["curve"][0]["supervised"] == 1.29845
    assert [each["stage"] for each in card.training["curve"]] == [1] * 6 + [2] * 6
