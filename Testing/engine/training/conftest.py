"""What the tests of training share: a bright ball in noise, and set-ups that learn it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from given import CPU, a_ball, a_setup, annotated_in

from uncol.data.cases import LabeledCase
from uncol.foundation.lite_medsam import load_lite_medsam
from uncol.training.state import FineTuneSetup


@pytest.fixture(scope="module")
def ball() -> LabeledCase:
    """A bright ball in noise, 12 x 40 x 48 voxels, label 3 everywhere known."""
    return a_ball(shape_kji=(12, 40, 48), center_kji=(6, 20, 22), radius_mm=13, slice_mm=3, noise=15)


@pytest.fixture
def make_setup(ball: LabeledCase) -> Callable[..., FineTuneSetup]:
    def make(
        *, with_teacher: bool = False, slices: tuple[int, ...] = (0, 3, 6, 9, 11), **choices: Any
    ) -> FineTuneSetup:
        teacher = load_lite_medsam(CPU) if with_teacher else None
        return a_setup([annotated_in(ball, slices)], teacher=teacher, channels=8, **choices)

    return make
