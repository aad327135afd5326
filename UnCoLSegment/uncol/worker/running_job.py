"""One job that a worker carries out: its progress, its cancellation, and its one and only end."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from uncol.core.dicom_export import ExportJob
from uncol.core.errors import CancelledError
from uncol.core.jobs import FineTuneJob
from uncol.core.progress import Monitor, Progress
from uncol.core.protocol import Cancelled, Event, Job, News, RequestId
from uncol.core.round_scores import ScoreJob

Send = Callable[[RequestId, Event], None]

_REPORT_INTERVAL_S = 0.2
_GRACE_S = 0.8
"""Time in which a cancelled job ends by itself; then its `cancelled` is told, and it winds down unheard."""
_SAVING_GRACE_S = 15.0
"""The same once there are training steps, which a checkpoint must keep."""


class RunningJob:
    """A job on its way from acceptance to its end, told exactly once.

    Args:
        request_id: What its events carry.
        job: What is wanted.
        send: Sends an event.
        release: Called just before the end is told: then the next job may come.
    """

    def __init__(self, request_id: RequestId, job: Job, send: Send, release: Callable[[RunningJob], None]) -> None:
        self.id, self.job = request_id, job
        self.can_be_resumed: Callable[[], bool] = lambda: False
        self._send, self._release = send, release
        self._lock = threading.Lock()
        self._has_ended = self._is_cancelled = self._is_training = False
        self._last_phase, self._last_report = "", 0.0

    @property
    def monitor(self) -> Monitor:
        """What the job's work reports to."""
        return Monitor(self.report, self.should_stop, self._cancelled_message)

    def should_stop(self) -> bool:
        """Say whether the job was cancelled.

        Raises:
            CancelledError: If there is nothing to save: before the first step, or when the end was told already.
        """
        if self._has_ended or (self._is_cancelled and not self._is_training):
            raise CancelledError(self._cancelled_message())
        return self._is_cancelled

    def report(self, progress: Progress) -> None:
        """Tell the progress, but not more often than anybody can see."""
        self._is_training = self._is_training or bool(progress.losses)
        now = time.monotonic()
        if progress.phase == self._last_phase and now - self._last_report < _REPORT_INTERVAL_S:
            return
        self._last_phase, self._last_report = progress.phase, now
        self.tell(progress)

    def tell(self, news: News) -> None:
        """Tell something on the way to the end."""
        if not self._has_ended:
            self._send(self.id, news)

    def end(self, event: Event) -> None:
        """Tell the end, unless it was told already."""
        with self._lock:
            if self._has_ended:
                return
            self._has_ended = True
        self._release(self)
        self._send(self.id, event)

    def end_as_cancelled(self) -> None:
        """Tell that the job was cancelled, and whether it can be resumed."""
        self.end(Cancelled(self._cancelled_message(), self.can_be_resumed()))

    def cancel(self) -> None:
        """Ask the job to end; if it does not in time, tell its end all the same."""
        self._is_cancelled = True
        patience = threading.Timer(_SAVING_GRACE_S if self._is_training else _GRACE_S, self.end_as_cancelled)
        patience.daemon = True
        patience.start()

    def _cancelled_message(self) -> str:
        if not isinstance(self.job, FineTuneJob):
            works = {ScoreJob: "Scoring", ExportJob: "The export to DICOM"}
            return f"{works.get(type(self.job), 'Segmentation')} was cancelled; nothing was written."
        if self.can_be_resumed():
            return "Fine-tuning was cancelled; it can be resumed."
        return "Fine-tuning was cancelled before there was anything to keep."
