"""Models and resumable checkpoints on disk: safetensors, JSON and checksums, written whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from uncol.core.errors import CheckpointError, NotFiniteError
from uncol.core.files import atomic_write, is_file
from uncol.core.model_card import ModelCard, check_model
from uncol.core.model_folder import (
    CHECKPOINT_FILE,
    MODEL_FILE,
    WEIGHTS_FILE,
    WHEN_DAMAGED,
    folder_written,
    has_model,
    model_written,
    newest,
)
from uncol.core.model_hash import weights_hash
from uncol.core.strict_json import read_json
from uncol.core.unfinished import RUN_FILE
from uncol.core.weights_file import header_of
from uncol.models.build import build_student
from uncol.models.card import Model

_LARGEST_CHECKPOINT_BYTES = 64 << 30
_TYPES = {torch.float32: "F32", torch.int64: "I64"}
"""What safetensors calls the types that a student has."""


def save_model(model: Model, folder: Path) -> None:
    """Write a model folder; an older model there is replaced only when the new one is complete.

    Raises:
        OutputError: If the folder cannot be written.
        NotFiniteError: If the weights hold numbers that are not finite.
    """
    with model_written(folder, model.card.as_document()) as weights:
        _save(model.student.state_dict(), weights)


def load_model(folder: Path) -> Model:
    """Read a model folder after checking its checksums.

    Raises:
        CheckpointError: If it is missing, damaged, or of another format.
    """
    if not has_model(folder):
        message = f'"{folder}" is not a model folder: it has no {MODEL_FILE}. Name a folder that fine-tuning wrote.'
        raise CheckpointError(message)
    card, student = _checked(folder)
    try:
        sha256 = weights_hash(folder)
        student.load_state_dict(load_file(newest(folder, WEIGHTS_FILE)), assign=True)
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        message = f'Model "{folder}" cannot be read ({error}). {WHEN_DAMAGED}'
        raise CheckpointError(message) from error
    return Model(card, student.eval().requires_grad_(False), sha256)


def check_usable(folder: Path) -> None:
    """Check that a model can be loaded: sums, card, and weights of the names, sizes and types that its card asks for.

    Raises:
        CheckpointError: If it cannot.
    """
    _checked(folder)


def _checked(folder: Path) -> tuple[ModelCard, nn.Module]:
    """Return a model's card, and its student without memory for weights, after both were compared with the file."""
    card = check_model(folder)
    try:
        with torch.device("meta"):
            student = build_student(card)
        found = header_of(newest(folder, WEIGHTS_FILE)).tensors
    except (OSError, ValueError, RuntimeError) as error:
        message = f'Model "{folder}" cannot be read ({error}). {WHEN_DAMAGED}'
        raise CheckpointError(message) from error
    expected = {name: (tuple(each.shape), _TYPES[each.dtype]) for name, each in student.state_dict().items()}
    if expected != {name: (each.shape, each.dtype) for name, each in found.items()}:
        message = f'Model "{folder}" has weights that do not fit its card. {WHEN_DAMAGED}'
        raise CheckpointError(message)
    return card, student


def save_checkpoint(folder: Path, tensors: Mapping[str, Tensor], record: Mapping[str, Any]) -> None:
    """Write a resumable checkpoint as one file; the previous one is replaced only when it is complete.

    Raises:
        OutputError: If the folder cannot be written.
    """
    with folder_written(folder), atomic_write(folder / CHECKPOINT_FILE) as partial:
        _save(tensors, partial, {"record": json.dumps(dict(record), allow_nan=False)})
        partial.chmod(0o600)  # it remembers the images


def check_finite(tensors: Mapping[str, Tensor]) -> None:
    """Refuse tensors with numbers that are not finite.

    Raises:
        NotFiniteError: If there is one; its text is the tensor's name.
    """
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            raise NotFiniteError(name)


def load_checkpoint(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read the tensors and the record of a checkpoint.

    Raises:
        CheckpointError: If there is none or it is damaged.
    """
    path = folder / CHECKPOINT_FILE
    if not has_checkpoint(folder):
        message = f'There is nothing to resume in "{folder}". Start without --resume.'
        raise CheckpointError(message)
    try:
        record = read_json(header_of(path, _LARGEST_CHECKPOINT_BYTES).metadata["record"])
        with safe_open(path, framework="pt") as file:
            return {key: file.get_tensor(key) for key in file.keys()}, record  # noqa: SIM118  # not a mapping
    except (OSError, KeyError, TypeError, ValueError, SafetensorError) as error:
        message = f'The checkpoint in "{folder}" is damaged ({error}). Delete the folder and start again.'
        raise CheckpointError(message) from error


def has_checkpoint(folder: Path) -> bool:
    """Say whether an unfinished run can be resumed there."""
    return is_file(folder / CHECKPOINT_FILE)


def remove_checkpoint(folder: Path) -> None:
    """Delete the checkpoint of a run that has ended, and what says what it is about."""
    for name in (CHECKPOINT_FILE, RUN_FILE):
        (folder / name).unlink(missing_ok=True)


def _save(tensors: Mapping[str, Tensor], path: Path, metadata: dict[str, str] | None = None) -> None:
    plain = {
        key: tensor.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)
        for key, tensor in tensors.items()
    }
    try:
        save_file(plain, path, metadata)
    except SafetensorError as error:  # on a full disk "Error while ...: I/O error: No space left on device (os ...)"
        raise OSError(str(error).rpartition("I/O error: ")[2].partition(" (os error")[0]) from error
