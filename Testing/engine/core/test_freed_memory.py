"""A process keeps freed memory as long as it needs it."""

from __future__ import annotations

import platform

import pytest
from page_faults import glibc_only, numbers_told_by

from uncol.core.freed_memory import keep_freed_memory, return_freed_memory

PROGRAM = """
from uncol.core.freed_memory import keep_freed_memory, return_freed_memory

def resident_mib():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize() / 2**20

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
    as_it_is, kept, returned_mib = numbers_told_by(PROGRAM)

    assert kept < as_it_is / 100
    assert returned_mib > 35


def test_other_c_libraries_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))

    assert keep_freed_memory() is False
    return_freed_memory()
