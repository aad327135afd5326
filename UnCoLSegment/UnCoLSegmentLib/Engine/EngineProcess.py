"""The engine as a child process: started, spoken to in JSON lines, stopped with everything it started. No Qt.

Nothing here waits: threads read and write the pipes, and `poll`, called by the main thread, tells what arrived.
Slicer's main thread keeps Python's lock while it waits for events, so that threads run only while it runs Python:
`letThreadsRun` gives them their turn.
"""

from __future__ import annotations

import os
import queue
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from uncol.core import protocol
from UnCoLSegmentLib.Engine.Signal import Signal

_LONGEST_LINE = 1 << 24
_MOST_GARBAGE_LINES = 200
_STDERR_TAIL_LINES = 60
_EVENTS_PER_POLL = 200
_PATIENCE_S = 2.0
_PIPE_SHARE_S = 0.001
"""So long a poll lets the threads run that read and write the pipes: they need a moment for each line."""

_MODULE_FOLDER = Path(__file__).resolve().parents[2]
_START = "import runpy, sys; sys.path[0] = sys.argv.pop(1); runpy.run_module('uncol.worker', None, '__main__', True)"
"""Starts the worker of this module, whatever else is called uncol: PythonSlicer puts its own packages before ours in
PYTHONPATH, and Python the folder where Slicer was started before those."""

SHUTDOWN_TIMEOUT_S = 20.0
"""Time in which a worker that is asked to end has to do so; it needs up to 15 s to save what it has learned."""


def engineCommand(*arguments: str) -> list[str]:
    """Return the command of the worker: with PythonSlicer in the application, with this Python elsewhere."""
    return [shutil.which("PythonSlicer") or sys.executable, "-c", _START, str(_MODULE_FOLDER), *arguments]


def engineEnvironment(moduleFolder: Path = _MODULE_FOLDER, inherited: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return the worker's environment: it finds our packages, and its waiting threads sleep instead of spinning."""
    searched = [str(moduleFolder), inherited.get("PYTHONPATH", "")]
    return {**inherited, **protocol.WORKER_ENVIRONMENT, "PYTHONPATH": os.pathsep.join(filter(None, searched))}


_Arrived = queue.SimpleQueue[tuple[protocol.RequestId | None, protocol.Event] | int | None]
"""Events with the numbers of their requests; what is no pair is the exit code, and nothing follows it."""


class EngineProcess:
    """One worker at a time; after it has ended, `start` gets the next one.

    Signals:
        received: One event of the worker: the number of its request, None for none, and an `Event` of the protocol.
        ended: The worker is gone without being asked: exit code and the last lines it wrote.
    """

    def __init__(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        self.received, self.ended = Signal(), Signal()
        self._command, self._environment = list(command), dict(environment)
        self._process: subprocess.Popen[bytes] | None = None
        self._arrived: _Arrived = queue.SimpleQueue()
        self._outgoing: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._stderrTail: deque[str] = deque(maxlen=_STDERR_TAIL_LINES)
        self._lastId = 0
        self.greeting: protocol.Greeting | None = None
        """The worker's answer to `hello`, once it has come."""
        self.greetingId: int | None = None
        """Number of that request; None without a worker."""

    @property
    def isRunning(self) -> bool:
        """Whether a worker was started and its end has not been told yet."""
        return self._process is not None

    @property
    def processId(self) -> int | None:
        """Process id of the worker or of the launcher that started it; None without one."""
        return self._process.pid if self._process else None

    @property
    def log(self) -> str:
        """The last lines that the worker wrote, or the one before if there is none; "" if it wrote none."""
        return "\n".join(self._stderrTail)

    def start(self) -> None:
        """Start a worker, if none is running, and greet it.

        Raises:
            OSError: If the program cannot be started.
        """
        if self._process is not None:
            return
        process = subprocess.Popen(
            self._command,
            env=self._environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            **_OWN_GROUP,
        )
        self._process = process
        self._arrived, self._outgoing = queue.SimpleQueue(), queue.SimpleQueue()
        self._stderrTail = deque(maxlen=_STDERR_TAIL_LINES)
        listener = _Listener(process, self._arrived, self._outgoing, self._stderrTail)
        for work, arguments in ((listener.listen, ()), (_write, (process.stdin, self._outgoing))):
            threading.Thread(target=work, args=arguments, name="UnCoL engine", daemon=True).start()
        self._lastId, self.greeting = 0, None
        self.greetingId = self.request(protocol.Hello(protocol.PROTOCOL))

    def request(self, content: protocol.Request) -> int:
        """Send a request and return its number, which all events about it carry."""
        if self._process is None:
            message = f"The engine is not running, so {type(content).__name__} cannot be asked for; start it first."
            raise RuntimeError(message)
        self._lastId += 1
        self._outgoing.put(protocol.write_message(self._lastId, content))
        letThreadsRun(_PIPE_SHARE_S)
        return self._lastId

    def cancel(self, requestId: int) -> int:
        """Ask the worker to stop working on a request."""
        return self.request(protocol.Cancel(requestId))

    def poll(self) -> None:
        """Tell what arrived since the last call; the main thread calls this many times a second."""
        if self._process is not None:
            letThreadsRun(_PIPE_SHARE_S)
        arrived = self._arrived
        for _ in range(_EVENTS_PER_POLL):
            if arrived is not self._arrived or arrived.empty():
                return
            told = arrived.get()
            if not isinstance(told, tuple):
                self._forget()
                self.ended.emit(told, self.log)
                return
            if isinstance(told[1], protocol.Greeting):
                self.greeting = told[1]
            self.received.emit(*told)

    def _forget(self) -> None:
        self._process = self.greeting = self.greetingId = None
        self._arrived = queue.SimpleQueue()

    def stop(self, shutdownTimeout_s: float = SHUTDOWN_TIMEOUT_S) -> None:
        """Ask the worker to end, and kill it with everything it started if it has not done so in time.

        This does not wait: a worker that learns saves that first. Nothing is told any more. When the application
        quits meanwhile, the worker ends by itself, because its input ends.
        """
        process = self._process
        if process is None:
            return
        self.request(protocol.Shutdown())
        self._outgoing.put(None)
        self._forget()
        if shutdownTimeout_s <= 0:
            killTree(process)
            return
        threading.Thread(
            target=_endInTime, args=(process, shutdownTimeout_s), name="UnCoL engine's end", daemon=True
        ).start()


def _endInTime(process: subprocess.Popen[bytes], shutdownTimeout_s: float) -> None:
    with suppress(subprocess.TimeoutExpired):
        process.wait(shutdownTimeout_s)
    killTree(process)


def letThreadsRun(seconds: float) -> None:
    """Let other Python threads run for so long; called by the main thread, which does nothing meanwhile."""
    time.sleep(seconds)


def killTree(process: subprocess.Popen[bytes]) -> None:
    """Kill a process that was started in a group of its own, with all its descendants, and reap it."""
    if sys.platform == "win32":
        tree = ["taskkill", "/T", "/F", "/PID", str(process.pid)]
        subprocess.run(tree, check=False, capture_output=True, creationflags=subprocess.CREATE_NO_WINDOW)
    else:
        with suppress(ProcessLookupError, PermissionError):  # macOS answers so for a group of zombies
            os.killpg(process.pid, signal.SIGKILL)
    with suppress(subprocess.TimeoutExpired):
        process.wait(_PATIENCE_S)


_OWN_GROUP: dict[str, Any] = (
    {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.CREATE_NO_WINDOW}
    if sys.platform == "win32"
    else {"start_new_session": True}
)


def _write(pipe: IO[bytes], outgoing: queue.SimpleQueue[bytes | None]) -> None:
    """Write lines until None comes; a broken pipe is told by the listener, as the worker's end."""
    with suppress(OSError, ValueError), pipe:
        while (line := outgoing.get()) is not None:
            pipe.write(line)
            pipe.flush()


class _Listener:
    """Reads what one worker writes until it ends, and says so."""

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        arrived: _Arrived,
        outgoing: queue.SimpleQueue[bytes | None],
        stderrTail: deque[str],
    ) -> None:
        self._process, self._arrived, self._outgoing, self._stderrTail = process, arrived, outgoing, stderrTail

    def listen(self) -> None:
        errors = threading.Thread(target=self._readErrors, name="UnCoL engine's log", daemon=True)
        errors.start()
        threading.Thread(target=self._bury, name="UnCoL engine's end", daemon=True).start()
        try:
            self._readEvents()
        finally:
            killTree(self._process)
            errors.join(_PATIENCE_S)
            self._outgoing.put(None)
            self._arrived.put(self._process.returncode)

    def _bury(self) -> None:
        """End what a worker leaves behind; a pipe that a descendant holds open would never end."""
        self._process.wait()
        killTree(self._process)

    def _readErrors(self) -> None:
        with suppress(OSError, ValueError), self._process.stderr:
            while line := self._process.stderr.readline(_LONGEST_LINE):
                self._stderrTail.append(line.decode(errors="replace").rstrip())

    def _readEvents(self) -> None:
        garbageLines = 0
        with suppress(OSError, ValueError), self._process.stdout:
            while line := self._process.stdout.readline(_LONGEST_LINE):
                with suppress(protocol.MessageError):
                    self._arrived.put(_eventIn(line))
                    continue
                garbageLines += 1
                self._stderrTail.append(line[:200].decode(errors="replace").rstrip())
                if garbageLines >= _MOST_GARBAGE_LINES:
                    self._stderrTail.append(f"{garbageLines} lines were not messages of the engine; it was ended.")
                    return


def _eventIn(line: bytes) -> tuple[protocol.RequestId | None, protocol.Event]:
    """Return what a line says; an event of a request that cannot be understood is that request's end."""
    try:
        return protocol.read_event(line)
    except protocol.MessageError as error:
        if error.id is None:
            raise
        return error.id, protocol.Failed("bug", str(error), line.decode(errors="replace"))
