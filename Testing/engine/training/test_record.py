"""What a model's card says of its training: slices that were annotated, structures in one piece, values by name."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from given import a_setup, begun_state

from uncol.core.config import BudgetConfig
from uncol.core.jobs import Structure
from uncol.core.volume import UNKNOWN_LABEL, Volume
from uncol.data.cases import LabeledCase
from uncol.training.record import model_of


def test_the_card_tells_of_slices_pieces_and_reliabilities_by_name() -> None:
    labels = np.full((3, 6, 6), UNKNOWN_LABEL, dtype=np.uint8)
    labels[1] = 0
    labels[1, 0:3, 0:3] = 1
    labels[1, 4, [0, 2, 4]] = 7
    grid = np.diag([-1.0, -1.0, 2.0, 1.0])
    image = Volume(np.random.default_rng(0).normal(size=labels.shape).astype(np.float32), grid)
    cases = [LabeledCase(image, Volume(labels, grid))]
    structures = (Structure(1, "whole"), Structure(7, "scattered"))
    state = begun_state(a_setup(cases, structures=structures, seed=3, method="bcp", steps=40, stage1_part=0.8))
    state.step, state.specialized_reliability = 20, torch.tensor([1.0, 0.12345, 0.9])

    card = model_of(state).card

    assert card.is_connected == (True, False)
    told = {name: card.training[name] for name in ("steps", "annotated_slices", "slices", "method", "seed")}
    assert told == {"steps": 20, "annotated_slices": [1], "slices": [3], "method": "bcp", "seed": 3}
    assert card.training["specialized_reliability"] == {"whole": 0.123, "scattered": 0.9}
    assert card.training["generalized_reliability"] is None


@pytest.mark.parametrize(("choices", "steps", "is_told"), [({}, 8, True), ({}, 20, False), ({"steps": 8}, 8, False)])
def test_the_card_says_when_there_was_time_for_a_handful_of_steps_only(
    make_setup: Any, choices: dict[str, Any], steps: int, *, is_told: bool
) -> None:
    setup = make_setup(**choices)
    if not choices:
        setup = replace(setup, config=replace(setup.config, budget=BudgetConfig(minutes=1)))
    state = begun_state(setup)
    state.step = steps

    notes = model_of(state).card.training["notes"]

    assert ("There was time for 8 steps only, too few to learn much. Give more minutes." in notes) == is_told
