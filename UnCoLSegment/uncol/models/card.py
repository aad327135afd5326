"""A trained student and its card: what a program must know to use it, and a person to judge it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from torch import nn

from uncol import __version__
from uncol.core.config import FORMER_FIELDS, Config
from uncol.core.grey_values import GreyValues, Window, grey_values_in
from uncol.core.jobs import Structure
from uncol.core.model_folder import DISCLAIMER, FORMAT
from uncol.core.records import from_document, to_document
from uncol.core.volume import Plane

_FORMER_NAMES = {"in_one_piece": "is_connected"}
"""What version 0.1 called a field of the card."""


@dataclass(frozen=True)
class ModelCard:
    """What a program must know to use a model, and a person to judge it.

    Attributes:
        structures: Label values and names, in the order of the output channels after background.
        plane: Anatomical plane of the slices.
        pixel_mm: Side of a pixel in the student's frame.
        slice_mm: Distance between neighboring input slices; in 3D between the slices of the student's frame.
        window: Lowest and highest grey value; of images without Hounsfield units those of the first one learned from.
        config: The effective configuration.
        training: Record of the training: slices, hashes, steps, seconds, device, losses, versions.
        is_connected: For each structure whether its annotated slices show it in one piece; then small components go.
        grey_values: Whether the images learned from are CT, or have no Hounsfield units.
    """

    structures: tuple[Structure, ...]
    plane: Plane
    pixel_mm: float
    slice_mm: float
    window: Window
    config: Config
    training: dict[str, Any] = field(default_factory=dict)
    is_connected: tuple[bool, ...] = ()
    grey_values: GreyValues = "hounsfield"

    @property
    def class_count(self) -> int:
        """Structures and background."""
        return len(self.structures) + 1

    @property
    def has_fixed_window(self) -> bool:
        """Whether all images are seen through the one window: it is in Hounsfield units, or the configuration's."""
        return self.grey_values == "hounsfield" or self.config.data.window is not None

    def as_document(self) -> dict[str, Any]:
        """Return the card as a JSON object."""
        return {"format": FORMAT, "uncol": __version__, **to_document(self), "intended_use": DISCLAIMER}

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> ModelCard:
        """Build a card from a JSON object.

        Raises:
            UncolError: If the document is not a model card.
        """
        named = {_FORMER_NAMES.get(name, name): value for name, value in document.items()}
        named["grey_values"] = grey_values_in(named)
        known = {each.name: named[each.name] for each in fields(cls) if each.name in named}
        return from_document(cls, known, "The card", [f"config.{each}" for each in FORMER_FIELDS])


@dataclass(frozen=True)
class Model:
    """A trained student with its card."""

    card: ModelCard
    student: nn.Module
