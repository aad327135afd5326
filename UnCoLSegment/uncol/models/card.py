"""A trained student with its card."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from uncol.core.model_card import ModelCard


@dataclass(frozen=True)
class Model:
    """A trained student with its card.

    Attributes:
        card: What there is to know of it.
        student: The network.
        sha256: SHA-256 (hex) of the file of its weights; "" of a model that comes from no file.
    """

    card: ModelCard
    student: nn.Module
    sha256: str = ""
