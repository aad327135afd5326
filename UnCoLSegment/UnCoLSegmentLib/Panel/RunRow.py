"""The run under way, whatever section is folded: progress and Cancel above the sections, and Slicer's status bar."""

from __future__ import annotations

from typing import Any

import slicer.util
from slicer.i18n import tr as _

from uncol.core.progress import Progress
from UnCoLSegmentLib.Engine.Run import RunResult, RunState
from UnCoLSegmentLib.Logic import Logic
from UnCoLSegmentLib.Panel.Controls import enable
from UnCoLSegmentLib.Panel.Section import Follower

_END_SHOWN_MS = 60_000
"""So long the status bar tells how a run ended: its user may be in another module, or away from the screen."""


class RunRow(Follower):
    """Shows how far the run has come and cancels it; tells in the status bar what happens to it.

    Args:
        ui: The panel's widgets by name.
        logic: Whose runs these are.
    """

    def __init__(self, ui: Any, logic: Logic) -> None:
        super().__init__()
        self.ui, self._logic, self._title = ui, logic, ""
        ui.cancelRunButton.connect("clicked(bool)", logic.cancel)
        self._follow(logic.stateChanged, self._onStateChanged)
        self._follow(logic.progressed, self._onProgressed)
        self._follow(logic.finished, self._onFinished)
        self._follow(logic.cancelled, self._tellEnd)
        self._follow(logic.failed, lambda message, _details: self._tellEnd(message))

    def _onStateChanged(self) -> None:
        state, bar = self._logic.state, self.ui.runProgressBar
        self.ui.runRow.visible = state is not RunState.IDLE
        if state is RunState.IDLE:
            return
        obstacle, text = {
            RunState.INSTALLING: (state.obstacle, _("Installing Python packages ... (this takes minutes)")),
            RunState.RUNNING: ("", _("Starting ...")),
            RunState.CANCELLING: (_("The run is being cancelled."), _("Cancelling ...")),
        }[state]
        purpose = _("Stop the run; the proposal stays as it is, and what was learned can be resumed")
        enable(obstacle, (self.ui.cancelRunButton, purpose))
        titles = {"segment": _("Segmenting"), "fineTune": _("Fine-tuning")}
        self._title = titles.get(self._logic.runKind, _("Engine"))
        bar.setRange(0, 0)  # Qt's way of saying: busy, nobody knows how long
        self._tell(text)

    def _onProgressed(self, progress: Progress) -> None:
        if self._logic.state is not RunState.RUNNING:
            return
        self.ui.runProgressBar.setRange(0, 100)
        self.ui.runProgressBar.value = round(100 * progress.fraction)
        left = timeText(progress.seconds_left)
        self._tell(f"{progress.phase} - {left}" if left else progress.phase)

    def _tell(self, text: str) -> None:
        text = _("{run}: {text}").format(run=self._title, text=text)
        if text != self.ui.runLabel.text:
            self.ui.runLabel.text = text
            slicer.util.showStatusMessage(text)

    def _onFinished(self, result: RunResult) -> None:
        self._tellEnd(result.message)

    def _tellEnd(self, message: str) -> None:
        slicer.util.showStatusMessage(_("UnCoL: {message}").format(message=message), _END_SHOWN_MS)


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
