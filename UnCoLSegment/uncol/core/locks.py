"""Files that one process at a time holds; the system lets go of them however that process ends.

The package filelock does the same, but the panel asks before anything is installed (docs/architecture.md).
"""

from __future__ import annotations

import errno
import os
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from uncol.core.errors import OutputError

_TAKEN = (errno.EACCES, errno.EAGAIN, errno.EDEADLK, errno.EBADF)
"""What the systems answer about a file that another process holds, or on NFS about one that may only be read.

On anything else there are no locks there, as on some Lustre: then nobody can hold anything, and nobody is stopped.
"""
_NEVER_THROUGH_A_LINK = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
_PATIENCE_S = 1.0
"""So long a file may be held by somebody who only asks whether it is."""

if sys.platform == "win32":
    import msvcrt

    def _lock(descriptor: int) -> None:
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)

else:
    import fcntl

    def _lock(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


class HeldError(OSError):
    """Another process, or another part of this one, holds the file."""


@contextmanager
def held(path: Path) -> Iterator[None]:
    """Make a file and hold it as long as the block lasts; then it is deleted.

    A file that somebody else left there is held, too, if this user may read it.

    Raises:
        HeldError: If it is held already.
        OSError: If it cannot be made or read.
    """
    deadline = time.monotonic() + _PATIENCE_S
    while (descriptor := _acquired(path)) is None:
        if time.monotonic() > deadline:
            raise HeldError(errno.EAGAIN, "another program holds it", str(path))
        time.sleep(0.05)
    try:
        yield
    finally:
        if sys.platform == "win32":  # no open file can be deleted there
            os.close(descriptor)
            with suppress(OSError):
                path.unlink()
        else:
            with suppress(OSError):
                path.unlink()
            os.close(descriptor)


@contextmanager
def output_held(path: Path, busy: str) -> Iterator[None]:
    """Hold the file by which one program at a time writes to a folder.

    Args:
        path: The file.
        busy: What is said if another program does.

    Raises:
        OutputError: If another program does, or the file cannot be made.
    """
    with ExitStack() as until_done:
        try:
            until_done.enter_context(held(path))
        except HeldError as error:
            message = f"{busy} Wait until it ends, or choose another --out."
            raise OutputError(message) from error
        except OSError as error:
            message = f'"{path}" could not be made ({error.strerror}). Remove what is there, or choose another --out.'
            raise OutputError(message) from error
        yield


def is_held(path: Path, *, if_unknown: bool = False) -> bool:
    """Say whether somebody holds a file; where there are no locks, `if_unknown` about one that is there."""
    try:
        descriptor = _opened(path, 0)
    except FileNotFoundError:
        return False
    except OSError as error:  # another user's; what is a link or a folder nobody holds
        return error.errno in (errno.EACCES, errno.EPERM)
    try:
        _lock(descriptor)
    except OSError as error:
        return error.errno in _TAKEN or if_unknown
    finally:
        os.close(descriptor)
    return False


def _acquired(path: Path) -> int | None:
    """Return the descriptor of the file that is held now; None if somebody else holds it."""
    descriptor = _opened(path, os.O_CREAT)
    try:
        _lock(descriptor)
    except OSError as error:
        if error.errno in _TAKEN:
            os.close(descriptor)
            return None
    with suppress(OSError):
        if os.path.samestat(os.fstat(descriptor), path.stat()):
            return descriptor
    os.close(descriptor)  # who held it deleted it meanwhile
    return None


def _opened(path: Path, how: int) -> int:
    """Return a descriptor of the file, of another user's for reading alone: what is locked is not written."""
    try:
        return os.open(path, os.O_RDWR | how | _NEVER_THROUGH_A_LINK, 0o666)
    except PermissionError:
        return os.open(path, os.O_RDONLY | _NEVER_THROUGH_A_LINK)
