"""What the sections of the panel have in common: clicks that report in the strip on top, without a pop-up."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import qt
import slicer
import slicer.util
from slicer.i18n import tr as _

from UnCoLSegmentLib import Preconditions
from UnCoLSegmentLib.Engine.Run import messageAndDetails
from UnCoLSegmentLib.Engine.Signal import Signal
from UnCoLSegmentLib.Logic import Logic
from UnCoLSegmentLib.ParameterNode import ParameterNode


class Message:
    """Shows one sentence, what was reached or what went wrong, until the next one or until it is cleared.

    Args:
        ui: The panel's widgets by name.
    """

    def __init__(self, ui: Any) -> None:
        self._frame, self._icon = ui.messageFrame, ui.messageIcon
        self._label, self._button = ui.messageLabel, ui.messageDetailsButton
        self._tellMore: Callable[[], None] = lambda: None
        self.tone = ""
        """What kind of sentence is shown: "good", "bad" or "" for none."""
        self.changed = Signal()
        self._button.connect("clicked(bool)", lambda: self._tellMore())  # noqa: PLW0108  # what that is changes

    def showInformation(self, text: str, notes: Sequence[str] = ()) -> None:
        """Tell what was reached; notes that explain it stand behind a button."""
        self._button.text = _("Notes ({count})").format(count=len(notes))
        self._button.toolTip = _("Show what else is worth knowing about this result")
        self._show(text, bool(notes), qt.QStyle.SP_MessageBoxInformation, "good")
        self._tellMore = lambda: slicer.util.infoDisplay("\n\n".join(notes))

    def showWarning(self, text: str, details: str = "") -> None:
        """Tell what went wrong and what to do; keep a developer's details behind a button."""
        self._button.text = _("Details")
        self._button.toolTip = _("Show what a developer needs to find the cause")
        self._show(text, bool(details), qt.QStyle.SP_MessageBoxWarning, "bad")
        self._tellMore = lambda: slicer.util.errorDisplay(text, detailedText=details)

    def clear(self) -> None:
        """Say nothing any more."""
        wasShown, self._frame.visible, self.tone = bool(self.tone), False, ""
        if wasShown:
            self.changed.emit()

    @contextmanager
    def reporting(self) -> Iterator[None]:
        """Turn an error inside into a warning, so that no click ends in silence."""
        try:
            yield
        except Exception as error:  # noqa: BLE001 - the end of a click: whatever happened, the user is told
            self.showWarning(*messageAndDetails(error))

    def _show(self, text: str, hasMore: bool, icon: int, tone: str) -> None:
        side = self._frame.style().pixelMetric(qt.QStyle.PM_SmallIconSize)
        self._icon.setPixmap(self._frame.style().standardIcon(icon).pixmap(side, side))
        self._label.text = self._label.accessibleName = text
        self._button.visible = hasMore
        self._frame.visible, self.tone = True, tone
        self.changed.emit()


class Follower:
    """Follows signals of the logic, until it is told to stop."""

    def __init__(self) -> None:
        self._followed: list[tuple[Signal, Callable[..., None]]] = []

    def disconnect(self) -> None:
        """Follow the logic no more."""
        for signal, slot in self._followed:
            signal.disconnect(slot)

    def _follow(self, signal: Signal, slot: Callable[..., None]) -> None:
        signal.connect(slot)
        self._followed.append((signal, slot))


class Section(Follower):
    """A part of the panel: it shows the state of the parameters and does what its buttons say.

    Args:
        ui: The panel's widgets by name.
        logic: What does the work.
        message: Where it is told how clicks ended.
    """

    _during: Callable[[], Any] = nullcontext
    """Makes what is around each click, as a context manager."""

    def __init__(self, ui: Any, logic: Logic, message: Message) -> None:
        super().__init__()
        self.ui, self._logic, self._message = ui, logic, message
        self._parameters: ParameterNode | None = None

    def update(self, parameters: ParameterNode | None) -> None:
        """Show the state of the parameters."""
        self._parameters = parameters

    def forgetScene(self) -> None:
        """Let go of the nodes of a scene that is being closed."""

    def leave(self) -> None:
        """The user goes to another module."""

    @property
    def _given(self) -> ParameterNode:
        assert self._parameters is not None  # without parameters the buttons are disabled
        return self._parameters

    def _whyNotRead(self) -> str:
        """Return why the volume cannot be worked on now, whatever is to be done; "" if it can."""
        if self._parameters is None:
            return self._whyNoVolume()
        return self._logic.state.obstacle or Preconditions.toReadVolume(self._parameters)

    def _whyNoVolume(self) -> str:
        return "" if self._parameters and self._parameters.inputVolume else _("Choose the volume to segment.")

    def _choosing(self, parameter: str, value: object) -> Callable[[], None]:
        """Return what a click on one of several buttons does that stand for the values of a parameter."""

        def choose() -> None:
            setattr(self._given, parameter, value)
            self.update(self._parameters)  # a second click would take the button back

        return choose

    def _onClicks(self, *actions: tuple[qt.QAbstractButton, Callable[[], None]]) -> None:
        for button, action in actions:
            button.connect("clicked(bool)", self._reporting(action))

    def _reporting(self, action: Callable[[], None]) -> Callable[[], None]:
        def report() -> None:
            self._message.clear()
            with self._message.reporting(), self._during():
                action()

        return report
