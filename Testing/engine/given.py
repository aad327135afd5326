"""What tests start from: trainings that have begun."""

from __future__ import annotations

import torch

from uncol.core.progress import UNWATCHED
from uncol.models.card import Model
from uncol.training.setup import prepared
from uncol.training.state import FineTuneSetup, TrainingState
from uncol.training.train import begin


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


def assert_bit_equal(first: Model, second: Model) -> None:
    """Two models have the same weights, bit for bit."""
    weights = second.student.state_dict()
    for name, tensor in first.student.state_dict().items():
        assert torch.equal(tensor, weights[name]), name
