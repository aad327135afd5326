"""The long-lived engine process that the panel starts: requests in, events out, models kept loaded.

One thread reads, so that a cancel is answered while a job computes; jobs run one at a time on the main thread,
where torch keeps its threads and plans. It greets while what the jobs need is still being loaded. docs/worker.md
describes the messages.
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
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

import torch

from uncol import __version__
from uncol.core import protocol
from uncol.core.errors import MEMORY_IS_FULL, CancelledError, UncolError, says_memory_is_full
from uncol.core.foundation_choice import LITE_MEDSAM, FoundationChoice
from uncol.core.freed_memory import return_freed_memory
from uncol.core.model_store import Store
from uncol.models.devices import available_devices, graphics_cards
from uncol.worker.channel import Channel
from uncol.worker.job_folder import JobFolder
from uncol.worker.process import lower_priority, worker_thread_count
from uncol.worker.running_job import RunningJob

if TYPE_CHECKING:
    from uncol.worker.job_runner import JobRunner

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
    foundation: FoundationChoice = LITE_MEDSAM


def run_worker(settings: WorkerSettings) -> NoReturn:
    """Serve until the input ends, the parent dies or a `shutdown` comes; then leave with exit code 0.

    Raises:
        UncolError: If the job folder cannot be made.
    """
    channel = Channel.over_standard_streams(protocol.LINE_LIMIT_BYTES)
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
        self._channel, self._folder, self._settings = channel, folder, settings
        self._waiting: queue.SimpleQueue[RunningJob | None] = queue.SimpleQueue()
        self._current: RunningJob | None = None
        self._lock = threading.Lock()
        self._must_end = threading.Event()
        self._was_signaled = self._has_greeted = False

    def serve(self) -> None:
        """Work until the end; call it on the main thread."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._on_signal)
        logging.getLogger("uncol").addHandler(_LogEvents(self._send_log))
        threading.Thread(target=self._read, name="reader", daemon=True).start()
        threading.Thread(target=self._watch, args=(os.getppid(),), name="watch", daemon=True).start()
        from uncol.worker.job_runner import JobRunner  # loads MONAI: longer than everything before; the reader greets

        settings = self._settings
        runner = JobRunner(self._folder, Store(settings.models), settings.cache, settings.foundation)
        while (running := self._waiting.get()) is not None:
            _carry_out(running, runner)

    def _read(self) -> None:
        """Hear every line, whatever came before it; when this ends, so does the worker."""
        try:
            for line in self._channel.lines():
                self._hear(line)
        finally:
            self._must_end.set()

    def _hear(self, line: bytes | None) -> None:
        try:
            if line is None:
                message = f"This line is longer than {protocol.LINE_LIMIT_BYTES} bytes. Send images as files."
                raise protocol.MessageError(message)  # noqa: TRY301  # answered like every other unreadable line
            self._take(*protocol.read_request(line))
        except protocol.MessageError as error:
            self._send(error.id, _explained(error))
        except Exception as error:  # noqa: BLE001  # the request loop: a line costs its request at most
            self._send(None, _explained(error))

    def _take(self, request_id: protocol.RequestId, content: protocol.Request) -> None:
        if not self._has_greeted and not isinstance(content, protocol.Hello | protocol.Shutdown):
            message = f'The first request must be {{"op": "hello", "protocol": {protocol.PROTOCOL}}}.'
            raise protocol.MessageError(message, request_id)
        if isinstance(content, protocol.Job):
            self._accept(request_id, content)
        elif isinstance(content, protocol.Cancel):
            self._cancel(request_id, content.target)
        elif isinstance(content, protocol.Hello):
            self._greet(request_id, content)
        else:
            self._send(request_id, protocol.ShutdownResult())
            self._must_end.set()

    def _greet(self, request_id: protocol.RequestId, hello: protocol.Hello) -> None:
        if hello.protocol != protocol.PROTOCOL:
            both = f"speaks version {protocol.PROTOCOL} of the messages, version {hello.protocol} was asked for"
            message = f"This engine {both}. Install the engine and the panel of the same release."
            raise protocol.MessageError(message, request_id)
        self._has_greeted = True
        teachers = (self._settings.foundation.family,) if self._settings.foundation.is_installed else ()
        devices, cards = tuple(available_devices()), tuple(graphics_cards())
        greeting = protocol.Greeting(
            protocol.PROTOCOL, __version__, devices, teachers, self._folder.path, graphics_cards=cards
        )
        self._send(request_id, greeting)

    def _accept(self, request_id: protocol.RequestId, job: protocol.Job) -> None:
        with self._lock:
            if self._current is not None:
                message = f"The engine is busy with request {self._current.id}. Wait for its end, or cancel it."
                raise protocol.MessageError(message, request_id)
            self._current = RunningJob(request_id, job, self._send, self._release)
            self._waiting.put(self._current)

    def _release(self, ended: RunningJob) -> None:
        with self._lock:
            if self._current is ended:
                self._current = None

    def _cancel(self, request_id: protocol.RequestId, target: protocol.RequestId) -> None:
        """Answer at once whether the job is there, then ask it to end."""
        found = running if (running := self._current) and running.id == target else None
        self._send(request_id, protocol.CancelResult(found is not None))
        if found is not None:
            found.cancel()

    def _watch(self, parent: int) -> None:
        """End the worker when it is asked to, when its parent dies, or when nobody listens any more."""
        while not self._must_end.wait(_LOOK_ROUND_S):
            if self._was_signaled or self._channel.is_broken or os.getppid() != parent:
                break
        if (running := self._current) is not None:
            running.cancel()
        self._waiting.put(None)
        time.sleep(_LAST_GRACE_S)
        self._folder.close()
        os._exit(_EXIT_STUCK)  # a job that does not end must not outlive the panel

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        self._was_signaled = True

    def _send(self, request_id: protocol.RequestId | None, event: protocol.Event) -> None:
        """Tell an event; an end that cannot be written as a line becomes another, so that nobody waits for it."""
        try:
            line = protocol.write_message(request_id, event)
        except Exception as error:  # noqa: BLE001  # a result or a report holds whatever a library or a model put there
            about = None if isinstance(event, protocol.News) else request_id
            line = protocol.write_message(about, _explained(error))
        self._channel.send(line)

    def _send_log(self, log: protocol.Log) -> None:
        running = self._current
        self._send(running.id if running else None, log)


def _carry_out(running: RunningJob, runner: JobRunner) -> None:
    try:
        running.should_stop()  # leaves if the job was cancelled while it waited
        running.end(runner.carry_out(running))
    except CancelledError:
        running.end_as_cancelled()
    except Exception as error:  # noqa: BLE001  # the request loop: whatever a job does, the worker lives on
        running.end(_explained(error))
    if torch.cuda.is_available():
        torch.cuda.empty_cache()  # the panel's views need it until the next job
    return_freed_memory()


class _LogEvents(logging.Handler):
    """Hands warnings on to the panel."""

    def __init__(self, send: Callable[[protocol.Log], None]) -> None:
        super().__init__(logging.WARNING)
        self._send = send

    def emit(self, record: logging.LogRecord) -> None:
        self._send(protocol.Log(record.levelname.lower(), record.getMessage()))


def _explained(error: Exception) -> protocol.Failed:
    if isinstance(error, UncolError):
        return protocol.Failed("user", str(error))
    if says_memory_is_full(error):
        return protocol.Failed("user", MEMORY_IS_FULL)
    details = "".join(traceback.format_exception(error))
    return protocol.Failed("bug", f"This is a bug in UnCoL ({type(error).__name__}: {error}).", details)
