"""Files and folders that are on the disk, and whole, once they are there."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

PRIVATE = ".uncol-"
"""How the names of private folders begin; a killed process leaves one behind."""


@contextmanager
def private_folder(parent: Path) -> Iterator[Path]:
    """Lend a folder in `parent` that this user alone can open; what is left in it at the end is deleted."""
    with TemporaryDirectory(prefix=PRIVATE, dir=parent, ignore_cleanup_errors=True) as folder:
        yield Path(folder)


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Lend a path to write a file to; when the block ends, the file is flushed and takes the place of `path`.

    The path ends in the same name. When the block raises, nothing new is left and what was there stays.
    """
    with private_folder(path.parent) as folder:
        partial = folder / path.name
        yield partial
        flush_to_disk(partial)
        partial.replace(path)


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Lend an empty folder; when the block ends, its files are flushed and it becomes `path`, which must not exist."""
    with private_folder(path.parent) as folder:
        partial = folder / path.name
        partial.mkdir()
        yield partial
        for file in partial.iterdir():
            flush_to_disk(file)
        partial.rename(path)


def flush_to_disk(path: Path) -> None:
    """Return when a file's content is on the disk and not only on its way there."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def sha256_of(path: Path) -> str:
    """Return the SHA-256 (hex) of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
