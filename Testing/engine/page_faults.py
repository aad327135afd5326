"""How often a process asks the system for pages: what large arrays cost that are not kept."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

glibc_only = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc can be told")

# An array of 40 MiB is above what glibc ever keeps by itself; ten of them touch 102,400 pages of 4 KiB.
FAULTS_OF_TEN = """
import resource
import numpy as np

def faults_of_ten():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        np.empty(40 * 2**20, np.uint8).fill(1)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
"""


def numbers_told_by(program: str) -> list[float]:
    """Return the numbers that a program prints that may call `faults_of_ten`; it is a process of its own."""
    command = [sys.executable, "-c", FAULTS_OF_TEN + program]
    return [float(each) for each in subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()]
