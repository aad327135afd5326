"""What a model's card says about its training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from uncol import __version__
from uncol.data.annotations import complete_slices
from uncol.data.cases import SliceStack
from uncol.data.connected_components import is_in_one_piece
from uncol.models.checkpoints import ModelCard


def with_training(card: ModelCard, stacks: Sequence[SliceStack], facts: dict[str, Any]) -> ModelCard:
    """Return the card with the record of a finished training.

    Args:
        card: The card that the run began with.
        stacks: The cases that were learned from.
        facts: What the run has to tell beside that: steps, seconds, teachers, losses.
    """
    training = {
        "threads": torch.get_num_threads(),
        "annotated_slices": [len(complete_slices(each.native_labels)) for each in stacks],
        "slices": [len(each.native_labels) for each in stacks],
        "method": card.config.method,
        "seed": card.config.seed,
        "versions": {"uncol": __version__, "torch": str(torch.__version__)},
        **facts,
    }
    return replace(card, in_one_piece=_which_are_in_one_piece(stacks, card.class_count), training=training)


def by_name(card: ModelCard, values: Tensor) -> dict[str, float]:
    """Return values of all classes (C,) by the structures' names, background left out."""
    return {each.name: round(value, 3) for each, value in zip(card.structures, values[1:].tolist(), strict=True)}


def _which_are_in_one_piece(stacks: Sequence[SliceStack], class_count: int) -> tuple[bool, ...]:
    annotated = [(stack.native_labels, complete_slices(stack.native_labels)) for stack in stacks]
    return tuple(
        is_in_one_piece(labels[index] == structure for labels, indices in annotated for index in indices)
        for structure in range(1, class_count)
    )
