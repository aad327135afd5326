"""Processes side by side: their progress, their ends, and how one that fails ends the others."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable

import pytest

from uncol.benchmark.workers import work_side_by_side
from uncol.core.errors import CancelledError, UncolError
from uncol.core.progress import Progress

TELL = """
import json, os, sys
print(json.dumps({"event": "progress", "phase": os.environ["OMP_NUM_THREADS"], "fraction": 0.5}), flush=True)
print("a library talks", flush=True)
print(json.dumps({"event": "result", "out": "somewhere"}), flush=True)
"""
WAIT = """
import signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(130))
print('{"event": "progress", "phase": "ready", "fraction": 0.0}', flush=True)
time.sleep(60)
"""


def failing(code: int, sentence: str) -> str:
    return f"import sys; sys.stderr.write({sentence!r}); sys.exit({code})"


def run(*scripts: str, should_stop: Callable[[], bool] = lambda: False) -> list[Progress]:
    told: list[Progress] = []
    commands = [[sys.executable, "-S", "-c", script] for script in scripts]
    work_side_by_side(commands, told.append, should_stop)
    return told


def test_each_process_has_one_thread_and_tells_its_progress() -> None:
    waiting_for_the_other = TELL + "import time; time.sleep(0.5)"

    told = run(TELL, waiting_for_the_other)

    assert told == [Progress("1", 0.5)] * 2


@pytest.mark.parametrize(
    ("code", "kind"),
    [pytest.param(2, UncolError, id="the user's error"), pytest.param(1, RuntimeError, id="a bug of ours")],
)
def test_a_process_that_fails_says_why_and_ends_the_others(code: int, kind: type[Exception]) -> None:
    started = time.monotonic()

    with pytest.raises(kind, match="Bad image"):
        run(WAIT, failing(code, "Bad image."))

    assert time.monotonic() - started < 20


def test_a_sentence_for_the_user_comes_without_the_warnings_above_it() -> None:
    with pytest.raises(UncolError, match=r"^Bad image\. Export it again\.$"):
        run(failing(2, "WARNING: Two voxels are not finite.\nWARNING: Nor is a third.\nBad image. Export it again.\n"))


def test_a_bug_comes_with_all_that_was_said_before_it() -> None:
    with pytest.raises(RuntimeError, match=r"^A worker ended with code 1\.\nTraceback\nThis is a bug\.$"):
        run(failing(1, "Traceback\nThis is a bug.\n"))


def test_all_are_asked_to_stop_and_waited_for() -> None:
    started = time.monotonic()

    with pytest.raises(CancelledError):
        run(WAIT, WAIT, should_stop=lambda: time.monotonic() - started > 0.5)

    assert time.monotonic() - started < 20


def test_an_end_before_it_could_listen_is_a_stop_too() -> None:
    with pytest.raises(CancelledError):
        run("import time; time.sleep(60)", should_stop=lambda: True)


@pytest.mark.skipif(os.name == "nt", reason="Windows ends processes without signals")
@pytest.mark.parametrize(
    ("number", "kind", "message"),
    [
        pytest.param(
            9,
            UncolError,
            r"^A process was ended by the system \(code -9\), probably because the memory was full\. "
            r"Give fewer --jobs and run the same command again\.$",
            id="killed",
        ),
        pytest.param(
            15,
            UncolError,
            r"^A process was ended by the system \(code -15\)\. Run the same command again\.$",
            id="terminated",
        ),
        pytest.param(11, RuntimeError, "A worker ended with code -11", id="crashed"),
    ],
)
def test_a_process_ended_by_a_signal_is_a_bug_only_if_it_crashed(
    number: int, kind: type[Exception], message: str
) -> None:
    with pytest.raises(kind, match=message):
        run(WAIT, f"import os; os.kill(os.getpid(), {number})")
