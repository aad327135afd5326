"""A worker leaves one core to the program that the user looks at."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from uncol.worker.process import physical_core_count, worker_thread_count


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
