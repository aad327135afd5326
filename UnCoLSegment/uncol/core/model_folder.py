"""The files of a model folder, as far as they can be read and checked without torch."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from uncol.core.errors import CheckpointError

FORMAT = 1
"""Version of the model folder's format."""
MODEL_FILE, WEIGHTS_FILE, SUMS_FILE = "model.json", "weights.safetensors", "SHA256SUMS"
CHECKPOINT_FILE = "checkpoint.safetensors"
"""The state of a run that is not finished."""
WHEN_DAMAGED = "Import it again, fine-tune it anew, or choose another model."
"""What to do about a damaged model."""
DISCLAIMER = "Research use only. Not a medical device."
COMPLETE = ".complete"
"""Subfolder of a model that was written completely, but whose files were not yet moved to their place."""


def newest(folder: Path, name: str) -> Path:
    """Return where a file of a model lies, also when an interruption kept it from its place."""
    complete = folder / COMPLETE / name
    return complete if complete.is_file() else folder / name


def read_card(folder: Path) -> dict[str, Any]:
    """Return the JSON object in a model's `model.json`.

    Raises:
        CheckpointError: If it is missing, damaged or of another format.
    """
    try:
        document = json.loads(newest(folder, MODEL_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        message = f'Model "{folder}" cannot be read ({error}). {WHEN_DAMAGED}'
        raise CheckpointError(message) from error
    found = document.get("format") if isinstance(document, dict) else None
    if found != FORMAT:
        message = f'Model "{folder}" has format {found}, this version reads {FORMAT}. Update UnCoL.'
        raise CheckpointError(message)
    card: dict[str, Any] = document
    return card


def verify_sums(folder: Path) -> None:
    """Check a model's files against its checksums.

    Raises:
        CheckpointError: If a file is missing or differs.
    """
    try:
        lines = newest(folder, SUMS_FILE).read_text(encoding="utf-8").splitlines()
        sums = {name: digest for digest, name in (line.split("  ", 1) for line in lines)}
        wrong = [name for name in (MODEL_FILE, WEIGHTS_FILE) if sums.get(name) != sha256_of(newest(folder, name))]
    except (OSError, ValueError) as error:
        message = f'Model "{folder}" is incomplete ({error}). {WHEN_DAMAGED}'
        raise CheckpointError(message) from error
    if wrong:
        message = f'Model "{folder}" is damaged: {wrong[0]} does not match its checksum. {WHEN_DAMAGED}'
        raise CheckpointError(message)


def sha256_of(path: Path) -> str:
    """Return the SHA-256 (hex) of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
