"""Files and folders that are on the disk, and whole, once they are there."""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from io import BufferedReader
from pathlib import Path
from tempfile import TemporaryDirectory

from uncol.core.errors import DataError, OutputError
from uncol.core.printable import printable

PRIVATE = ".uncol-"
"""How the names of private folders begin; a killed process leaves one behind."""
FORGOTTEN_S = 24 * 3600.0
"""Age from which a private folder is surely left over from an interruption."""

ANY_SIZE = 1 << 62
"""More bytes than any disk has."""
_WITHOUT_WAITING = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
"""A pipe without a writer is opened at once, too."""


@contextmanager
def private_folder(parent: Path) -> Iterator[Path]:
    """Lend a folder in `parent` that this user alone can open; what is left in it at the end is deleted.

    What killed programs left in `parent` a day ago or more is deleted before: it may hold what was found in an image.
    """
    sweep_forgotten(parent)
    with TemporaryDirectory(prefix=PRIVATE, dir=parent, ignore_cleanup_errors=True) as folder:
        yield Path(folder)


def sweep_forgotten(parent: Path) -> None:
    """Delete the private folders in `parent` that are older than a day; links and everything else stay."""
    with suppress(OSError):
        for each in [path for path in parent.iterdir() if path.name.startswith(PRIVATE)]:
            with suppress(OSError):  # another process may sweep the same folder at the same time
                if time.time() - each.lstat().st_mtime > FORGOTTEN_S and not each.is_symlink():
                    shutil.rmtree(each, ignore_errors=True)


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


def place_together(files: Sequence[Path], folder: Path, is_cancelled: Callable[[], bool] = lambda: False) -> list[Path]:
    """Copy files into a folder, all of them or none; where a name is taken there, all of them get the same number.

    Args:
        files: Files of different names.
        folder: The folder.
        is_cancelled: Asked before the first one appears.

    Returns:
        Where they are; nothing if it was cancelled.

    Raises:
        OutputError: If that is not possible there.
    """
    placed: list[Path] = []
    try:
        with private_folder(folder) as temporary:
            for each in files:
                shutil.copyfile(each, temporary / each.name)
                flush_to_disk(temporary / each.name)
            targets = _free_names(files, folder)
            for each, target in zip(files, () if is_cancelled() else targets, strict=False):
                (temporary / each.name).rename(target)
                placed.append(target)
    except OSError as error:
        for each in placed:
            each.unlink(missing_ok=True)
        message = f'The folder "{folder}" cannot be written to ({error.strerror or error}). Choose another folder.'
        raise OutputError(message) from error
    return placed


def _free_names(files: Sequence[Path], folder: Path) -> list[Path]:
    number, targets = 1, [folder / each.name for each in files]
    while any(map(os.path.lexists, targets)):
        number += 1
        targets = [folder / f"{each.stem}-{number}{each.suffix}" for each in files]
    return targets


@contextmanager
def opened(path: Path, limit_bytes: int = ANY_SIZE) -> Iterator[tuple[BufferedReader, int]]:
    """Open a file that somebody else may have made; lend it with its size in bytes.

    Raises:
        OSError: If it cannot be opened, is no regular file (a pipe would wait, a device never end), or is larger.
    """
    with open(os.open(path, os.O_RDONLY | _WITHOUT_WAITING), "rb") as file:  # noqa: PTH123  # a descriptor, no path
        found = os.fstat(file.fileno())
        if not stat.S_ISREG(found.st_mode):
            message = f'"{path.name}" is no regular file'
            raise OSError(message)
        if found.st_size > limit_bytes:
            message = f'"{path.name}" has {found.st_size} bytes, which is too large'
            raise OSError(message)
        yield file, found.st_size


def read_limited(path: Path, limit_bytes: int) -> bytes:
    """Return the content of a file that somebody else may have made.

    Raises:
        OSError: As `opened` does.
    """
    with opened(path, limit_bytes) as (file, size):
        return file.read(size)


def is_file(path: Path) -> bool:
    """Say whether a regular file is there, also by a link; a name that no system takes is none."""
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name of 300 letters, or with half a character
        return False


def resolved(path: Path) -> Path:
    """Return where a path leads in the end, with all links followed.

    Raises:
        DataError: If its links lead in a circle, or it is a name that no system takes.
    """
    try:
        return path.resolve()
    except (OSError, RuntimeError, ValueError) as error:  # RuntimeError: a circle, before Python 3.13
        message = f'"{printable(str(path))}" leads nowhere: its links go in a circle, or its name is none. Rename it.'
        raise DataError(message) from error


def is_real_folder(path: Path) -> bool:
    """Say whether a path is a folder itself, and no link to one."""
    try:
        found = path.lstat()
    except (OSError, ValueError):
        return False
    junction = getattr(stat, "IO_REPARSE_TAG_MOUNT_POINT", -1)  # what Windows calls another kind of link
    return stat.S_ISDIR(found.st_mode) and getattr(found, "st_reparse_tag", 0) != junction


def flush_to_disk(path: Path) -> None:
    """Return when a file's content is on the disk and not only on its way there."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def sha256_of(path: Path, limit_bytes: int = ANY_SIZE) -> str:
    """Return the SHA-256 (hex) of a file.

    Raises:
        OSError: As `opened` does.
    """
    with opened(path, limit_bytes) as (file, _):
        return hashlib.file_digest(file, "sha256").hexdigest()
