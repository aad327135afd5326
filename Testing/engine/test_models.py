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
import torch
from safetensors.torch import save
from small_models import files_of, tree

from uncol.core.config import Config, DataConfig, StudentConfig
from uncol.core.errors import CheckpointError, DataError, NotFiniteError
from uncol.core.jobs import Structure
from uncol.core.model_card import ModelCard
from uncol.core.model_folder import MODEL_FILE, WEIGHTS_FILE
from uncol.core.model_store import Store
from uncol.core.volume import Volume
from uncol.data.io import read_labels, write_results
from uncol.inference.student import segment_with_model
from uncol.models.build import build_student
from uncol.models.card import Model
from uncol.models.checkpoints import check_usable, has_checkpoint, load_model, save_model

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


CARD = ModelCard(
    (Structure(7, "liver"), Structure(3, "spleen")),
    "axial",
    1.0,
    3.0,
    (0.0, 100.0),
    Config(data=DataConfig(neighbor_count=3), student=StudentConfig(channels=(2, 2, 2, 2, 2))),
)


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """The folder of a model with random weights."""
    save_model(Model(CARD, build_student(CARD)), tmp_path / "small")
    return tmp_path / "small"


def rewrite(folder: Path, card: dict[str, Any] | None = None, weights: dict[str, torch.Tensor] | None = None) -> None:
    """Put another card or other weights into a model's folder, with the right checksums."""
    document = json.loads((folder / MODEL_FILE).read_text(encoding="utf-8")) | (card or {})
    content = (folder / WEIGHTS_FILE).read_bytes() if weights is None else save(weights)
    for name, each in files_of(document, content).items():
        (folder / name).write_bytes(each)


def with_number(number: float) -> dict[str, torch.Tensor]:
    """Random weights of which one is a certain number."""
    weights = build_student(CARD).state_dict()
    next(iter(weights.values())).flatten()[0] = number
    return weights


class TestNotFinite:
    @pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
    def test_weights_that_are_not_finite_are_neither_saved_nor_loaded(self, small: Path, number: float) -> None:
        student, before = build_student(CARD), tree(small)
        student.load_state_dict(with_number(number))

        with pytest.raises(NotFiniteError, match=r"The model was not saved in .*numbers that are not finite"):
            save_model(Model(CARD, student), small)
        assert tree(small) == before

        rewrite(small, weights=with_number(number))
        for use in (load_model, check_usable):
            with pytest.raises(CheckpointError, match=r"is broken: its weights .* hold numbers that are not finite"):
                use(small)

    @pytest.mark.parametrize("number", [3e38, -3e38])
    def test_weights_that_make_probabilities_of_no_number_make_no_segmentation(
        self, small: Path, number: float
    ) -> None:
        rewrite(small, weights={name: each.fill_(number) for name, each in with_number(0).items()})
        image, _ = image_and_labels()

        with pytest.raises(NotFiniteError, match=r"The probabilities in slice 0 are not finite"):
            segment_with_model(image, load_model(small), torch.device("cpu"))


class TestHeaderFirst:
    """What a card asks for is compared with the header of the weights before memory is asked for."""

    @pytest.mark.parametrize(
        "student",
        [
            {"channels": [4096] * 5},
            {"channels": [4096] * 5, "dims": 3},
            {"channels": [2, 2, 2, 2, 4]},
            {"kind": "paper"},
        ],
        ids=["huge", "huge in 3D", "other", "of another kind"],
    )
    def test_another_student_is_refused_at_once(self, small: Path, student: dict[str, Any]) -> None:
        resource, config = pytest.importorskip("resource"), CARD.config.as_document()
        rewrite(small, {"config": config | {"student": config["student"] | student}})
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

        for use in (load_model, check_usable):
            with pytest.raises(CheckpointError, match=r"has weights that do not fit its card\. Import it again"):
                use(small)

        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300_000  # KiB

    @pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.int32])
    def test_weights_of_another_type_are_refused(self, small: Path, dtype: torch.dtype) -> None:
        rewrite(small, weights={name: each.to(dtype) for name, each in with_number(0).items()})

        with pytest.raises(CheckpointError, match=r"has weights that do not fit its card"):
            load_model(small)

    def test_pixels_that_would_fill_the_memory_are_refused(self, small: Path) -> None:
        rewrite(small, {"pixel_mm": 0.001})
        image, _ = image_and_labels()

        with pytest.raises(
            DataError, match=r"sees pixels of 0\.001 mm, in which this image would have 1\.0e\+09 voxels"
        ):
            segment_with_model(image, load_model(small), torch.device("cpu"))


@pytest.mark.skipif(os.name != "posix", reason="Windows knows no umask")
@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o002, 0o664), (0o077, 0o600)])
def test_all_files_of_a_model_may_be_read_by_the_same_people(tmp_path: Path, umask: int, mode: int) -> None:
    before = os.umask(umask)
    try:
        save_model(Model(CARD, build_student(CARD)), tmp_path / "models" / "small")
        Store(tmp_path / "models").export_zip("small", tmp_path / "small.zip")
        Store(tmp_path / "models").import_zip(tmp_path / "small.zip", "copy")
    finally:
        os.umask(before)

    for name in ("small", "copy"):
        files = list((tmp_path / "models" / name).iterdir())
        assert {oct(each.stat().st_mode & 0o777) for each in files} == {oct(mode)}
        assert len(files) == 3
