"""A sentence below the buttons of a section, in place of a pop-up: what was reached, or what went wrong."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import qt
import slicer

from UnCoLSegmentLib.Run import messageAndDetails


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
        self._details = ""
        detailsButton.connect("clicked(bool)", self._showDetails)

    def showInformation(self, text: str) -> None:
        """Tell what was reached."""
        self._show(text, "", qt.QStyle.SP_MessageBoxInformation)

    def showWarning(self, text: str, details: str = "") -> None:
        """Tell what went wrong and what to do; keep a developer's details behind a button."""
        self._show(text, details, qt.QStyle.SP_MessageBoxWarning)

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

    def _show(self, text: str, details: str, icon: int) -> None:
        side = self._frame.style().pixelMetric(qt.QStyle.PM_SmallIconSize)
        self._icon.setPixmap(self._frame.style().standardIcon(icon).pixmap(side, side))
        self._label.text, self._label.accessibleName = text, text
        self._details, self._detailsButton.visible = details, bool(details)
        self._frame.visible = True

    def _showDetails(self) -> None:
        slicer.util.errorDisplay(self._label.text, detailedText=self._details)
