"""A process keeps freed memory as long as it needs it."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

from uncol.core.freed_memory import keep_freed_memory, return_freed_memory

glibc_only = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc can be told")

# An array of 40 MiB is above what glibc ever keeps by itself; ten of them touch 102,400 pages of 4 KiB.
PROGRAM = """
import resource
import numpy as np
from uncol.core.freed_memory import keep_freed_memory, return_freed_memory

def resident_mib():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize() / 2**20

def faults_of_ten():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        np.empty(40 * 2**20, np.uint8).fill(1)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

as_it_is = faults_of_ten()
keep_freed_memory()
faults_of_ten()
kept = faults_of_ten()
holding = resident_mib()
return_freed_memory()
print(as_it_is, kept, holding - resident_mib())
"""


@glibc_only
def test_large_arrays_are_not_fetched_anew_and_go_back_when_returned() -> None:
    ended = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    as_it_is, kept, returned_mib = (float(each) for each in ended.stdout.split())

    assert kept < as_it_is / 100
    assert returned_mib > 35


def test_other_c_libraries_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))

    assert keep_freed_memory() is False
    return_freed_memory()
