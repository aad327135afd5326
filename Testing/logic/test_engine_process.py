"""The engine as a child process: real processes, small enough to misbehave on purpose."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from as_slicer_waits import waitAsSlicer

from uncol.core.protocol import Log, ShutdownResult
from UnCoLSegmentLib.Engine.EngineProcess import EngineProcess, engineCommand, engineEnvironment

MODULE_FOLDER = Path(__file__).resolve().parents[2] / "UnCoLSegment"
PATIENCE_S = 20.0

ECHO = """
import json, sys
for line in sys.stdin:
    request = json.loads(line)
    print(json.dumps({"id": request["id"], "event": "log", "level": "info", "message": request["op"]}), flush=True)
    if request["op"] == "shutdown":
        break
"""
DEAF = 'import time; print(\'{"id": null, "event": "log", "level": "info"}\', flush=True); time.sleep(600)'
GARBAGE_BETWEEN = """
import sys
print("Downloading: 12%", "[1, 2]", '{"id": 1}', sep="\\n")
sys.stdout.buffer.write(b"\\xff\\xfe\\n")
print('{"id": 1, "event": "shutdown_result"}', flush=True)
print('{"id": 2, "event": "cancel_result", "lost": true}', flush=True)
sys.stdin.read()
"""
DEEP = """
import sys
for depth in range(900, 1000, 2):
    deep = "[" * depth + "]" * depth
    print('{"id": 1, "event": %s}' % deep)
    print('{"id": %s, "event": "log", "level": "info", "message": %s}' % (deep, deep))
print('{"id": 1, "event": "shutdown_result"}', flush=True)
sys.stdin.read()
"""
BABBLER = "while True: print('nonsense', flush=True)"
# A launcher as PythonSlicer is one: it starts the real program, which inherits its pipes, waits for it, and ends with
# its exit code, or with 1 and a line where it was killed.
LAUNCHER = """
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print('{"id": 1, "event": "log", "level": "info", "message": "%d"}' % child.pid, flush=True)
code = child.wait()
if code < 0:
    print("error: [python-real] exit abnormally - Report the problem.", file=sys.stderr)
sys.exit(1 if code < 0 else code)
"""


class Heard:
    """Everything that an engine told, in order."""

    def __init__(self, engine: EngineProcess) -> None:
        self.engine, self.events, self.ends = engine, [], []
        engine.received.connect(lambda *event: self.events.append(event))
        engine.ended.connect(lambda *end: self.ends.append(end))

    def waitFor(self, condition: Callable[[], Any]) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < deadline, f"nothing came; heard {self.events} {self.ends}"
            self.engine.poll()
            waitAsSlicer(5)


@pytest.fixture
def start() -> Iterator[Callable[[str], Heard]]:
    engines = []

    def startProgram(program: str) -> Heard:
        engine = EngineProcess([sys.executable, "-c", program], engineEnvironment(MODULE_FOLDER))
        engines.append(engine)
        heard = Heard(engine)
        engine.start()
        return heard

    yield startProgram
    for engine in engines:
        engine.stop(0)


def test_a_start_greets_and_every_answer_carries_its_requests_number(start) -> None:
    heard = start(ECHO)

    number = heard.engine.cancel(7)
    heard.waitFor(lambda: len(heard.events) == 2)

    assert heard.events == [(1, Log("info", "hello")), (number, Log("info", "cancel"))]


def test_nothing_is_told_before_the_main_thread_polls(start) -> None:
    heard = start(ECHO)

    time.sleep(0.5)

    assert heard.events == []
    heard.waitFor(lambda: heard.events)


def test_lines_that_are_no_events_are_passed_over(start) -> None:
    heard = start(GARBAGE_BETWEEN)

    heard.waitFor(lambda: len(heard.events) == 2)

    assert heard.events[0] == (1, ShutdownResult())
    assert heard.engine.isRunning


def test_lines_nested_as_deep_as_python_goes_are_passed_over(start) -> None:
    heard = start(DEEP)

    heard.waitFor(lambda: heard.events or heard.ends)

    assert heard.events == [(1, ShutdownResult())]
    assert heard.engine.isRunning


def test_an_event_that_cannot_be_understood_is_the_end_of_its_request(start) -> None:
    heard = start(GARBAGE_BETWEEN)

    heard.waitFor(lambda: len(heard.events) == 2)

    number, failed = heard.events[1]
    assert (number, failed.kind) == (2, "bug")
    assert failed.message == 'Event "cancel_result" has no field "lost". Known fields: found.'
    assert '"lost": true' in failed.details


def test_an_engine_that_only_babbles_is_ended_and_its_last_words_are_told(start, wait_until_gone) -> None:
    heard = start(BABBLER)
    pid = heard.engine.processId

    heard.waitFor(lambda: heard.ends)

    assert "200 lines were not messages of the engine" in heard.ends[0][1]
    assert not heard.engine.isRunning
    wait_until_gone(pid)


def test_a_crash_tells_the_exit_code_and_the_last_words(start) -> None:
    heard = start("import sys; sys.exit('torch is not here')")

    heard.waitFor(lambda: heard.ends)

    assert heard.ends == [(1, "torch is not here")]


def test_after_an_end_the_next_start_gets_a_new_engine(start) -> None:
    heard = start(ECHO)
    heard.waitFor(lambda: heard.events)
    os.kill(heard.engine.processId, 9)
    heard.waitFor(lambda: heard.ends)

    heard.engine.start()
    heard.waitFor(lambda: len(heard.events) == 2)

    assert heard.ends == [(-9, "")]
    assert [event.message for _number, event in heard.events] == ["hello", "hello"]


def test_a_stop_is_a_shutdown_that_tells_nothing(start, wait_until_gone) -> None:
    heard = start(ECHO)
    pid = heard.engine.processId
    heard.waitFor(lambda: heard.events)

    heard.engine.stop()
    heard.engine.poll()

    assert (len(heard.events), heard.ends) == (1, [])
    assert not heard.engine.isRunning
    wait_until_gone(pid)


def test_an_engine_that_does_not_listen_is_killed(start, wait_until_gone) -> None:
    heard = start(DEAF)
    pid = heard.engine.processId
    heard.waitFor(lambda: heard.events)

    heard.engine.stop(shutdownTimeout_s=0.2)

    wait_until_gone(pid)


def test_a_stop_does_not_wait(start) -> None:
    heard = start(DEAF)
    heard.waitFor(lambda: heard.events)

    began = time.monotonic()
    heard.engine.stop(shutdownTimeout_s=1)

    assert time.monotonic() - began < 0.1


def test_a_stop_ends_the_program_behind_a_launcher(start, wait_until_gone) -> None:
    heard = start(LAUNCHER)
    heard.waitFor(lambda: heard.events)

    heard.engine.stop(shutdownTimeout_s=0.1)

    wait_until_gone(int(heard.events[0][1].message))


def test_a_killed_launcher_takes_its_program_along(start, wait_until_gone) -> None:
    heard = start(LAUNCHER)
    heard.waitFor(lambda: heard.events)

    os.kill(heard.engine.processId, 9)
    heard.waitFor(lambda: heard.ends)

    assert heard.ends[0][0] == -9
    wait_until_gone(int(heard.events[0][1].message))


def test_a_program_killed_behind_a_launcher_is_told_in_the_launchers_words(start) -> None:
    heard = start(LAUNCHER)
    heard.waitFor(lambda: heard.events)

    os.kill(int(heard.events[0][1].message), 9)
    heard.waitFor(lambda: heard.ends)

    assert heard.ends == [(1, "error: [python-real] exit abnormally - Report the problem.")]


def test_a_request_that_fills_the_pipe_does_not_block(start) -> None:
    heard = start(DEAF)

    began = time.monotonic()
    heard.engine.cancel("x" * 10_000_000)

    assert time.monotonic() - began < 1


def test_a_request_to_no_engine_is_a_programmers_error() -> None:
    engine = EngineProcess(["nobody"], {})

    with pytest.raises(RuntimeError, match="The engine is not running, so Cancel cannot be asked for"):
        engine.cancel(1)


def test_a_program_that_is_not_there_is_an_error_at_once() -> None:
    engine = EngineProcess([str(MODULE_FOLDER / "no-such-python")], {})

    with pytest.raises(OSError, match="no-such-python"):
        engine.start()
    assert not engine.isRunning


def test_the_worker_runs_with_this_python_outside_of_the_application(monkeypatch) -> None:
    monkeypatch.setenv("PATH", "")

    python, *_start, option, value = engineCommand("--cache", "X")

    assert (python, option, value) == (sys.executable, "--cache", "X")


def test_another_uncol_before_ours_is_not_the_engine(monkeypatch, tmp_path: Path) -> None:
    for name in ("site-packages", "started-here"):  # pip install uncol in Slicer, and a folder of the user's
        (tmp_path / name / "uncol" / "worker").mkdir(parents=True)
        for file in ("__init__.py", "worker/__init__.py", "worker/__main__.py"):
            (tmp_path / name / "uncol" / file).write_text("raise SystemExit('not ours')")
    monkeypatch.chdir(tmp_path / "started-here")
    environment = engineEnvironment(MODULE_FOLDER)
    environment["PYTHONPATH"] = f"{tmp_path / 'site-packages'}{os.pathsep}{environment['PYTHONPATH']}"

    ended = subprocess.run([*engineCommand(), "--help"], env=environment, capture_output=True, text=True, check=False)

    assert ended.stdout.startswith("usage: python -m uncol.worker"), ended.stderr


def test_a_workers_last_lines_can_be_read_while_it_runs_and_afterwards(tmp_path: Path) -> None:
    engine = EngineProcess([sys.executable, "-c", "import sys; print('a warning', file=sys.stderr)"], dict(os.environ))
    ended: list[Any] = []
    engine.ended.connect(lambda *facts: ended.append(facts))
    assert engine.log == ""

    engine.start()
    deadline = time.monotonic() + 10
    while not ended and time.monotonic() < deadline:
        engine.poll()
        time.sleep(0.01)

    assert engine.log == "a warning"


def test_the_worker_runs_with_the_applications_python_where_there_is_one(monkeypatch, tmp_path: Path) -> None:
    python = tmp_path / ("PythonSlicer.exe" if sys.platform == "win32" else "PythonSlicer")
    python.touch(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))

    assert engineCommand()[0] == str(python)


def test_the_environment_finds_our_packages_first_and_keeps_the_rest() -> None:
    environment = engineEnvironment(MODULE_FOLDER, {"PYTHONPATH": "others", "HOME": "h"})

    assert environment["PYTHONPATH"] == f"{MODULE_FOLDER}{os.pathsep}others"
    assert (environment["HOME"], environment["OMP_WAIT_POLICY"]) == ("h", "passive")


def test_the_environment_lets_a_foreign_python_find_the_engine() -> None:
    environment = engineEnvironment(MODULE_FOLDER, {})

    program = "import uncol; print(uncol.__file__)"
    found = subprocess.run([sys.executable, "-S", "-c", program], env=environment, capture_output=True, check=True)

    assert Path(found.stdout.decode().strip()).parent == MODULE_FOLDER / "uncol"


def test_an_answer_comes_with_the_first_poll_after_the_engine_gave_it(start) -> None:
    heard = start(ECHO)
    heard.waitFor(lambda: heard.events)

    polls = 0
    heard.engine.cancel(7)
    while len(heard.events) < 2:
        waitAsSlicer(200)  # as long as the program may take on a busy machine
        heard.engine.poll()
        polls += 1

    assert polls == 1
