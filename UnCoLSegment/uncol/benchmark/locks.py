"""One holder at a time across processes: a lock file that the system releases when its holder ends, however it ends."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO


@contextmanager
def try_lock(path: Path) -> Iterator[bool]:
    """Hold a lock file while the body runs, or say at once that another process holds it.

    The lock is the system's (flock, on Windows a locked byte) and not the file's existence, so that a killed process
    leaves nothing stale, and a number that the system gave to another process since then misleads nobody. The number
    of the holder stands in the file for people to read.

    Yields:
        Whether the lock is held now.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+", encoding="ascii") as file:
        is_held = _lock(file)
        if is_held and sys.platform != "win32":  # a locked byte cannot be written
            file.truncate(0)
            file.write(f"{os.getpid()}\n")
            file.flush()
        yield is_held


if sys.platform == "win32":
    import msvcrt  # there is no fcntl on Windows

    def _lock(file: IO[str]) -> bool:
        file.seek(0)
        try:
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

else:
    import fcntl  # there is no msvcrt elsewhere

    def _lock(file: IO[str]) -> bool:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True
