"""The errors that a user can do something about; each message says what, where and what to do."""

from __future__ import annotations

EXIT_BUG = 1
"""The exit code of a fault of ours."""


class UncolError(Exception):
    """Base of every error that the user can fix; its text is one clear sentence or two."""

    exit_code = 2
    """What a command exits with that ends so."""


class ConfigError(UncolError):
    """An option or a field of the configuration is out of its range or contradicts another."""


class DataError(UncolError):
    """An image, label map or annotation cannot be used as it is."""


class GeometryError(DataError):
    """Two images that must share one voxel grid do not, or a grid is not usable."""


class CheckpointError(UncolError):
    """A model folder, a checkpoint or foundation weights are missing, damaged or do not fit."""


class NotFiniteError(UncolError):
    """Numbers that must be finite are not: a training went wrong, or weights or an image are broken."""


class OutputError(UncolError):
    """A result could not be written; nothing half-written was left behind."""


class CancelledError(UncolError):
    """The work was stopped on request; what can be resumed has been saved."""

    exit_code = 130


MEMORY_IS_FULL = "The memory is full. Close other programs, or crop the volume, and try again."
_OUT_OF_MEMORY = (
    *("out of memory", "can't allocate memory", "ALLOC_FAILED"),  # torch of a GPU and of a CPU, cuDNN and cuBLAS
    *("could not create a primitive", "could not create a memory", "could not execute a primitive"),  # oneDNN
    *("Failed to allocate memory", "bad_alloc", "bad allocation"),  # ITK, C++
    *("Cannot allocate memory", "can't start new thread"),  # the system, of which a thread needs memory
)
"""What libraries say of a full memory."""


def says_memory_is_full(error: BaseException) -> bool:
    """Say whether a library's error, or one that it came of, means that there was no memory left, on CPU or GPU."""
    causes = [error]
    while (cause := causes[-1].__cause__) is not None and cause not in causes:
        causes.append(cause)
    return any(isinstance(each, MemoryError) or any(text in str(each) for text in _OUT_OF_MEMORY) for each in causes)
