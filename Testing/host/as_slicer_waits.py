"""Waiting as Slicer's main thread does between two events: it keeps Python's lock, and no other Python thread runs.

Slicer starts Python from C++ and never gives the lock back while its event loop waits. Other threads run only while
the main thread runs Python, in the slot of a timer for example, or inside calls from Python into Qt. `time.sleep` and
the waits of PySide6 give the lock back, so that threads seem much faster there than they are.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable

_MICROSECONDS = 1000


def _holdingWait() -> Callable[[int], object]:
    """Return a function of the system that waits some ms; called through `PyDLL`, it does not give the lock back."""
    if sys.platform == "win32":
        return ctypes.PyDLL("kernel32").Sleep
    library = ctypes.PyDLL(None)
    return lambda milliseconds: library.usleep(milliseconds * _MICROSECONDS)


_wait = _holdingWait()


def waitAsSlicer(milliseconds: int) -> None:
    """Wait, and let no other Python thread run meanwhile."""
    _wait(milliseconds)
