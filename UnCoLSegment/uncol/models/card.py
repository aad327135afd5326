"""A trained student with its card."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from uncol.core.model_card import ModelCard


@dataclass(frozen=True)
class Model:
    """A trained student with its card."""

    card: ModelCard
    student: nn.Module
