"""What is remembered of a base: structures that it finds here, as they are, and nothing against what is new."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from given import CPU, a_ball, a_setup, annotated_in, begun_state
from torch import Tensor, nn

from uncol.core.config import Config, DataConfig
from uncol.core.jobs import Structure
from uncol.core.model_card import ModelCard
from uncol.data.cases import LabeledCase
from uncol.models.card import Model
from uncol.training.remembering import BaseMemory, memory_of
from uncol.training.setup import card_for, frame_cases
from uncol.training.state import FineTuneSetup, TrainingState
from uncol.training.train import remembered_loss

BALL, CUBE, ROD = (Structure(value, name) for value, name in ((3, "ball"), (7, "cube"), (9, "rod")))


class Bright(nn.Module):
    """Finds its second structure where the middle slice is bright, and background elsewhere."""

    def forward(self, images: Tensor) -> Tensor:
        is_bright = images[:, images.shape[1] // 2] > 0.5
        return torch.stack(
            [torch.where(is_bright, -9.0, 9.0), torch.full(is_bright.shape, -20.0), -is_bright.float() * -9], 1
        )


def case() -> LabeledCase:
    """A ball (3), a part of which is a cube (7)."""
    ball = a_ball()
    labels = ball.labels.voxels.copy()
    labels[:, :10][labels[:, :10] == 3] = 7
    return annotated_in(LabeledCase(ball.image, ball.labels.with_voxels(labels)), (0, 3, 5, 6, 7, 9))


def setup_of(structures: tuple[Structure, ...] = (CUBE, BALL), **choices: object) -> FineTuneSetup:
    return a_setup([case()], structures=structures, **choices)


def base_of(*structures: Structure, neighbors: int = 7) -> Model:
    setup = setup_of()
    card: ModelCard = replace(card_for(setup), structures=structures)
    return Model(replace(card, config=Config(data=DataConfig(neighbor_count=neighbors))), Bright())


def memory(base: Model | None, structures: tuple[Structure, ...] = (CUBE, BALL)) -> BaseMemory | None:
    setup = setup_of(structures)
    card = card_for(setup)
    return memory_of(base, card, frame_cases(setup, card)[1], CPU)


def test_a_structure_that_the_base_finds_is_kept_while_another_one_is_added() -> None:
    found = memory(base_of(ROD, BALL))  # bright is the ball, with the cube: Dice 0.8 or more

    assert found is not None
    assert (found.kept, found.places.tolist()) == ([2], [0, 0, 1])


@pytest.mark.parametrize(
    "base",
    [
        pytest.param(None, id="no base"),
        pytest.param(base_of(ROD, CUBE), id="it finds something else"),
        pytest.param(base_of(BALL, CUBE), id="nothing is added"),
        pytest.param(base_of(ROD, Structure(1, "x")), id="it knows nothing of it"),
        pytest.param(base_of(ROD, BALL, neighbors=5), id="it sees other neighbors"),
    ],
)
def test_otherwise_nothing_is_remembered(base: Model | None) -> None:
    assert memory(base) is None


def test_what_the_base_finds_is_counted_anew_and_all_else_is_one_class() -> None:
    kept = BaseMemory(Bright(), [3, 1], torch.tensor([0, 2, 1], dtype=torch.uint8))
    image = torch.zeros(1, 7, 16, 32)
    image[0, 3, 2, 5] = 1

    labels = kept.labels(image, CPU)

    assert labels.dtype == torch.uint8
    assert (labels[0, 2, 5], labels.sum()) == (1, 1)
    # Classes 0 and 2 together have e^0 + e^ln 3 = 4.
    logits = torch.tensor([0.0, 5.0, math.log(3), 7.0]).reshape(1, 4, 1, 1)
    torch.testing.assert_close(kept.logits(logits).flatten(), torch.tensor([math.log(4), 7.0, 5.0]))


class Says(nn.Module):
    """Gives the same logits for every pixel."""

    def __init__(self, *logits: float) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.tensor(logits))

    def forward(self, images: Tensor) -> Tensor:
        return self.logits[:, None, None].expand(len(images), -1, *images.shape[2:])


def state_with(student: nn.Module) -> TrainingState:
    state = begun_state(replace(setup_of(), base=base_of(ROD, BALL)))
    assert state.memory is not None
    state.student = student
    return state


def test_background_may_be_what_is_new_but_not_what_is_kept() -> None:
    losses = {}
    for name, logits in (("background", (9.0, 0.0, 0.0)), ("new", (0.0, 9.0, 0.0)), ("kept", (0.0, 0.0, 9.0))):
        state = state_with(Says(*logits))
        state.sampler.generator.manual_seed(1)  # the same slice
        losses[name] = float(remembered_loss(state)["remembered"].detach())

    assert losses["background"] == pytest.approx(losses["new"], abs=1e-3)
    assert losses["kept"] > losses["new"] + 1


def test_it_pulls_in_stage_1_alone_and_only_with_a_base() -> None:
    state = state_with(Says(0.0, 0.0, 0.0))
    state.stage = 2

    assert remembered_loss(state) == {}
    assert remembered_loss(begun_state(setup_of())) == {}
    assert np.isfinite(float(remembered_loss(state_with(Says(0.0, 0.0, 0.0)))["remembered"].detach()))
