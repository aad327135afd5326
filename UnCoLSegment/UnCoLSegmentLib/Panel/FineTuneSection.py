"""The section "Fine-tune": learn from annotated and un-annotated slices, and see how well each round began."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from slicer.i18n import tr as _

from uncol.core.progress import Progress
from UnCoLSegmentLib.Logic import Logic
from UnCoLSegmentLib.Panel.Controls import enable, fill, setColumns
from UnCoLSegmentLib.Panel.LearningCurve import LearningCurve
from UnCoLSegmentLib.Panel.RunSection import RunSection
from UnCoLSegmentLib.ParameterNode import ParameterNode
from UnCoLSegmentLib.Scene.Rounds import Round


class FineTuneSection(RunSection):
    """Starts, stops and resumes learning; shows curve and rounds."""

    def __init__(self, ui: Any, logic: Logic, prepareEngine: Callable[[], None]) -> None:
        super().__init__(ui, logic, "fineTune", prepareEngine)
        ui.cancelFineTuneButton.connect("clicked(bool)", logic.cancel)
        self._curve = LearningCurve(ui.curveWidget)
        setColumns(ui.roundsTable, _("Round"), _("Slices"), _("Dice of the proposal"), _("New model"))
        ui.fineTuneButton.connect("clicked(bool)", lambda: self._start(logic.fineTune))
        ui.resumeButton.connect("clicked(bool)", lambda: self._start(logic.resumeFineTune))
        self._follow(logic.progressed, self._onProgressed)
        self._follow(logic.roundScored, lambda _round: self.update(self._parameters))

    def update(self, parameters: ParameterNode | None) -> None:
        """Show the state of parameters and run."""
        super().update(parameters)
        obstacle = self._logic.whyNotFineTune(parameters) if parameters else self._whyNoVolume()
        enable(obstacle, (self.ui.fineTuneButton, _("Learn in the background; you can go on working meanwhile")))
        obstacle = self._logic.whyNotResume(parameters) if parameters else self._whyNoVolume()
        enable(obstacle, (self.ui.resumeButton, _("Go on with the fine-tuning that was stopped")))
        obstacle = self._whyNotCancel(_("Nothing is being learned."))
        enable(obstacle, (self.ui.cancelFineTuneButton, _("Stop; what was learned is saved and can be resumed")))
        rounds = self._logic.rounds(parameters) if parameters else []
        fill(self.ui.roundsTable, [_roundTexts(each) for each in rounds])
        self.ui.roundsLabel.visible = bool(rounds)

    def forgetScene(self) -> None:
        """Let go of the nodes of a scene that is being closed."""
        self._curve.forget()

    def _onProgressed(self, progress: Progress) -> None:
        if self._isMine and progress.losses:
            self._curve.show(self._logic.curve)


def _roundTexts(entry: Round) -> list[str]:
    kept = {True: _("in use"), False: _("kept the old one")}.get(entry.activated, _("not finished"))
    return [str(entry.number), str(len(entry.annotated)), _scoresText(entry), kept]


def _scoresText(entry: Round) -> str:
    """Return what the proposal of before was worth on the new slices, or why that is not known."""
    if entry.dice:
        return ", ".join(f"{name} {score:.2f}" for name, score in entry.dice.items())
    if entry.scored:
        return _("new slices are empty")
    return _("no new slices") if entry.hadProposal else _("no proposal before")
