"""Previews show what is learned so far and do not change what is learned."""

from __future__ import annotations

import logging
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from doubles import ThresholdTeacher

from uncol.core.config import BudgetConfig, Config, OptimizerConfig, StudentConfig, TeacherConfig
from uncol.core.errors import CancelledError
from uncol.core.foundation_choice import FoundationChoice
from uncol.core.jobs import Case, FineTuneJob, Structure
from uncol.core.progress import UNWATCHED, Monitor, Progress
from uncol.core.volume import Volume
from uncol.core.volume_files import VolumeFile
from uncol.evaluation.metrics import dice
from uncol.foundation.embeddings import EmbeddingCache
from uncol.foundation.promptable import PromptableModel
from uncol.inference.few_slices import segment_from_labels
from uncol.models.card import Model
from uncol.pipelines.context import Context
from uncol.pipelines.fine_tune import fine_tune
from uncol.pipelines.results import Segmented
from uncol.training.preview import PreviewOrder

SHAPE = (6, 40, 48)
PATIENCE_S = 120.0
TRUTH = np.zeros(SHAPE, bool)
TRUTH[1:5, 10:30, 10:30] = True
Shown = list[tuple[Volume, Volume | None]]
CONFIG = Config(
    student=StudentConfig(channels=(8, 8, 8, 8, 8)),
    teachers=TeacherConfig(generalized=False),
    optimizer=OptimizerConfig(batch_size=2),
    budget=BudgetConfig(minutes=None, steps=200, checkpoint_s=0.4),
)
CONTEXT = Context(UNWATCHED, None)


def taught(*, generalized: bool) -> Config:
    return replace(CONFIG, teachers=replace(CONFIG.teachers, generalized=generalized))


def load_teacher(_device: torch.device, _choice: FoundationChoice) -> PromptableModel:
    """Give a foundation model that finds what is bright."""
    return ThresholdTeacher(SHAPE[2])


@pytest.fixture(autouse=True)
def one_thread(seeded: None) -> None:
    """Let these tiny networks compute on one thread: on a busy machine a second one makes them five times slower."""
    torch.set_num_threads(1)


@pytest.fixture
def case(tmp_path: Path) -> Case:
    """A bright block of which two slices are annotated."""
    grey = np.random.default_rng(0).normal(0, 15, SHAPE).astype(np.float32)
    grey[TRUTH] += 100
    labels = np.full(SHAPE, 255, np.uint8)
    labels[[0, 3]] = 0
    labels[3, 10:30, 10:30] = 4
    matrix = np.diag([-1.0, -1.0, 3.0, 1.0])
    return Case(
        VolumeFile.write(tmp_path / "image.npy", Volume(grey, matrix)),
        VolumeFile.write(tmp_path / "labels.npy", Volume(labels, matrix)),
    )


def to(shown: Shown, every_s: float) -> PreviewOrder:
    return PreviewOrder(every_s, lambda labels, uncertainty, _case: shown.append((labels, uncertainty)))


def weights_of(model: Model) -> dict[str, torch.Tensor]:
    return model.student.state_dict()


@pytest.mark.slow
def test_registration_answers_before_anything_is_learned_and_no_preview_is_worse(case: Case, tmp_path: Path) -> None:
    shown: Shown = []
    before: list[str] = []

    def note(progress: Progress) -> None:
        if not shown:
            before.append(progress.phase)

    context = replace(CONTEXT, monitor=Monitor(note), preview=to(shown, 1.0), load_teacher=load_teacher)
    fine_tune(FineTuneJob((case,), tmp_path / "model"), taught(generalized=True), context)

    image, labels = case.image, case.labels
    assert isinstance(image, VolumeFile)
    assert isinstance(labels, VolumeFile)
    structures, cache = (Structure(4, "block"),), EmbeddingCache(None)
    alone = segment_from_labels(image.read(), labels.read(), structures, None, cache, plane="axial")
    assert set(before) == {"Reading the images", "Preparing slices"}
    assert np.array_equal(shown[0][0].voxels, alone.labels.voxels)
    assert len(shown) > 1
    scores = [dice(found.voxels == 4, TRUTH) for found, _ in shown]
    assert min(scores) > scores[0] - 0.01
    assert scores[0] > 0.8
    for found, uncertainty in shown:
        assert uncertainty is not None
        assert found.shape_kji == uncertainty.shape_kji == SHAPE
        assert set(np.unique(found.voxels)) == {0, 4}
        assert np.array_equal(found.ijk_to_ras, np.diag([-1.0, -1.0, 3.0, 1.0]))
        assert np.array_equal(found.voxels[[0, 3]] == 4, TRUTH[[0, 3]])


@pytest.mark.slow
@pytest.mark.parametrize("generalized", [False, True], ids=["alone", "with a foundation model"])
def test_a_run_is_the_same_bit_for_bit_with_and_without_previews(
    case: Case, tmp_path: Path, *, generalized: bool
) -> None:
    shown: Shown = []
    proposals: list[Segmented] = []
    config, context = taught(generalized=generalized), replace(CONTEXT, load_teacher=load_teacher)
    observed = replace(context, preview=to(shown, 1.0))  # one may take a part of that; busy machines need some

    seen, unseen = (
        fine_tune(FineTuneJob((case,), tmp_path / name, proposal=tmp_path), config, each, proposals.append).model
        for name, each in (("seen", observed), ("unseen", context))
    )

    assert len(shown) > 1
    assert all(torch.equal(weights_of(seen)[key], value) for key, value in weights_of(unseen).items())
    with_previews, without = (each.segmentation for each in proposals)
    assert np.array_equal(with_previews.labels.voxels, without.labels.voxels)
    assert np.array_equal(with_previews.uncertainty.voxels, without.uncertainty.voxels)


@pytest.mark.slow
def test_previews_come_of_every_case_in_turn(case: Case, tmp_path: Path) -> None:
    shown: list[tuple[int, Volume]] = []
    image, labels = (each.read() for each in (case.image, case.labels) if isinstance(each, VolumeFile))
    other = Case(
        *(
            VolumeFile.write(tmp_path / f"other-{name}.npy", each.with_voxels(np.roll(each.voxels, 12, axis=2)))
            for name, each in (("image", image), ("labels", labels))
        )
    )
    order = PreviewOrder(1.0, lambda found, _doubt, number: shown.append((number, found)), cases=2)

    fine_tune(FineTuneJob((case, other), tmp_path / "model"), CONFIG, replace(CONTEXT, preview=order))

    assert [number for number, _found in shown[:4]] == [1, 2, 1, 2]
    for number, found in shown:
        assert dice(found.voxels == 4, np.roll(TRUTH, 12 * (number - 1), axis=2)) > 0.7, number


@pytest.mark.slow
def test_a_case_that_is_annotated_as_a_whole_shows_what_the_young_model_finds(case: Case, tmp_path: Path) -> None:
    shown: Shown = []
    image = case.image
    assert isinstance(image, VolumeFile)
    whole = VolumeFile.write(tmp_path / "whole.npy", image.read().with_voxels((TRUTH * 4).astype(np.uint8)))
    job = FineTuneJob((Case(image, whole),), tmp_path / "model", unlabeled=(image,))

    fine_tune(job, CONFIG, replace(CONTEXT, preview=to(shown, 1.0)))

    assert shown
    assert [uncertainty for _, uncertainty in shown] == [None] * len(shown)


@pytest.mark.slow
def test_a_preview_that_takes_too_long_is_given_up_with_a_word(
    case: Case, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shown: Shown = []

    with caplog.at_level(logging.WARNING, "uncol"):
        fine_tune(
            FineTuneJob((case,), tmp_path / "model"),
            CONFIG,
            replace(CONTEXT, preview=to(shown, 1e-6)),
        )

    assert len(shown) == 1  # that before learning, whose work is needed later anyway
    assert [each.message for each in caplog.records] == [
        "Previews would take too much of the training's time here; it goes on without them."
    ]


def test_a_cancel_during_a_preview_still_leaves_a_checkpoint(case: Case, tmp_path: Path) -> None:
    shown: Shown = []
    asked, patience_ends = 0, time.monotonic() + PATIENCE_S

    def stop_after_the_second() -> bool:
        nonlocal asked
        asked += 1
        return len(shown) > 1 or time.monotonic() > patience_ends

    config = replace(CONFIG, budget=replace(CONFIG.budget, steps=100_000))
    context = replace(CONTEXT, monitor=Monitor(should_stop=stop_after_the_second), preview=to(shown, 4.0))

    with pytest.raises(CancelledError):
        fine_tune(FineTuneJob((case,), tmp_path / "model"), config, context)

    assert asked > len(shown) == 2
    assert [each.name for each in (tmp_path / "model").iterdir()] == ["checkpoint.safetensors"]
