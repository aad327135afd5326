"""What tests start from: trainings that have begun."""

from __future__ import annotations

from uncol.core.progress import UNWATCHED
from uncol.training.setup import prepared
from uncol.training.state import FineTuneSetup, TrainingState
from uncol.training.train import begin


def begun_state(setup: FineTuneSetup) -> TrainingState:
    """A training before its first step."""
    state = prepared(setup)
    begin(state, UNWATCHED)
    return state
