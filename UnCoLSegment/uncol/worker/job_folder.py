"""The private folder in which a worker gets images and leaves results, and what crashed workers left behind."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from uncol.core.errors import ConfigError, DataError, OutputError

if sys.platform != "win32":
    import fcntl

_PREFIX = "uncol-worker-"
_ALIVE_FILE = ".alive"
_BEGINNING_S = 60.0
"""Age below which a folder without that file may be one that is just being made."""


class JobFolder:
    """A folder that only this user can open, named for the worker's process; deleted by `close`.

    Args:
        path: The folder.
        alive: Open file descriptor of the file in it that says that the worker lives.
    """

    def __init__(self, path: Path, alive: int) -> None:
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
            path = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-", dir=root)).resolve()
            return cls(path, _mark_alive(path))
        except OSError as error:
            message = f'The worker cannot make its job folder in "{root}" ({error.strerror}). Choose another --jobs.'
            raise OutputError(message) from error

    def close(self) -> None:
        """Delete the folder with everything in it."""
        with suppress(OSError):
            os.close(self._alive)
        shutil.rmtree(self.path, ignore_errors=True)

    def subfolder(self, text: str) -> Path:
        """Return the folder of one job, given by its path or its name.

        Raises:
            ConfigError: If it does not lie inside this folder.
            DataError: If it does not exist.
        """
        path = (self.path / text).resolve()
        return _checked(path, self.path, is_there=path.is_dir(), field="job")


def file_of_job(job: Path, text: str, field: str) -> Path:
    """Return a file of a job.

    Raises:
        ConfigError: If it does not lie inside the job's folder.
        DataError: If it does not exist.
    """
    path = (job / text).resolve()
    return _checked(path, job, is_there=path.is_file(), field=field)


def sweep(root: Path) -> None:
    """Delete the job folders of workers that are no longer alive; those of other users stay."""
    for folder in root.glob(f"{_PREFIX}*"):
        with suppress(OSError):  # swept by another worker at the same time
            if _is_own_folder(folder) and not _is_alive(folder):
                shutil.rmtree(folder)


def _checked(path: Path, folder: Path, *, is_there: bool, field: str) -> Path:
    if folder not in path.parents:
        message = f'"{field}" must lie inside the folder "{folder}", got "{path}". Put it there first.'
        raise ConfigError(message)
    if not is_there:
        message = f'"{field}" is not there: "{path}". Write it before the request is sent.'
        raise DataError(message)
    return path


def _is_own_folder(folder: Path) -> bool:
    if folder.is_symlink() or not folder.is_dir():
        return False
    return sys.platform == "win32" or folder.stat().st_uid == os.getuid()


def _mark_alive(folder: Path) -> int:
    """Hold a file that nobody else can hold while this process lives, however it ends."""
    flags, mode = os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600
    if sys.platform == "win32":  # Windows itself keeps an open file from being deleted
        return os.open(folder / _ALIVE_FILE, flags, mode)
    unready = folder / f"{_ALIVE_FILE}.new"
    handle = os.open(unready, flags, mode)
    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    unready.rename(folder / _ALIVE_FILE)
    return handle


def _is_alive(folder: Path) -> bool:
    alive = folder / _ALIVE_FILE
    if not alive.exists():  # just made, or its worker died before it could say so
        return time.time() - folder.stat().st_mtime < _BEGINNING_S
    if sys.platform == "win32":
        try:
            alive.unlink()
        except PermissionError:
            return True
        return False
    handle = os.open(alive, os.O_RDWR)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False
