"""Where to look: the places at which the proposal is least certain, ranked, and the way from one to the next."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from slicer.i18n import tr as _

from uncol.core.findings import Findings, Place, ml_text
from UnCoLSegmentLib.Logic import Logic
from UnCoLSegmentLib.Panel.Controls import enable, fill, setColumns
from UnCoLSegmentLib.Panel.Section import Message, Section
from UnCoLSegmentLib.ParameterNode import ParameterNode
from UnCoLSegmentLib.Scene import Places, SliceViews
from UnCoLSegmentLib.Scene.AnnotatedSlices import AnnotatedTable


class PlacesSection(Section):
    """Lists the places, shows them, and ticks those that were seen or whose slice is done.

    Args:
        ui: The panel's widgets by name.
        logic: What does the work.
        message: Where it is told how clicks ended.
        doneSlices: Returns what is known of the slices.
    """

    def __init__(self, ui: Any, logic: Logic, message: Message, doneSlices: Callable[[], AnnotatedTable]) -> None:
        super().__init__(ui, logic, message)
        self._doneSlices, self._findings, self._at = doneSlices, Findings(), -1
        self._seen: set[int] = set()
        self._shown: object = None
        setColumns(ui.placesTable, _("No."), _("Where"), _("ml"), _("Unsure"), _("Seen"))
        ui.placesTable.connect("itemClicked(QTableWidgetItem*)", lambda item: self._show(item.row()))
        ui.placesTable.connect("itemActivated(QTableWidgetItem*)", lambda item: self._show(item.row()))
        self._onClicks((ui.nextPlaceButton, lambda: self._go(1)), (ui.previousPlaceButton, lambda: self._go(-1)))

    def update(self, parameters: ParameterNode | None) -> None:
        """Show the places of the proposal."""
        super().update(parameters)
        findings = Places.findingsOf(parameters.proposal if parameters else None)
        if findings != self._findings:
            self._findings, self._at, self._seen = findings, -1, set()
        missing = "" if findings.places else _("No place stands out: the proposal is unsure along its border at most.")
        if parameters is None or parameters.proposal is None:
            missing = _("There is no proposal yet. Segment the volume first.")
        enable(
            missing,
            (self.ui.nextPlaceButton, _("Show the next place at which the proposal is least certain")),
            (self.ui.previousPlaceButton, _("Show the place before (Shift+N)")),
        )
        rows = [self._textsOf(each) for each in findings.places]
        if rows != self._shown:
            self._shown = rows
            fill(self.ui.placesTable, rows, finish=self._explain)

    def forgetScene(self) -> None:
        """Let go of a scene that is being closed."""
        self._findings, self._at, self._seen = Findings(), -1, set()

    def _textsOf(self, place: Place) -> list[str]:
        volume = self._given.inputVolume
        where = SliceViews.positionText(volume, "K", place.ijk[2])
        return [str(place.number), where, ml_text(place.volume_ml), f"{place.uncertainty:.2f}", self._tick(place)]

    def _explain(self, row: int) -> None:
        for column in range(self.ui.placesTable.columnCount):
            self.ui.placesTable.item(row, column).setToolTip(self._findings.places[row].sentence)

    def _tick(self, place: Place) -> str:
        done = {(row.axis, row.index) for row in self._doneSlices().complete}
        if any((axis, index) in done for axis, index in zip("IJK", place.ijk, strict=True)):
            return _("done")
        return _("seen") if place.number in self._seen else ""

    def _go(self, by: int) -> None:
        count = len(self._findings.places)
        self._show((self._at + by) % count if self._at >= 0 or by > 0 else count - 1)

    def _show(self, row: int) -> None:
        place, count = self._findings.places[row], len(self._findings.places)
        self._at = row
        self._seen.add(place.number)
        SliceViews.centerOn(place.ras_mm)
        self.ui.placesTable.setCurrentCell(row, 0)
        text = _("Place {number} of {count}: {what}, {uncertainty:.2f} (0 is certain, 1 as uncertain as possible).")
        what, uncertainty = place.sentence, place.uncertainty
        self._message.showInformation(text.format(number=place.number, count=count, what=what, uncertainty=uncertainty))
