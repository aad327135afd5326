"""Runs that have not ended: each has a folder of its own, which is held while it learns and stays until it is removed.

    FOLDER/{checkpoint.safetensors, run.json, .running}

`run.json` says what the run is about. It may hold a patient's name, so that it stays where it is: no model is passed on
with it, and nothing of it is logged.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

from uncol.core.errors import CheckpointError, ConfigError
from uncol.core.files import PRIVATE, atomic_write, is_real_folder, opened, read_limited
from uncol.core.locks import HeldError, held, is_held
from uncol.core.model_folder import CHECKPOINT_FILE, MODEL_FILE, folder_written, has_model, newest
from uncol.core.records import from_document, to_document
from uncol.core.strict_json import read_json
from uncol.core.volume import Volume

RUN_FILE, LOCK_FILE = "run.json", ".running"
_SAMPLE_COUNT = 10_000
_LARGEST_CHECKPOINT_BYTES = 64 << 30
_LONGEST_HEADER, _LONGEST_RUN_FILE_BYTES = 4 << 20, 64 << 10


@dataclass(frozen=True)
class RunOrigin:
    """What a run is about.

    Attributes:
        volume: Name of the volume, for the user's eyes.
        volume_digest: What tells it from others (`volume_digest`); "" where that is not known.
        base: Name of the model that it started from; "" for none.
    """

    volume: str = ""
    volume_digest: str = ""
    base: str = ""


@dataclass(frozen=True)
class UnfinishedRun:
    """A run that can be resumed or removed.

    Attributes:
        name: Name of its folder, and of the model that it will make.
        origin: What it is about.
        steps: Training steps that its checkpoint holds.
        saved: When that was written, ISO 8601 with time zone.
    """

    name: str
    origin: RunOrigin
    steps: int
    saved: str

    def as_document(self) -> dict[str, Any]:
        """Return the run as a JSON object for its user, without what only programs compare."""
        volume, base = self.origin.volume, self.origin.base
        return {"name": self.name, "volume": volume, "base": base, "steps": self.steps, "saved": self.saved}


def volume_digest(volume: Volume) -> str:
    """Return what tells a volume from others, however large it is: a hash (hex) of its grid and of 10,000 voxels."""
    flat = volume.voxels.reshape(-1)
    sample = np.ascontiguousarray(flat[:: max(1, flat.size // _SAMPLE_COUNT)])
    grid = np.round(volume.ijk_to_ras, 4) + 0.0  # + 0.0 turns -0.0 into 0.0
    digest = hashlib.sha256(f"{volume.voxels.dtype.str} {volume.shape_kji} {grid.tolist()}".encode())
    digest.update(sample.tobytes())
    return digest.hexdigest()


def claim_folder(wanted: Path, origin: RunOrigin) -> Path:
    """Make the folder of a run that begins, or `NAME-2`, `NAME-3`, ... beside it if that is taken; return it.

    Raises:
        OutputError: If it cannot be made.
    """
    with folder_written(wanted.parent):
        for number in count(1):
            folder = wanted if number == 1 else wanted.with_name(f"{wanted.name}-{number}")
            with suppress(FileExistsError):
                folder.mkdir()
                with atomic_write(folder / RUN_FILE) as partial:
                    partial.write_text(json.dumps(to_document(origin)), encoding="utf-8")
                    partial.chmod(0o600)  # a volume may be called after its patient
                return folder
    raise AssertionError


def release_folder(folder: Path) -> None:
    """Delete the folder of a run that has ended, unless it holds a model, a checkpoint, or something of others."""
    if not _may_be_held(folder) and is_worthless(folder):
        shutil.rmtree(folder, ignore_errors=True)


def forget_finished(folder: Path) -> None:
    """Delete what is left of a run whose model stands there: it was killed between saving and the end.

    Nothing is deleted through a link: what lies there is of others.
    """
    with suppress(OSError):
        if not is_real_folder(folder):
            return
        saved = newest(folder, MODEL_FILE).stat().st_mtime
        if (folder / CHECKPOINT_FILE).stat().st_mtime <= saved and not _may_be_held(folder):
            for name in (CHECKPOINT_FILE, RUN_FILE):
                (folder / name).unlink(missing_ok=True)


def is_worthless(folder: Path) -> bool:
    """Say whether a folder holds nothing but what a run leaves that had not learned anything."""
    with suppress(OSError):
        names = {each.name for each in folder.iterdir()}
        return all(each in {RUN_FILE, LOCK_FILE} or each.startswith(PRIVATE) for each in names)
    return False


@contextmanager
def run_held(folder: Path) -> Iterator[None]:
    """Hold the folder of a run while it learns, so that no other program goes on with it or removes it.

    Raises:
        CheckpointError: If another program holds it.
        OutputError: If the folder cannot be written.
    """
    with ExitStack() as stack:
        with folder_written(folder):
            try:
                stack.enter_context(held(folder / LOCK_FILE))
            except HeldError as error:
                raise CheckpointError(says_busy(folder)) from error
        yield


def is_run_held(folder: Path) -> bool:
    """Say whether a program learns there; where a file system has no locks, nobody knows, and nobody is stopped."""
    return is_held(folder / LOCK_FILE)


def _may_be_held(folder: Path) -> bool:
    """Say whether a program may learn there: what nobody asked to delete is not deleted below it."""
    return is_held(folder / LOCK_FILE, if_unknown=True)


def says_busy(folder: Path) -> str:
    """What to tell a user who wants to touch a run that is under way."""
    return f'"{folder.name}" is being learned by another program. Wait for its end, or cancel it there.'


def unfinished_in(folder: Path) -> UnfinishedRun | None:
    """Return the unfinished run in a folder; None if there is none, or a program is carrying it out."""
    checkpoint = folder / CHECKPOINT_FILE
    try:
        written = checkpoint.stat()
    except OSError:
        return None
    if has_model(folder) or is_run_held(folder):
        return None
    saved = datetime.fromtimestamp(written.st_mtime, UTC).isoformat(timespec="seconds")
    return UnfinishedRun(folder.name, origin_of(folder), _steps_in(checkpoint, written.st_mtime_ns), saved)


def origin_of(folder: Path) -> RunOrigin:
    """Return what a run is about; one that does not say so is about nothing that is known."""
    with suppress(OSError, ValueError, ConfigError):
        text = read_limited(folder / RUN_FILE, _LONGEST_RUN_FILE_BYTES).decode("utf-8")
        return from_document(RunOrigin, read_json(text), RUN_FILE)
    return RunOrigin()


@lru_cache(maxsize=64)
def _steps_in(checkpoint: Path, _written_ns: int) -> int:
    """Return the steps told in a safetensors file: eight bytes with the length of a JSON header, then that."""
    broken = (OSError, ValueError, KeyError, TypeError)
    with suppress(*broken), opened(checkpoint, _LARGEST_CHECKPOINT_BYTES) as (file, _):
        length = int.from_bytes(file.read(8), "little")
        header = read_json(file.read(min(length, _LONGEST_HEADER)))
        return int(read_json(header["__metadata__"]["record"])["step"])
    return 0
