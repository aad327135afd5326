"""Several processes with one thread each, side by side: on two cores that is faster than two threads in one process.

One process coordinates: it holds the lock of the results folder, hands out the work and hears of it. The others write
how far they are into files and look for a file that says stop, so nothing else has to pass between them. What joblib
hands over is pickled, but in no file (`max_nbytes=None`).
"""

from __future__ import annotations

import json
import os
import traceback
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from joblib import Parallel, delayed, parallel_config
from joblib.externals.loky import get_reusable_executor
from joblib.externals.loky.process_executor import TerminatedWorkerError

from uncol.core.caller import follow
from uncol.core.errors import CancelledError, UncolError
from uncol.core.locks import output_held
from uncol.core.progress import Monitor, Progress
from uncol.core.records import to_document

Work = Callable[[Monitor], None]
"""One piece of work; it goes through pickle."""

_LOCK, _STOP = ".lock", ".stop"
_KILLED = "SIGKILL"
"""How joblib names the end of a process that the system killed; other signals tell of crashes, and so of bugs."""
_LOOK_INTERVAL_S = 0.2


def hold(folder: Path) -> AbstractContextManager[None]:
    """Hold the lock of a results folder; the system releases it when its holder ends, however it ends.

    Raises:
        OutputError: If another process holds it, or it cannot be made.
    """
    return output_held(folder / _LOCK, f'Another benchmark is writing to "{folder}".')


def work_side_by_side(
    tasks: Mapping[str, Work], jobs: int, tell: Callable[[str, Progress], None], monitor: Monitor
) -> None:
    """Do all pieces of work, so many at the same time; without a coordinator the processes end.

    Args:
        tasks: The pieces by name.
        jobs: How many processes there are.
        tell: Told how far a piece has come.
        monitor: Asked all the time whether to stop.

    Raises:
        CancelledError: If the monitor says so; all processes have saved what they were at.
        UncolError: If a piece of work says that the user can do something about it, the others having saved what they
            were at, or if the system killed a process.
    """
    told: dict[str, Progress] = {}
    with TemporaryDirectory() as name, ThreadPoolExecutor(1) as waiting:
        folder = Path(name)
        ended = waiting.submit(_do_all, tasks, jobs, folder)
        try:
            while not wait([ended], _LOOK_INTERVAL_S).done:
                if monitor.should_stop():
                    (folder / _STOP).touch()
                for task in tasks:
                    progress = _read(folder / task)
                    if progress is not None and progress != told.get(task):
                        told[task] = progress
                        tell(task, progress)
        finally:
            (folder / _STOP).touch()
        try:
            problems = ended.result()
        except TerminatedWorkerError as error:
            monitor.check()  # Ctrl-C may have reached a process before it could leave it to this one
            if _KILLED not in str(error):
                raise
            message = (
                "A process was ended by the system, probably because the memory was full. "
                "Give fewer --jobs and run the same command again."
            )
            raise UncolError(message) from error
    if problems:  # that of the one that failed, not of those that were stopped for it
        raise min(problems, key=lambda problem: isinstance(problem, CancelledError))


def _do_all(tasks: Mapping[str, Work], jobs: int, folder: Path) -> list[Exception]:
    calls = [delayed(_attempt)(work, folder / task, folder / _STOP) for task, work in tasks.items()]
    try:
        with parallel_config("loky", n_jobs=jobs, inner_max_num_threads=1, initializer=follow, initargs=(os.getpid(),)):
            return [problem for problem in Parallel(batch_size=1, max_nbytes=None)(calls) if problem is not None]
    finally:
        get_reusable_executor().shutdown()


def _attempt(work: Work, told: Path, stop: Path) -> Exception | None:
    """Do a piece of work; hand back what goes wrong, since joblib would kill the other processes if it were raised."""
    try:
        work(Monitor(lambda progress: _write(told, progress), stop.exists))
    except Exception as error:  # noqa: BLE001  # whatever it is, the coordinator raises it
        stop.touch()
        if not isinstance(error, UncolError):
            error.add_note(traceback.format_exc())
        return error
    return None


def _write(path: Path, progress: Progress) -> None:
    path.write_text(json.dumps(to_document(progress)), encoding="utf-8")


def _read(path: Path) -> Progress | None:
    with suppress(OSError, ValueError):  # not begun, or half-written: seen the next time
        return Progress(**json.loads(path.read_text(encoding="utf-8")))
    return None
