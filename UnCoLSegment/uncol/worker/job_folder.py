"""The private folder in which a worker gets images and leaves results, and what crashed workers left behind."""

from __future__ import annotations

import os
import secrets
import shutil
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from filelock import FileLock

from uncol.core.errors import ConfigError, DataError, OutputError
from uncol.core.files import resolved

_PREFIX = "uncol-worker-"
_ALIVE = ".alive"
"""A file of the folder's name and this ending is locked as long as the worker lives, however it ends."""
_FORGOTTEN_S = 24 * 3600.0
"""Age from which a folder that has no lock may be a dead worker's."""


class JobFolder:
    """A folder that only this user can open, named for the worker's process; deleted by `close`.

    Args:
        path: The folder.
        alive: The lock that says that the worker lives.
    """

    def __init__(self, path: Path, alive: FileLock) -> None:
        self.path = path
        self._alive = alive

    @classmethod
    def make(cls, root: Path) -> JobFolder:
        """Delete the folders of dead workers below `root`, then make one for this process.

        Raises:
            OutputError: If that is not possible there.
        """
        try:
            root.mkdir(parents=True, exist_ok=True)
            sweep(root)
            path = resolved(root) / f"{_PREFIX}{os.getpid()}-{secrets.token_hex(4)}"
            alive = FileLock(path.with_suffix(_ALIVE), timeout=0, thread_local=False)
            alive.acquire()  # before there is a folder that another worker could take for a dead one's
            path.mkdir(mode=0o700)
        except OSError as error:
            message = f'The worker cannot make its job folder in "{root}" ({error.strerror}). Choose another --jobs.'
            raise OutputError(message) from error
        return cls(path, alive)

    def close(self) -> None:
        """Delete the folder with everything in it."""
        shutil.rmtree(self.path, ignore_errors=True)
        self._alive.release()
        with suppress(OSError):
            self.path.with_suffix(_ALIVE).unlink()

    def subfolder(self, path: Path, field: str) -> Path:
        """Return the folder of one job, given by its path or its name.

        Raises:
            ConfigError: If it does not lie inside this folder.
            DataError: If it does not exist.
        """
        return _checked(path, self.path, Path.is_dir, field)


def file_of_job(job: Path, path: Path, field: str) -> Path:
    """Return a file of a job, given by its path or its name.

    Raises:
        ConfigError: If it does not lie inside the job's folder.
        DataError: If it does not exist.
    """
    return _checked(path, job, Path.is_file, field)


def sweep(root: Path) -> None:
    """Delete the job folders of workers that are no longer alive; those of other users stay."""
    for alive in root.glob(f"{_PREFIX}*{_ALIVE}"):
        with suppress(OSError):  # it is locked (`filelock.Timeout`), or another user's
            with FileLock(alive, timeout=0):
                shutil.rmtree(alive.with_suffix(""), ignore_errors=True)
            alive.unlink()
    for folder in root.glob(f"{_PREFIX}*"):
        with suppress(OSError):
            if not folder.with_suffix(_ALIVE).exists() and _is_forgotten(folder):
                shutil.rmtree(folder, ignore_errors=True)


def _is_forgotten(folder: Path) -> bool:
    """Say whether a folder without its lock, as where temporary files are swept, is old and its worker is gone."""
    if time.time() - folder.stat().st_mtime < _FORGOTTEN_S:
        return False
    if sys.platform == "win32":  # no open file is deleted there: without the lock there is no worker
        return True
    try:
        os.kill(int(folder.name.removeprefix(_PREFIX).partition("-")[0]), 0)
    except (ProcessLookupError, ValueError):
        return True
    return False


def _checked(path: Path, folder: Path, is_there: Callable[[Path], bool], field: str) -> Path:
    try:
        path = resolved(folder / path)
        if folder not in path.parents:
            message = f'"{field}" must lie inside the folder "{folder}", got "{path}". Put it there first.'
            raise ConfigError(message)
        if not is_there(path):
            message = f'"{field}" is not there: "{path}". Write it before the request is sent.'
            raise DataError(message)
    except OSError as error:  # a name of more than 255 letters, as a rule
        message = f'"{field}" cannot be looked up ({error.strerror}). Give it a shorter name.'
        raise DataError(message) from error
    return path
