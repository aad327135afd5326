"""What a worker asks of the system: low priority, and one core left free."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from pathlib import Path

_CPU_FOLDER = Path("/sys/devices/system/cpu")
_NICENESS = 10
_BELOW_NORMAL_PRIORITY_CLASS = 0x4000


def lower_priority() -> None:
    """Let every other program go first."""
    if sys.platform == "win32":
        kernel = ctypes.windll.kernel32
        kernel.SetPriorityClass(kernel.GetCurrentProcess(), _BELOW_NORMAL_PRIORITY_CLASS)
    else:
        os.nice(_NICENESS)


def worker_thread_count(cores: int | None = None) -> int:
    """Return physical cores - 1, at least 1: the rest is for the program that the user looks at."""
    return max(1, (physical_core_count() if cores is None else cores) - 1)


def physical_core_count() -> int:
    """Return the number of physical cores that this process may use; where it cannot be told, the logical ones."""
    logical = _usable_processors()
    if sys.platform == "darwin":
        counted = _counted_by_macos()
    elif sys.platform == "linux":
        counted = len({_siblings(number) for number in logical})
    else:
        counted = len(logical) // 2  # nearly all have two logical processors to a core
    return max(1, min(counted, len(logical)))


def _usable_processors() -> set[int]:
    if sys.platform == "linux":
        return os.sched_getaffinity(0)
    return set(range(os.cpu_count() or 1))


def _siblings(number: int) -> str:
    """Return the text by which all logical processors of one core are alike."""
    listed = _CPU_FOLDER / f"cpu{number}" / "topology" / "thread_siblings_list"
    try:
        return listed.read_text(encoding="ascii").strip()
    except OSError:  # not told inside some containers
        return str(number)


def _counted_by_macos() -> int:
    asked = subprocess.run(["/usr/sbin/sysctl", "-n", "hw.physicalcpu"], capture_output=True, text=True, check=False)
    return int(asked.stdout) if asked.stdout.strip().isdecimal() else os.cpu_count() or 1
