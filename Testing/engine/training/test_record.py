"""What a model's card says of its training: slices that were annotated, structures in one piece, values by name."""

from __future__ import annotations

import numpy as np
import torch

from uncol.core.config import Config
from uncol.core.jobs import Structure
from uncol.core.volume import UNKNOWN_LABEL, SliceView
from uncol.data.cases import SliceStack
from uncol.models.checkpoints import ModelCard
from uncol.training.record import by_name, with_training

VIEW = SliceView("axial", (0, 1, 2), (False, False, False), (2.0, 1.0, 1.0))
CARD = ModelCard(
    (Structure(1, "whole"), Structure(7, "scattered")), "axial", 1.0, 2.0, (0.0, 1.0), Config(seed=3, method="bcp")
)


def test_the_card_counts_annotated_slices_and_sees_what_is_in_one_piece():
    labels = np.full((3, 6, 6), UNKNOWN_LABEL, dtype=np.uint8)
    labels[1] = 0
    labels[1, 0:3, 0:3] = 1
    labels[1, 4, [0, 2, 4]] = 2
    stack = SliceStack(VIEW, torch.zeros(3, 6, 6), torch.from_numpy(labels), labels)

    card = with_training(CARD, [stack], {"steps": 20})

    assert card.in_one_piece == (True, False)
    told = {name: card.training[name] for name in ("steps", "annotated_slices", "slices", "method", "seed")}
    assert told == {"steps": 20, "annotated_slices": [1], "slices": [3], "method": "bcp", "seed": 3}


def test_values_are_told_by_the_structures_names_without_background():
    assert by_name(CARD, torch.tensor([1.0, 0.12345, 0.9])) == {"whole": 0.123, "scattered": 0.9}
