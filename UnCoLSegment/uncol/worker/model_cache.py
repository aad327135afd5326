"""What a long-lived process keeps loaded between two requests: the foundation model and the last model used."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import torch

from uncol.core.files import read_limited
from uncol.core.foundation_choice import FoundationChoice
from uncol.core.model_folder import LIMITS_BYTES, SUMS_FILE, newest
from uncol.foundation.loading import load_foundation_model
from uncol.foundation.promptable import PromptableModel
from uncol.models.card import Model
from uncol.models.checkpoints import load_model


class ModelCache:
    """Loads as `load_model` and `load_foundation_model` do, but the same thing only once."""

    def __init__(self) -> None:
        self._model: tuple[tuple[Path, bytes], Model] | None = None
        self._teacher: tuple[tuple[str, FoundationChoice], PromptableModel] | None = None

    def model(self, folder: Path) -> Model:
        """Return the model of a folder, from memory when its checksums are those of the last one.

        Raises:
            CheckpointError: If it cannot be used.
        """
        key = (folder, _sums_of(folder))
        if self._model is None or self._model[0] != key:
            self._model = None  # its memory is free before the next one needs some
            self._model = (key, load_model(folder))
        return self._model[1]

    def teacher(self, device: torch.device, choice: FoundationChoice) -> PromptableModel:
        """Return the foundation model on a device.

        Raises:
            CheckpointError: If it is missing or damaged.
        """
        key = (str(device), choice)
        if self._teacher is None or self._teacher[0] != key:
            self._teacher = None
            self._teacher = (key, load_foundation_model(device, choice))
        return self._teacher[1]


def _sums_of(folder: Path) -> bytes:
    """Return what tells a model from what was in its folder before; what cannot be read is told when it is loaded."""
    with suppress(OSError):
        return read_limited(newest(folder, SUMS_FILE), LIMITS_BYTES[SUMS_FILE])
    return b""
