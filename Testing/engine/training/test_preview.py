"""Previews show what is learned so far and do not change what is learned."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from uncol.core.config import BudgetConfig, Config, OptimizerConfig, StudentConfig, TeacherConfig
from uncol.core.errors import CancelledError
from uncol.core.jobs import Case, FineTuneJob
from uncol.core.progress import UNWATCHED, Monitor
from uncol.core.volume import Volume
from uncol.core.volume_files import VolumeFile
from uncol.models.card import Model
from uncol.pipelines.context import Context
from uncol.pipelines.fine_tune import fine_tune
from uncol.training.preview import PreviewOrder

SHAPE = (6, 40, 48)
CONFIG = Config(
    student=StudentConfig(channels=(8, 8, 8, 8, 8)),
    teachers=TeacherConfig(generalized=False),
    optimizer=OptimizerConfig(batch_size=2),
    budget=BudgetConfig(minutes=None, steps=200, checkpoint_s=0.4),
)
CONTEXT = Context(UNWATCHED, None)


@pytest.fixture(autouse=True)
def one_thread(seeded: None) -> None:
    """Let these tiny networks compute on one thread: on a busy machine a second one makes them five times slower."""
    torch.set_num_threads(1)


@pytest.fixture
def case(tmp_path: Path) -> Case:
    """A bright block of which two slices are annotated."""
    grey = np.random.default_rng(0).normal(0, 15, SHAPE).astype(np.float32)
    grey[1:5, 10:30, 10:30] += 100
    labels = np.full(SHAPE, 255, np.uint8)
    labels[[0, 3]] = 0
    labels[3, 10:30, 10:30] = 4
    matrix = np.diag([-1.0, -1.0, 3.0, 1.0])
    return Case(
        VolumeFile.write(tmp_path / "image.npy", Volume(grey, matrix)),
        VolumeFile.write(tmp_path / "labels.npy", Volume(labels, matrix)),
    )


def weights_of(model: Model) -> dict[str, torch.Tensor]:
    return model.student.state_dict()


@pytest.mark.slow
def test_previews_lie_on_the_grid_and_hold_the_structures(case: Case, tmp_path: Path) -> None:
    shown: list[Volume] = []
    order = PreviewOrder(0.6, shown.append)

    fine_tune(FineTuneJob((case,), tmp_path / "model"), CONFIG, replace(CONTEXT, preview=order))

    assert shown
    assert shown[-1].shape_kji == SHAPE
    assert set(np.unique(shown[-1].voxels)) == {0, 4}
    assert np.array_equal(shown[-1].ijk_to_ras, np.diag([-1.0, -1.0, 3.0, 1.0]))


@pytest.mark.slow
def test_a_run_is_the_same_bit_for_bit_with_and_without_previews(case: Case, tmp_path: Path) -> None:
    shown: list[Volume] = []
    order = PreviewOrder(1.0, shown.append)  # a preview may take a part of that; busy machines need some

    seen = fine_tune(FineTuneJob((case,), tmp_path / "seen"), CONFIG, replace(CONTEXT, preview=order)).model
    unseen = fine_tune(FineTuneJob((case,), tmp_path / "unseen"), CONFIG, CONTEXT).model

    assert shown
    assert all(torch.equal(weights_of(seen)[key], value) for key, value in weights_of(unseen).items())


@pytest.mark.slow
def test_a_preview_that_takes_too_long_is_given_up_with_a_word(
    case: Case, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shown: list[Volume] = []

    with caplog.at_level(logging.WARNING, "uncol"):
        fine_tune(
            FineTuneJob((case,), tmp_path / "model"),
            CONFIG,
            replace(CONTEXT, preview=PreviewOrder(1e-6, shown.append)),
        )

    assert shown == []
    assert [each.message for each in caplog.records] == [
        "Previews would take too much of the training's time here; it goes on without them."
    ]


def test_a_cancel_during_a_preview_still_leaves_a_checkpoint(case: Case, tmp_path: Path) -> None:
    shown: list[Volume] = []
    asked = 0

    def stop_after_the_first() -> bool:
        nonlocal asked
        asked += 1
        return bool(shown)

    config = replace(CONFIG, budget=replace(CONFIG.budget, steps=100_000))
    context = replace(
        CONTEXT, monitor=Monitor(should_stop=stop_after_the_first), preview=PreviewOrder(0.5, shown.append)
    )

    with pytest.raises(CancelledError):
        fine_tune(FineTuneJob((case,), tmp_path / "model"), config, context)

    assert asked > len(shown) == 1
    assert [each.name for each in (tmp_path / "model").iterdir()] == ["checkpoint.safetensors"]
