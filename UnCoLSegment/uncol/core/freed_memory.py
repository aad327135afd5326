"""Freed memory kept by a process, or given back to the system.

By default glibc gives each large array back to the system and asks for it anew, and the system clears every page
again, which cost LiteMedSAM's encoder a tenth to a half of its time on two cores (performance/encoding.py): networks
allocate and free the same large arrays in every layer. Other C libraries are left alone.
"""

from __future__ import annotations

import ctypes
import platform

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
"""Parameters of glibc's `mallopt` (malloc.h)."""
_KEPT_BYTES = 1 << 30
_LARGEST_KEPT_ARRAY_BYTES = 1 << 28


def keep_freed_memory() -> bool:
    """Let this process keep up to 1 GiB of freed memory, arrays above 256 MiB excepted; say whether it can."""
    if not _has_glibc():
        return False
    library = ctypes.CDLL(None)
    return bool(
        library.mallopt(_M_MMAP_THRESHOLD, _LARGEST_KEPT_ARRAY_BYTES)
        and library.mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)
    )


def return_freed_memory() -> None:
    """Give what this process has freed back to the system, as after the work that needed it."""
    if _has_glibc():
        ctypes.CDLL(None).malloc_trim(0)


def _has_glibc() -> bool:
    return platform.libc_ver()[0] == "glibc"
