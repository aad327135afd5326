"""What tests start from: a bright ball in noise, a set-up that learns it, trainings that have begun."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from uncol.core.config import BudgetConfig, Config, OptimizerConfig, StudentConfig
from uncol.core.jobs import AnnotatedSlices, Structure
from uncol.core.progress import UNWATCHED
from uncol.core.volume import Plane, Volume
from uncol.data.annotations import keep_annotated
from uncol.data.cases import LabeledCase
from uncol.foundation.embeddings import EmbeddingCache
from uncol.foundation.promptable import PromptableModel
from uncol.models.card import Model
from uncol.training.setup import prepared
from uncol.training.state import FineTuneSetup, TrainingState
from uncol.training.train import begin

CPU = torch.device("cpu")
BALL = Structure(3, "ball")


def a_ball(
    seed: int | np.random.Generator = 0,
    *,
    shape_kji: tuple[int, int, int] = (12, 24, 32),
    center_kji: tuple[float, float, float] = (6, 12, 15),
    radius_mm: float = 8,
    slice_mm: float = 2,
    noise: float = 10,
    grid: np.ndarray | None = None,
) -> LabeledCase:
    """A ball of 120 in noise round 20, 3 in the label map, everything annotated; pixels have sides of 1 mm.

    Args:
        seed: Seed or source of the noise.
        grid: Another place for the same voxels in the patient, instead of I to the left, J to the back and K up.
    """
    k, j, i = (index - center for index, center in zip(np.indices(shape_kji), center_kji, strict=True))
    inside = (k * slice_mm) ** 2 + j**2 + i**2 < radius_mm**2
    grey = np.where(inside, 120, 20) + np.random.default_rng(seed).normal(0, noise, shape_kji)
    grid = np.diag([-1.0, -1.0, slice_mm, 1.0]) if grid is None else grid
    return LabeledCase(Volume(grey.astype(np.int16), grid), Volume((inside * 3).astype(np.uint8), grid))


def a_larger_ball(shape_kji: tuple[int, int, int] = (12, 40, 48), grid: np.ndarray | None = None) -> LabeledCase:
    """A ball of 13 mm in the middle of an image whose slices are 3 mm apart."""
    center_kji = (shape_kji[0] / 2, shape_kji[1] / 2, shape_kji[2] / 2)
    return a_ball(shape_kji=shape_kji, center_kji=center_kji, radius_mm=13, slice_mm=3, noise=15, grid=grid)


def annotated_in(case: LabeledCase, slices: Sequence[int] = (0, 3, 6, 9, 11)) -> LabeledCase:
    """The same case, of which some slices along K are annotated."""
    return LabeledCase(case.image, keep_annotated(case.labels, [AnnotatedSlices("K", tuple(slices))], "ball"))


def a_setup(
    cases: Sequence[LabeledCase],
    *,
    unlabeled: Sequence[Volume] = (),
    structures: tuple[Structure, ...] = (BALL,),
    plane: Plane = "axial",
    teacher: PromptableModel | None = None,
    base: Model | None = None,
    dims: int = 2,
    kind: str = "unet",
    channels: int = 4,
    batch_size: int = 2,
    steps: int | None = 20,
    minutes: float | None = None,
    stage1_part: float = 0.5,
    **settings: Any,
) -> FineTuneSetup:
    """What a training on the CPU starts from: a student with so many channels at every depth, and a budget of steps."""
    config = Config(
        student=StudentConfig(dims=dims, kind=kind, channels=(channels,) * 5),
        optimizer=OptimizerConfig(batch_size=batch_size),
        budget=BudgetConfig(steps=steps, minutes=minutes, stage1_part=stage1_part),
        **settings,
    )
    return FineTuneSetup(cases, unlabeled, structures, plane, config, CPU, teacher, EmbeddingCache(None), base)


def begun_state(setup: FineTuneSetup) -> TrainingState:
    """A training before its first step."""
    state = prepared(setup)
    begin(state, UNWATCHED)
    return state


def prompt_now(state: TrainingState) -> None:
    """Let the generalized teacher, if there is one, predict every unannotated slice, due or not."""
    if state.prompting is not None:
        slices, reliability = state.specialized_slices, state.specialized_reliability
        state.prompting.prompt(slices, reliability, state.budget.spare_s, UNWATCHED)


class StopAfter:
    """Says stop at the n-th question."""

    def __init__(self, questions: int) -> None:
        self.left = questions

    def __call__(self) -> bool:
        self.left -= 1
        return self.left < 0


def assert_bit_equal(first: Model, second: Model) -> None:
    """Two models have the same weights, bit for bit."""
    weights = second.student.state_dict()
    for name, tensor in first.student.state_dict().items():
        assert torch.equal(tensor, weights[name]), name
