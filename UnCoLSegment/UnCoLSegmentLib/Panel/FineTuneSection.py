"""The section "Fine-tune": learn from annotated and un-annotated slices, and see how well each round began."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

import slicer
import slicer.util
from slicer.i18n import tr as _

from uncol.core.progress import Progress
from uncol.core.unfinished import UnfinishedRun
from UnCoLSegmentLib.Logic import Logic
from UnCoLSegmentLib.Panel.Controls import enable, fill, setColumns
from UnCoLSegmentLib.Panel.LearningCurve import LearningCurve
from UnCoLSegmentLib.Panel.RunSection import RunSection
from UnCoLSegmentLib.Panel.Section import Message
from UnCoLSegmentLib.ParameterNode import ParameterNode
from UnCoLSegmentLib.Scene.Rounds import Round


class FineTuneSection(RunSection):
    """Starts, stops and resumes learning; shows curve, rounds, and what has not come to its end."""

    def __init__(self, ui: Any, logic: Logic, message: Message, prepareEngine: Callable[[], None]) -> None:
        super().__init__(ui, logic, message, prepareEngine)
        self._efforts = {2.0: ui.effort2Button, 5.0: ui.effort5Button, 15.0: ui.effort15Button}
        for minutes, button in self._efforts.items():
            button.connect("clicked(bool)", self._choosing("minutes", minutes))
        self._curve = LearningCurve(ui.curveWidget)
        setColumns(ui.roundsTable, _("Round"), _("Slices"), _("Dice of the proposal"), _("New model"))
        ui.fineTuneButton.connect("clicked(bool)", lambda: self._start(logic.fineTune))
        ui.resumeButton.connect("clicked(bool)", lambda: self._start(self._resume))
        self._unfinished: list[UnfinishedRun] = []
        setColumns(ui.unfinishedTable, _("Name"), _("Volume"), _("Steps"), _("Saved"))
        ui.unfinishedTable.connect("itemSelectionChanged()", self._updateUnfinished)
        self._onClicks((ui.removeUnfinishedButton, self._removeUnfinished))
        self._follow(logic.progressed, self._onProgressed)
        self._follow(logic.modelsChanged, lambda: self.update(self._parameters))
        self._follow(logic.roundScored, lambda _round: self.update(self._parameters))

    def update(self, parameters: ParameterNode | None) -> None:
        """Show the state of parameters and run."""
        super().update(parameters)
        obstacle = self._logic.whyNotFineTune(parameters) if parameters else self._whyNoVolume()
        enable(obstacle, (self.ui.fineTuneButton, _("Learn in the background; you can go on working meanwhile")))
        self._unfinished = self._logic.store.unfinished()
        fill(self.ui.unfinishedTable, [_unfinishedTexts(each) for each in self._unfinished])
        self._updateUnfinished()
        for minutes, button in self._efforts.items():
            button.checked = parameters is not None and parameters.minutes == minutes
            button.enabled = parameters is not None
        self._unfinished = self._logic.store.unfinished()
        fill(self.ui.unfinishedTable, [_unfinishedTexts(each) for each in self._unfinished])
        self._updateUnfinished()
        for minutes, button in self._efforts.items():
            button.checked = parameters is not None and parameters.minutes == minutes
            purpose = _("Learn for {minutes:.0f} minutes; any other time can be chosen in Advanced")
            enable("" if parameters else obstacle, (button, purpose.format(minutes=minutes)))
        rounds = self._logic.rounds(parameters) if parameters else []
        fill(self.ui.roundsTable, [_roundTexts(each) for each in rounds])
        self.ui.roundsLabel.visible = bool(rounds)

    def _updateUnfinished(self) -> None:
        """Say of which unfinished run the buttons speak: the one selected, else the latest about the volume."""
        selected, parameters = self._selectedRun(), self._parameters
        self.ui.unfinishedLabel.visible = self.ui.removeUnfinishedButton.visible = bool(self._unfinished)
        obstacle = self._logic.whyNotResume(parameters, selected) if parameters else self._whyNoVolume()
        enable(obstacle, (self.ui.resumeButton, _("Go on with the fine-tuning that was stopped")))
        self.ui.resumeButton.visible = bool(self._unfinished)
        missing = "" if selected else _("Select an unfinished fine-tuning in the list.")
        enable(missing, (self.ui.removeUnfinishedButton, _("Delete what the selected one has learned so far")))

    def _selectedRun(self) -> UnfinishedRun | None:
        row = self.ui.unfinishedTable.currentRow()
        return self._unfinished[row] if 0 <= row < len(self._unfinished) else None

    def _resume(self, parameters: ParameterNode) -> None:
        self._logic.resumeFineTune(parameters, run=self._selectedRun())

    def _removeUnfinished(self) -> None:
        run = self._selectedRun()
        assert run is not None  # without a selection the button is disabled
        question = _('Delete the unfinished fine-tuning "{name}" ({steps} steps)? This cannot be undone.')
        if slicer.util.confirmYesNoDisplay(question.format(name=run.name, steps=run.steps)):
            self._logic.store.remove(run.name)
            self.ui.unfinishedTable.setCurrentCell(-1, -1)
            self._logic.modelsChanged.emit()

    def forgetScene(self) -> None:
        """Let go of the nodes of a scene that is being closed."""
        self._curve.forget()

    def _onProgressed(self, progress: Progress) -> None:
        if self._logic.runKind == "fineTune" and progress.losses and self._parameters is not None:
            self._curve.show(self._logic.curve, self._parameters.parameterNode)


def _unfinishedTexts(run: UnfinishedRun) -> list[str]:
    saved = datetime.fromisoformat(run.saved).astimezone()
    return [run.name, run.origin.volume, str(run.steps), f"{saved:%Y-%m-%d %H:%M}"]


def _roundTexts(entry: Round) -> list[str]:
    kept = {True: _("in use"), False: _("old model kept")}.get(entry.activated, _("unfinished"))
    return [str(entry.number), str(len(entry.annotated)), _scoresText(entry), kept]


def _scoresText(entry: Round) -> str:
    """Return what the proposal of before was worth on the new slices, or why that is not known."""
    if entry.dice:
        return ", ".join(f"{name} {score:.2f}" for name, score in entry.dice.items())
    if entry.scored:
        return _("new slices are empty")
    return _("no new slices") if entry.hadProposal else _("no proposal before")
