"""The map augmentation-variance by hand: nine answers, eight of them to inputs that were changed a little."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from uncol.core.config import Config, StudentConfig
from uncol.core.errors import CancelledError
from uncol.core.jobs import Structure
from uncol.core.model_card import ModelCard
from uncol.core.progress import Monitor
from uncol.core.uncertainty_maps import AUGMENTATION
from uncol.core.volume import Volume
from uncol.inference.augmented import VARIANTS, augmentation_spread
from uncol.inference.student import segment_with_model
from uncol.models.build import build_student
from uncol.models.card import Model

CPU = torch.device("cpu")


def by_brightness(inputs: Tensor) -> Tensor:
    """Class probabilities (B, 2, H, W): the grey value itself is that of the structure."""
    return torch.cat([1 - inputs[:, :1], inputs[:, :1]], 1)


def test_a_model_that_looks_at_each_pixel_alone_varies_by_the_contrast_only() -> None:
    """0.5 stays 0.5. Of 1: 1, four times 0.95, four times 1.05 cut to 1. Mean (5 + 3.8) / 9, squares (5 + 3.61) / 9."""
    inputs = torch.full((1, 1, 6, 7), 0.5)
    inputs[0, 0, 2, 3] = 1.0

    spread = augmentation_spread(by_brightness, inputs, by_brightness(inputs))

    assert spread.shape == (1, 6, 7)
    assert spread[0, 2, 3].item() == pytest.approx(2 * math.sqrt(8.61 / 9 - (8.8 / 9) ** 2), abs=1e-5)
    spread[0, 2, 3] = 0
    assert spread.max() < 1e-3


def test_answers_are_moved_back_to_where_they_belong_and_what_depends_on_the_place_shows() -> None:
    inputs = torch.zeros(1, 1, 8, 8)

    def by_row(given: Tensor) -> Tensor:
        """Sure of the structure in the first three rows, wherever the input lies."""
        rows = torch.zeros(given.shape)
        rows[:, :, :3] = 1
        return by_brightness(rows)

    spread = augmentation_spread(by_row, inputs, by_row(inputs))

    # Rows are 0, 3, 3 and 1 farther down in two variants each: row 0 is found by 9 - 4, row 2 by 9 - 6, row 3 by none.
    found = torch.tensor([5 / 9, 5 / 9, 3 / 9, 0])
    assert torch.allclose(spread[0, :4, 0], 2 * (found * (1 - found)).sqrt(), atol=1e-5)


@pytest.fixture(scope="module", params=[2, 3])
def model(request: pytest.FixtureRequest) -> Model:
    torch.manual_seed(0)
    config = Config(student=StudentConfig(dims=request.param, channels=(4, 4, 4, 4, 4)))
    card = ModelCard((Structure(2, "a"), Structure(9, "b")), "axial", 1.0, 3.0, (0.0, 100.0), config)
    return Model(card, build_student(card).eval())


@pytest.fixture(scope="module")
def image() -> Volume:
    voxels = np.random.default_rng(0).integers(0, 100, (6, 20, 25)).astype(np.int16)
    return Volume(voxels, np.diag([-0.5, -0.5, 3.0, 1.0]))


def test_the_map_lies_on_the_grid_and_costs_nine_times_one_inference(model: Model, image: Volume) -> None:
    calls: list[int] = []
    counting = model.student.register_forward_hook(lambda *_: calls.append(1))

    plain = segment_with_model(image, model, CPU)
    alone = len(calls)
    found = segment_with_model(image, model, CPU, maps=[AUGMENTATION])
    counting.remove()

    assert len(calls) - alone <= (1 + len(VARIANTS)) * alone == 9 * alone
    spread = found.maps[AUGMENTATION]
    assert spread.shares_grid_with(image)
    assert spread.voxels.dtype == np.float32
    assert 0 <= spread.voxels.min() < spread.voxels.max() <= 1
    np.testing.assert_array_equal(found.labels.voxels, plain.labels.voxels)
    np.testing.assert_array_equal(found.uncertainty.voxels, plain.uncertainty.voxels)
    assert plain.maps == {}


def test_it_can_be_cancelled(model: Model, image: Volume) -> None:
    asked: list[int] = []

    def should_stop() -> bool:
        asked.append(1)
        return len(asked) > 3  # there are two batches of slices, or one window

    with pytest.raises(CancelledError):
        segment_with_model(image, model, CPU, Monitor(should_stop=should_stop), [AUGMENTATION])
