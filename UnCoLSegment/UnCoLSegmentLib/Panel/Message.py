"""A sentence below the buttons of a section, in place of a pop-up: what was reached, or what went wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import qt
import slicer
import slicer.util
from slicer.i18n import tr as _

from UnCoLSegmentLib.Engine.Run import messageAndDetails


class Message:
    """Shows one sentence until the next one or until it is cleared.

    Args:
        frame: What is hidden while there is nothing to say.
        icon: Label for the icon of a warning.
        label: Label for the sentence.
        detailsButton: Shows a developer's details; hidden when there are none.
    """

    def __init__(self, frame: qt.QFrame, icon: qt.QLabel, label: qt.QLabel, detailsButton: qt.QToolButton) -> None:
        self._frame, self._icon, self._label, self._detailsButton = frame, icon, label, detailsButton
        self._tellMore: Callable[[], None] = _nothing
        detailsButton.connect("clicked(bool)", self._showDetails)

    def showInformation(self, text: str, notes: Sequence[str] = ()) -> None:
        """Tell what was reached; notes that explain it stand behind a button."""
        self._detailsButton.text = _("Notes ({count})").format(count=len(notes))
        self._detailsButton.toolTip = _("Show what else is worth knowing about this result")
        self._show(text, bool(notes), qt.QStyle.SP_MessageBoxInformation)
        self._tellMore = lambda: slicer.util.infoDisplay("\n\n".join(notes))

    def showWarning(self, text: str, details: str = "") -> None:
        """Tell what went wrong and what to do; keep a developer's details behind a button."""
        self._detailsButton.text = _("Details")
        self._detailsButton.toolTip = _("Show what a developer needs to find the cause")
        self._show(text, bool(details), qt.QStyle.SP_MessageBoxWarning)
        self._tellMore = lambda: slicer.util.errorDisplay(text, detailedText=details)

    def clear(self) -> None:
        """Say nothing any more."""
        self._frame.visible = False

    @contextmanager
    def reporting(self) -> Iterator[None]:
        """Turn an error inside into a warning, so that no click ends in silence."""
        try:
            yield
        except Exception as error:  # noqa: BLE001 - the end of a click: whatever happened, the user is told
            self.showWarning(*messageAndDetails(error))

    def _show(self, text: str, hasMore: bool, icon: int) -> None:
        side = self._frame.style().pixelMetric(qt.QStyle.PM_SmallIconSize)
        self._icon.setPixmap(self._frame.style().standardIcon(icon).pixmap(side, side))
        self._label.text, self._label.accessibleName = text, text
        self._detailsButton.visible = hasMore
        self._frame.visible = True

    def _showDetails(self) -> None:
        self._tellMore()


def _nothing() -> None:
    """Nothing was said yet, so there is no more to say about it."""
