"""A lock has one holder, and a holder that is killed leaves none."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from uncol.benchmark.locks import try_lock

HOLD = """
import importlib.util, sys, time
from pathlib import Path
spec = importlib.util.spec_from_file_location("locks", sys.argv[1])
locks = importlib.util.module_from_spec(spec)
spec.loader.exec_module(locks)
with locks.try_lock(Path(sys.argv[2])) as is_held:
    print(is_held, flush=True)
    time.sleep(60)
"""
MODULE = sys.modules[try_lock.__module__].__file__


def test_the_holder_has_the_lock_and_writes_its_number_for_people(tmp_path: Path) -> None:
    with try_lock(tmp_path / "locks" / "run") as is_held:
        assert is_held
        assert (tmp_path / "locks" / "run").read_text() == f"{os.getpid()}\n"


def test_nobody_else_has_it_meanwhile_and_anybody_afterwards(tmp_path: Path) -> None:
    with try_lock(tmp_path / "run"), try_lock(tmp_path / "run") as is_held_twice:
        assert not is_held_twice

    with try_lock(tmp_path / "run") as is_held_again:
        assert is_held_again


def test_the_lock_of_a_killed_process_is_taken_over(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(MODULE), str(tmp_path / "run")], stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout.readline() == "True\n"
        with try_lock(tmp_path / "run") as is_held:
            assert not is_held
        holder.kill()

    with try_lock(tmp_path / "run") as is_held:
        assert is_held
