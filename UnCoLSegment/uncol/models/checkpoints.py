"""Models and resumable checkpoints on disk: safetensors, JSON and checksums, written whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from uncol.core.errors import CheckpointError, UncolError
from uncol.core.files import atomic_write
from uncol.core.model_folder import (
    CHECKPOINT_FILE,
    MODEL_FILE,
    WEIGHTS_FILE,
    WHEN_DAMAGED,
    folder_written,
    model_written,
    newest,
    read_card,
    says_newer,
    verify_sums,
)
from uncol.core.unfinished import RUN_FILE
from uncol.models.build import build_student
from uncol.models.card import Model, ModelCard


def save_model(model: Model, folder: Path) -> None:
    """Write a model folder; an older model there is replaced only when the new one is complete.

    Raises:
        OutputError: If the folder cannot be written.
    """
    with model_written(folder, model.card.as_document()) as weights:
        _save(model.student.state_dict(), weights)


def load_model(folder: Path) -> Model:
    """Read a model folder after checking its checksums.

    Raises:
        CheckpointError: If it is missing, damaged, or of another format.
    """
    if not newest(folder, MODEL_FILE).is_file():
        message = f'"{folder}" is not a model folder: it has no {MODEL_FILE}. Name a folder that fine-tuning wrote.'
        raise CheckpointError(message)
    verify_sums(folder)
    document = read_card(folder)
    try:
        card = ModelCard.from_document(document)
        student = build_student(card)
        weights = load_file(newest(folder, WEIGHTS_FILE))
    except UncolError as error:  # the sums are right, so that the card is as somebody wrote it
        message = f'Model "{folder}" cannot be read ({error}). If a newer UnCoL made it, update. {WHEN_DAMAGED}'
        raise CheckpointError(says_newer(folder, document, str(error).rstrip(".")) or message) from error
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        message = f'Model "{folder}" cannot be read ({error}). {WHEN_DAMAGED}'
        raise CheckpointError(message) from error
    if _shapes(weights) != _shapes(student.state_dict()):
        message = f'Model "{folder}" has weights that do not fit its card. {WHEN_DAMAGED}'
        raise CheckpointError(message)
    student.load_state_dict(weights)
    return Model(card, student.eval().requires_grad_(False))


def save_checkpoint(folder: Path, tensors: Mapping[str, Tensor], record: Mapping[str, Any]) -> None:
    """Write a resumable checkpoint as one file; the previous one is replaced only when it is complete.

    Raises:
        OutputError: If the folder cannot be written.
    """
    with folder_written(folder), atomic_write(folder / CHECKPOINT_FILE) as partial:
        _save(tensors, partial, {"record": json.dumps(dict(record))})


def load_checkpoint(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read the tensors and the record of a checkpoint.

    Raises:
        CheckpointError: If there is none or it is damaged.
    """
    path = folder / CHECKPOINT_FILE
    if not path.is_file():
        message = f'There is nothing to resume in "{folder}". Start without --resume.'
        raise CheckpointError(message)
    try:
        with safe_open(path, framework="pt") as file:
            record = json.loads(file.metadata()["record"])
            return {key: file.get_tensor(key) for key in file.keys()}, record  # noqa: SIM118  # not a mapping
    except (OSError, KeyError, TypeError, ValueError, SafetensorError) as error:
        message = f'The checkpoint in "{folder}" is damaged ({error}). Delete the folder and start again.'
        raise CheckpointError(message) from error


def has_checkpoint(folder: Path) -> bool:
    """Say whether an unfinished run can be resumed there."""
    return (folder / CHECKPOINT_FILE).is_file()


def remove_checkpoint(folder: Path) -> None:
    """Delete the checkpoint of a run that has ended, and what says what it is about."""
    for name in (CHECKPOINT_FILE, RUN_FILE):
        (folder / name).unlink(missing_ok=True)


def _shapes(tensors: Mapping[str, Tensor]) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in tensors.items()}


def _save(tensors: Mapping[str, Tensor], path: Path, metadata: dict[str, str] | None = None) -> None:
    plain = {
        key: tensor.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)
        for key, tensor in tensors.items()
    }
    try:
        save_file(plain, path, metadata)
    except SafetensorError as error:  # on a full disk "Error while ...: I/O error: No space left on device (os ...)"
        raise OSError(str(error).rpartition("I/O error: ")[2].partition(" (os error")[0]) from error
