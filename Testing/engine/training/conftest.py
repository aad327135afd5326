"""What the tests of training share: a bright ball in noise, and set-ups that learn it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from uncol.core.config import BudgetConfig, Config, OptimizerConfig, StudentConfig
from uncol.core.jobs import AnnotatedSlices, Structure
from uncol.core.volume import Volume
from uncol.data.annotations import keep_annotated
from uncol.data.cases import LabeledCase
from uncol.foundation.embeddings import EmbeddingCache
from uncol.foundation.lite_medsam import load_lite_medsam
from uncol.training.state import FineTuneSetup

CPU = torch.device("cpu")
BALL = Structure(3, "ball")


@pytest.fixture(scope="module")
def ball() -> LabeledCase:
    """A bright ball in noise, 12 x 40 x 48 voxels, label 3 everywhere known."""
    k, j, i = np.mgrid[0:12, 0:40, 0:48]
    inside = ((k - 6) * 3.0) ** 2 + (j - 20.0) ** 2 + (i - 22.0) ** 2 < 13**2
    grey = np.where(inside, 120, 20) + np.random.default_rng(0).normal(0, 15, inside.shape)
    ijk_to_ras = np.diag([-1.0, -1.0, 3.0, 1.0])
    return LabeledCase(Volume(grey.astype(np.int16), ijk_to_ras), Volume((inside * 3).astype(np.uint8), ijk_to_ras))


@pytest.fixture
def make_setup(ball: LabeledCase) -> Callable[..., FineTuneSetup]:
    def make(
        *,
        steps: int | None = 20,
        minutes: float | None = None,
        seed: int = 0,
        with_teacher: bool = False,
        slices: tuple[int, ...] = (0, 3, 6, 9, 11),
    ):
        labels = keep_annotated(ball.labels, [AnnotatedSlices("K", slices)], "ball")
        return FineTuneSetup(
            cases=[LabeledCase(ball.image, labels)],
            unlabeled=[],
            structures=(BALL,),
            plane="axial",
            config=Config(
                seed=seed,
                student=StudentConfig(channels=(8, 8, 8, 8, 8)),
                optimizer=OptimizerConfig(batch_size=2),
                budget=BudgetConfig(steps=steps, minutes=minutes, stage1_part=0.5),
            ),
            device=CPU,
            teacher=load_lite_medsam(CPU) if with_teacher else None,
            cache=EmbeddingCache(None),
        )

    return make
