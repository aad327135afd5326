"""Whether there is something readable at a path, before any library looks at it."""

from __future__ import annotations

import errno
from pathlib import Path

from uncol.core.errors import DataError

_REASONS = {
    errno.EACCES: "reading it is not permitted",
    errno.EPERM: "reading it is not permitted",
    errno.ENAMETOOLONG: "its name is too long",
    errno.ELOOP: "its links lead in a circle",
    errno.EIO: "the disk reports an error",
}


def check_path(path: Path, subject: str) -> None:
    """Refuse a path that names nothing, nothing readable, or no file or folder.

    Raises:
        DataError: With the reason.
    """
    try:
        if path.is_dir():
            next(path.iterdir(), None)
        else:
            with path.open("rb") as file:
                file.read(1)
    except FileNotFoundError as error:
        message = f'{subject} does not exist. Check the path "{path}".'
        raise DataError(message) from error
    except OSError as error:
        raise DataError(unreadable(subject, error)) from error


def unreadable(subject: str, error: OSError) -> str:
    """Return the sentence about a file or folder that the operating system does not hand out."""
    reason = _REASONS.get(error.errno or 0, error.strerror or "unknown reason")
    return f"{subject} cannot be read: {reason}. Copy it to a folder of your own, or ask whoever owns it."
