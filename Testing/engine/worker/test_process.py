"""A worker leaves one core to the program that the user looks at, and keeps freed memory as long as it needs it."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

from uncol.worker.process import (
    keep_freed_memory,
    physical_core_count,
    return_freed_memory,
    worker_thread_count,
)


@pytest.mark.parametrize(("cores", "threads"), [(1, 1), (2, 1), (4, 3), (64, 63)])
def test_one_core_is_left_free(cores: int, threads: int) -> None:
    assert worker_thread_count(cores) == threads


def test_there_are_no_more_physical_than_logical_cores() -> None:
    assert 1 <= physical_core_count() <= (os.cpu_count() or 1)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux binds a process to cores so")
def test_only_cores_that_the_process_may_use_count() -> None:
    program = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}); "
    program += "from uncol.worker.process import *; print(physical_core_count(), worker_thread_count())"
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout

    assert told.split() == ["1", "1"]


@pytest.mark.skipif(os.name == "nt", reason="reads the niceness of POSIX systems")
def test_the_priority_is_lowered() -> None:
    program = (
        "import os; from uncol.worker.process import *;before = os.nice(0); lower_priority(); print(before, os.nice(0))"
    )
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    before, after = map(int, told.split())

    assert after == min(19, before + 10)


glibc_only = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc can be told")

# An array of 40 MiB is above what glibc ever keeps by itself; ten of them touch 102,400 pages of 4 KiB.
PROGRAM = """
import resource
import numpy as np
from uncol.worker.process import keep_freed_memory, return_freed_memory

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
