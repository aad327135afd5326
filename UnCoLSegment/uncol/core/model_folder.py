"""A model's folder, without torch: how it is written, read and checked."""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from uncol import __version__
from uncol.core.errors import CheckpointError, ConfigError, NotFiniteError, OutputError
from uncol.core.files import PRIVATE, atomic_folder, is_file, is_real_folder, read_limited, sha256_of
from uncol.core.printable import printable_document
from uncol.core.strict_json import read_json
from uncol.core.weights_file import WEIGHTS_LIMIT_BYTES, first_not_finite

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
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
_NOT_ON_WINDOWS = re.compile(r"con|prn|aux|nul|com[0-9]|lpt[0-9]")
LIMITS_BYTES = {MODEL_FILE: 1 << 20, WEIGHTS_FILE: WEIGHTS_LIMIT_BYTES, SUMS_FILE: 4 << 10}
"""The files of a model, and how large each may be."""


def is_model_name(name: str) -> bool:
    """Say whether a model may have that name: a folder name that every system takes."""
    return bool(_NAME.fullmatch(name)) and not _NOT_ON_WINDOWS.fullmatch(name)


def check_model_name(name: str) -> None:
    """Refuse what is no name for a model.

    Raises:
        ConfigError: If it is none.
    """
    if not is_model_name(name):
        message = (
            f'"{name}" is no name for a model. Use 1 to 64 small letters, digits, - and _, beginning with a letter '
            "or a digit (and no name that Windows keeps for itself, such as con)."
        )
        raise ConfigError(message)


def newest(folder: Path, name: str) -> Path:
    """Return where a file of a model lies, also when an interruption kept it from its place."""
    complete = folder / COMPLETE
    return complete / name if is_real_folder(complete) and is_file(complete / name) else folder / name


def has_model(folder: Path) -> bool:
    """Say whether a folder holds a finished model."""
    return is_file(newest(folder, MODEL_FILE))


@contextmanager
def model_written(folder: Path, card: dict[str, Any]) -> Iterator[Path]:
    """Write a model folder; an older model there is replaced only when the new one is complete.

    Args:
        folder: The model's folder.
        card: The JSON object for `model.json`.

    Yields:
        Where the weights are to be written.

    Raises:
        OutputError: If the folder cannot be written.
        NotFiniteError: If the weights hold numbers that are not finite.
    """
    check_interrupted_save(folder)
    with folder_written(folder):
        _finish_interrupted_save(folder)
        # renamed to `.complete`, the files are what `newest` finds, whether or not they have come to their place yet
        with atomic_folder(folder / COMPLETE) as partial:
            yield partial / WEIGHTS_FILE
            _check_finite(partial / WEIGHTS_FILE, folder)
            text = json.dumps(card, indent=2, allow_nan=False)
            (partial / MODEL_FILE).write_text(text + "\n", encoding="utf-8")
            # safetensors writes for this user alone, but whoever may read one file of a model may read all
            (partial / WEIGHTS_FILE).chmod(stat.S_IMODE((partial / MODEL_FILE).stat().st_mode))
            sums = [f"{sha256_of(partial / name)}  {name}\n" for name in (MODEL_FILE, WEIGHTS_FILE)]
            (partial / SUMS_FILE).write_text("".join(sums), encoding="utf-8")
        _finish_interrupted_save(folder)


@contextmanager
def folder_written(folder: Path) -> Iterator[None]:
    """Make a model's folder and say in one sentence when something cannot be written into it.

    Raises:
        OutputError: Instead of an OSError.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        message = (
            f'"{folder}" could not be written ({error.strerror or error}). Free some space there, or make the folder '
            "writable, and try again; what was there before is kept."
        )
        raise OutputError(message) from error


def check_interrupted_save(folder: Path) -> None:
    """Refuse a folder where something of others has the place of what an interruption left of a model.

    Raises:
        OutputError: If that is so; nothing was changed.
    """
    complete = folder / COMPLETE
    if not os.path.lexists(complete):
        return
    try:
        is_ours = is_real_folder(complete) and all(_is_of_model(each) for each in complete.iterdir())
    except OSError:
        is_ours = False
    if not is_ours:
        message = f'"{complete}" is not of UnCoL. Look what it is, or choose another folder; nothing was changed.'
        raise OutputError(message)


def _is_of_model(path: Path) -> bool:
    return path.name in LIMITS_BYTES and stat.S_ISREG(path.lstat().st_mode)


def _finish_interrupted_save(folder: Path) -> None:
    complete = folder / COMPLETE
    if is_real_folder(complete):
        for name in LIMITS_BYTES:
            if (complete / name).is_file():
                (complete / name).replace(folder / name)
        complete.rmdir()
    for left_behind in folder.glob(f"{PRIVATE}*"):
        shutil.rmtree(left_behind, ignore_errors=True)


def _check_finite(weights: Path, folder: Path) -> None:
    name = first_not_finite(weights)
    if name:
        message = (
            f'The model was not saved in "{folder}": what it learned is broken, "{name}" holds numbers that are not '
            "finite. Fine-tune it anew, with a smaller learning rate if you have set one."
        )
        raise NotFiniteError(message)


def read_card(folder: Path) -> dict[str, Any]:
    """Return the JSON object in a model's `model.json`, its texts without control characters, with our disclaimer.

    Raises:
        CheckpointError: If it is missing, damaged or of another format.
    """
    try:
        content = read_limited(newest(folder, MODEL_FILE), LIMITS_BYTES[MODEL_FILE])
        card: dict[str, Any] = printable_document(read_json(content.decode("utf-8")))
        found = card["format"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        message = f'Model "{folder}" cannot be read ({error}). {WHEN_DAMAGED}'
        raise CheckpointError(message) from error
    if isinstance(found, bool) or found != FORMAT:
        unknown = f"it has format {str(found)[:20]}, this version reads {FORMAT}"
        message = says_newer(folder, card, unknown) or f'Model "{folder}" cannot be read: {unknown}. Update UnCoL.'
        raise CheckpointError(message)
    return {**card, "intended_use": DISCLAIMER}


def says_newer(folder: Path, card: dict[str, Any], unknown: str) -> str:
    """Return what to tell about a model that this version cannot use; "" unless a newer one made it.

    Args:
        folder: The model's folder.
        card: Its card, which says which version made it.
        unknown: What cannot be used, in a few words.
    """
    made_by = str(card.get("uncol", ""))[:20]
    if _version(made_by) <= _version(__version__):
        return ""
    return f'Model "{folder}" was made by UnCoL {made_by}, this is {__version__}: update UnCoL to use it ({unknown}).'


def _version(text: str) -> list[int]:
    return [int(each) for each in re.findall(r"[0-9]{1,9}", text)[:3]]


def verify_sums(folder: Path) -> None:
    """Check a model's files against its checksums.

    Raises:
        CheckpointError: If a file is missing or differs.
    """
    try:
        lines = read_limited(newest(folder, SUMS_FILE), LIMITS_BYTES[SUMS_FILE]).decode("utf-8").splitlines()
        sums = {name: digest for digest, name in (line.split("  ", 1) for line in lines)}
        files = {name: newest(folder, name) for name in (MODEL_FILE, WEIGHTS_FILE)}
        wrong = [name for name, file in files.items() if sums.get(name) != sha256_of(file, LIMITS_BYTES[name])]
    except (OSError, ValueError) as error:
        message = f'Model "{folder}" is incomplete ({error}). {WHEN_DAMAGED}'
        raise CheckpointError(message) from error
    if wrong:
        message = f'Model "{folder}" is damaged: {wrong[0]} does not match its checksum. {WHEN_DAMAGED}'
        raise CheckpointError(message)
