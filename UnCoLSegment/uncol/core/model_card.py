"""The card of a model: what a program must know to use it, and a person to judge it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from uncol import __version__
from uncol.core.config import FORMER_FIELDS, Config, check_window
from uncol.core.errors import CheckpointError, ConfigError, UncolError
from uncol.core.grey_values import GreyValues, Window, grey_values_in
from uncol.core.jobs import Structure
from uncol.core.learned_slices import read_hashes
from uncol.core.model_folder import (
    DISCLAIMER,
    FORMAT,
    WEIGHTS_FILE,
    WHEN_DAMAGED,
    newest,
    read_card,
    says_newer,
    verify_sums,
)
from uncol.core.records import from_document, to_document
from uncol.core.training_record import training_record
from uncol.core.verdict import Verdict
from uncol.core.volume import Plane
from uncol.core.weights_file import first_not_finite

_FORMER_NAMES = {"in_one_piece": "is_connected"}
"""What version 0.1 called a field of the card."""
_LENGTHS_MM = (1e-3, 1e4)
"""Between these lie the pixels of every model: images have 0.001 to 1000 mm, and large slices are reduced."""


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
        learned_slices: Hashes of the annotated slices learned from, as `core.learned_slices` writes them; "" where
            that is not known.
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
    learned_slices: str = ""

    def __post_init__(self) -> None:
        check_structures(self.structures)
        for name in ("pixel_mm", "slice_mm"):
            length = getattr(self, name)
            if not _LENGTHS_MM[0] <= length <= _LENGTHS_MM[1]:
                message = f"{name} must be {_LENGTHS_MM[0]:g} to {_LENGTHS_MM[1]:g} mm, got {length}."
                raise ConfigError(message)
        check_window(self.window, "window")
        if len(self.is_connected) not in (0, len(self.structures)):
            message = f"is_connected must say yes or no for each structure, got {len(self.is_connected)} values."
            raise ConfigError(message)
        training_record(self.training)
        read_hashes(self.learned_slices)

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


def check_structures(structures: tuple[Structure, ...]) -> None:
    """Refuse what no model segments.

    Raises:
        ConfigError: If there is no structure, or two have the same label value.
    """
    values = [each.value for each in structures]
    if not values or len(set(values)) != len(values):
        message = f"The structures of a model need label values that all differ, got {values or 'none'}."
        raise ConfigError(message)


def verdict_in(training: Mapping[str, Any]) -> Verdict | None:
    """Return the verdict in a record of a training; None where nothing was to be compared.

    Raises:
        ConfigError: If it is none.
    """
    found = training.get("verdict")
    return None if found is None else from_document(Verdict, found, "The verdict")


def card_of(folder: Path) -> ModelCard:
    """Return the card of a model after checking its checksums and the card's meaning.

    Raises:
        CheckpointError: If a file is missing, damaged, or of another format.
    """
    verify_sums(folder)
    document = read_card(folder)
    try:
        return ModelCard.from_document(document)
    except UncolError as error:  # the sums are right, so that the card is as somebody wrote it
        why = str(error).rstrip(".")
        message = f'Model "{folder}" cannot be read ({why}). If a newer UnCoL made it, update. {WHEN_DAMAGED}'
        raise CheckpointError(says_newer(folder, document, why) or message) from error


def check_model(folder: Path) -> ModelCard:
    """Check a model as far as that is possible without torch, sums, card, finite weights; return its card.

    Raises:
        CheckpointError: If it cannot be used.
    """
    card = card_of(folder)
    try:
        broken = first_not_finite(newest(folder, WEIGHTS_FILE))
    except (OSError, ValueError) as error:
        message = f'Model "{folder}" has weights that cannot be read ({error}). {WHEN_DAMAGED}'
        raise CheckpointError(message) from error
    if broken:
        message = f'Model "{folder}" is broken: its weights "{broken}" hold numbers that are not finite. {WHEN_DAMAGED}'
        raise CheckpointError(message)
    return card
