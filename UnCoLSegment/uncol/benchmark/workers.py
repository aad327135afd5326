"""Several processes with one thread each, side by side: on two cores that is faster than two threads in one process."""

from __future__ import annotations

import json
import os
import subprocess
from collections import deque
from collections.abc import Callable, Sequence
from queue import Empty, Queue
from threading import Thread

from uncol.core.errors import CancelledError, UncolError
from uncol.core.progress import Progress

_PROGRESS = '{"event": "progress"'
"""How a line begins that tells progress (`core.jobs.Progress.as_message`)."""
_ENDED_FROM_OUTSIDE = {
    -9: ", probably because the memory was full. Give fewer --jobs and run the same command again.",
    -15: ". Run the same command again.",
}
"""What to say to exit codes that tell of a signal; other signals are crashes, and so bugs."""
_KEPT_LINES = 40
_LOOK_INTERVAL_S = 0.2


class Worker:
    """One child process: it writes its progress as JSON lines and its complaints to stderr."""

    def __init__(self, command: Sequence[str], told: Queue[Progress]) -> None:
        self._told = told
        self._complaints: deque[str] = deque(maxlen=_KEPT_LINES)
        self._was_asked_to_stop = False
        self._process = subprocess.Popen(
            [*command],
            env={**os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
        )
        self._readers = [Thread(target=read, daemon=True) for read in (self._read_progress, self._read_complaints)]
        for reader in self._readers:
            reader.start()

    @property
    def is_running(self) -> bool:
        """Say whether the process has not ended yet."""
        return self._process.poll() is None

    @property
    def has_failed(self) -> bool:
        """Say whether the process has ended otherwise than by being done."""
        return bool(self._process.poll())

    def ask_to_stop(self) -> None:
        """Let it save what it is at and end."""
        if self.is_running:
            self._was_asked_to_stop = True
            self._process.terminate()

    def problem(self) -> Exception | None:
        """Wait until it has ended and return what went wrong, in the order of the exit codes; None is nothing."""
        for reader in self._readers:
            reader.join()
        with self._process:  # closes its pipes
            code = self._process.wait()
        if code == 0:
            return None
        sentence = self._complaints[-1] if self._complaints else ""  # what stands above it are warnings
        if code == UncolError.exit_code:
            return UncolError(sentence)
        if code == CancelledError.exit_code or self._was_asked_to_stop:
            return CancelledError(sentence)
        if code in _ENDED_FROM_OUTSIDE:
            return UncolError(f"A process was ended by the system (code {code}){_ENDED_FROM_OUTSIDE[code]}")
        return RuntimeError("\n".join((f"A worker ended with code {code}.", *self._complaints)))

    def _read_progress(self) -> None:
        for line in self._process.stdout or ():
            if line.startswith(_PROGRESS):  # and not the result, or what a library prints
                message = json.loads(line)
                del message["event"]
                self._told.put(Progress(**message))

    def _read_complaints(self) -> None:
        self._complaints.extend(line.rstrip() for line in self._process.stderr or ())


def work_side_by_side(
    commands: Sequence[Sequence[str]], tell: Callable[[Progress], None], should_stop: Callable[[], bool]
) -> None:
    """Run commands of the command line at the same time; the processes share the work among themselves.

    Args:
        commands: Program and arguments of each; they write JSON lines and leave with the exit codes of `uncol`.
        tell: Told how far the current piece of work of a process has come.
        should_stop: Asked all the time.

    Raises:
        CancelledError: If `should_stop` says so; all processes have saved what they were at.
        UncolError: If one of them says that the user can do something about it, or was ended by the system; the others
            are stopped, too.
    """
    told: Queue[Progress] = Queue()
    workers = [Worker(command, told) for command in commands]
    try:
        while any(worker.is_running for worker in workers) and not _is_over(workers, should_stop):
            _pass_on(told, tell)
    finally:
        for worker in workers:
            worker.ask_to_stop()
    problems = [problem for worker in workers if (problem := worker.problem()) is not None]
    if problems:  # that of the one that failed, not of those that were stopped for it
        raise min(problems, key=lambda problem: isinstance(problem, CancelledError))


def _is_over(workers: Sequence[Worker], should_stop: Callable[[], bool]) -> bool:
    return should_stop() or any(worker.has_failed for worker in workers)


def _pass_on(told: Queue[Progress], tell: Callable[[Progress], None]) -> None:
    try:
        tell(told.get(timeout=_LOOK_INTERVAL_S))
    except Empty:
        return
