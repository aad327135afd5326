"""Processes side by side: their progress, their ends, how one that fails ends the others, and their one coordinator."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from uncol.benchmark.processes import Work, hold, work_side_by_side
from uncol.core.errors import CancelledError, OutputError, UncolError
from uncol.core.progress import Monitor, Progress

COORDINATE = """
import os, sys, time
from pathlib import Path
from uncol.benchmark.processes import hold, work_side_by_side
from uncol.core.progress import UNWATCHED

def work(monitor):
    print(os.getpid(), flush=True)
    time.sleep(60)

with hold(Path(sys.argv[1])):
    work_side_by_side({"a": work, "b": work}, 2, print, UNWATCHED)
"""
LIMIT_S = 30
# Work is defined within functions: so it goes through pickle by its content, and the processes need not find this file.


def run(
    folder: Path, works: dict[str, Work], should_stop: Callable[[], bool] = lambda: False
) -> list[tuple[str, Progress]]:
    told: list[tuple[str, Progress]] = []
    with hold(folder):
        work_side_by_side(works, 2, lambda *each: told.append(each), Monitor(should_stop=should_stop))
    return told


def waiting() -> Work:
    def wait(monitor: Monitor) -> None:
        for _ in range(600):
            monitor.step("Waiting", 0.0)
            time.sleep(0.1)

    return wait


def failing(error: Exception) -> Work:
    def fail(monitor: Monitor) -> None:
        raise error

    return fail


def killed_by(number: int) -> Work:
    return lambda _monitor: os.kill(os.getpid(), number)


def test_each_process_has_one_thread_and_tells_its_progress(tmp_path: Path) -> None:
    def tell(monitor: Monitor) -> None:
        monitor.report(Progress(os.environ["OMP_NUM_THREADS"], 0.5, step=3, losses={"supervised": 1.0}))
        time.sleep(1)

    told = run(tmp_path, {"a": tell, "b": tell})

    assert sorted(told) == [(name, Progress("1", 0.5, step=3, losses={"supervised": 1.0})) for name in "ab"]


@pytest.mark.parametrize(
    ("error", "kind"),
    [(UncolError("Bad image."), UncolError), (RuntimeError("Bad image."), RuntimeError)],
    ids=["the user's error", "a bug of ours"],
)
def test_work_that_fails_says_why_and_ends_the_others_at_their_next_safe_point(
    tmp_path: Path, error: Exception, kind: type[Exception]
) -> None:
    saved = tmp_path / "saved"

    def save_when_told(monitor: Monitor) -> None:
        try:
            waiting()(monitor)
        except CancelledError:
            saved.touch()
            raise

    with pytest.raises(kind, match=r"^Bad image\.") as caught:
        run(tmp_path, {"a": save_when_told, "b": failing(error)})

    assert saved.exists()
    assert any("in fail" in note for note in getattr(caught.value, "__notes__", ())) is (kind is RuntimeError)


def test_what_has_not_begun_when_the_work_is_stopped_does_nothing_but_look(tmp_path: Path) -> None:
    began, started = tmp_path / "began", time.monotonic()

    def begin(monitor: Monitor) -> None:
        monitor.check()
        began.touch()

    with pytest.raises(CancelledError):
        run(tmp_path, {"a": waiting(), "b": waiting(), "c": begin}, lambda: time.monotonic() - started > 3)

    assert time.monotonic() - started < LIMIT_S
    assert not began.exists()


@pytest.mark.skipif(os.name == "nt", reason="Windows ends processes without signals")
def test_ctrl_c_in_a_terminal_reaches_all_processes_and_is_answered_by_the_coordinator_alone(tmp_path: Path) -> None:
    def ignore(_monitor: Monitor) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGTERM)
        (tmp_path / "alive").touch()

    run(tmp_path, {"a": ignore})

    assert (tmp_path / "alive").exists()


@pytest.mark.skipif(os.name == "nt", reason="Windows ends processes without signals")
def test_a_process_that_the_system_killed_is_told_in_one_sentence(tmp_path: Path) -> None:
    message = (
        r"^A process was ended by the system, probably because the memory was full\. "
        r"Give fewer --jobs and run the same command again\.$"
    )

    with pytest.raises(UncolError, match=message):
        run(tmp_path, {"a": waiting(), "b": killed_by(9)})

    with pytest.raises(CancelledError):  # whoever stops the work expects processes to end
        run(tmp_path, {"a": waiting(), "b": killed_by(9)}, lambda: True)


@pytest.mark.skipif(os.name == "nt", reason="Windows ends processes without signals")
def test_a_process_that_crashed_is_a_bug(tmp_path: Path) -> None:
    with pytest.raises(Exception, match="SIGABRT") as caught:
        run(tmp_path, {"a": waiting(), "b": killed_by(6)})

    assert not isinstance(caught.value, UncolError)


@pytest.mark.skipif(os.name == "nt", reason="Windows ends processes without signals")
def test_processes_end_with_their_coordinator_however_it_ends_and_the_folder_is_free(tmp_path: Path) -> None:
    command = [sys.executable, "-c", COORDINATE, str(tmp_path)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    ) as coordinator:
        assert coordinator.stdout is not None
        workers = [int(coordinator.stdout.readline()) for _ in "ab"]
        with pytest.raises(OutputError, match=r'^Another benchmark is writing to ".*"\. Wait until it ends, or '):
            hold(tmp_path).__enter__()
        coordinator.kill()
        ends = time.monotonic() + LIMIT_S
        while any(is_running(worker) for worker in workers) and time.monotonic() < ends:
            time.sleep(0.1)

    assert not any(is_running(worker) for worker in workers)
    with hold(tmp_path):
        pass


@pytest.mark.skipif(os.name == "nt", reason="no open file is deleted there")
def test_no_process_takes_a_lock_that_is_gone_for_the_end_of_the_coordinator(tmp_path: Path) -> None:
    def unlock_and_work(_monitor: Monitor) -> None:
        for lock in tmp_path.glob(".lock"):
            lock.unlink()
        time.sleep(3)
        (tmp_path / "done").touch()

    run(tmp_path, {"a": unlock_and_work})

    assert (tmp_path / "done").exists()


def test_what_lies_in_place_of_the_lock_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / ".lock").mkdir()

    with pytest.raises(OutputError, match=r'\.lock" could not be made \(.*\)\. Remove what is there, or choose'):
        hold(tmp_path).__enter__()


def is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True
