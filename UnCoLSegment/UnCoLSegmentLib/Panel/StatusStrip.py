"""The strip on top of the panel, which neither folds nor scrolls away: the next step, the run, and how one ended."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import slicer.util
from slicer.i18n import tr as _

from uncol.core.progress import Progress
from UnCoLSegmentLib.Engine.Run import RunResult, RunState
from UnCoLSegmentLib.Logic import Logic
from UnCoLSegmentLib.Panel.Controls import enable, tint
from UnCoLSegmentLib.Panel.Guide import NextStep
from UnCoLSegmentLib.Panel.Section import Follower, Message

_END_SHOWN_MS = 60_000
"""So long the status bar tells how a run ended: its user may be in another module, or away from the screen."""
_COLORS = {"": None, "good": (40, 160, 80), "bad": (230, 150, 0), "running": (50, 130, 220)}


class StatusStrip(Follower):
    """Tells the next step, shows how far the run has come and cancels it; tells the status bar what happens to it.

    Args:
        ui: The panel's widgets by name.
        logic: Whose runs these are.
        message: Shows how the last one ended.
    """

    def __init__(self, ui: Any, logic: Logic, message: Message) -> None:
        super().__init__()
        self.ui, self._logic, self._message = ui, logic, message
        self._title = self._step = ""
        ui.cancelRunButton.connect("clicked(bool)", logic.cancel)
        self._follow(logic.stateChanged, self._onStateChanged)
        self._follow(logic.progressed, self._onProgressed)
        self._follow(logic.outdated, message.clear)
        self._follow(logic.finished, self._onFinished)
        self._follow(logic.cancelled, lambda text: self._tellEnd(text, message.showInformation))
        self._follow(logic.failed, lambda text, details: self._tellEnd(text, message.showWarning, details))

    def update(self, step: NextStep) -> None:
        """Show the next step, and what is at hand for it."""
        self._step, isIdle = step.text, self._logic.state is RunState.IDLE
        if isIdle:
            self.ui.nextLabel.text = step.text
        self.ui.setUpRow.visible = isIdle and step.button == "setUpButton"
        self.ui.startRow.visible = isIdle and step.button == "sampleButton"
        tint(self.ui.stripFrame, _COLORS[self._message.tone if isIdle else "running"])

    def _onStateChanged(self) -> None:
        state, bar = self._logic.state, self.ui.runProgressBar
        self.ui.runRow.visible = state is not RunState.IDLE
        if state is RunState.IDLE:
            self.ui.nextLabel.text = self._step
            return
        obstacle, text = {
            RunState.INSTALLING: (state.obstacle, _("Installing Python packages ... (this takes minutes)")),
            RunState.RUNNING: ("", _("Starting ...")),
            RunState.CANCELLING: (_("The run is being cancelled."), _("Cancelling ...")),
        }[state]
        purpose = _("Stop the run (Ctrl+Enter); the proposal stays as it is, and what was learned can be resumed")
        enable(obstacle, (self.ui.cancelRunButton, purpose))
        titles = {"segment": _("Segmenting"), "fineTune": _("Fine-tuning"), "export": _("Exporting")}
        self._title = titles.get(self._logic.runKind, _("Engine"))
        bar.setRange(0, 0)  # Qt's way of saying: busy, nobody knows how long
        self._tell(text)

    def _onProgressed(self, progress: Progress) -> None:
        if self._logic.state is not RunState.RUNNING:
            return
        bar, value = self.ui.runProgressBar, round(100 * progress.fraction)
        bar.value = max(value, bar.value) if bar.maximum else value  # one bar for the whole run: it never goes back
        bar.setRange(0, 100)
        left = timeText(progress.seconds_left)
        self._tell(f"{progress.phase} - {left}" if left else progress.phase)

    def _tell(self, text: str) -> None:
        text = _("{run}: {text}").format(run=self._title, text=text)
        if text != self.ui.nextLabel.text:
            self.ui.nextLabel.text = text
            slicer.util.showStatusMessage(text)

    def _onFinished(self, result: RunResult) -> None:
        self._tellEnd(result.message, self._message.showInformation, result.notes)

    def _tellEnd(self, text: str, show: Callable[..., None], *more: Any) -> None:
        show(text, *more)
        slicer.util.showStatusMessage(_("UnCoL: {message}").format(message=text), _END_SHOWN_MS)


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
