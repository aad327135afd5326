"""One run from click to result: steps that wait for the engine or for a thread, and never for each other's time.

The steps are a generator. What it yields says what it waits for; `advance`, called by the main thread many times a
second, goes on when that is there. So everything between two yields runs on the main thread and may touch the scene.
"""

from __future__ import annotations

import threading
import time
import traceback
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future
from dataclasses import dataclass, replace
from enum import Enum
from functools import partial
from typing import Any

from slicer.i18n import tr as _

from uncol.core.errors import CancelledError, UncolError
from uncol.core.progress import Progress
from uncol.core.protocol import Cancelled, Event, Failed, Log, Preview, Request
from UnCoLSegmentLib.Dependencies import damagedPackage
from UnCoLSegmentLib.Engine.EngineProcess import EngineProcess
from UnCoLSegmentLib.Engine.Signal import Signal

_CANCEL_PATIENCE_S = 20.0
"""An engine that has not obeyed a cancel by then is ended. It promises one second; a slow disk may keep it from saving
what it has learned for longer, and that would be lost."""

_END_PATIENCE_S = 2.0
"""So long an engine may take from removing its files to its end."""

_KILLED_CODES = (-9, 137)
"""Exit codes of a killed process: the system's own, and what a shell makes of that."""
_LAUNCHER_SAYS_KILLED = "exit abnormally"
"""What the application's launcher, PythonSlicer, writes when its program was killed; it then ends with exit code 1."""


class RunState(Enum):
    """What Logic is doing."""

    IDLE = "idle"
    INSTALLING = "installing"
    RUNNING = "running"
    CANCELLING = "cancelling"

    @property
    def obstacle(self) -> str:
        """Why a run cannot start now, as a sentence; "" if it can."""
        if self is RunState.INSTALLING:
            return _("Packages are being installed. Wait for the end.")
        return "" if self is RunState.IDLE else _("A run is under way. Wait for its end, or cancel it.")


@dataclass(frozen=True)
class RunResult:
    """How a run ended well.

    Attributes:
        kind: "segment" or "fineTune".
        message: What was reached, in a sentence for the user.
        notes: Further sentences, such as which voxels were left out and why.
        seconds: How long it took.
        modelName: The model that was made or used; "" for the foundation model.
        activated: Whether a new model became the active one; None where no model was made.
    """

    kind: str
    message: str
    notes: tuple[str, ...] = ()
    seconds: float = 0.0
    modelName: str = ""
    activated: bool | None = None

    def withNotes(self, notes: Iterable[str]) -> RunResult:
        """Return the same with further notes, each of them once."""
        return replace(self, notes=tuple(dict.fromkeys([*self.notes, *filter(None, notes)])))


class EngineError(UncolError):
    """The engine refused, failed or died; `details` is what a developer wants to see.

    Attributes:
        damagedPackage: The package to blame, which can be installed again; "" for none.
    """

    def __init__(self, message: str, details: str = "", *, isStarting: bool = False) -> None:
        self.details, self.damagedPackage = details, damagedPackage(details, isStarting=isStarting)
        if self.damagedPackage:
            message = _("The Python package {package} cannot be loaded. Click again to install it anew.")
            message = message.format(package=self.damagedPackage)
        super().__init__(message)


@dataclass(frozen=True)
class InThread:
    """Wait for work that touches no scene; its value, or its error, comes back."""

    work: Callable[[], Any]


@dataclass(frozen=True)
class EngineRequest:
    """Wait for the engine's answer to a request; the result event comes back, an error is raised."""

    content: Request


class EngineReady:
    """Wait until the engine is there; its first answer comes back."""


class NextTick:
    """Let the application draw and react before the next piece of work on the main thread."""


Waiting = InThread | EngineRequest | EngineReady | NextTick
Steps = Generator[Waiting, Any, RunResult]
Resumption = Callable[[], Any]


class Run:
    """Drives the steps of one run.

    Signals:
        happened: Events of the engine about this run that are no answers: progress, preview, log.
    """

    def __init__(self, kind: str, engine: EngineProcess, steps: Steps) -> None:
        self.kind, self.happened = kind, Signal()
        self.result: RunResult | None = None
        self.error: BaseException | None = None
        self.isOver = self.isCancelling = False
        self._engine, self._steps = engine, steps
        self._future: Future[Any] | None = None
        self._requestId: int | None = None
        self._resumption: Resumption | None = lambda: self._steps.send(None)
        self._reason = ""
        self._isStarting = False
        self._engineLost: EngineError | None = None
        self._cancelBefore = self._endBefore = 0.0

    @property
    def waitsForThread(self) -> bool:
        """Whether nothing but a thread of this process is awaited."""
        return self._future is not None

    def advance(self) -> None:
        """Go on if what the run waits for is there; one step at most, so that the application can breathe."""
        if self._future is not None and self._future.done() and not self._awaitsEnd(self._future):
            error = self._future.exception() and self._engineLost  # an engine that ends takes its files along
            self._resumption = partial(self._steps.throw, error) if error else _from(self._future, self._steps)
            self._future = None
        if self.isCancelling and self._requestId is not None and time.monotonic() > self._cancelBefore:
            self._engine.stop(0)
            self._raise(CancelledError(self._reason))
        if self._resumption is not None and not self.isOver:
            resumption, self._resumption = self._resumption, None
            self._go(resumption)

    def onEvent(self, number: int | None, event: Event) -> None:
        """Take an event of the engine; those about other requests are let be."""
        if self._requestId is None or number != self._requestId:
            return
        if isinstance(event, Progress | Preview | Log):
            self.happened.emit(event)
        elif isinstance(event, Failed):
            self._raise(EngineError(event.message, event.details))
        elif isinstance(event, Cancelled) or self.isCancelling:
            self._raise(CancelledError(self._reason or event.message))
        else:
            self._answer(lambda: self._steps.send(event))

    def onEngineEnded(self, exitCode: int | None, stderrTail: str) -> None:
        """Take the news that the engine is gone."""
        if self.isCancelling and self._requestId is not None:
            self._raise(CancelledError(self._reason))
            return
        if self._isStarting:
            message = _("The engine could not be started (exit code {code}). The details say why; see docs/slicer.md.")
        elif exitCode in _KILLED_CODES or _LAUNCHER_SAYS_KILLED in stderrTail:
            message = _(
                "The engine stopped unexpectedly (exit code {code}). Usually the memory was full: close other programs "
                "or crop the volume, then try again. No annotation was lost."
            )
        else:
            message = _("The engine stopped unexpectedly (exit code {code}). No annotation was lost; try again.")
        error = EngineError(message.format(code=exitCode), stderrTail, isStarting=self._isStarting)
        if self._requestId is not None:
            self._raise(error)
        else:
            self._engineLost = error

    def _awaitsEnd(self, failed: Future[Any]) -> bool:
        """Say whether files may be gone because the engine is just ending, of which the news is to come."""
        error = failed.exception()
        isAboutFiles = isinstance(error, OSError) or isinstance(error and error.__cause__, OSError)
        if not (isAboutFiles and self._engine.isRunning):
            return False
        self._endBefore = self._endBefore or time.monotonic() + _END_PATIENCE_S
        return time.monotonic() < self._endBefore

    def cancel(self, reason: str) -> None:
        """End the run as soon as possible; what it was doing is thrown away, what can be resumed is kept."""
        if self.isOver or self.isCancelling:
            return
        self.isCancelling, self._reason = True, reason
        self._cancelBefore = time.monotonic() + _CANCEL_PATIENCE_S
        if self._requestId is None or self._isStarting:
            self._future = None
            self._raise(CancelledError(reason))
        else:
            self._engine.cancel(self._requestId)

    def abort(self, reason: str) -> None:
        """End the run now, without waiting for the engine; its owner stops that."""
        if not self.isOver:
            self.isCancelling, self._reason, self._future = True, reason, None
            self._raise(CancelledError(reason))
            self.advance()

    def _answer(self, resumption: Resumption) -> None:
        self._requestId, self._resumption, self._isStarting = None, resumption, False

    def _raise(self, error: UncolError) -> None:
        self._answer(lambda: self._steps.throw(error))

    def _go(self, resumption: Resumption) -> None:
        try:
            waiting = resumption()
            if self.isCancelling:
                waiting = self._steps.throw(CancelledError(self._reason))
            self._waitFor(waiting)
        except StopIteration as end:
            self.result, self.isOver = end.value, True
        except Exception as error:  # noqa: BLE001 - whatever went wrong, the run is over and Logic tells the user
            self.error, self.isOver = error, True

    def _waitFor(self, waiting: Waiting) -> None:
        if isinstance(waiting, InThread):
            self._future = inThread(waiting.work)
        elif isinstance(waiting, EngineRequest):
            if self._engineLost is not None:
                raise self._engineLost
            self._requestId = self._engine.request(waiting.content)
        elif isinstance(waiting, NextTick):
            self._resumption = lambda: self._steps.send(None)
        elif (greeting := self._engine.greeting) is not None and greeting.job_folder.is_dir():
            self._engineLost = None
            self._resumption = lambda: self._steps.send(greeting)
        else:
            self._start()

    def _start(self) -> None:
        if self._engine.greeting is not None:
            self._engine.stop()  # the system has swept its folder away; the next engine makes a new one
        try:
            self._engine.start()
        except OSError as error:
            message = _("The engine could not be started ({error}). Install UnCoL again.").format(error=error)
            raise EngineError(message) from error
        self._requestId, self._isStarting, self._engineLost = self._engine.greetingId, True, None


def inThread(work: Callable[[], Any]) -> Future[Any]:
    """Start work in a thread of its own, which does not keep the application from quitting."""
    future: Future[Any] = Future()

    def carryOut() -> None:
        try:
            future.set_result(work())
        except BaseException as error:  # noqa: BLE001 - handed over to whoever waits
            future.set_exception(error)

    threading.Thread(target=carryOut, name="UnCoL run", daemon=True).start()
    return future


def messageAndDetails(error: BaseException) -> tuple[str, str]:
    """Return what to tell the user about an error, and what to show a developer."""
    if isinstance(error, EngineError):
        return str(error), error.details
    if isinstance(error, UncolError):
        return str(error), ""
    details = "".join(traceback.format_exception(error))
    if isinstance(error, FileNotFoundError):
        message = _("A file is gone that the run needs ({error}), as when temporary files are swept. Try again.")
    elif isinstance(error, OSError):
        message = _("A file could not be read or written ({error}). Check the disk's space and permissions, try again.")
    else:
        message = _("UnCoL made a mistake ({error}). Please report it with the details below.")
    return message.format(error=error), details


def _from(future: Future[Any], steps: Steps) -> Resumption:
    error = future.exception()
    return (lambda: steps.throw(error)) if error else (lambda: steps.send(future.result()))
