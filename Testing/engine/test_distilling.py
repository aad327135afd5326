"""Distillation in training: which parts there are in which stage, that it learns, and that it can be resumed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from threshold_teacher import ThresholdTeacher
from torch import Tensor

from uncol.annotations import keep_annotated
from uncol.config import BudgetConfig, Config, DataConfig, OptimizerConfig, StudentConfig
from uncol.datasets import LabeledCase
from uncol.distilling import distill
from uncol.errors import CancelledError
from uncol.job import AnnotatedSlices, Structure
from uncol.runs import Run, begin_run
from uncol.teachers.embeddings import EmbeddingCache
from uncol.teachers.generalized import EncodedSlice
from uncol.training import fine_tune
from uncol.training_setup import FineTuneSetup
from uncol.transforms import SliceFrame
from uncol.volume import Volume

BALL = Structure(3, "ball")
SLICES, ROWS, COLUMNS = 12, 24, 32


class SeeingTeacher(ThresholdTeacher):
    """A generalized teacher that also shows the slice itself as its features."""

    map_widths = (1, 1)
    token_width = 1

    def encode_with_maps(self, image: Tensor) -> EncodedSlice:
        return EncodedSlice(self.encode(image), (image[None].half(), 1 - image[None].half()))

    def decode_tokens(self, embedding: Tensor, boxes: Tensor, frame: SliceFrame) -> Tensor:
        return self.decode(embedding, boxes, frame).probabilities[:, None].half()


@pytest.fixture
def make_setup() -> Callable[..., FineTuneSetup]:
    random = np.random.default_rng(0)
    k, j, i = np.mgrid[0:SLICES, 0:ROWS, 0:COLUMNS]
    inside = ((k - 6) * 2.0) ** 2 + (j - 12) ** 2 + (i - 15) ** 2 < 8**2
    grey = np.where(inside, 120, 20) + random.normal(0, 10, inside.shape)
    ijk_to_ras = np.diag([-1.0, -1.0, 2.0, 1.0])
    image, labels = Volume(grey.astype(np.int16), ijk_to_ras), Volume((inside * 3).astype(np.uint8), ijk_to_ras)
    sparse = keep_annotated(labels, [AnnotatedSlices("K", (0, 3, 6, 9, 11))], "ball")

    def make(*, dims: int = 2, kind: str = "paper-small", ablations: tuple[str, ...] = ()) -> FineTuneSetup:
        return FineTuneSetup(
            cases=[LabeledCase(image, sparse if dims == 2 else labels)],
            unlabeled=[] if dims == 2 else [image],
            structures=(BALL,),
            plane="axial",
            config=Config(
                ablations=ablations,
                data=DataConfig(neighbor_count=1, patch_vox=(16, 32, 32)),
                student=StudentConfig(dims=dims, kind=kind, channels=(4, 4, 4, 4, 4)),
                optimizer=OptimizerConfig(batch_size=2),
                budget=BudgetConfig(steps=8, minutes=None),
            ),
            device=torch.device("cpu"),
            teacher=SeeingTeacher(COLUMNS),
            cache=EmbeddingCache(None),
        )

    return make


def begin(setup: FineTuneSetup, folder: Path) -> Run:
    return begin_run(setup, folder, lambda _: None, lambda: False)


def gradients_after(run: Run) -> tuple[float, float]:
    """How strongly the projector and the aligner are moved by one step of distillation, at full weight."""
    run.optimizer.zero_grad()
    distill(run).backward()
    sums = [
        sum(float(each.grad.abs().sum()) for each in run.helpers[name].parameters() if each.grad is not None)
        for name in ("projector", "aligner")
    ]
    return sums[0], sums[1]


@pytest.mark.parametrize("dims", [2, 3])
def test_stage_1_moves_projector_and_aligner_and_stage_2_the_projector_alone(make_setup, tmp_path: Path, dims: int):
    run = begin(make_setup(dims=dims), tmp_path)
    run.step = 3  # t/T = 0.75 of stage 1: full weight

    projector, aligner = gradients_after(run)
    assert projector > 0
    assert aligner > 0
    run.start_stage2()
    projector, aligner = gradients_after(run)
    assert projector > 0
    assert aligner == 0


def test_a_plain_student_has_nothing_to_distill(make_setup, tmp_path: Path):
    run = begin(make_setup(kind="unet"), tmp_path)

    assert run.features is None
    assert len(run.helpers) == 0
    assert float(distill(run)) == 0


def test_the_learning_curve_tells_what_distillation_costs_in_both_stages(make_setup, tmp_path: Path):
    model = fine_tune(make_setup(), tmp_path)

    losses = {(point["stage"], point["distillation"] > 0) for point in model.card.training["curve"]}
    assert losses == {(1, True), (2, True)}


def test_a_run_with_distillation_that_was_stopped_and_resumed_equals_one_that_was_not(make_setup, tmp_path: Path):
    torch.set_num_threads(1)
    straight = fine_tune(make_setup(), tmp_path / "straight")
    # It is asked at 5 annotated slices and carried ones, at 4 steps of stage 1, at 7 other slices, and in stage 2.
    questions = iter([False] * 22 + [True] * 50)

    with pytest.raises(CancelledError):
        fine_tune(make_setup(), tmp_path / "stopped", should_stop=lambda: next(questions))
    resumed = fine_tune(make_setup(), tmp_path / "stopped", resume=True)

    for name, tensor in straight.student.state_dict().items():
        assert torch.equal(tensor, resumed.student.state_dict()[name]), name
