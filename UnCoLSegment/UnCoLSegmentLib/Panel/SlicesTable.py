"""The table of annotated slices: where each lies, what it shows, whether it is complete, and if not, why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import qt
from slicer.i18n import tr as _

from uncol.core.volume import Axis
from UnCoLSegmentLib.Panel.Controls import fill, setColumns
from UnCoLSegmentLib.ParameterNode import Plane
from UnCoLSegmentLib.Scene.AnnotatedSlices import AnnotatedSlice, AnnotatedTable
from UnCoLSegmentLib.Scene.SliceMarks import Kind
from UnCoLSegmentLib.Scene.SliceViews import planeOf, positionText

_COMPLETE_COLUMN = 3


class SlicesTable:
    """Shows the rows of an `AnnotatedTable`.

    Args:
        table: The widget.
        hint: What to say while there is nothing to show.
        onCompleteChanged: Called with slices and their new state when the user ticks one, or several at once.
        onJump: Called with axis and index when the user wants to see a slice.
    """

    def __init__(
        self,
        table: qt.QTableWidget,
        hint: qt.QLabel,
        onCompleteChanged: Callable[[Sequence[tuple[Axis, int]], bool], None],
        onJump: Callable[[Axis, int], None],
    ) -> None:
        self._table, self._hint, self._onCompleteChanged = table, hint, onCompleteChanged
        self._rows: Sequence[AnnotatedSlice] = ()
        setColumns(table, _("Slice"), _("Position"), _("Structure"), _("Complete"))
        table.connect("itemChanged(QTableWidgetItem*)", self._onItemChanged)
        self._onJump = onJump
        table.connect("itemActivated(QTableWidgetItem*)", self._onActivated)

    @property
    def selected(self) -> list[tuple[Axis, int]]:
        """The slices of the selected rows."""
        rows = {item.row() for item in self._table.selectedItems()}
        return [self._sliceIn(row) for row in sorted(rows) if row < len(self._rows)]

    def show(self, table: AnnotatedTable, volumeNode: Any) -> None:
        """Show the annotated slices of a volume."""
        self._rows = table.rows
        fill(self._table, [_textsOf(row, volumeNode) for row in self._rows], self._hint, self._addCheckBox)

    def _addCheckBox(self, number: int) -> None:
        item, row = self._table.item(number, _COMPLETE_COLUMN), self._rows[number]
        item.setFlags(item.flags() | qt.Qt.ItemIsUserCheckable)
        unticked = qt.Qt.PartiallyChecked if row.knownIds else qt.Qt.Unchecked
        item.setCheckState(qt.Qt.Checked if row.complete else unticked)
        item.setToolTip(_("Tick it when everything that belongs to the structures is painted in this slice"))

    def _sliceIn(self, row: int) -> tuple[Axis, int]:
        return self._rows[row].axis, self._rows[row].index

    def _onActivated(self, item: qt.QTableWidgetItem) -> None:
        """Enter ticks a slice or shows it: the Space key is one of the Segment Editor's."""
        if item.column() == _COMPLETE_COLUMN:
            item.setCheckState(qt.Qt.Unchecked if item.checkState() == qt.Qt.Checked else qt.Qt.Checked)
        else:
            self._onJump(*self._sliceIn(item.row()))

    def _onItemChanged(self, item: qt.QTableWidgetItem) -> None:
        if item.column() != _COMPLETE_COLUMN:
            return
        ticked = self._sliceIn(item.row())
        slices = self.selected if ticked in self.selected else [ticked]
        self._onCompleteChanged(slices, item.checkState() == qt.Qt.Checked)


def summaryText(table: AnnotatedTable, volumeNode: Any) -> str:
    """Return how many slices count as annotated, and which are left out and why; "" where there is nothing to say."""
    if not table.rows:
        return ""
    sentences = [_("Annotated slices: {count}.").format(count=len(table.complete))]
    for kind, text in _leftOutTexts().items():
        found = [row for row in table.leftOut if kind in row.kinds and not row.knownIds]
        if found:
            sentences.append(text.format(slices=_listText(found, volumeNode)))
    partly = [row for row in table.rows if row.knownIds]
    if partly:
        text = _("Annotated for some segments only: {slices}. Tick it when the others are painted there, too.")
        sentences.append(text.format(slices=_listText(partly, volumeNode)))
    return " ".join(sentences)


def _leftOutTexts() -> dict[Kind, str]:
    return {
        Kind.MANY: _("Changed together, as by a tool that works in 3D: {slices}. Tick those that are complete."),
        Kind.BEGUN: _("Left out, as it looks only begun: {slices}. Tick it if it is complete."),
        Kind.ERASED: _("Left out, as voxels were only erased: {slices}. Tick it if it is complete."),
    }


def _listText(rows: Sequence[AnnotatedSlice], volumeNode: Any) -> str:
    """Return the names of slices, or of many how many there are."""
    most = 6
    if len(rows) <= most:
        return ", ".join(_nameOf(row, volumeNode) for row in rows)
    planes = Counter(row.axis for row in rows)
    counted = (_("{count} {plane}").format(count=n, plane=_planeText(axis, volumeNode)) for axis, n in planes.items())
    return ", ".join(counted)


def _planeText(axis: Axis, volumeNode: Any) -> str:
    return str(Plane(planeOf(volumeNode, axis).lower()).label())


def _nameOf(row: AnnotatedSlice, volumeNode: Any) -> str:
    return _("{plane} {number}").format(plane=_planeText(row.axis, volumeNode), number=row.index)


def _textsOf(row: AnnotatedSlice, volumeNode: Any) -> list[str]:
    position = positionText(volumeNode, row.axis, row.index)
    return [_nameOf(row, volumeNode), position, _("yes") if row.hasStructure else _("none"), _whyText(row)]


def _whyText(row: AnnotatedSlice) -> str:
    """Return in a word why a slice is not complete, to stand beside its check box."""
    if row.complete or row.byUser:
        return ""
    if row.knownIds:
        return _("partly")
    words = {Kind.MANY: _("many at once"), Kind.BEGUN: _("begun?"), Kind.ERASED: _("erased")}
    return next((word for kind, word in words.items() if kind in row.kinds), "")
