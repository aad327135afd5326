"""One section's view of its runs: it starts them, shows how far they have come, and says how they ended."""

from __future__ import annotations

from collections.abc import Callable

import qt
from slicer.i18n import tr as _

from uncol.core.progress import Progress
from UnCoLSegmentLib.Engine.Run import RunResult, RunState
from UnCoLSegmentLib.Logic import Logic
from UnCoLSegmentLib.Panel.Message import Message


class RunStatus:
    """Follows the runs that its section started, and no others.

    Args:
        logic: Whose runs these are.
        widget: What is hidden while nothing runs.
        bar: How far the current phase has come.
        label: What is being done, and the time left.
        message: Where the end of the run is told.
    """

    def __init__(
        self, logic: Logic, widget: qt.QWidget, bar: qt.QProgressBar, label: qt.QLabel, message: Message
    ) -> None:
        self._logic, self._widget, self._bar, self._label, self._message = logic, widget, bar, label, message
        self._isMine = False
        logic.stateChanged.connect(self._onStateChanged)
        logic.progressed.connect(self._onProgressed)
        logic.finished.connect(self._onFinished)
        logic.failed.connect(self._onFailed)
        logic.cancelled.connect(self._onCancelled)

    @property
    def isMine(self) -> bool:
        """Whether the run under way was started here."""
        return self._isMine

    def start(self, begin: Callable[[], None]) -> None:
        """Call what begins a run; an error on the way is told like that of a run."""
        self._isMine = True
        self._message.clear()
        with self._message.reporting():
            begin()
        self._isMine = self._isMine and self._logic.state is not RunState.IDLE

    def disconnect(self) -> None:
        """Follow no runs any more."""
        self._logic.stateChanged.disconnect(self._onStateChanged)
        self._logic.progressed.disconnect(self._onProgressed)
        self._logic.finished.disconnect(self._onFinished)
        self._logic.failed.disconnect(self._onFailed)
        self._logic.cancelled.disconnect(self._onCancelled)

    def _onStateChanged(self) -> None:
        state = self._logic.state
        self._widget.visible = self._isMine and state is not RunState.IDLE
        if state is RunState.RUNNING:
            self._showBusy(_("Starting ..."))
        elif state is RunState.CANCELLING:
            self._showBusy(_("Cancelling ..."))

    def _showBusy(self, text: str) -> None:
        self._bar.setRange(0, 0)  # Qt's way of saying: busy, nobody knows how long
        self._label.text = text

    def _onProgressed(self, progress: Progress) -> None:
        if not self._isMine or self._logic.state is not RunState.RUNNING:
            return
        self._bar.setRange(0, 100)
        self._bar.value = round(100 * progress.fraction)
        left = timeText(progress.seconds_left)
        self._label.text = f"{progress.phase} - {left}" if left else progress.phase

    def _onFinished(self, result: RunResult) -> None:
        if self._end():
            self._message.showInformation(result.message, result.notes)

    def _onFailed(self, message: str, details: str) -> None:
        if self._end():
            self._message.showWarning(message, details)

    def _onCancelled(self, message: str) -> None:
        if self._end():
            self._message.showInformation(message)

    def _end(self) -> bool:
        wasMine, self._isMine = self._isMine, False
        self._widget.visible = False
        return wasMine


def timeText(seconds: float | None) -> str:
    """Return how long it will still take, as coarse as such an estimate is; "" for nobody knows."""
    if seconds is None:
        return ""
    if seconds < 10:
        return _("a few seconds left")
    if seconds < 60:
        return _("{seconds} s left").format(seconds=10 * round(seconds / 10))
    minutes, rest = divmod(10 * round(seconds / 10), 60)
    if minutes >= 10 or not rest:
        return _("{minutes} min left").format(minutes=round(seconds / 60))
    return _("{minutes} min {seconds} s left").format(minutes=minutes, seconds=rest)
