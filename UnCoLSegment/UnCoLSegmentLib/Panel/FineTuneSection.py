"""The section "Fine-tune": learn from annotated and un-annotated slices, and see how well each round began."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import qt
from slicer.i18n import tr as _

from uncol.core.progress import Progress
from UnCoLSegmentLib.Engine.Run import RunState
from UnCoLSegmentLib.Logic import Logic
from UnCoLSegmentLib.Panel.Buttons import enable
from UnCoLSegmentLib.Panel.LearningCurve import LearningCurve
from UnCoLSegmentLib.Panel.Message import Message
from UnCoLSegmentLib.Panel.RunStatus import RunStatus
from UnCoLSegmentLib.Panel.Tables import fill, setColumns
from UnCoLSegmentLib.ParameterNode import ParameterNode
from UnCoLSegmentLib.Scene.Rounds import Round


class FineTuneSection:
    """Starts, stops and resumes learning; shows curve and rounds.

    Args:
        ui: The panel's widgets by name.
        logic: What does the work.
        prepareEngine: Called before a run; installs what is missing, with consent.
    """

    def __init__(self, ui: Any, logic: Logic, prepareEngine: Callable[[], None]) -> None:
        self.ui, self._logic, self._prepareEngine = ui, logic, prepareEngine
        self._parameters: ParameterNode | None = None
        message = Message(
            ui.fineTuneMessageFrame, ui.fineTuneMessageIcon, ui.fineTuneMessageLabel, ui.fineTuneMessageDetailsButton
        )
        self.status = RunStatus(logic, ui.fineTuneProgress, ui.fineTuneProgressBar, ui.fineTuneProgressLabel, message)
        self._curve = LearningCurve(ui.curveWidget)
        setColumns(ui.roundsTable, [_("Round"), _("Slices"), _("Dice of the proposal"), _("New model")])
        ui.fineTuneButton.connect("clicked(bool)", self._onFineTune)
        ui.resumeButton.connect("clicked(bool)", self._onResume)
        ui.cancelFineTuneButton.connect("clicked(bool)", self._onCancel)
        logic.progressed.connect(self._onProgressed)
        logic.roundScored.connect(self._onRoundScored)

    def disconnect(self) -> None:
        """Follow no runs any more."""
        self.status.disconnect()
        self._logic.progressed.disconnect(self._onProgressed)
        self._logic.roundScored.disconnect(self._onRoundScored)

    def update(self, parameters: ParameterNode | None) -> None:
        """Show the state of parameters and run."""
        self._parameters = parameters
        missing = _("Choose the volume to segment.")
        obstacle = self._logic.whyNotFineTune(parameters) if parameters else missing
        enable(self.ui.fineTuneButton, obstacle, _("Learn in the background; you can go on working meanwhile"))
        obstacle = self._logic.whyNotResume(parameters) if parameters else missing
        enable(self.ui.resumeButton, obstacle, _("Go on with the fine-tuning that was stopped"))
        isRunning = self._logic.state is RunState.RUNNING and self.status.isMine
        enable(
            self.ui.cancelFineTuneButton,
            "" if isRunning else _("Nothing is being learned."),
            _("Stop; what was learned is saved and can be resumed"),
        )
        self._showRounds(self._logic.rounds(parameters) if parameters else [])

    def forgetScene(self) -> None:
        """Let go of the nodes of a scene that is being closed."""
        self._curve.forget()

    def _onFineTune(self) -> None:
        self.status.start(lambda: self._begin(self._logic.fineTune))

    def _onResume(self) -> None:
        self.status.start(lambda: self._begin(self._logic.resumeFineTune))

    def _begin(self, run: Callable[[ParameterNode], None]) -> None:
        assert self._parameters is not None  # without parameters the buttons are disabled
        self._prepareEngine()
        run(self._parameters)

    def _onCancel(self) -> None:
        self._logic.cancel()

    def _onProgressed(self, progress: Progress) -> None:
        if self.status.isMine and progress.losses:
            self._curve.show(self._logic.curve)

    def _onRoundScored(self, _round: Round) -> None:
        self.update(self._parameters)

    def _showRounds(self, rounds: list[Round]) -> None:
        table: qt.QTableWidget = self.ui.roundsTable
        table.visible = self.ui.roundsLabel.visible = bool(rounds)
        fill(table, [_roundTexts(each) for each in rounds])


def _roundTexts(entry: Round) -> list[str]:
    kept = {True: _("in use"), False: _("kept the old one")}.get(entry.get("activated"), _("not finished"))
    return [str(entry["number"]), str(len(entry["annotated"])), _scoresText(entry), kept]


def _scoresText(entry: Round) -> str:
    """Return what the proposal of before was worth on the new slices, or why that is not known."""
    if entry.get("dice"):
        return ", ".join(f"{name} {score:.2f}" for name, score in entry["dice"].items())
    if entry.get("scored"):
        return _("new slices are empty")
    return _("no new slices") if entry.get("hadProposal") else _("no proposal before")
