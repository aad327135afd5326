"""A ruler with a bar for each slice: how unsure it is, whether it is done, which one is shown and which comes next."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import qt
from slicer.i18n import tr as _

_HEIGHT, _BAR, _MARK = 44, 30, 6
"""Of the whole, of the highest bar and of a mark below the bars, in pixels."""
_BAR_COLOR = (214, 64, 150)


@dataclass(frozen=True)
class Slices:
    """What the ruler shows of the slices along one axis.

    Attributes:
        count: How many there are.
        scores: How unsure they are, in [0, 1], by number; those that are left out have no bar.
        done: Those that are finished.
        empty: Those of them that show no structure.
        shown: The one in the view; None for none.
        following: The one to finish next; None where that is not known.
    """

    count: int = 0
    scores: Mapping[int, float] = field(default_factory=dict)
    done: Collection[int] = ()
    empty: Collection[int] = ()
    shown: int | None = None
    following: int | None = None


class SliceRuler(qt.QWidget):
    """Draws the slices from left to right; a click, or an arrow key, goes to one.

    Args:
        goTo: Called with the number of the slice.
    """

    def __init__(self, goTo: Callable[[int], None]) -> None:
        super().__init__()
        self._goTo, self._slices = goTo, Slices()
        self.setFixedHeight(_HEIGHT)
        self.setFocusPolicy(qt.Qt.StrongFocus)
        self.setAccessibleName(_("Slices"))
        self.setToolTip(_("Each bar is a slice: the higher, the less certain. A click or the arrow keys go there."))

    def show_(self, slices: Slices) -> None:
        """Show what is known of the slices now."""
        if slices != self._slices:
            self._slices = slices
            text = _("Slice {shown} of {count}; {done} done").format(
                shown="-" if slices.shown is None else slices.shown, count=slices.count, done=len(slices.done)
            )
            self.setAccessibleDescription(text)
            self.update()

    def sliceAt(self, x: int) -> int:
        """Return the slice whose bar lies at a place, in pixels from the left."""
        return min(max(int(x * self._slices.count / max(self.width, 1)), 0), max(self._slices.count - 1, 0))

    def placeOf(self, index: int) -> int:
        """Return where the middle of a slice's bar lies, in pixels from the left."""
        return int((index + 0.5) * self.width / max(self._slices.count, 1))

    def paintEvent(self, _event: Any) -> None:
        """Draw it."""
        slices, painter = self._slices, qt.QPainter(self)
        ink, ground = self.palette.color(qt.QPalette.WindowText), self.palette.color(qt.QPalette.Window)
        step = self.width / max(slices.count, 1)
        wide, top = max(1, int(step) - (step >= 3)), max(slices.scores.values(), default=0.0)
        for index, score in slices.scores.items():
            height = max(1, round(_BAR * score / top)) if top else 1
            painter.fillRect(int(index * step), _BAR - height, wide, height, qt.QColor(*_BAR_COLOR))
        painter.fillRect(0, _BAR, self.width, 1, ink)
        painter.setPen(ink)
        for index in slices.done:
            painter.setBrush(ground if index in slices.empty else ink)
            painter.drawEllipse(self.placeOf(index) - _MARK // 2, _BAR + 4, _MARK, _MARK)
        if slices.shown is not None:
            painter.fillRect(self.placeOf(slices.shown), 0, 1, _HEIGHT, ink)
        if slices.following is not None:
            painter.setBrush(qt.QColor(0, 0, 0, 0))
            painter.drawRect(self.placeOf(slices.following) - 4, 0, 8, _BAR)
        painter.end()

    def mousePressEvent(self, event: Any) -> None:
        """Go to the slice below the mouse."""
        if self._slices.count:
            place = getattr(event, "position", event.pos)()  # the former in Qt 6, the latter in Qt 5
            self._goTo(self.sliceAt(round(place.x())))

    def keyPressEvent(self, event: Any) -> None:
        """Go to the slice beside the one that is shown."""
        by = {qt.Qt.Key_Left: -1, qt.Qt.Key_Right: 1}.get(event.key())
        if by is None or self._slices.shown is None:
            event.ignore()
            return
        self._goTo(min(max(self._slices.shown + by, 0), self._slices.count - 1))
