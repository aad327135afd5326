"""A model is known by the SHA-256 of its weights, whatever its folder is called: every result names it."""

from __future__ import annotations

import re
from pathlib import Path

from uncol.core.errors import CheckpointError
from uncol.core.files import read_limited
from uncol.core.model_folder import LIMITS_BYTES, SUMS_FILE, WEIGHTS_FILE, newest
from uncol.core.model_store import Store

_HASH = re.compile(r"[0-9a-f]{12,64}")
"""A whole hash, or as many of its first digits as DICOM results show."""


def weights_hash(folder: Path) -> str:
    """Return the SHA-256 (hex) of a model's weights, as its folder states it; `verify_sums` compares it with the file.

    Raises:
        OSError: If that cannot be read.
        ValueError: If it is not stated.
    """
    text = read_limited(newest(folder, SUMS_FILE), LIMITS_BYTES[SUMS_FILE]).decode("utf-8")
    sums = {name: digest for digest, name in (line.split("  ", 1) for line in text.splitlines())}
    if WEIGHTS_FILE not in sums:
        message = f"{SUMS_FILE} does not name {WEIGHTS_FILE}"
        raise ValueError(message)
    return sums[WEIGHTS_FILE]


def name_of(store: Store, text: str) -> str:
    """Return the name of the model that a user means: a name, or the hash in a result, 12 of its digits or more.

    Raises:
        CheckpointError: If no model in the store has that hash.
    """
    if store.has(text) or not _HASH.fullmatch(text):
        return text
    for name in store.names():
        if stated_hash(store.folder / name).startswith(text):
            return name
    message = (
        f'No model in "{store.folder}" has weights with the SHA-256 {text}. Look in another folder with --models, or '
        "import the model."
    )
    raise CheckpointError(message)


def stated_hash(folder: Path) -> str:
    """Return what `weights_hash` does, or "" for a damaged model: `uncol models verify` says what is wrong with it."""
    try:
        return weights_hash(folder)
    except (OSError, ValueError):
        return ""
