"""Whether there is something readable at a path, before any library looks at it."""

from __future__ import annotations

import errno
import stat
from pathlib import Path, PurePosixPath, PureWindowsPath

from uncol.core.errors import DataError
from uncol.core.files import opened

_REASONS = {
    errno.EACCES: "reading it is not permitted",
    errno.EPERM: "reading it is not permitted",
    errno.ENAMETOOLONG: "its name is too long",
    errno.ELOOP: "its links lead in a circle",
    errno.EIO: "the disk reports an error",
    errno.EISDIR: "it is a folder",
}


def printable(path: Path | str) -> str:
    """Return a path as messages show it: what is no text in it becomes a question mark."""
    return str(path).encode("utf-8", "replace").decode()


def is_text(path: Path | str) -> bool:
    """Say whether a path can be handed to libraries: a name from an old disk may hold bytes that are no UTF-8."""
    return printable(path) == str(path) and "\0" not in str(path)


def check_path(path: Path, subject: str) -> None:
    """Refuse a path that names nothing, nothing readable, or neither file nor folder; a pipe is never waited for.

    Raises:
        DataError: With the reason.
    """
    if not is_text(path):
        message = f"{subject} cannot be read: a name in its path is not valid text (UTF-8). Rename the file or folder."
        raise DataError(message)
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            next(path.iterdir(), None)
        elif stat.S_ISREG(mode):
            with opened(path) as (file, _):
                file.read(1)
        else:
            message = (
                f"{subject} cannot be read: it is neither a file nor a folder, but a pipe or a device. "
                "Save the image to a file."
            )
            raise DataError(message)
    except (FileNotFoundError, NotADirectoryError) as error:
        message = f'{subject} does not exist. Check the path "{path}".'
        raise DataError(message) from error
    except OSError as error:
        raise DataError(unreadable(subject, error)) from error


def beside(header: Path, name: str, subject: str) -> Path:
    """Return the file with the voxels that a header names; it must be a readable one in the header's own folder.

    Raises:
        DataError: If the name leads elsewhere, or there is no such file.
    """
    own_name = name.removeprefix("./")
    if own_name in ("", ".", "..") or not PurePosixPath(own_name).name == PureWindowsPath(own_name).name == own_name:
        message = (
            f"{subject} keeps its voxels in another folder. "
            "Put both files into one folder and write the plain file name into the header, or export it as one file."
        )
        raise DataError(message)
    path = header.parent / own_name
    check_path(path, f'{subject} keeps its voxels in "{printable(own_name)}", which')
    return path


def unreadable(subject: str, error: OSError) -> str:
    """Return the sentence about a file or folder that the operating system does not hand out."""
    if error.errno is None and error.args:  # what `opened` refuses
        return f"{subject} cannot be read: {error}. Take it away, or save the image to a file."
    reason = _REASONS.get(error.errno or 0, error.strerror or "unknown reason")
    return f"{subject} cannot be read: {reason}. Copy it to a folder of your own, or ask whoever owns it."
