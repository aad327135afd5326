"""The long-lived engine process that the panel starts: requests in, events out, models kept warm.

One thread reads, so that a cancel is answered while a job computes; jobs run one at a time on the main thread,
where torch keeps its threads and plans. docs/worker.md describes the messages.
"""

from __future__ import annotations

import logging
import os
import queue
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import torch

from uncol import __version__
from uncol.core.errors import MEMORY_IS_FULL, CancelledError, UncolError, says_memory_is_full
from uncol.core.model_store import Store
from uncol.core.protocol import (
    LINE_LIMIT_BYTES,
    PROTOCOL,
    Cancel,
    FineTune,
    Hello,
    Models,
    Request,
    RequestError,
    RequestId,
    Segment,
    Shutdown,
    make_event,
    parse_request,
)
from uncol.foundation.loading import LITE_MEDSAM, FoundationModel
from uncol.models.devices import available_devices
from uncol.worker.allocator import return_freed_memory
from uncol.worker.channel import Channel
from uncol.worker.job_folder import JobFolder
from uncol.worker.job_runner import Jobs, manage_models
from uncol.worker.priority import lower_priority, worker_thread_count
from uncol.worker.running_job import Assignment

_LOOK_ROUND_S = 0.5
"""Time between two looks whether the parent process is alive."""
_EXIT_STUCK = 1
_LAST_GRACE_S = 15.0
"""Time that a job gets to save what can be resumed when the worker must end."""


@dataclass(frozen=True)
class WorkerSettings:
    """Where a worker finds and puts things.

    Attributes:
        models: The store of models; only there models are written.
        cache: Folder for the foundation model's embeddings.
        jobs: Folder in which the worker makes its private job folder.
        foundation: Which foundation model, and its weights.
    """

    models: Path
    cache: Path
    jobs: Path
    foundation: FoundationModel = LITE_MEDSAM


def run_worker(settings: WorkerSettings) -> NoReturn:
    """Serve until the input ends, the parent dies or a `shutdown` comes; then leave with exit code 0.

    Raises:
        UncolError: If the job folder cannot be made.
    """
    channel = Channel.over_standard_streams(LINE_LIMIT_BYTES)
    lower_priority()
    torch.set_num_threads(min(torch.get_num_threads(), worker_thread_count()))
    folder = JobFolder.make(settings.jobs)
    try:
        Worker(channel, folder, settings).serve()
    finally:
        folder.close()
    sys.stderr.flush()
    os._exit(0)  # the panel is being closed and waits: clearing the memory of torch would take a second longer


class Worker:
    """Reads requests, answers the quick ones at once and carries out one job at a time.

    Args:
        channel: Where requests come from and events go to.
        folder: The private folder for images and results.
        settings: Where models and embeddings are.
    """

    def __init__(self, channel: Channel, folder: JobFolder, settings: WorkerSettings) -> None:
        self._channel, self._folder = channel, folder
        self._store = Store(settings.models)
        self._foundation = settings.foundation
        self._jobs = Jobs(folder, self._store, settings.cache, settings.foundation)
        self._waiting: queue.SimpleQueue[Assignment | None] = queue.SimpleQueue()
        self._current: Assignment | None = None
        self._lock = threading.Lock()
        self._must_end = threading.Event()
        self._was_signaled = self._has_greeted = False
        self._librarian = ThreadPoolExecutor(max_workers=1, thread_name_prefix="models")

    def serve(self) -> None:
        """Work until the end; call it on the main thread."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._on_signal)
        logging.getLogger("uncol").addHandler(_LogEvents(self._tell_log))
        threading.Thread(target=self._read, name="reader", daemon=True).start()
        threading.Thread(target=self._watch, args=(os.getppid(),), name="watch", daemon=True).start()
        while (assignment := self._waiting.get()) is not None:
            self._carry_out(assignment)
        self._librarian.shutdown()

    def _carry_out(self, assignment: Assignment) -> None:
        try:
            assignment.should_stop()  # leaves if the job was cancelled while it waited
            result = self._jobs.carry_out(assignment)
        except CancelledError:
            assignment.end_as_cancelled()
        except Exception as error:  # noqa: BLE001  # the request loop: whatever a job does, the worker lives on
            assignment.end("error", **_explained(error))
        else:
            assignment.end("result", **result)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()  # the panel's views need it until the next job
        return_freed_memory()

    def _read(self) -> None:
        for line in self._channel.lines():
            try:
                if line is None:
                    message = f"This line is longer than {LINE_LIMIT_BYTES} bytes. Send images as files."
                    raise RequestError(message)  # noqa: TRY301  # answered like every other unreadable line
                self._take(parse_request(line))
            except RequestError as error:
                self._tell(error.request_id, "error", **_explained(error))
        self._must_end.set()

    def _take(self, request: Request) -> None:
        content = request.content
        if not self._has_greeted and not isinstance(content, Hello | Shutdown):
            message = f'The first request must be {{"op": "hello", "protocol": {PROTOCOL}}}.'
            raise RequestError(message, request.id)
        if isinstance(content, Segment | FineTune):
            self._accept(request.id, content)
        elif isinstance(content, Models):
            self._librarian.submit(self._manage_models, request.id, content)
        elif isinstance(content, Cancel):
            self._cancel(request.id, content.target)
        elif isinstance(content, Hello):
            self._greet(request.id, content)
        else:
            self._tell(request.id, "result")
            self._must_end.set()

    def _greet(self, request_id: RequestId, hello: Hello) -> None:
        if hello.protocol != PROTOCOL:
            message = (
                f"This engine speaks version {PROTOCOL} of the messages, version {hello.protocol} was asked for. "
                "Install the engine and the panel of the same release."
            )
            raise RequestError(message, request_id)
        self._has_greeted = True
        self._tell(
            request_id,
            "result",
            protocol=PROTOCOL,
            uncol=__version__,
            devices=available_devices(),
            teachers=[self._foundation.family] if self._foundation.is_installed else [],
            job_folder=str(self._folder.path),
        )

    def _accept(self, request_id: RequestId, content: Segment | FineTune) -> None:
        assignment = Assignment(request_id, content, self._tell, self._release)
        with self._lock:
            running = self._current
            if running is None:
                self._current = assignment
        if running is not None:
            message = f"The engine is busy with request {running.id}. Wait for its end, or cancel it."
            raise RequestError(message, request_id)
        self._waiting.put(assignment)

    def _release(self, assignment: Assignment) -> None:
        with self._lock:
            if self._current is assignment:
                self._current = None

    def _cancel(self, request_id: RequestId, target: RequestId) -> None:
        """Answer at once whether the job is there, then ask it to end."""
        running = self._running
        is_found = running is not None and running.id == target
        self._tell(request_id, "result", found=is_found)
        if running is not None and is_found:
            running.cancel()

    @property
    def _running(self) -> Assignment | None:
        with self._lock:
            return self._current

    def _manage_models(self, request_id: RequestId, wanted: Models) -> None:
        try:
            result = manage_models(self._store, wanted)
        except Exception as error:  # noqa: BLE001  # the request loop: whatever goes wrong, the worker lives on
            self._tell(request_id, "error", **_explained(error))
        else:
            self._tell(request_id, "result", **result)

    def _watch(self, parent: int) -> None:
        """End the worker when it is asked to, when its parent dies, or when nobody listens any more."""
        while not self._must_end.wait(_LOOK_ROUND_S):
            if self._was_signaled or self._channel.is_broken or os.getppid() != parent:
                break
        if (running := self._running) is not None:
            running.cancel()
        self._waiting.put(None)
        time.sleep(_LAST_GRACE_S)
        self._folder.close()
        os._exit(_EXIT_STUCK)  # a job that does not end must not outlive the panel

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        self._was_signaled = True

    def _tell(self, request_id: RequestId | None, event: str, **content: Any) -> None:
        self._channel.send(make_event(request_id, event, **content))

    def _tell_log(self, level: str, message: str) -> None:
        running = self._running
        self._tell(running.id if running else None, "log", level=level, message=message)


class _LogEvents(logging.Handler):
    """Hands warnings on to the panel."""

    def __init__(self, tell: Callable[[str, str], None]) -> None:
        super().__init__(logging.WARNING)
        self._tell = tell

    def emit(self, record: logging.LogRecord) -> None:
        self._tell(record.levelname.lower(), record.getMessage())


def _explained(error: Exception) -> dict[str, str]:
    """Return what an error event says."""
    if isinstance(error, UncolError):
        return {"kind": "user", "message": str(error), "details": ""}
    if says_memory_is_full(error):
        return {"kind": "user", "message": MEMORY_IS_FULL, "details": ""}
    details = "".join(traceback.format_exception(error))
    return {"kind": "bug", "message": f"This is a bug in UnCoL ({type(error).__name__}: {error}).", "details": details}
