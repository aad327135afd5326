"""Several patients in a scene: from which of them the next fine-tuning learns, and the way to the next one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from uncol.core.errors import DataError
from UnCoLSegmentLib.Logic import Logic
from UnCoLSegmentLib.Panel.Controls import enable, fill, setColumns
from UnCoLSegmentLib.Panel.RunSection import RunSection
from UnCoLSegmentLib.Panel.Section import Message
from UnCoLSegmentLib.ParameterNode import ParameterNode, SegmentFrom
from UnCoLSegmentLib.Scene import Cases, Results, SliceViews
from UnCoLSegmentLib.Scene.Cases import Case

_LEARN_COLUMN = 2


class CasesSection(RunSection):
    """Lists the volumes of the scene, and segments the next one with one click."""

    _during = slicer.util.RenderBlocker

    def __init__(self, ui: Any, logic: Logic, message: Message, prepareEngine: Callable[[], None]) -> None:
        super().__init__(ui, logic, message, prepareEngine)
        self._volumes: list[Any] = []
        self._cases: Mapping[Any, Case] = {}
        self._shown: object = None
        setColumns(ui.casesTable, _("Volume"), _("Proposal"), _("Learn from"))
        ui.casesTable.connect("itemChanged(QTableWidgetItem*)", self._onItemChanged)
        ui.casesTable.connect("itemActivated(QTableWidgetItem*)", self._onActivated)
        ui.nextPatientButton.connect("clicked(bool)", lambda: self._start(self._segmentNext))

    def update(self, parameters: ParameterNode | None) -> None:
        """Show the state of the parameters."""
        super().update(parameters)
        self._volumes = Cases.images() if parameters else []
        cases = Cases.casesIn(parameters) if parameters else []
        self._cases = {each.volume.GetID(): each for each in cases}
        named = zip(self._volumes, Cases.namesOf(self._volumes), strict=True)
        rows = [self._textsOf(*each) for each in named] if len(self._volumes) > 1 else []
        if (rows, cases) != self._shown:  # the user may be about to tick one
            self._shown = rows, cases
            fill(self.ui.casesTable, rows, finish=self._addCheckBox)
            self.ui.casesLabel.visible = bool(rows)
        purpose = _("Go to the next volume that has no proposal, and segment it with the model in use")
        enable(self._whyNotNext(), (self.ui.nextPatientButton, purpose))
        self.ui.nextPatientButton.visible = len(self._volumes) > 1

    def forgetScene(self) -> None:
        """Let go of the nodes of a scene that is being closed."""
        self._volumes, self._cases, self._shown = [], {}, None

    def _whyNotNext(self) -> str:
        if self._parameters is None:
            return self._whyNoVolume()
        if not self._logic.store.active:
            return self._logic.state.obstacle or _("No model is in use yet. Fine-tune one first.")
        try:
            Cases.nextVolume(self._parameters)
        except DataError as noneLeft:
            return self._logic.state.obstacle or str(noneLeft)
        return self._logic.state.obstacle

    def _segmentNext(self, parameters: ParameterNode) -> None:
        volume = Cases.nextVolume(parameters)
        self._show(volume)
        parameters.segmentFrom, parameters.modelName = SegmentFrom.MODEL, str(self._logic.store.active)
        self._logic.segment(parameters)

    def _show(self, volume: Any) -> None:
        self._given.inputVolume = volume
        SliceViews.showVolume(volume, slicer.app.applicationLogic())

    def _textsOf(self, volume: Any, name: str) -> list[str]:
        case = self._cases.get(volume.GetID())
        done = _("{count} slices").format(count=len(case.done)) if case else _("no finished slice")
        hasProposal = Results.proposalAbout(volume) is not None
        return [name, _("yes") if hasProposal else _("none"), done]

    def _addCheckBox(self, number: int) -> None:
        """Let volumes with finished slices be left out, but not the one that is shown: it is what is proposed for."""
        case, item = self._cases.get(self._volumes[number].GetID()), self.ui.casesTable.item(number, _LEARN_COLUMN)
        if case is None:
            item.setToolTip(_("Finish slices of this volume first; Enter in another column shows it"))
            return
        item.setCheckState(qt.Qt.Checked if case.isLearnedFrom else qt.Qt.Unchecked)
        if case.isChosen:
            item.setToolTip(_("The volume that is shown is always learned from"))
        else:
            item.setFlags(item.flags() | qt.Qt.ItemIsUserCheckable)
            item.setToolTip(_("Untick it to leave this volume out of the next fine-tuning"))

    def _onItemChanged(self, item: qt.QTableWidgetItem) -> None:
        if item.column() == _LEARN_COLUMN:
            Cases.learnFrom(self._volumes[item.row()], item.checkState() == qt.Qt.Checked)
            self.update(self._parameters)

    def _onActivated(self, item: qt.QTableWidgetItem) -> None:
        """Enter ticks a volume or shows it: the Space key is one of the Segment Editor's."""
        if item.column() != _LEARN_COLUMN:
            self._reporting(lambda: self._show(self._volumes[item.row()]))()
        elif item.flags() & qt.Qt.ItemIsUserCheckable:
            item.setCheckState(qt.Qt.Unchecked if item.checkState() == qt.Qt.Checked else qt.Qt.Checked)
