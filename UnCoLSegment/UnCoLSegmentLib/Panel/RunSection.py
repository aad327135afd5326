"""A section that starts runs: it shows how far they have come, and says how they ended."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from slicer.i18n import tr as _

from uncol.core.progress import Progress
from UnCoLSegmentLib.Engine.Run import RunState
from UnCoLSegmentLib.Logic import Logic
from UnCoLSegmentLib.Panel.Section import Section
from UnCoLSegmentLib.ParameterNode import ParameterNode


class RunSection(Section):
    """Follows the runs that it started, and no others.

    Args:
        ui: The panel's widgets by name.
        logic: Whose runs these are.
        name: The section's name, with which the names of its widgets begin.
        prepareEngine: Called before a run; installs what is missing, with consent.
    """

    def __init__(self, ui: Any, logic: Logic, name: str, prepareEngine: Callable[[], None]) -> None:
        super().__init__(ui, logic, name)
        self._prepareEngine = prepareEngine
        self._progress, self._bar = getattr(ui, f"{name}Progress"), getattr(ui, f"{name}ProgressBar")
        self._label = getattr(ui, f"{name}ProgressLabel")
        self._isMine = False
        self._follow(logic.stateChanged, self._onStateChanged)
        self._follow(logic.progressed, self._onProgressed)
        tell = partial(self._end, self._message.showInformation)
        self._follow(logic.finished, lambda result: tell(result.message, result.notes))
        self._follow(logic.cancelled, tell)
        self._follow(logic.failed, partial(self._end, self._message.showWarning))

    def _start(self, run: Callable[[ParameterNode], None]) -> None:
        """Start a run; an error on the way is told like that of a run."""
        self._isMine = True
        self._message.clear()
        with self._message.reporting():
            self._prepareEngine()
            run(self._given)
        self._isMine = self._isMine and self._logic.state is not RunState.IDLE

    def _whyNotCancel(self, idle: str) -> str:
        return "" if self._logic.state is RunState.RUNNING and self._isMine else idle

    def _onStateChanged(self) -> None:
        state = self._logic.state
        self._progress.visible = self._isMine and state is not RunState.IDLE
        if state is not RunState.IDLE:
            self._bar.setRange(0, 0)  # Qt's way of saying: busy, nobody knows how long
            self._label.text = _("Starting ...") if state is RunState.RUNNING else _("Cancelling ...")

    def _onProgressed(self, progress: Progress) -> None:
        if not self._isMine or self._logic.state is not RunState.RUNNING:
            return
        self._bar.setRange(0, 100)
        self._bar.value = round(100 * progress.fraction)
        left = timeText(progress.seconds_left)
        self._label.text = f"{progress.phase} - {left}" if left else progress.phase

    def _end(self, tell: Callable[..., None], *what: Any) -> None:
        wasMine, self._isMine = self._isMine, False
        self._progress.visible = False
        if wasMine:
            tell(*what)


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
